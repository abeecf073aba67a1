"""Engines: the same plan in, the same picture out. Each engine is imported when it is first used."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from thumbnailer.engine.base import Engine, Rendering
from thumbnailer.errors import Corrupt, CutShort, DamagedPixels
from thumbnailer.model import EngineName, Format
from thumbnailer.planning.capabilities import OUTPUTS, Capabilities, Capability, readable_formats
from thumbnailer.planning.plan import Plan

__all__ = ["Engine", "Load", "Rendering", "installed_engines", "load_engine", "render_first", "render_second"]

Load = Callable[[EngineName], Engine]
PILLOW_WRITES = frozenset({Format.JPEG, Format.PNG, Format.WEBP})
"""Formats that Pillow encodes itself. libvips encodes the others; without it Pillow does (`pillow_alone.py`)."""


def installed_engines() -> Capabilities:
    """The installed engines, found without importing them."""
    found: dict[EngineName, Capability] = {}
    if find_spec("pyvips"):
        found[EngineName.VIPS] = _capability_of_vips()
    if find_spec("PIL"):
        rows = readable_formats(EngineName.PILLOW).items()
        reads = frozenset(format_ for format_, row in rows if not row.modules or any(map(find_spec, row.modules)))
        vips = found.get(EngineName.VIPS)  # encodes for all engines
        writes = PILLOW_WRITES | (vips.writes if vips else {Format.GIF} | ({Format.AVIF} & reads))
        found[EngineName.PILLOW] = Capability(reads, writes)
        if find_spec("thumbnailer_jpeg"):
            found[EngineName.NATIVE] = Capability(frozenset({Format.JPEG}), writes)
    return found


def _capability_of_vips() -> Capability:
    """The libvips of pyvips' binary wheel is known; another one is asked, which imports it."""
    binding = find_spec("_libvips")
    if binding and binding.origin and Path(binding.origin).with_name("pyvips_binary.libs").is_dir():
        reads = frozenset(format_ for format_, row in readable_formats(EngineName.VIPS).items() if row.in_wheel)
        return Capability(reads, frozenset(OUTPUTS))
    from thumbnailer.engine.vips_formats import capability

    return capability()


def load_engine(name: EngineName) -> Engine:
    """Imports an engine. Raises ImportError if it is not installed."""
    if name is EngineName.NATIVE:
        from thumbnailer.engine.native import NativeEngine

        return NativeEngine()
    if name is EngineName.VIPS:
        from thumbnailer.engine.vips import VipsEngine

        return VipsEngine()
    from thumbnailer.engine.pillow import PillowEngine

    return PillowEngine()


def render_first(load: Load, path: str, plan: Plan) -> Rendering:
    """Uses the plan's engine and takes its `memory_estimate`. Raises Corrupt if the engine cannot read the file."""
    return _render(load, plan.engine, path, plan)


def render_second(load: Load, path: str, plan: Plan, error: Corrupt) -> Rendering:
    """Tries everything else that the plan names and takes its `second_estimate`. Raises Corrupt, or `error`."""
    if plan.fallback is not None and not (plan.salvage and isinstance(error, CutShort)):
        # Pillow has the same libjpeg as libvips, and no way to see its warnings.
        defect = error.defect if isinstance(error, DamagedPixels) else ""
        with suppress(Corrupt):
            return replace(_render(load, plan.fallback, path, plan), defect=defect)
    if plan.salvage:
        from thumbnailer.engine.pillow import render_damaged

        return render_damaged(path, plan)
    raise error


def _render(load: Load, name: EngineName, path: str, plan: Plan) -> Rendering:
    try:
        return load(name).render(path, plan)
    except Corrupt as error:
        again = type(error)(str(error))
    raise again  # a new one: the traceback of the first one would keep the decoded picture in memory
