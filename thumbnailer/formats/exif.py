"""The three fields of an EXIF block that count here, read tolerantly and written minimally.

A TIFF structure (Exif 2.32 section 4.5.2): byte order, 42, offset of IFD0, entries of 12 bytes. Cameras and editors
break every part of it. Reading never raises: unreadable fields count as absent.
"""

import re
import struct
import zlib
from dataclasses import dataclass

from thumbnailer.errors import Corrupt
from thumbnailer.formats import ifd
from thumbnailer.formats.head import Head, Piece
from thumbnailer.model import NO_CREDIT, Credit

PREFIX = b"Exif\0\0"
MAX_BLOCK = 1 << 20
"""Bytes read. PNG and WebP hold more, but IFD0 is at the start of every block found so far."""
MAX_ENTRIES = 1024  # read of IFD0; honest ones have some 20, sorted, and the fields of interest come first
LAYOUTS = {b"II*\0": ifd.Layout("<"), b"MM\0*": ifd.Layout(">")}
ASCII, ORIENTATION_TYPES = 2, (3, 4)  # SHORT, and LONG: against the specification, but some cameras write it
ENTRY, LINK = 12, 4  # bytes of an entry, and of the offset of the next directory behind the last entry
INLINE = 4  # a value of at most this many bytes is stored in the entry itself (TIFF 6.0, page 15)
WRITTEN_BY_LIBVIPS = re.compile(rb"II\*\0\x08\0\0\0(..)\x12\x01\x03\0\x01\0\0\0\x01\0\0\0", re.DOTALL)
"""Header, number of entries, and an orientation of 1 as the first entry."""


@dataclass(frozen=True, slots=True)
class Ifd0:
    """The fields found; `orientation` is always 1 to 8."""

    orientation: int = 1
    credit: Credit = NO_CREDIT


def read_ifd0(head: Head, block: Piece | None, skip: int = 0) -> Ifd0:
    """Orientation and credit of an EXIF block, as far as its bytes are at hand; it begins `skip` bytes into a piece."""
    found = _find_ifd0(head, block, skip) if block else None
    if found is None:
        return Ifd0()
    tiff, layout, start, count = found
    directory = ifd.read_directory(tiff, layout, start + layout.count_size, min(count, MAX_ENTRIES))
    return Ifd0(_orientation(directory), directory.credit())


def is_costly(head: Head, block: Piece, skip: int = 0) -> bool:
    """Whether values of a directory share their bytes, or it cannot be read here.

    Pillow 12 copies the value of every tag: a file of 7 MB made it grow by 9.5 GB.
    """
    found = _find_ifd0(head, block, skip)
    if found is None:
        return True
    tiff, layout, start, count = found
    whole = min(count, (len(tiff) - start - layout.count_size) // ENTRY)
    return ifd.bytes_of_values(tiff, layout, start, whole, most=head.size) > len(tiff)


def _find_ifd0(head: Head, block: Piece, skip: int) -> tuple[Head, ifd.Layout, int, int] | None:
    """The block, its layout, where its first directory is, and the number of entries; None if there is none."""
    data = head.up_to(block.start + skip, max(0, min(block.size - skip, MAX_BLOCK))).removeprefix(PREFIX)
    tiff, layout = head.within(data, "EXIF"), LAYOUTS.get(data[:4])
    if layout is None:
        return None
    try:
        (start,) = tiff.unpack(layout.order + "I", 4)
        (count,) = tiff.unpack(layout.order + "H", start)
    except Corrupt:
        return None
    return tiff, layout, start, count


def _orientation(directory: ifd.Directory) -> int:
    """The first value of the entry, whatever its count."""
    entry = directory.entries.get(ifd.ORIENTATION)
    if entry is None or entry.kind not in ORIENTATION_TYPES or not entry.count:
        return 1
    code = directory.layout.order + ifd.INTEGERS[entry.kind]
    return ifd.valid_orientation(directory.head.unpack(code, entry.at)[0])


def build_credit(credit: Credit) -> bytes:
    """A little-endian EXIF block of the credit fields that are not empty; b"" if both are empty."""
    texts = ((ifd.ARTIST, ifd.clean_credit(credit.artist)), (ifd.COPYRIGHT, ifd.clean_credit(credit.copyright)))
    fields = [(tag, text + b"\0") for tag, text in texts if text]
    if not fields:
        return b""
    values_at = 8 + 2 + ENTRY * len(fields) + LINK
    entries, values = b"", b""
    for tag, text in fields:
        inline = text.ljust(INLINE, b"\0") if len(text) <= INLINE else struct.pack("<I", values_at + len(values))
        entries += struct.pack("<HHI", tag, ASCII, len(text)) + inline
        # Values begin on a word boundary (TIFF 6.0, page 15).
        values += b"" if len(text) <= INLINE else text + b"\0" * (len(text) % 2)
    return PREFIX + struct.pack("<2sHIH", b"II", 42, 8, len(fields)) + entries + bytes(LINK) + values


def without_orientation(picture: bytes) -> bytes:
    """An encoded picture without the orientation that libvips writes into every EXIF block, "since it's required".

    The block keeps its place and its length: the other entries move up over the orientation, which comes first because
    entries are sorted. Values keep their offsets.
    """
    found = WRITTEN_BY_LIBVIPS.search(picture)
    if found is None:
        return picture
    count = int.from_bytes(found[1], "little")
    first, end = found.end(1), found.end(1) + ENTRY * count + LINK
    entries = picture[first + ENTRY : end] + bytes(ENTRY)
    changed = picture[: found.start(1)] + struct.pack("<H", count - 1) + entries + picture[end:]
    return _checked_png(changed, found.start()) if picture.startswith(b"\x89PNG") else changed


def _checked_png(picture: bytes, start: int) -> bytes:
    """The PNG with a new checksum for the chunk whose data begin at `start`."""
    (length,) = struct.unpack_from(">I", picture, start - 8)
    end = start + length
    return picture[:end] + struct.pack(">I", zlib.crc32(picture[start - 4 : end])) + picture[end + 4 :]
