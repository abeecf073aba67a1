"""What the worker does all day: messages from a queue, many at a time, until it is told to stop.

The way of a message: received -> held, kept invisible by the heartbeat -> its events through the pipeline -> deleted,
or given back to be seen again after a while. Whatever kills the worker on that way, the queue hands the message out
again, and the same thumbnails are written again.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from handler.envelope import BrokenMessage, open_message, receive_count
from handler.worker.batches import Batches
from handler.worker.sqs import BATCH, CONNECTIONS, QueueError, QueueState, Received
from thumbnailer.model import Message, ObjectEvent, Outcome
from thumbnailer.reporting.logs import LOGGER, REQUEST_ID, log_record
from thumbnailer.reporting.metrics import Prometheus

T = TypeVar("T")
POLL_SECONDS: Final = 20
"""The longest that SQS lets a receive wait."""
LOOK_SECONDS: Final = 15
"""How often the queue is asked how long it is, and for how long a message received from it stays hidden."""
LAST_POLL_SECONDS: Final = 1.0
"""What a receive that is under way gets to end in when the worker stops: what it brings can be given back at once."""
CLOSING_SECONDS: Final = 3.0
"""Of the stop timeout, what is kept for giving back and for closing connections."""
FIRST_BACKOFF, LONGEST_BACKOFF, GROWTH = 60.0, 900.0, 3.0
"""Seconds that a message is hidden after its first failure, and at most, and how much longer each time: so that five
receives, as many as the template's queue allows, outlast a quarter of an hour in which S3 does not answer.
"""
UNREADABLE_SECONDS: Final = 5
"""So long a message that is no event is hidden: waiting cannot mend it."""
PAUSE_SECONDS: Final = (0.5, 30.0)
"""The shortest and the longest pause of a receiver whose receives fail, or while nothing succeeds."""
MOST_RECEIVERS: Final = CONNECTIONS // 2
"""The other connections are for what must not wait until a receive has ended: deletes, heartbeats, giving back."""


class MessageQueue(Protocol):
    """What is used of handler.worker.sqs.Queue. Every method raises QueueError."""

    async def receive(self, most: int, wait_seconds: int) -> list[Received]: ...
    async def delete(self, receipts: Sequence[str]) -> list[str]: ...
    async def hide(self, receipts: dict[str, int]) -> list[str]: ...
    async def state(self) -> QueueState: ...


class Records(Protocol):
    """What is used of the pipeline."""

    async def process(self, event: ObjectEvent, deadline: float | None = None, isolated: bool = False) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """`in_flight` messages are worked on at once, as many again may be held ready. Times are seconds."""

    in_flight: int
    record_seconds: float
    stop_seconds: float

    @property
    def held(self) -> int:
        return 2 * max(self.in_flight, BATCH)

    @property
    def receivers(self) -> int:
        """As many as bring in one round what is worked on at once."""
        return min(MOST_RECEIVERS, math.ceil(self.in_flight / BATCH) + 1)


def backoff(count: int, chance: Callable[[], float] = random.random) -> int:
    """Seconds until a message is seen again that has failed `count` times: longer each time, a third of it random."""
    most = min(LONGEST_BACKOFF, FIRST_BACKOFF * GROWTH ** (min(count, 20) - 1))
    return math.ceil(most * (2 + chance()) / 3)


class Room:
    """How many more messages may be held. Taken by the batch: so receives stay few when there is much to do."""

    def __init__(self, free: int) -> None:
        self._free = free
        self._changed = asyncio.Event()

    async def take_batch(self) -> bool:
        """True, once there is room."""
        while self._free < BATCH:
            self._changed.clear()
            await self._changed.wait()
        self._free -= BATCH
        return True

    def give_back(self, number: int) -> None:
        self._free += number
        self._changed.set()


class Consumer:
    """Made inside the loop that runs it. `busy` is told when there is work in hand, and when there is none."""

    def __init__(
        self,
        queue: MessageQueue,
        records: Records,
        limits: Limits,
        metrics: Prometheus,
        busy: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.held: dict[str, Received] = {}
        """by receipt: what we must finish or give back"""
        self.until = math.inf
        """When all is to have ended, by the loop's clock: known once it is told to stop."""
        self._queue = queue
        self._records = records
        self._limits = limits
        self._metrics = metrics
        self._busy = busy
        self._stopping = asyncio.Event()
        self._room = Room(limits.held)
        self._slots = asyncio.Semaphore(limits.in_flight)
        self._working: set[asyncio.Task[None]] = set()
        self._failed_in_a_row = 0
        self._visibility = 0
        self._visibility_changed = asyncio.Event()
        self._hiding = asyncio.Lock()
        """One change of visibility at a time: a slow heartbeat must not undo that a message was given back."""
        self._deletes = Batches(self._delete)
        self._returns = Batches(self._hide)

    def stop(self) -> None:
        """Takes no more messages; `run` finishes what it can in time and gives back the rest."""
        if not self._stopping.is_set():
            self.until = asyncio.get_running_loop().time() + self._limits.stop_seconds
            self._stopping.set()

    async def run(self, visibility: int) -> None:
        """Ends after `stop`, within the limits' stop_seconds. `visibility`: seconds that a received message is ours.

        Where a receiver or the heartbeat ends by itself, which takes a bug, it ends as after `stop` and raises that
        error: without them the worker would seem to work, and do nothing or everything twice.
        """
        self._adopt(visibility)
        self._metrics.watch("thumbnailer_in_flight", lambda: len(self.held))
        stopping = asyncio.create_task(self._stopping.wait())
        helpers = [asyncio.create_task(self._heartbeat()), asyncio.create_task(self._look())]
        receivers = [asyncio.create_task(self._receive()) for _ in range(self._limits.receivers)]
        await asyncio.wait([stopping, *helpers, *receivers], return_when=asyncio.FIRST_COMPLETED)
        self.stop()
        LOGGER.info("stopping", extra={"line": {"held": len(self.held)}})
        await asyncio.wait(receivers)
        await self._finish()
        for helper in helpers:
            helper.cancel()
        for end in await asyncio.gather(stopping, *helpers, *receivers, return_exceptions=True):
            if isinstance(end, Exception):
                raise end

    # --- receiving ------------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        shortest, longest = PAUSE_SECONDS
        pause = shortest
        while not self._stopping.is_set() and await self._unless_stopped(self._room.take_batch()):
            messages = await self._received()
            self._room.give_back(BATCH - len(messages or ()))
            for message in messages or ():
                self._accept(message)
            if messages is None or self._nothing_succeeds:
                await self._unless_stopped(asyncio.sleep(pause * (1 + random.random())))  # noqa: S311
                pause = min(longest, 2 * pause)
            else:
                pause = shortest

    async def _received(self) -> list[Received] | None:
        """None where the queue could not be asked. While nothing succeeds one message is tried in place of ten."""
        try:
            poll = self._queue.receive(1 if self._nothing_succeeds else BATCH, POLL_SECONDS)
            return await self._unless_stopped(poll, LAST_POLL_SECONDS) or []
        except QueueError as error:
            self._note_error(str(error))
            return None

    @property
    def _nothing_succeeds(self) -> bool:
        """As many records in a row as may be held have to come back: S3 is away, or denies us everything. What waits in
        the queue is then left there, because each receive brings a message nearer to the dead-letter queue.
        """
        return self._failed_in_a_row >= self._limits.held

    async def _unless_stopped(self, awaitable: Awaitable[T], grace: float = 0) -> T | None:
        """What it brings, or None when the worker is stopped and it has not ended within `grace` seconds of that."""
        task = asyncio.ensure_future(awaitable)
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=grace)
        stopping.cancel()
        if not task.done():
            task.cancel()
            return None
        return task.result()

    def _accept(self, received: Received) -> None:
        self._metrics.count("thumbnailer_messages_received")
        self._metrics.measure("thumbnailer_receive_count", receive_count(received.attributes))
        self._metrics.measure("thumbnailer_queue_lag_seconds", max(0.0, time.time() - received.sent))
        self.held[received.receipt] = received
        self._busy(True)
        task = asyncio.create_task(self._work(received))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    # --- the way of one message -----------------------------------------------------------------------------------

    async def _work(self, received: Received) -> None:
        """Deletes the message or gives it back; if it is cancelled, gives it back at once."""
        hidden: int | None = 0
        try:
            hidden = await self._ended(received)
        except asyncio.CancelledError:
            pass  # nobody waits for it but the worker's own end
        finally:
            self._let_go(received, hidden)

    async def _ended(self, received: Received) -> int | None:
        """None where the message is done, else the seconds until it is to be seen again."""
        REQUEST_ID.set(received.id)
        message = open_message(received.id, received.body, received.attributes)
        if isinstance(message, BrokenMessage):  # it must go to the dead-letter queue, not away
            line = {"message_id": message.id, "detail": message.error}
            LOGGER.error("unreadable message", extra={"line": line})
            return UNREADABLE_SECONDS
        outcomes = await asyncio.gather(*(self._record(event, message) for event in message.events))
        if None in outcomes:
            return 0
        if any(outcome.status.comes_back for outcome in outcomes if outcome):
            return backoff(message.receive_count)
        return None

    async def _record(self, event: ObjectEvent, message: Message) -> Outcome | None:
        """None where the worker stops before there is a slot. A second delivery is decoded in a child process: the
        picture may have killed the worker that received it first.
        """
        if self._stopping.is_set() or not await self._unless_stopped(self._slots.acquire()):
            return None
        try:
            deadline = asyncio.get_running_loop().time() + self._limits.record_seconds
            outcome = await self._records.process(event, deadline, isolated=message.receive_count > 1)
        finally:
            self._slots.release()
        self._failed_in_a_row = self._failed_in_a_row + 1 if outcome.status.comes_back else 0
        log_record(outcome, message.id)
        self._metrics.observe(outcome)
        return outcome

    def _let_go(self, received: Received, hidden: int | None) -> None:
        del self.held[received.receipt]
        self._room.give_back(1)
        if hidden is None:
            self._deletes.add(received.receipt)
        else:
            self._returns.add((received.receipt, hidden))
        if not self.held:
            self._busy(False)

    # --- what is said to the queue --------------------------------------------------------------------------------

    async def _delete(self, receipts: list[str]) -> None:
        taken = await self._taken(self._queue.delete(receipts), len(receipts))
        self._metrics.count("thumbnailer_messages_deleted", taken)

    async def _hide(self, pairs: list[tuple[str, int]]) -> None:
        async with self._hiding:
            taken = await self._taken(self._queue.hide(dict(pairs)), len(pairs))
        self._metrics.count("thumbnailer_messages_returned", taken)

    async def _taken(self, request: Awaitable[list[str]], entries: int) -> int:
        """How many of its entries the queue took. What it did not take comes back by itself, which does no harm."""
        try:
            refused = await request
        except QueueError as error:
            self._note_error(str(error))
            return 0
        for entry in refused:
            self._note_error(entry)
        return entries - len(refused)

    async def _heartbeat(self) -> None:
        """Thrice in the time that a message stays ours, makes all that are held stay ours as long again."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._visibility_changed.wait(), self._visibility / 3)
            self._visibility_changed.clear()
            receipts = list(self.held)
            for start in range(0, len(receipts), BATCH):
                await self._keep(receipts[start : start + BATCH])

    async def _keep(self, receipts: Sequence[str]) -> None:
        """Those of them that are held by now."""
        async with self._hiding:
            held = [receipt for receipt in receipts if receipt in self.held]
            if held:
                await self._taken(self._queue.hide(dict.fromkeys(held, self._visibility)), len(held))

    async def _look(self) -> None:
        while True:
            try:
                state = await self._queue.state()
                self._metrics.set("thumbnailer_queue_visible", state.visible)
                self._metrics.set("thumbnailer_queue_invisible", state.invisible)
                self._adopt(state.visibility)
            except QueueError as error:
                self._note_error(str(error))
            await asyncio.sleep(LOOK_SECONDS)

    def _adopt(self, visibility: int) -> None:
        """Somebody may change the queue while we work. What is held gets the new time at once; a second at least."""
        if max(1, visibility) != self._visibility:
            self._visibility = max(1, visibility)
            self._visibility_changed.set()

    def _note_error(self, what: str) -> None:
        self._metrics.count("thumbnailer_queue_errors")
        LOGGER.warning("queue", extra={"line": {"detail": what[:500]}})

    # --- the end --------------------------------------------------------------------------------------------------

    async def _finish(self) -> None:
        """What is in work gets its time; what is not done by then is cancelled, which gives it back. A queue that does
        not answer is not waited for: what could not be given back comes back by itself.
        """
        if self._working:
            left = self.until - CLOSING_SECONDS - asyncio.get_running_loop().time()
            await asyncio.wait(self._working, timeout=max(0.0, left))
        for task in self._working:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self.until):
                await asyncio.gather(*self._working, return_exceptions=True)
                await asyncio.gather(self._deletes.flush(), self._returns.flush())
