"""The boxes of ISO base media files (ISO/IEC 14496-12 section 4.2), which JPEG 2000 and JPEG XL use too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from thumbnailer.errors import Corrupt
from thumbnailer.formats.head import Head

MAX_BOXES = 256
"""Side by side at one level, unless the caller says otherwise."""
LARGE_SIZE, TO_THE_END = 1, 0


@dataclass(frozen=True, slots=True)
class Box:
    kind: bytes
    start: int
    """The first byte behind size and kind."""
    end: int


def boxes(head: Head, start: int, end: int, limit: int = MAX_BOXES) -> Iterator[Box]:
    """The boxes between two positions. A box that claims to go beyond its parent ends with its parent."""
    for _ in range(limit):
        if start + 8 > end:
            return
        yield (box := _box(head, start, end))
        start = box.end
    head.allow(limit + 1, limit, "boxes side by side")


def first(found: Iterable[Box], kind: bytes) -> Box | None:
    return next((box for box in found if box.kind == kind), None)


def children(head: Head, box: Box, skip: int = 0) -> dict[bytes, Box]:
    """The first box of each kind within another; `skip` is the size of the parent's own fields."""
    found: dict[bytes, Box] = {}
    for child in boxes(head, box.start + skip, box.end):
        found.setdefault(child.kind, child)
    return found


def _box(head: Head, start: int, end: int) -> Box:
    size = head.number(start, 4)
    kind = head.read(start + 4, 4)
    header = 8
    if size == LARGE_SIZE:
        size, header = head.number(start + 8, 8), 16
    if size == TO_THE_END:
        size = end - start
    if size < header:
        raise Corrupt(f"{head.label} has a box of impossible size")
    return Box(kind, start + header, min(start + size, end))
