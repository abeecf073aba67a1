"""Where in an ISO base media file the bytes of its items and of its tracks' samples lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from thumbnailer.errors import Corrupt, NeedMoreBytes
from thumbnailer.formats.boxes import Box, boxes, children
from thumbnailer.formats.head import Head

MAX_ITEMS = 16_384
MAX_EXTENTS = 32
"""Pieces of an item, as many as libheif takes."""
MAX_TRACKS = 16
SAMPLE_TABLE = (b"mdia", b"minf", b"stbl")
IN_IDAT = 1
"""iloc's construction method for data within the meta box (ISO/IEC 14496-12 section 8.11.3)."""


@dataclass(frozen=True, slots=True)
class Extent:
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Sequence:
    """The tracks of an animation: samples of the longest, and where the first of each lies."""

    frames: int = 1
    first: tuple[Extent, ...] = ()
    reached: bool = True


def item_extents(head: Head, meta: dict[bytes, Box]) -> Iterator[tuple[int, tuple[Extent, ...]]]:
    """Each item's pieces (ISO/IEC 14496-12 section 8.11.3)."""
    if b"iloc" not in meta:
        return
    iloc = meta[b"iloc"]
    version = head.byte(iloc.start)
    sizes, other_sizes = head.unpack(">BB", iloc.start + 4)
    offset_size, length_size, base_size = sizes >> 4, sizes & 15, other_sizes >> 4
    index_size = other_sizes & 15 if version else 0
    id_size = 4 if version >= 2 else 2
    fields = _Fields(head, iloc.start + 6)
    for _ in range(min(fields.take(id_size), MAX_ITEMS)):
        item = fields.take(id_size)
        method = fields.take(2) & 15 if version else 0
        fields.take(2)  # data reference
        base, count = fields.take(base_size), fields.take(2)
        if method == IN_IDAT and b"idat" in meta:
            base += meta[b"idat"].start
        if count > MAX_EXTENTS:
            raise Corrupt(f"HEIF item of {count} pieces")
        extents = []
        for _ in range(count):
            fields.take(index_size)
            extents.append(Extent(base + fields.take(offset_size), fields.take(length_size)))
        if count > 1 and sum(extent.size for extent in extents) > head.end:
            raise Corrupt("HEIF item whose pieces overlap")
        yield item, tuple(extents)


class _Fields:
    """Reads big-endian numbers one after the other."""

    def __init__(self, head: Head, position: int) -> None:
        self._head = head
        self._position = position

    def take(self, size: int) -> int:
        value = int.from_bytes(self._head.read(self._position, size), "big")
        self._position += size
        return value


def read_sequence(head: Head) -> Sequence:
    """Two frames where the bytes at hand do not tell."""
    try:
        movie = next((box for box in boxes(head, 0, head.end) if box.kind == b"moov"), None)
        tracks = boxes(head, movie.start, movie.end, MAX_TRACKS) if movie else iter(())
        tables = [_sample_table(head, box) for box in tracks if box.kind == b"trak"]
        counts = [_samples(head, table) for table in tables]
        return Sequence(max(2, *counts, 2), tuple(_first_sample(head, table) for table in tables if b"stsz" in table))
    except Corrupt:
        return Sequence(2)
    except NeedMoreBytes:
        return Sequence(2, reached=False)


def _sample_table(head: Head, track: Box) -> dict[bytes, Box]:
    box = track
    for kind in SAMPLE_TABLE:
        inner = children(head, box).get(kind)
        if inner is None:
            return {}
        box = inner
    return children(head, box)


def _samples(head: Head, table: dict[bytes, Box]) -> int:
    return head.unpack(">I", table[b"stsz"].start + 8)[0] if b"stsz" in table else 0


def _first_sample(head: Head, table: dict[bytes, Box]) -> Extent:
    """Where the first chunk begins, and how large its first sample is: its own size, or that of all."""
    common, _, first = head.unpack(">III", table[b"stsz"].start + 4)
    if b"co64" in table:
        (start,) = head.unpack(">Q", table[b"co64"].start + 8)
    elif b"stco" in table:
        (start,) = head.unpack(">I", table[b"stco"].start + 8)
    else:
        raise Corrupt("HEIF track without chunks")
    return Extent(start, common or first)
