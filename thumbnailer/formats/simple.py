"""The formats with a header of fixed place: BMP and ICO (the Win32 reference and its OS/2 ancestor)."""

from __future__ import annotations

from dataclasses import dataclass

from thumbnailer.errors import Corrupt, UnsupportedFormat
from thumbnailer.formats.head import Head
from thumbnailer.formats.png import SIGNATURE as PNG_SIGNATURE
from thumbnailer.formats.png import read_ihdr_size
from thumbnailer.model import Details, Format, ImageInfo

OS2_HEADER = 12
BMP_HEADERS = (OS2_HEADER, 16, 40, 52, 56, 64, 108, 124)
"""BITMAPCOREHEADER, the short and long OS/2 2.x headers, BITMAPINFOHEADER and its versions 2 to 5."""
SHORT_OS2_HEADER = 16
BMP_WITH_ALPHA_MASK = (56, 108, 124)
BITS = (1, 2, 4, 8, 16, 24, 32)
MOST_PALETTE_BITS = 8
UNREAD = {4: "BMP with an embedded JPEG", 5: "BMP with an embedded PNG"}
UNREAD |= dict.fromkeys((6, 11, 12, 13), "BMP of a kind that only Windows writes")
BIT_FIELDS = 3
MASKS_OF_16_BITS = ((0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F))
"""Red, green and blue of five bits each, or green of six."""
BYTES = (0, 0xFF, 0xFF00, 0xFF0000, 0xFF000000)
"""Masks of 24 and 32 bits."""

RUN_LENGTHS = (1, 2)
MAX_RUN_LENGTHS = 2 << 20
"""Bytes of a file in RLE8 or RLE4, which Pillow decodes in Python: a second for these."""

MAX_ICONS = 256
MAX_ICO = 4 << 20
"""Bytes of a file. Two hundred icons of 256 x 256 are less as PNG; and what is in such a PNG is not looked at."""
ICON_ENTRY = 16


def is_bmp(start: bytes) -> bool:
    """`BM` alone may begin any text; the size of the second header makes it sure."""
    return start.startswith(b"BM") and int.from_bytes(start[14:18], "little") in BMP_HEADERS


def read_bmp(head: Head) -> ImageInfo:
    head = head.called("BMP")
    width, height, bits = _dib(head, 14)
    (size,) = head.unpack("<I", 14)
    packed = size > SHORT_OS2_HEADER and head.unpack("<I", 30)[0] in RUN_LENGTHS
    if packed and head.total is not None and head.total > MAX_RUN_LENGTHS:
        raise UnsupportedFormat(f"run-length encoded BMP of more than {MAX_RUN_LENGTHS >> 20} MB")
    _refuse_unread(head, size, bits)
    channels = 1 if bits <= MOST_PALETTE_BITS else 3
    has_alpha = _has_alpha_mask(head, bits)
    return ImageInfo(
        Format.BMP,
        width,
        height,
        has_alpha=has_alpha,
        bit_depth=min(bits, 8),
        channels=channels + has_alpha,
        details=Details(bits / 8, palette=bits <= MOST_PALETTE_BITS),
    )


def _dib(head: Head, start: int) -> tuple[int, int, int]:
    """Width, height and bits a pixel; a negative height says that the rows go down."""
    (size,) = head.unpack("<I", start)
    if size not in BMP_HEADERS:
        raise Corrupt(f"{head.label} with a header of {size} bytes")
    if size == OS2_HEADER:
        width, height, _, bits = head.unpack("<HHHH", start + 4)
    else:
        width, height, _, bits = head.unpack("<iiHH", start + 4)
    compression = head.unpack("<I", start + 16)[0] if size > SHORT_OS2_HEADER else 0
    if compression in UNREAD:
        raise UnsupportedFormat(UNREAD[compression])
    if width <= 0 or height == 0 or bits not in BITS:
        raise Corrupt(f"{head.label} of {width} x {height} pixels and {bits} bits")
    return width, abs(height), bits


def _refuse_unread(head: Head, size: int, bits: int) -> None:
    """Raises UnsupportedFormat, with its name, for what Pillow does not decode."""
    if size == SHORT_OS2_HEADER:
        raise UnsupportedFormat("BMP with the short header of OS/2 2")
    if bits < 16 or size <= SHORT_OS2_HEADER or head.unpack("<I", 30)[0] != BIT_FIELDS:
        return
    masks = head.unpack("<III", 54)
    if masks not in MASKS_OF_16_BITS if bits == 16 else any(mask not in BYTES for mask in masks):
        raise UnsupportedFormat(f"BMP with the colour masks {masks[0]:x}, {masks[1]:x}, {masks[2]:x}")


def _has_alpha_mask(head: Head, bits: int) -> bool:
    (size,) = head.unpack("<I", 14)
    return bits == 32 and size in BMP_WITH_ALPHA_MASK and head.unpack("<I", 66)[0] != 0


@dataclass(frozen=True, slots=True)
class _Icon:
    """An entry of the directory, and what it says; it stands `at` that place."""

    at: int
    width: int
    height: int
    bits: int
    start: int

    @property
    def rank(self) -> tuple[int, int]:
        """The larger one is shown, and of one size the one with more bits a pixel, as in browsers."""
        return self.width * self.height, self.bits


def read_ico(head: Head) -> ImageInfo:
    """The best icon's size, by its own header: a PNG within may be any size, whatever the directory says."""
    head = head.called("ICO")
    if head.total is not None and head.total > MAX_ICO:
        raise Corrupt(f"ICO of more than {MAX_ICO >> 20} MB")
    width, height = _icon_size(head, _best_icon(head))
    return ImageInfo(Format.ICO, width, height, has_alpha=True)


def with_best_icon_alone(data: bytes) -> bytes:
    """The same file with one entry in its directory, whose icon is the one that was probed."""
    best = _best_icon(Head(memoryview(data), len(data), "ICO")).at
    return data[:4] + b"\1\0" + data[best : best + ICON_ENTRY] + data[6 + ICON_ENTRY :]


def _best_icon(head: Head) -> _Icon:
    (count,) = head.unpack("<H", 4)
    if not 0 < count <= MAX_ICONS:
        raise Corrupt(f"ICO of {count} icons")
    return max((_icon(head, 6 + ICON_ENTRY * index) for index in range(count)), key=lambda icon: icon.rank)


def _icon(head: Head, at: int) -> _Icon:
    """Some writers leave the bits to be told from the number of colours, which is 0 for 256 and more."""
    width, height, colours, bits, start = head.unpack("<BBB3xH4xI", at)
    return _Icon(at, width or 256, height or 256, bits or ((colours or 256) - 1).bit_length(), start)


def _icon_size(head: Head, icon: _Icon) -> tuple[int, int]:
    if head.read(icon.start, len(PNG_SIGNATURE)) == PNG_SIGNATURE:
        return read_ihdr_size(head, icon.start)
    width, height, _ = _dib(head, icon.start)
    # The colours and the mask below them count as one picture of twice the height.
    return width, max(1, height // 2)
