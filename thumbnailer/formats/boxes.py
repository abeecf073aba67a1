"""The boxes of ISO base media files (ISO/IEC 14496-12 section 4.2), which JPEG 2000 and JPEG XL use too."""

from collections.abc import Iterator

from thumbnailer.errors import Corrupt
from thumbnailer.formats.base import Head, Piece

MAX_BOXES = 256  # side by side at one level, unless the caller says otherwise
LARGE_SIZE, TO_THE_END = 1, 0


def boxes(head: Head, start: int, end: int, limit: int = MAX_BOXES) -> Iterator[Piece]:
    """The boxes between two positions. A box that claims to go beyond its parent ends with its parent."""
    for _ in range(limit):
        if start + 8 > end:
            return
        (size, kind), header = head.unpack(">I4s", start), 8
        if size == LARGE_SIZE:
            size, header = head.number(start + 8, 8), 16
        if size == TO_THE_END:
            size = end - start
        if size < header:
            raise Corrupt(f"{head.label} has a box of impossible size")
        yield (box := Piece(kind, start + header, min(start + size, end)))
        start = box.end
    head.allow(limit + 1, limit, "boxes side by side")


def children(head: Head, box: Piece, skip: int = 0) -> dict[bytes, Piece]:
    """The first box of each kind within another; `skip` is the size of the parent's own fields."""
    found: dict[bytes, Piece] = {}
    for child in boxes(head, box.start + skip, box.end):
        found.setdefault(child.kind, child)
    return found
