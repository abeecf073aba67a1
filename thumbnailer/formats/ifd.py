"""Directories of TIFF files and EXIF blocks (TIFF 6.0, pages 13 to 16; BigTIFF)."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from thumbnailer.formats.head import Head
from thumbnailer.model import Credit

ORIENTATION, ARTIST, COPYRIGHT = 0x0112, 0x013B, 0x8298
MAX_CREDIT = 256  # bytes kept of each credit field; longer ones are prose, or an attack on the output's size
MAX_VALUES = 256  # values read of one tag: all tags of interest have one value for each channel

INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # BYTE, SHORT, LONG and BigTIFF's LONG8
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
        return Credit(self._text(ARTIST), self._text(COPYRIGHT))

    def _text(self, tag: int) -> bytes:
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
        size = values * struct.calcsize("=" + INTEGERS.get(kind, "B"))
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
