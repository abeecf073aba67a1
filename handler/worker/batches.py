"""Collects entries into batch requests. A batch is sent when it has ten entries, or half a second after its first."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from handler.worker.sqs import BATCH

T = TypeVar("T")
LINGER_SECONDS: Final = 0.5


class Batches(Generic[T]):
    """`send` gets up to ten items and handles its own errors. Belongs to the running loop."""

    def __init__(self, send: Callable[[list[T]], Awaitable[None]]) -> None:
        self._send = send
        self._waiting: list[T] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def add(self, item: T) -> None:
        self._waiting.append(item)
        if len(self._waiting) == BATCH:
            self._send_now()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._send_now)

    async def flush(self) -> None:
        """Sends the waiting items. Returns when every batch was sent."""
        self._send_now()
        if self._sending:
            await asyncio.wait(self._sending)

    def _send_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            batch, self._waiting = self._waiting, []
            task = asyncio.ensure_future(self._send(batch))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
