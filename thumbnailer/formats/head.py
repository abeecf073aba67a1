"""The bytes at hand, read by position, with one rule for bytes that are missing."""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from thumbnailer.errors import Corrupt, NeedMoreBytes

UNKNOWN_END = 1 << 62  # the end of an object whose size is not known


class Piece(NamedTuple):
    """A chunk or box of a container, or a span of bytes without a kind. A tuple, because a file can have 200,000."""

    kind: bytes
    start: int  # the first byte behind kind and size
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


def first(pieces: Iterable[Piece], kind: bytes) -> Piece | None:
    return next((piece for piece in pieces if piece.kind == kind), None)


@dataclass(frozen=True, slots=True)
class Head:
    """The start of an object, or all of it. Every read is a copy, so that a mapped file can be closed afterwards."""

    view: memoryview
    total: int | None = None
    label: str = "file"  # the format's name in messages

    def __len__(self) -> int:
        return len(self.view)

    @property
    def whole(self) -> bool:
        """Whether nothing follows these bytes."""
        return self.total is not None and len(self.view) >= self.total

    @property
    def size(self) -> int:
        """The object's size, or the number of bytes at hand while the size is not known."""
        return len(self.view) if self.total is None else self.total

    @property
    def end(self) -> int:
        """Where the object ends, as far as known."""
        return UNKNOWN_END if self.total is None else max(self.total, len(self.view))

    def reaches(self, end: int) -> bool:
        return end <= len(self.view)

    def need(self, end: int) -> None:
        """Raises Corrupt if the object ends before `end`, NeedMoreBytes if only the bytes at hand do."""
        if end <= len(self.view):
            return
        if end > self.end:
            raise Corrupt(f"{self.label} ends inside its header")
        raise NeedMoreBytes(f"{self.label} header goes on beyond {len(self.view)} bytes")

    def allow(self, count: int, most: int, things: str) -> None:
        """Raises Corrupt if there are more than `most` things."""
        if count > most:
            raise Corrupt(f"{self.label} with more than {most} {things}")

    def read(self, start: int, size: int) -> bytes:
        self.need(start + size)
        return bytes(self.view[start : start + size])

    def up_to(self, start: int, size: int) -> bytes:
        """Like `read`, but returns fewer bytes if there are no more."""
        return bytes(self.view[start : start + size])

    def last(self, size: int) -> bytes:
        return bytes(self.view[max(0, len(self.view) - size) :])

    def unpack(self, layout: str, start: int) -> tuple[int, ...]:
        self.need(start + struct.calcsize(layout))
        return struct.unpack_from(layout, self.view, start)

    def number(self, start: int, size: int) -> int:
        """A big-endian number of `size` bytes."""
        return int.from_bytes(self.read(start, size), "big")

    def byte(self, at: int) -> int:
        self.need(at + 1)
        return self.view[at]

    def search(self, pattern: re.Pattern[bytes], start: int, end: int | None = None) -> int | None:
        """Where the first match of `pattern` in the given range ends."""
        found = pattern.search(self.view, start, len(self.view) if end is None else end)
        return found.end() if found else None

    def is_padding(self, start: int) -> bool:
        """Whether only zeros follow."""
        return PADDING.match(self.view, start) is not None


PADDING = re.compile(rb"\0*\Z")
