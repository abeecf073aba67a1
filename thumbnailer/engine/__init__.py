"""The two engines: the same Plan in, the same picture out. Each is imported when it is first used, not before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol

from thumbnailer.errors import Corrupt, CutShort
from thumbnailer.model import EngineName, Format
from thumbnailer.planning.capabilities import Capabilities, Capability
from thumbnailer.planning.plan import Plan


@dataclass(frozen=True, slots=True)
class Rendering:
    """One encoded picture per target of the plan. Times are seconds, `defect` is empty for a whole one."""

    engine: EngineName
    pictures: tuple[bytes, ...]
    defect: str
    decode_seconds: float
    encode_seconds: float
    placeholders: tuple[str, ...] = ()
    """a ThumbHash each, where the plan asks for them"""
    profile_ignored: bool = False
    """there is a colour profile, and it cannot be used"""


class Engine(Protocol):
    """Synchronous, gives up the GIL while it decodes, does no I/O but reading the one file."""

    def render(self, path: str, plan: Plan) -> Rendering:
        """All of the picture. Raises Corrupt where that cannot be read, UnsupportedFormat where a codec is missing."""
        ...


_PILLOW_ALWAYS = frozenset({Format.JPEG, Format.PNG, Format.GIF, Format.WEBP, Format.TIFF, Format.BMP, Format.ICO})
_WRITTEN_ALWAYS = frozenset({Format.JPEG, Format.PNG, Format.GIF, Format.WEBP})
_BUNDLED_VIPS = Capability(
    reads=frozenset({Format.JPEG, Format.PNG, Format.GIF, Format.WEBP, Format.TIFF, Format.AVIF, Format.SVG}),
    writes=_WRITTEN_ALWAYS | {Format.AVIF},
)
"""What the libvips of pyvips' binary wheel has; another libvips is asked."""


def installed_engines() -> Capabilities:
    """What is installed, told from what can be found, without importing an engine."""
    found: dict[EngineName, Capability] = {}
    if find_spec("pyvips"):
        found[EngineName.VIPS] = _BUNDLED_VIPS if _is_libvips_bundled() else _capability_of_libvips()
    if find_spec("PIL"):
        avif = {Format.AVIF} if find_spec("PIL._avif") else set()
        heic = {Format.HEIC} if find_spec("pillow_heif") else set()
        jxl = {Format.JXL} if find_spec("pylibjxl") else set()
        found[EngineName.PILLOW] = Capability(_PILLOW_ALWAYS | avif | heic | jxl, _WRITTEN_ALWAYS | avif)
    return found


def _is_libvips_bundled() -> bool:
    """Whether pyvips finds the libvips of its binary wheel beside itself."""
    binding = find_spec("_libvips")
    return bool(binding and binding.origin and Path(binding.origin).with_name("pyvips_binary.libs").is_dir())


def _capability_of_libvips() -> Capability:
    from thumbnailer.engine.vips import capability

    return capability()


def load_engine(name: EngineName) -> Engine:
    """Imports an engine. Raises ImportError where it is not installed."""
    if name is EngineName.VIPS:
        from thumbnailer.engine.vips import VipsEngine

        return VipsEngine()
    from thumbnailer.engine.pillow import PillowEngine

    return PillowEngine()


Load = Callable[[EngineName], Engine]
OF_DAMAGED_PIXELS: Final = ("premature end of data segment", "bad Huffman code")
"""libjpeg's warnings (its jerror.h) that are never of bytes in the header, which no pixel depends on."""


def render(load: Load, path: str, plan: Plan) -> Rendering:
    """The plan's engine; what it cannot read its fallback is asked for; of what neither can, the part that shows.

    Raises Corrupt where that is less than half of the picture.
    """
    try:
        return render_first(load, path, plan)
    except Corrupt as error:
        return render_second(load, path, plan, error)


def render_first(load: Load, path: str, plan: Plan) -> Rendering:
    """By the plan's engine, within the plan's `memory_estimate`. Raises Corrupt where that cannot read it."""
    return _rendered(load, plan.engine, path, plan)


def render_second(load: Load, path: str, plan: Plan, error: Corrupt) -> Rendering:
    """By what else the plan names, within its `second_estimate`. Raises Corrupt, `error` if nothing else is left."""
    if plan.fallback is not None and not (plan.salvage and isinstance(error, CutShort)):
        with suppress(Corrupt):
            return replace(_rendered(load, plan.fallback, path, plan), defect=_warning(error))
    if plan.salvage:
        from thumbnailer.engine.pillow import render_damaged

        return render_damaged(path, plan)
    raise error


def _warning(error: Corrupt) -> str:
    """What libvips refused and Pillow, with the same libjpeg, decodes without a word."""
    message = str(error)
    return next((f"libjpeg warns of {warning}" for warning in OF_DAMAGED_PIXELS if warning in message), "")


def _rendered(load: Load, name: EngineName, path: str, plan: Plan) -> Rendering:
    try:
        return load(name).render(path, plan)
    except Corrupt as error:
        again = type(error)(str(error))
    raise again  # a new one, because the first one's traceback would keep what was decoded
