"""Checks the thumbnails of a run: a handler that is fast because it writes nothing, or rubbish, is not compared.

Pillow reads the destination bucket as a folder; none of our own code judges our own thumbnails.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final

from PIL import Image

from thumbnailer.errors import ThumbnailerError

TURNED: Final = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height"""


class WrongOutput(ThumbnailerError):
    """A thumbnail is missing or wrong; the message names the file."""


def check_thumbnail(thumbnail: Path, picture: Path, since: float, side: int = 128) -> None:
    """The thumbnail is not older than `since` (seconds since 1970) and shows the whole picture. Raises WrongOutput.

    Its longer side is `side`, or the picture's own if that is smaller.
    """
    if not thumbnail.is_file() or thumbnail.stat().st_mtime < since:
        raise WrongOutput(f"{thumbnail}: does not exist, or comes from an earlier run")
    sources = _source_sizes(picture)
    try:
        with Image.open(thumbnail) as image:
            image.load()
            size, colours = image.size, image.convert("RGB").getcolors(maxcolors=1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise WrongOutput(f"{thumbnail}: cannot be decoded: {error}") from error
    wanted = [_wanted(source, side) for source in sorted(sources)]
    if not any(_fits(size, one) for one in wanted):
        raise WrongOutput(f"{thumbnail}: is {_text(size)}; expected {' or '.join(map(_text, wanted))}")
    if colours is not None:  # None: more than one
        raise WrongOutput(f"{thumbnail}: has a single colour")


def _source_sizes(picture: Path) -> frozenset[tuple[int, int]]:
    """The stored size, and the size after EXIF orientation: some handlers ignore it."""
    with suppress(ImportError):  # not installed with Pillow-SIMD
        from pillow_heif import register_heif_opener

        register_heif_opener(thumbnails=False)
    try:
        with Image.open(picture) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112) in TURNED
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise WrongOutput(f"{picture}: the source itself cannot be read: {error}") from error
    return frozenset({(width, height), (height, width)} if turned else {(width, height)})


def _wanted(source: tuple[int, int], side: int) -> tuple[float, float]:
    scale = min(1.0, side / max(source))
    return source[0] * scale, source[1] * scale


def _fits(size: tuple[int, int], wanted: tuple[float, float]) -> bool:
    """The longer side must match exactly, the other within a pixel: libraries round differently."""
    return max(size) == round(max(wanted)) and all(abs(a - b) <= 1 for a, b in zip(size, wanted, strict=True))


def _text(size: tuple[float, float]) -> str:
    return f"{size[0]:g} x {size[1]:g}"
