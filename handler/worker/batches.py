"""Small requests put together into batches: the first waits a moment for others, ten go at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from handler.worker.sqs import BATCH

T = TypeVar("T")
LINGER_SECONDS: Final = 0.5


class Batches(Generic[T]):
    """`send` is given up to ten items at a time, and handles its own errors. Belongs to the running loop."""

    def __init__(self, send: Callable[[list[T]], Awaitable[None]]) -> None:
        self._send = send
        self._waiting: list[T] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def add(self, item: T) -> None:
        self._waiting.append(item)
        if len(self._waiting) == BATCH:
            self._start()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._start)

    async def flush(self) -> None:
        """Sends what waits, and comes back when all is sent."""
        self._start()
        if self._sending:
            await asyncio.wait(self._sending)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            batch, self._waiting = self._waiting, []
            task = asyncio.ensure_future(self._send(batch))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
