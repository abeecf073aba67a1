"""What an object is, by its bytes alone, and what its header says of the picture. Nothing is decoded.

`probe` takes the head of an object or all of it. It raises NotAnImage, UnsupportedFormat, Corrupt, or NeedMoreBytes
when the header of a known format goes on; an unknown head of DECISIVE bytes is final.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from thumbnailer.errors import Corrupt, NeedMoreBytes, NotAnImage
from thumbnailer.formats import bmff, foreign, gif, jp2, jpeg, jxl, png, simple, text, tiff, webp
from thumbnailer.formats.ending import ending_defect
from thumbnailer.formats.head import Head
from thumbnailer.model import ImageInfo

if TYPE_CHECKING:
    from mmap import mmap

__all__ = ["ending_defect", "probe"]

DECISIVE = 32
"""Bytes from which on an unknown head stays unknown."""
SIGNATURE_BYTES = 512
"""As far as any signature reaches."""

READERS: tuple[tuple[int, bytes, Callable[[Head], ImageInfo]], ...] = (
    (0, b"\xff\xd8", jpeg.read_jpeg),
    (0, png.SIGNATURE, png.read_png),
    (0, b"GIF8", gif.read_gif),
    (8, b"WEBP", webp.read_webp),
    (0, b"II*\0", tiff.read_tiff),
    (0, b"MM\0*", tiff.read_tiff),
    (0, b"II+\0", tiff.read_tiff),
    (0, b"MM\0+", tiff.read_tiff),
    (4, b"ftyp", bmff.read_bmff),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", jp2.read_jp2),
    (0, jp2.CODESTREAM, jp2.read_codestream),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", jxl.read_container),
    (0, jxl.SIGNATURE, jxl.read_codestream),
    (0, b"\0\0\1\0", simple.read_ico),
)


def probe(data: bytes | memoryview | mmap, total: int | None = None) -> ImageInfo:
    """`total` is the object's full size; None says that more may follow."""
    with memoryview(data) as view:
        return _probe(Head(view, total))


def _probe(head: Head) -> ImageInfo:
    start = head.up_to(0, SIGNATURE_BYTES)
    reader = _reader(start)
    if reader is not None:
        return reader(head)
    if png.is_damaged_signature(start):
        raise Corrupt("PNG with a damaged signature")
    foreign.refuse_by_name(start)
    return _unsigned(head)


def _reader(start: bytes) -> Callable[[Head], ImageInfo] | None:
    if simple.is_bmp(start):
        return simple.read_bmp
    return next((reader for at, mark, reader in READERS if start.startswith(mark, at)), None)


def _unsigned(head: Head) -> ImageInfo:
    """What has no signature is text, or nothing known."""
    if len(head) < DECISIVE and not head.whole:
        raise NeedMoreBytes(f"{len(head)} bytes do not tell what this is")
    if len(head) <= 1:
        raise NotAnImage("1 byte" if len(head) else "empty object")
    info = text.read_text(head)
    if info is None:
        raise NotAnImage("unknown content")
    return info
