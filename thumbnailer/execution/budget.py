"""The memory that pictures and sources in work may hold together."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from thumbnailer.errors import NoSpace

SOURCES_SHARE: Final = 4
"""Sources held in memory may take at most this fraction of the budget: 4 means a quarter."""


class MemoryBudget:
    """Counts bytes. Decodes wait in arrival order, so small pictures cannot starve a large one.

    Sources held in memory keep their bytes while they wait for their decode. This cannot deadlock: a decode that does
    not fit beside all those sources is refused, so every waiting decode starts once the running ones have ended.
    """

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._sources = 0
        self._changed = asyncio.Event()
        self._queue = asyncio.Lock()

    @property
    def reserved(self) -> int:
        return self._total - self._free

    async def reserve(self, amount: int) -> None:
        """Waits until `amount` bytes are free. Raises NoSpace if it can never fit beside the sources in memory."""
        async with self._queue:
            while self._free < amount:
                if amount > self._total - self._sources:
                    needed, total, taken = amount >> 20, self._total >> 20, self._sources >> 20
                    raise NoSpace(f"decoding needs {needed} of {total} MB; sources in memory take {taken} MB")
                self._changed.clear()
                await self._changed.wait()
            self._free -= amount

    def release(self, amount: int) -> None:
        self._free += amount
        self._changed.set()

    def reserve_source(self, amount: int) -> None:
        """Takes memory for a source without waiting. Raises NoSpace."""
        share = self._total // SOURCES_SHARE
        if amount > min(self._free, share - self._sources):
            raise NoSpace(f"sources take {self._sources} of {share} bytes in memory, {self._free} are free")
        self._free -= amount
        self._sources += amount
        self._changed.set()  # the first decode in the queue may have become impossible

    def release_source(self, amount: int) -> None:
        self._sources -= amount
        self.release(amount)

    @contextmanager
    def count(self, amount: int) -> Iterator[None]:
        """Counts bytes that exist already, even beyond the budget: later decodes wait for them too."""
        self._free -= amount
        try:
            yield
        finally:
            self.release(amount)
