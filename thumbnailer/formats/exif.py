"""Directories of TIFF files (TIFF 6.0, pages 13 to 16; BigTIFF), and EXIF blocks (Exif 2.32 section 4.5.2).

An EXIF block is a TIFF structure: byte order, 42, offset of IFD0, entries of 12 bytes. Cameras and editors break every
part of it. Reading it never raises: unreadable fields count as absent. Three fields count, and are written minimally.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Collection, Iterator

from thumbnailer.errors import Corrupt
from thumbnailer.formats.base import Head, Piece
from thumbnailer.model import NO_CREDIT, Credit
from thumbnailer.values import dataclass, replace

ORIENTATION, ARTIST, COPYRIGHT = 0x0112, 0x013B, 0x8298
MAX_CREDIT = 256  # bytes kept of each credit field; longer ones are prose, or an attack on the output's size
MAX_VALUES = 256  # values read of one tag: all tags of interest have one value for each channel

INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""BYTE, SHORT, LONG, the offset of a directory, and BigTIFF's LONG8 and its offset."""
RATIONAL = 5
VALUE_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value of each type; other types have one byte (TIFF 6.0, page 15; BigTIFF adds 16 to 18)."""
TEXT_TYPES = (1, 2, 7, 129)  # BYTE, ASCII, UNDEFINED and UTF-8 (Exif 3.0): each has one byte a character


@dataclass(frozen=True, slots=True)
class Layout:
    """How numbers are stored in this file; `count` and `offset` are struct formats."""

    order: str
    count: str = "H"
    count_size: int = 2
    offset: str = "I"
    inline: int = 4  # bytes of an offset; a value of at most this many bytes is stored in the entry itself

    @property
    def entry(self) -> str:
        """Tag, type, number of values; then the value or its offset."""
        return f"{self.order}HH{self.offset}{self.inline}x"


@dataclass(frozen=True, slots=True)
class Entry:
    """A directory entry; its value is at the offset `start`, `size` bytes long."""

    kind: int
    count: int
    at: int  # where a value is stored that fits into the entry itself
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Directory:
    head: Head
    layout: Layout
    entries: dict[int, Entry]

    def without(self, tags: Collection[int]) -> Directory:
        return replace(self, entries={tag: entry for tag, entry in self.entries.items() if tag not in tags})

    def integers(self, tag: int, most: int = MAX_VALUES) -> Iterator[int]:
        """The first values of a tag; none if it is absent or not of an integer type."""
        return (value for (value,) in self.records(tag, most))

    def records(self, tag: int, most: int) -> Iterator[tuple[int, ...]]:
        """Like `integers`, each value in a tuple: half the time of a generator."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in INTEGERS:
            return iter(())
        return self.head.records(self.layout.order + INTEGERS[entry.kind], entry.start, min(entry.count, most))

    def integer(self, tag: int, default: int) -> int:
        return next(self.integers(tag, most=1), default)

    def orientation(self) -> int:
        return valid_orientation(self.integer(ORIENTATION, 1))

    def credit(self) -> Credit:
        return Credit(self.text(ARTIST), self.text(COPYRIGHT))

    def rational(self, tag: int) -> float:
        """The first value of a tag; 0 if it is absent or no number."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind != RATIONAL:
            return 0.0
        over, under = self.head.unpack(self.layout.order + "II", entry.start)
        return float(over / max(1, under))

    def text(self, tag: int) -> bytes:
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in TEXT_TYPES or not self.head.reaches(entry.end):
            return b""
        return clean_credit(self.head.read(entry.start, min(entry.count, MAX_CREDIT)))


def read_directory(head: Head, layout: Layout, start: int, count: int) -> Directory:
    """The `count` entries from `start` on, as far as the bytes reach; of two entries for a tag the first counts."""
    entries: dict[int, Entry] = {}
    fields, size_of_entry = layout.entry, struct.calcsize(layout.entry)
    for at in range(start, start + count * size_of_entry, size_of_entry):
        if not head.reaches(at + size_of_entry):
            break
        tag, kind, values = head.unpack(fields, at)
        size = values * VALUE_SIZES.get(kind, 1)
        inline = start = at + 4 + layout.inline
        if size > layout.inline:
            (start,) = head.unpack(layout.order + layout.offset, inline)
        entries.setdefault(tag, Entry(kind, values, inline, start, size))
    return Directory(head, layout, entries)


def bytes_of_values(head: Head, layout: Layout, offset: int, count: int, most: int) -> int:
    """Of the values outside the directory at `offset`; a value of more than `most` bytes is none."""
    total = 0
    for _, kind, values in head.records(layout.entry, offset + layout.count_size, count):
        size = values * VALUE_SIZES.get(kind, 1)
        if layout.inline < size <= most:
            total += size
    return total


def valid_orientation(value: int) -> int:
    """1 for everything but the eight values that exist (Exif 2.32, section 4.6.5.1.5)."""
    return value if 1 <= value <= 8 else 1


def clean_credit(text: bytes) -> bytes:
    """A credit field, capped and without the NULs that end or pad it."""
    return text[:MAX_CREDIT].rstrip(b"\0")


PREFIX = b"Exif\0\0"  # readers take any sixth byte, as browsers do
MAX_BLOCK = 1 << 20
"""Bytes read. PNG and WebP hold more, but IFD0 is at the start of every block found so far."""
MAX_ENTRIES = 1024  # read of IFD0; honest ones have some 20, sorted, and the fields of interest come first
LAYOUTS = {b"II*\0": Layout("<"), b"MM\0*": Layout(">")}
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
    directory = read_directory(tiff, layout, start + layout.count_size, min(count, MAX_ENTRIES))
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
    return bytes_of_values(tiff, layout, start, whole, most=head.size) > len(tiff)


def _find_ifd0(head: Head, block: Piece, skip: int) -> tuple[Head, Layout, int, int] | None:
    """The block, its layout, where its first directory is, and the number of entries; None if there is none."""
    data = head.up_to(block.start + skip, max(0, min(block.size - skip, MAX_BLOCK)))
    data = data[len(PREFIX) :] if data.startswith(PREFIX[:5]) else data
    tiff, layout = head.within(data, "EXIF"), LAYOUTS.get(data[:4])
    if layout is None:
        return None
    try:
        (start,) = tiff.unpack(layout.order + "I", 4)
        (count,) = tiff.unpack(layout.order + "H", start)
    except Corrupt:
        return None
    return tiff, layout, start, count


def _orientation(directory: Directory) -> int:
    """The first value of the entry, whatever its count."""
    entry = directory.entries.get(ORIENTATION)
    if entry is None or entry.kind not in ORIENTATION_TYPES or not entry.count:
        return 1
    code = directory.layout.order + INTEGERS[entry.kind]
    return valid_orientation(directory.head.unpack(code, entry.at)[0])


def build_credit(credit: Credit) -> bytes:
    """A little-endian EXIF block of the credit fields that are not empty; b"" if both are empty."""
    texts = ((ARTIST, clean_credit(credit.artist)), (COPYRIGHT, clean_credit(credit.copyright)))
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
    return _renew_checksum(changed, found.start()) if picture.startswith(b"\x89PNG") else changed


def _renew_checksum(picture: bytes, start: int) -> bytes:
    """The PNG with a new checksum for the chunk whose data begin at `start`."""
    (length,) = struct.unpack_from(">I", picture, start - 8)
    end = start + length
    return picture[:end] + struct.pack(">I", zlib.crc32(picture[start - 4 : end])) + picture[end + 4 :]
