"""Where a source lies while it is worked on: a file in /tmp, or memory where /tmp has no room for it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from typing import IO, Final

from thumbnailer.errors import NoSpace

MOST_IN_MEMORY: Final = 16 * 1024 * 1024
"""Larger sources are not held in memory: they come back, to where there is room."""
_COPIED_AT_ONCE: Final = 1024 * 1024
PREFIX: Final = "thumbnailer-"  # nothing of the key is in the name
LINUX: Final = sys.platform == "linux"


def _nameless(folder: str | None) -> IO[bytes]:
    """On Linux without a name, so that not even a process that is killed leaves anything. Raises OSError."""
    make = tempfile.TemporaryFile if LINUX else tempfile.NamedTemporaryFile
    file: IO[bytes] = make(prefix=PREFIX, dir=folder, buffering=0)
    return file


class Scratch:
    """One source's bytes, under a path that every engine can open, also from a child process.

    `set_aside` is told the size before any of it is in memory, and raises NoSpace if that is too much.
    """

    def __init__(self, folder: str | None, set_aside: Callable[[int], None]) -> None:
        self._folder = folder or tempfile.gettempdir()
        self._set_aside = set_aside
        self._full: OSError | None = None
        self._size = 0
        self.in_memory = 0
        """bytes that were set aside"""
        try:
            self._file: IO[bytes] | None = _nameless(folder)
        except OSError as error:
            self._file, self._full = None, error

    @property
    def path(self) -> str:
        """With this process's id, not `self`: that would be another file in a child."""
        return f"/proc/{os.getpid()}/fd/{self.fileno()}" if LINUX else str(self._opened.name)

    @property
    def closed(self) -> bool:
        return self._file is None or self._file.closed

    def fileno(self) -> int:
        return self._opened.fileno()

    def expect(self, size: int) -> None:
        """`size` bytes will be written. Raises NoSpace where there is no room for them."""
        self._size = size
        if self._full is not None:
            self._move(self._full)

    def write(self, chunk: bytes) -> None:
        """All of `chunk`: a disk that is nearly full takes a part of it and says nothing."""
        rest = memoryview(chunk)
        while rest:
            try:
                rest = rest[os.write(self.fileno(), rest) :]
            except OSError as error:
                if self.in_memory:
                    raise NoSpace(f"memory took no more: {error.strerror}") from error
                self._move(error)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def _opened(self) -> IO[bytes]:
        assert self._file is not None, "expect() comes first"
        return self._file

    def _move(self, reason: OSError) -> None:
        """Go on in memory with what was written so far, and free the disk."""
        why = f"{self._folder} takes no file of {self._size} bytes: {reason.strerror}"
        if self._size > MOST_IN_MEMORY:
            raise NoSpace(f"{why}; only up to {MOST_IN_MEMORY >> 20} MB go on in memory") from reason
        if not hasattr(os, "memfd_create"):
            raise NoSpace(f"{why}; files in memory are Linux's") from reason
        try:
            self._set_aside(self._size)
        except NoSpace as error:
            raise NoSpace(f"{why}; {error}") from reason
        self.in_memory = self._size
        before, self._file = self._file, open(os.memfd_create(PREFIX), "w+b", buffering=0)
        if before is not None:
            with before:
                before.seek(0)
                while piece := before.read(_COPIED_AT_ONCE):
                    self.write(piece)
