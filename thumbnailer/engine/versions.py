"""The oldest safe version of each library: older ones have a hole that an uploaded picture can reach."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple


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


def require(library: str, found: str) -> None:
    """Raises OutdatedLibrary."""
    minimum = next(minimum for minimum in MINIMUMS if minimum.library == library)
    if not is_enough(minimum, found):
        raise OutdatedLibrary(f"{library} {found} is older than {minimum.least} ({minimum.why})")


def is_enough(minimum: Minimum, found: str) -> bool:
    return _numbers(found) >= _numbers(minimum.least)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def installed() -> Iterator[tuple[Minimum, str]]:
    """The installed libraries with their versions. Imports them."""
    versions = {"libvips": _libvips, "Pillow": _pillow, "libwebp": bundled_libwebp, "libheif": _libheif}
    for minimum in MINIMUMS:
        if version := versions[minimum.library]():
            yield minimum, version


def _libvips() -> str | None:
    if not find_spec("pyvips"):
        return None
    import pyvips

    return ".".join(str(pyvips.version(part)) for part in range(3))


def _pillow() -> str | None:
    if not find_spec("PIL"):
        return None
    import PIL

    return PIL.__version__


def bundled_libwebp() -> str | None:
    """The libwebp inside Pillow's wheel; None for a distribution's, whose number stays when it is patched."""
    pillow = find_spec("PIL")
    if not pillow or not pillow.origin or not Path(pillow.origin).parents[1].joinpath("pillow.libs").is_dir():
        return None
    from PIL import features

    return features.version("webp")


def _libheif() -> str | None:
    if not find_spec("pillow_heif"):
        return None
    import pillow_heif

    return str(pillow_heif.libheif_version())
