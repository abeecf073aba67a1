"""Checks the thumbnails of a run: a handler that is fast because it writes nothing, or rubbish, is not compared.

Pillow reads the destination bucket as a folder; none of our own code judges our own thumbnails.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    with _open(thumbnail) as image:
        size, colours = image.size, image.convert("RGB").getcolors(maxcolors=1)
    with suppress(ImportError):  # not installed with Pillow-SIMD
        from pillow_heif import register_heif_opener

        register_heif_opener(thumbnails=False)
    with _open(picture) as image:
        source, is_turned = image.size, image.getexif().get(0x0112) in TURNED
    scale = min(1.0, side / max(source))
    wanted = (source[0] * scale, source[1] * scale)
    # Some handlers ignore EXIF orientation.
    if not (_fits(size, wanted) or (is_turned and _fits(size, wanted[::-1]))):
        raise WrongOutput(f"{thumbnail}: is {size[0]} x {size[1]}; expected {wanted[0]:g} x {wanted[1]:g}")
    if colours is not None:  # None: more than one
        raise WrongOutput(f"{thumbnail}: has a single colour")


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """Raises WrongOutput, also for what goes wrong with the image inside the block."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise WrongOutput(f"{path}: cannot be decoded: {error}") from error


def _fits(size: tuple[int, int], wanted: tuple[float, float]) -> bool:
    """The longer side must match exactly, the other within a pixel: libraries round differently."""
    return max(size) == round(max(wanted)) and all(abs(a - b) <= 1 for a, b in zip(size, wanted, strict=True))
