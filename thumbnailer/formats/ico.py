"""ICO (the Win32 reference): a directory of icons, each a PNG or a BMP without its first header."""

from thumbnailer.errors import Corrupt
from thumbnailer.formats.base import FormatSpec, Head, starts_with
from thumbnailer.formats.bmp import Dib, read_dib
from thumbnailer.formats.png import SIGNATURE as PNG_SIGNATURE
from thumbnailer.formats.png import read_ihdr
from thumbnailer.model import Format, ImageInfo

MAX_ICONS = 256
MAX_BYTES = 4 << 20
"""Of a file. Two hundred icons of 256 x 256 are less as PNG; and the chunks of a PNG within are not checked."""
ENTRIES, ENTRY_SIZE = 6, 16


def read_ico(head: Head) -> ImageInfo:
    """The best icon's size, by its own header: a PNG within may have any size, whatever the directory says."""
    if head.total is not None and head.total > MAX_BYTES:
        raise Corrupt(f"ICO of more than {MAX_BYTES >> 20} MB")
    start = _best_icon(head)[1]
    if head.read(start, len(PNG_SIGNATURE)) == PNG_SIGNATURE:
        ihdr = read_ihdr(head, start)
        return ImageInfo(Format.ICO, ihdr.width, ihdr.height, has_alpha=True)
    dib = read_dib(head, start)
    # The colours and the mask below them count as one picture of twice the height.
    return ImageInfo(Format.ICO, dib.width, max(1, dib.height // 2), has_alpha=True)


def with_best_icon_alone(data: bytes) -> bytes:
    """The same file with one entry in its directory: the probed icon, whose mask becomes alpha if it has none."""
    head = Head(memoryview(data), len(data), "ICO")
    best, start = _best_icon(head)
    alone = data[:4] + b"\1\0" + data[best : best + ENTRY_SIZE] + data[ENTRIES + ENTRY_SIZE :]
    return alone if data.startswith(PNG_SIGNATURE, start) else _with_mask_as_alpha(alone, read_dib(head, start), start)


def _with_mask_as_alpha(data: bytes, dib: Dib, start: int) -> bytes:
    """Alpha of 32 bits that is 0 everywhere stands for none: browsers then look at the mask behind the pixels."""
    width, height = dib.width, dib.height // 2
    first, end = start + dib.size, start + dib.size + 4 * width * height
    if dib.bits != 32 or end > len(data) or any(data[first + 3 : end : 4]):
        return data
    stride = (width + 31) // 32 * 4
    mask = data[end : end + stride * height].ljust(stride * height, b"\0")
    bits = f"{int.from_bytes(mask):0{8 * len(mask)}b}".encode().translate(bytes.maketrans(b"01", b"\xff\0"))
    changed = bytearray(data)
    changed[first + 3 : end : 4] = b"".join(bits[8 * stride * row :][:width] for row in range(height))
    return bytes(changed)


def _best_icon(head: Head) -> tuple[int, int]:
    """Offsets of the entry and of the data of the icon that browsers show: the largest, then most bits a pixel."""
    (count,) = head.unpack("<H", 4)
    if not 0 < count <= MAX_ICONS:
        raise Corrupt(f"ICO of {count} icons")
    entries = [ENTRIES + ENTRY_SIZE * index for index in range(count)]
    best = max(entries, key=lambda at: _rank(head, at))
    return best, head.unpack("<I", best + 12)[0]


def _rank(head: Head, at: int) -> tuple[int, int]:
    """Some writers leave out the bits a pixel; the number of colours tells them (0 stands for 256 and more)."""
    width, height, colours, bits = head.unpack("<BBB3xH8x", at)
    return (width or 256) * (height or 256), bits or ((colours or 256) - 1).bit_length()


FORMAT = FormatSpec("ICO", (Format.ICO,), starts_with(b"\0\0\1\0"), read_ico)
