"""The bytes at hand, read by position, with one rule for what lies beyond them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from re import Pattern

from thumbnailer.errors import Corrupt, NeedMoreBytes

NO_END = 1 << 62
"""Stands for the end of an object whose size is not known."""


@dataclass(frozen=True, slots=True)
class Head:
    """The start of an object, or all of it. Every read is a copy, so that a mapped file can be closed afterwards."""

    view: memoryview
    total: int | None = None
    label: str = "file"
    """The format as messages call it."""

    def called(self, label: str) -> Head:
        return replace(self, label=label)

    def __len__(self) -> int:
        return len(self.view)

    @property
    def whole(self) -> bool:
        """Whether nothing follows these bytes."""
        return self.total is not None and len(self.view) >= self.total

    @property
    def end(self) -> int:
        """Where the object ends, as far as is known."""
        return NO_END if self.total is None else max(self.total, len(self.view))

    def reaches(self, end: int) -> bool:
        return end <= len(self.view)

    def need(self, end: int) -> None:
        """Raise unless the bytes before `end` are at hand: Corrupt if the object has no such bytes at all."""
        if end <= len(self.view):
            return
        if end > self.end:
            raise Corrupt(f"{self.label} ends inside its header")
        raise NeedMoreBytes(f"{self.label} header goes on beyond {len(self.view)} bytes")

    def read(self, start: int, size: int) -> bytes:
        self.need(start + size)
        return bytes(self.view[start : start + size])

    def up_to(self, start: int, size: int) -> bytes:
        """Like `read`, but fewer bytes where there are no more."""
        return bytes(self.view[start : start + size])

    def unpack(self, layout: str, start: int) -> tuple[int, ...]:
        self.need(start + struct.calcsize(layout))
        return struct.unpack_from(layout, self.view, start)

    def byte(self, at: int) -> int:
        self.need(at + 1)
        return self.view[at]

    def search(self, pattern: Pattern[bytes], start: int, end: int) -> int | None:
        """Where the first match of `pattern` in the given range ends."""
        found = pattern.search(self.view, start, end)
        return found.end() if found else None
