"""BMP (the Win32 reference and its OS/2 ancestor)."""

import struct
from collections.abc import Iterator

from thumbnailer.errors import Corrupt, UnsupportedFormat
from thumbnailer.formats.base import FormatSpec, Head, Patch
from thumbnailer.model import Details, Format, ImageInfo
from thumbnailer.values import dataclass

DIB = 14  # where the second header begins; the first is the file's
OS2_HEADER, SHORT_OS2_HEADER = 12, 16
HEADERS = (OS2_HEADER, SHORT_OS2_HEADER, 40, 52, 56, 64, 108, 124)
"""BITMAPCOREHEADER, the short and long OS/2 2.x headers, BITMAPINFOHEADER and its versions 2 to 5."""
BITS = (1, 4, 8, 16, 24, 32)
MOST_PALETTE_BITS = 8
UNREAD = {4: "BMP with an embedded JPEG", 5: "BMP with an embedded PNG"}
UNREAD |= dict.fromkeys((6, 11, 12, 13), "BMP of a kind that only Windows writes")
PLAIN, RUN_LENGTHS, BIT_FIELDS = 0, (1, 2), 3
WITH_ALPHA_MASK = {PLAIN: (108, 124), BIT_FIELDS: (56, 108, 124)}
"""Headers whose alpha mask counts, by compression, as in Chromium."""
COMPRESSION, MASKS, ALPHA_MASK = 30, 54, 66  # where they are in the file
ORDINARY_MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)  # red, green, blue and alpha
MASKS_OF_16_BITS = ((0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F))
"""Red, green and blue of five bits each, or green of six."""
BYTES = (0, 0xFF, 0xFF00, 0xFF0000, 0xFF000000)  # masks of 24 and 32 bits
MAX_RUN_LENGTHS = 2 << 20
"""Bytes of a file in RLE8 or RLE4, which Pillow decodes in Python: these take a second."""


@dataclass(frozen=True, slots=True)
class Dib:
    """The header of a BMP, and of an icon. `height` is positive: a negative one only says that the rows go down."""

    size: int
    width: int
    height: int
    bits: int
    compression: int


def is_bmp(start: bytes) -> bool:
    """`BM` alone may begin any text; the size of the second header makes it sure."""
    return start.startswith(b"BM") and int.from_bytes(start[DIB : DIB + 4], "little") in HEADERS


def read_bmp(head: Head) -> ImageInfo:
    dib = read_dib(head, DIB)
    if dib.compression in RUN_LENGTHS and head.total is not None and head.total > MAX_RUN_LENGTHS:
        raise UnsupportedFormat(f"run-length encoded BMP of more than {MAX_RUN_LENGTHS >> 20} MB")
    _refuse_unread(head, dib)
    has_palette = dib.bits <= MOST_PALETTE_BITS
    has_alpha = _has_alpha(head, dib)
    return ImageInfo(
        Format.BMP,
        dib.width,
        dib.height,
        has_alpha=has_alpha,
        bit_depth=min(dib.bits, 8),
        channels=(1 if has_palette else 3) + has_alpha,
        details=Details(dib.bits / 8, palette=has_palette),
    )


def read_dib(head: Head, start: int) -> Dib:
    (size,) = head.unpack("<I", start)
    if size not in HEADERS:
        raise Corrupt(f"{head.label} with a header of {size} bytes")
    width, height, _, bits = head.unpack("<HHHH" if size == OS2_HEADER else "<iiHH", start + 4)
    compression = head.unpack("<I", start + 16)[0] if size > SHORT_OS2_HEADER else 0
    if compression in UNREAD:
        raise UnsupportedFormat(UNREAD[compression])
    if bits == 2:  # Windows CE, and e-paper displays
        raise UnsupportedFormat(f"{head.label} of 2 bits a pixel")
    if width <= 0 or height == 0 or bits not in BITS:
        raise Corrupt(f"{head.label} of {width} x {height} pixels and {bits} bits")
    return Dib(size, width, abs(height), bits, compression)


def _has_alpha(head: Head, dib: Dib) -> bool:
    masked = dib.bits == 32 and dib.size in WITH_ALPHA_MASK.get(dib.compression, ())
    return masked and head.unpack("<I", ALPHA_MASK)[0] != 0


def _refuse_unread(head: Head, dib: Dib) -> None:
    """Raises UnsupportedFormat, with its name, for a BMP that Pillow does not decode."""
    if dib.size == SHORT_OS2_HEADER:
        raise UnsupportedFormat("BMP with the short header of OS/2 2")
    if dib.bits < 16 or dib.compression != BIT_FIELDS:
        return
    masks = head.unpack("<III", MASKS)
    if masks not in MASKS_OF_16_BITS if dib.bits == 16 else any(mask not in BYTES for mask in masks):
        raise UnsupportedFormat(f"BMP with the colour masks {masks[0]:x}, {masks[1]:x}, {masks[2]:x}")


def hide(head: Head) -> Iterator[Patch]:
    """Makes bit fields of plain colours with alpha, which Pillow would leave out."""
    dib = read_dib(head, DIB)
    if dib.compression == PLAIN and _has_alpha(head, dib):
        yield COMPRESSION, struct.pack("<I", BIT_FIELDS)
        yield MASKS, struct.pack("<4I", *ORDINARY_MASKS)


FORMAT = FormatSpec("BMP", (Format.BMP,), is_bmp, read_bmp, hide=hide)
