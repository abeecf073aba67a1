"""The oldest safe version of each library: older ones have a hole that an uploaded picture can reach."""

import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple


class OutdatedLibrary(ImportError):
    """An engine that must not start before one of its libraries is updated."""


class Minimum(NamedTuple):
    library: str
    least: str
    why: str


MINIMUMS: Final = (
    Minimum("libvips", "8.16.1", "CVE-2025-29769: an AVIF of a TIFF with four bands of no meaning overflows the heap"),
    Minimum("Pillow", "12.1.1", "CVE-2026-25990: tiles outside of their picture are written; no Pillow-SIMD is newer"),
    Minimum("libwebp", "1.3.2", "CVE-2023-4863: the tables of a lossless WebP overflow the heap"),
    Minimum("libheif", "1.23.2", "CVE-2026-84383: nested alpha items of a HEIC overflow the heap"),
)
"""libwebp and libheif are those of Pillow and pillow-heif: libvips does not tell the versions it was built with.

Other known holes are out of reach: no engine reads PSD, FITS or PDF, and the probe refuses a TIFF of more than five
samples a pixel (CVE-2026-69242).
"""


def _bundled_libwebp(pillow: Any) -> str | None:
    """The libwebp inside Pillow's wheel; None for a distribution's, whose number stays when it is patched."""
    if not Path(pillow.__file__).parents[1].joinpath("pillow.libs").is_dir():
        return None
    from PIL import features

    return features.version("webp")


BINDINGS: Final[Mapping[str, tuple[str, Callable[[Any], str | None]]]] = {
    "libvips": ("pyvips", lambda pyvips: ".".join(str(pyvips.version(part)) for part in range(3))),
    "Pillow": ("PIL", lambda pillow: str(pillow.__version__)),
    "libwebp": ("PIL", _bundled_libwebp),
    "libheif": ("pillow_heif", lambda pillow_heif: str(pillow_heif.libheif_version())),
}
"""The module that tells each library's version, and how."""


def installed_version(library: str) -> str | None:
    """None if the library is not installed. Imports it."""
    module, tell = BINDINGS[library]
    return tell(import_module(module)) if find_spec(module) else None


def installed() -> Iterator[tuple[Minimum, str]]:
    """The installed libraries with their versions. Imports them."""
    for minimum in MINIMUMS:
        if version := installed_version(minimum.library):
            yield minimum, version


def require(library: str) -> None:
    """Raises OutdatedLibrary."""
    minimum = next(minimum for minimum in MINIMUMS if minimum.library == library)
    version = installed_version(library)
    if version and not is_enough(minimum, version):
        raise OutdatedLibrary(f"{library} {version} is older than {minimum.least} ({minimum.why})")


def is_enough(minimum: Minimum, found: str) -> bool:
    return _numbers(found) >= _numbers(minimum.least)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
