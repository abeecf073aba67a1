"""Keeps held messages invisible to other workers, and follows the queue's own visibility timeout."""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Final

from handler.worker.sqs import BATCH, ReportingQueue
from thumbnailer.reporting.metrics import Prometheus

LOOK_SECONDS: Final = 15
"""Between two reads of the queue's length and visibility timeout."""


class Heartbeat:
    """`held` are the receipts to keep. It changes while the heartbeat runs."""

    def __init__(self, queue: ReportingQueue, held: Collection[str], metrics: Prometheus) -> None:
        self._queue = queue
        self._held = held
        self._metrics = metrics
        self._visibility = 0
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()
        """One change of visibility at a time: a slow heartbeat must not hide a message after it was given back."""

    def adopt(self, visibility: int) -> None:
        """A new visibility timeout, at least a second. It applies to held messages at once."""
        if max(1, visibility) != self._visibility:
            self._visibility = max(1, visibility)
            self._changed.set()

    async def run(self) -> None:
        """Renews the visibility timeout of all held messages three times within it. Never ends."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._visibility / 3):
                    await self._changed.wait()
            self._changed.clear()
            receipts = list(self._held)
            for start in range(0, len(receipts), BATCH):
                async with self._lock:
                    # without the receipts that were released meanwhile
                    held = [receipt for receipt in receipts[start : start + BATCH] if receipt in self._held]
                    if held:
                        await self._queue.hide(dict.fromkeys(held, self._visibility))

    async def follow_queue(self) -> None:
        """Publishes the queue's length and adopts its visibility timeout. Never ends."""
        while True:
            if state := await self._queue.state():
                self._metrics.set("thumbnailer_queue_visible", state.visible)
                self._metrics.set("thumbnailer_queue_invisible", state.invisible)
                self.adopt(state.visibility)
            await asyncio.sleep(LOOK_SECONDS)

    async def give_back(self, messages: Sequence[tuple[str, int]]) -> None:
        """`messages` are released receipts, and the seconds after which each message is visible again."""
        async with self._lock:
            returned = await self._queue.hide(dict(messages))
        self._metrics.count("thumbnailer_messages_returned", returned)
