"""What a format declares (`FormatSpec`), and how its readers get bytes (`Head`).

Readers get bytes from a `Head` alone, and every method of it charges the file's budget. A loop over values that are
read already charges its turns with `spend`. So a file cannot make its reader work longer than the budget allows, by
whatever it repeats.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

from thumbnailer.errors import Corrupt, NeedMoreBytes, TooMuchWork
from thumbnailer.model import Format, ImageInfo
from thumbnailer.values import dataclass

UNKNOWN_END = 1 << 62  # the end of an object whose size is not known

UNITS_PER_KB, LEAST_UNITS, MOST_UNITS = 24, 24_576, 245_760
"""A unit is one read, or one turn of a loop: at most two microseconds (docs/why.md). So a reader takes up to 50 ms for
a MB, a smaller file no less, and half a second in all."""
BYTES_PER_UNIT = 2048  # copied or searched
WINDOW = 1 << 20  # bytes searched at once: no other thread of Python runs meanwhile
BLOCK_WINDOW = 1 << 15  # bytes of data blocks between two charges


MOST_FRAMES = 4000
"""Readers count no frames beyond this and one more: larger animations are not shown, and files of a MB have no units
for more."""


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


def units_for(size: int) -> int:
    """The units that a reader may spend on a file of `size` bytes."""
    return min(MOST_UNITS, max(LEAST_UNITS, (size >> 10) * UNITS_PER_KB))


class Budget:
    """Units left for a file, and the error that ends the reader without them."""

    __slots__ = ("error", "left")

    def __init__(self, left: int, error: type[Exception]) -> None:
        self.left = left
        self.error = error

    def spend(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise self.error("the file has too many parts for its size")


class Head:
    """The start of an object, or all of it. Every read is a copy, so that a mapped file can be closed afterwards.

    Every method raises TooMuchWork, or NeedMoreBytes while the file goes on, when the budget is used up.
    """

    __slots__ = ("_view", "budget", "label", "spend", "total")

    def __init__(
        self, view: memoryview, total: int | None = None, label: str = "file", budget: Budget | None = None
    ) -> None:
        self._view = view
        self.total = total
        self.label = label  # the format's name in messages
        self.budget = budget or self._own_budget()
        self.spend = self.budget.spend

    def __len__(self) -> int:
        return len(self._view)

    def _own_budget(self) -> Budget:
        """For the bytes at hand; if the file goes on, more bytes allow more units."""
        units = units_for(len(self))
        return Budget(units, NeedMoreBytes if units < units_for(self.end) else TooMuchWork)

    @property
    def whole(self) -> bool:
        """Whether nothing follows these bytes."""
        return self.total is not None and len(self._view) >= self.total

    @property
    def size(self) -> int:
        """The object's size, or the number of bytes at hand while the size is not known."""
        return len(self._view) if self.total is None else self.total

    @property
    def end(self) -> int:
        """Where the object ends, as far as known."""
        return UNKNOWN_END if self.total is None else max(self.total, len(self._view))

    def within(self, data: bytes, label: str) -> Head:
        """A file within this one, whole. It has the same budget."""
        return Head(memoryview(data), len(data), label, self.budget)

    def reaches(self, end: int) -> bool:
        return end <= len(self._view)

    def need(self, end: int) -> None:
        """Raises Corrupt if the object ends before `end`, NeedMoreBytes if only the bytes at hand do."""
        if end <= len(self._view):
            return
        if end > self.end:
            raise Corrupt(f"{self.label} ends inside its header")
        raise NeedMoreBytes(f"{self.label} header goes on beyond {len(self._view)} bytes")

    def allow(self, count: int, most: int, things: str) -> None:
        """Raises Corrupt if there are more than `most` things."""
        if count > most:
            raise Corrupt(f"{self.label} with more than {most} {things}")

    def read(self, start: int, size: int) -> bytes:
        self.need(start + size)
        return self.up_to(start, size)

    def up_to(self, start: int, size: int) -> bytes:
        """Like `read`, but returns fewer bytes if there are no more."""
        end = min(start + size, len(self._view))
        self.spend(1 + max(0, end - start) // BYTES_PER_UNIT)
        return bytes(self._view[start:end])

    def last(self, size: int) -> bytes:
        return self.up_to(max(0, len(self._view) - size), size)

    def unpack(self, layout: str, start: int) -> tuple[Any, ...]:
        self.need(start + struct.calcsize(layout))
        self.spend(1)
        return struct.unpack_from(layout, self._view, start)

    def records(self, layout: str, start: int, count: int) -> Iterator[tuple[Any, ...]]:
        """The fields of each of `count` records, one behind the other. A bare loop over sixteen of them is a unit."""
        data = self.read(start, struct.calcsize(layout) * count)
        self.spend(count // 16)
        return struct.iter_unpack(layout, data)

    def number(self, start: int, size: int = 1) -> int:
        """A big-endian number of `size` bytes."""
        self.need(start + size)
        self.spend(1)
        return int.from_bytes(self._view[start : start + size], "big")

    def skip_blocks(self, start: int) -> int:
        """The end of data blocks of GIF, each behind its size, up to the empty block or to the end of the bytes."""
        view, end, position = self._view, len(self._view), start
        while position < end:
            stop = min(end, position + BLOCK_WINDOW)
            blocks = 0
            while position < stop and (size := view[position]):
                position += size + 1
                blocks += 1
            self.spend(blocks // 16)
            if position < stop:
                return position + 1
        return position

    def search(self, pattern: re.Pattern[bytes], start: int, end: int | None = None) -> int | None:
        """Where the first match of `pattern` in the given range ends. It may have two bytes."""
        end = len(self._view) if end is None else min(end, len(self._view))
        while start < end:
            stop = min(end, start + WINDOW)
            found = pattern.search(self._view, start, stop)
            self.spend(1 + ((found.end() if found else stop) - start) // BYTES_PER_UNIT)
            if found:
                return found.end()
            start = stop if stop == end else stop - 1
        return None

    def bits(self, start: int, size: int, order: Literal["big", "little"]) -> Bits:
        """The bit fields of up to `size` bytes."""
        return Bits(self, self.up_to(start, size), order)


class EndOfBits(Corrupt):
    """The bytes at hand are used up."""


class Bits:
    """Reads bit fields one after the other: AV1 packs them from the highest bit of a byte down, JPEG XL from the lowest
    bit up. Every method raises EndOfBits."""

    def __init__(self, head: Head, data: bytes, order: Literal["big", "little"]) -> None:
        self._head = head
        self._data = data
        self._order = order
        self._position = 0

    def take(self, count: int) -> int:
        start = self._position
        self.skip(count)
        end = self._position
        covering = int.from_bytes(self._data[start // 8 : (end + 7) // 8], self._order)
        shift = start % 8 if self._order == "little" else -end % 8
        return covering >> shift & ((1 << count) - 1)

    def skip(self, count: int) -> None:
        self._head.spend(1)
        self._position += count
        if self._position > 8 * len(self._data):
            raise EndOfBits(f"{self._head.label} ends inside its header")

    def flag(self) -> bool:
        return self.take(1) == 1

    def to_byte(self) -> None:
        self.skip(-self._position % 8)


NO_END = "its end is missing"

Patch = tuple[int, bytes]
"""A position in the file, and the bytes to put there."""


class NotStrippable(Exception):
    """A file laid out in a way that encoders do not use, or whose metadata changes its colours."""


def refuse_to_strip(head: Head) -> Iterator[bytes]:
    raise NotStrippable(f"{head.label} is never stripped")


@dataclass(frozen=True, slots=True)
class FormatSpec:
    """One file format. Each function gets a `Head` that is labelled with `label`."""

    label: str
    """the format's name in messages"""
    formats: tuple[Format, ...]
    """the formats that `read` can return: HEIC and AVIF share a container"""
    matches: Callable[[bytes], bool]
    """whether an object that starts with these bytes has this format"""
    read: Callable[[Head], ImageInfo]
    """reads the header; raises UnsupportedFormat, Corrupt, NeedMoreBytes"""
    ending: Callable[[Head], str] = lambda _: ""
    """the defect at the end of a whole file, empty if there is none, or if the format marks no end; data behind the
    end, which phones, cameras and editors append, is no defect"""
    strip: Callable[[Head], Iterator[bytes]] = refuse_to_strip
    """the pieces of a whole file that make the picture; raises NotStrippable, Corrupt"""
    hide: Callable[[Head], Iterator[Patch]] = lambda _: iter(())
    """the changes that make decoders skip parts which cost them more than their size, or on which they stumble"""


def starts_with(*marks: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda start: start.startswith(marks, at)
