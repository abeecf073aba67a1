"""Holds a source while it is worked on: in a file in /tmp, or in memory if /tmp has no room."""

import os
import tempfile
from typing import IO, Final

from thumbnailer.errors import NoSpace
from thumbnailer.execution.budget import MemoryBudget

MOST_IN_MEMORY: Final = 16 * 1024 * 1024
"""Larger sources are deferred: a retry may find room on a disk."""
_COPY_BYTES: Final = 1024 * 1024
PREFIX: Final = "thumbnailer-"  # the name reveals nothing of the key


class Scratch:
    """One source's bytes under a path that every engine can open, also in a child process.

    Bytes held in memory are reserved in `budget` until `close`.
    """

    def __init__(self, folder: str | None, budget: MemoryBudget) -> None:
        self._folder = folder or tempfile.gettempdir()
        self._budget = budget
        self._size = 0
        self._file: IO[bytes] | None = None
        self._in_memory = 0

    @property
    def path(self) -> str:
        """Contains this process's id instead of `self`, which would be another file in a child."""
        return f"/proc/{os.getpid()}/fd/{self.fileno()}"

    @property
    def closed(self) -> bool:
        return self._file is None or self._file.closed

    def fileno(self) -> int:
        assert self._file is not None, "expect() comes first"
        return self._file.fileno()

    def expect(self, size: int) -> None:
        """Makes room for `size` bytes. Raises NoSpace if there is none."""
        self._size = size
        try:
            # a file without a name: even a killed process leaves nothing behind
            self._file = tempfile.TemporaryFile(prefix=PREFIX, dir=self._folder, buffering=0)
        except OSError as error:
            self._move_to_memory(error)

    def write(self, chunk: bytes) -> None:
        """Writes all of `chunk`: a disk that is nearly full takes a part without an error. Raises NoSpace."""
        rest = memoryview(chunk)
        while rest:
            try:
                rest = rest[os.write(self.fileno(), rest) :]
            except OSError as error:
                if self._in_memory:
                    raise NoSpace(f"{self._problem(error)}; memory takes no more either") from error
                self._move_to_memory(error)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._budget.release_source(self._in_memory)
        self._in_memory = 0

    def _problem(self, error: OSError) -> str:
        return f"{self._folder} takes no file of {self._size} bytes: {error.strerror}"

    def _move_to_memory(self, error: OSError) -> None:
        """Continues in memory with the bytes written so far, and frees the disk."""
        problem = self._problem(error)
        if self._size > MOST_IN_MEMORY:
            raise NoSpace(f"{problem}; memory takes up to {MOST_IN_MEMORY >> 20} MB") from error
        try:
            self._budget.reserve_source(self._size)
        except NoSpace as refusal:
            raise NoSpace(f"{problem}; {refusal}") from error
        self._in_memory = self._size
        on_disk, self._file = self._file, open(os.memfd_create(PREFIX), "w+b", buffering=0)
        if on_disk is not None:
            with on_disk:
                on_disk.seek(0)
                while piece := on_disk.read(_COPY_BYTES):
                    self.write(piece)
