"""Receives messages while there is room for them, until the worker is told to stop."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from handler.worker.sqs import BATCH, CONNECTIONS, Received, ReportingQueue

T = TypeVar("T")

POLL_SECONDS: Final = 20
"""The longest wait that SQS allows for a receive."""
LAST_POLL_SECONDS: Final = 1.0
"""Seconds that a pending receive may take after the stop signal. The worker gives its messages back at once."""
PAUSE_SECONDS: Final = (0.5, 30.0)
"""The shortest and the longest pause after a receive that failed, or while every record fails."""
MOST_RECEIVERS: Final = CONNECTIONS // 2
"""The other connections are for requests that must not wait for a long poll: deletes, heartbeats, returns."""


class StopSignal(asyncio.Event):
    """Is set once. `deadline` is loop time, infinite until then."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.deadline = math.inf
        self._seconds = seconds

    def set(self) -> None:
        self.deadline = asyncio.get_running_loop().time() + self._seconds
        super().set()

    async def unless_set(self, awaitable: Awaitable[T], grace: float = 0) -> T | None:
        """The result, or None if the signal is set and the result does not arrive within `grace` seconds of that."""
        task = asyncio.ensure_future(awaitable)
        stopping = asyncio.ensure_future(self.wait())
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=grace)
        stopping.cancel()
        if not task.done():
            task.cancel()
            return None
        return task.result()


class Room:
    """How many more messages the worker may hold. Reserved by the batch, so that a busy worker sends few receives."""

    def __init__(self, free: int) -> None:
        self._free = free
        self._changed = asyncio.Event()

    async def reserve_batch(self) -> bool:
        """Returns True once there is room for a batch."""
        while self._free < BATCH:
            self._changed.clear()
            await self._changed.wait()
        self._free -= BATCH
        return True

    def release(self, number: int) -> None:
        self._free += number
        self._changed.set()


@dataclass(frozen=True, slots=True)
class Receiver:
    """`run` may run several times at once. `accept` gets each message; `all_fail` says whether every record fails.

    While every record fails, S3 is away or denies access. Each receive brings a message nearer to the dead-letter
    queue, so a receiver then receives one message at a time, with pauses, and leaves the backlog in the queue.
    """

    queue: ReportingQueue
    room: Room
    stop: StopSignal
    accept: Callable[[Received], None]
    all_fail: Callable[[], bool]

    async def run(self) -> None:
        """Ends after the stop signal."""
        shortest, longest = PAUSE_SECONDS
        pause = shortest
        while not self.stop.is_set() and await self.stop.unless_set(self.room.reserve_batch()):
            succeeded = await self._receive()
            if succeeded and not self.all_fail():
                pause = shortest
                continue
            await self.stop.unless_set(asyncio.sleep(pause * (1 + random.random())))  # noqa: S311
            pause = min(longest, 2 * pause)

    async def _receive(self) -> bool:
        """Passes on the messages of one long poll and frees the rest of the batch. Returns False if SQS fails."""
        poll = self.queue.receive(1 if self.all_fail() else BATCH, POLL_SECONDS)
        messages = await self.stop.unless_set(poll, LAST_POLL_SECONDS)
        self.room.release(BATCH - len(messages or ()))
        for message in messages or ():
            self.accept(message)
        return messages is not None or self.stop.is_set()
