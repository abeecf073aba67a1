"""Processes messages from a queue, many at a time, until the worker is told to stop.

A message is received, held, kept invisible by the heartbeat, its events go through the pipeline, then it is deleted or
given back for a later retry. If the worker is killed, the messages it held reappear after the visibility timeout, and
another worker writes the same thumbnails again.
"""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from handler.envelope import open_message, receive_count
from handler.worker.heartbeat import Heartbeat
from handler.worker.receiver import MOST_RECEIVERS, Receiver, Room, StopSignal
from handler.worker.sqs import BATCH, Batches, Queue, Received, ReportingQueue
from thumbnailer.model import Message, ObjectEvent, Outcome
from thumbnailer.reporting.logs import LOGGER, REQUEST_ID, log_batch, log_record, log_unreadable, name_end
from thumbnailer.reporting.metrics import Prometheus

CLOSING_SECONDS: Final = 3.0
"""The part of the stop timeout that is reserved for giving messages back and closing connections."""
FIRST_BACKOFF, LONGEST_BACKOFF, GROWTH = 60.0, 900.0, 3.0
"""Seconds that a message is hidden after its first failure, the limit, and the factor per failure. Five receives, the
template's default, then outlast a quarter of an hour in which S3 does not answer.
"""
SUMMARY_SECONDS: Final = 10.0
UNREADABLE_SECONDS: Final = 5
"""Seconds that an unreadable message is hidden. Waiting longer cannot help it."""


class Records(Protocol):
    """The part of the pipeline that the consumer uses."""

    async def process(self, event: ObjectEvent, deadline: float | None = None, isolated: bool = False) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """`in_flight` messages are processed at once; the worker may hold as many again. Times are seconds."""

    in_flight: int
    record_seconds: float
    stop_seconds: float

    @property
    def held(self) -> int:
        return 2 * max(self.in_flight, BATCH)

    @property
    def receivers(self) -> int:
        """Enough to fetch `in_flight` messages in one round."""
        return min(MOST_RECEIVERS, math.ceil(self.in_flight / BATCH) + 1)


def backoff(count: int, chance: Callable[[], float] = random.random) -> int:
    """Seconds until a message that has failed `count` times is visible again. A third of the time is random."""
    most = min(LONGEST_BACKOFF, FIRST_BACKOFF * GROWTH ** (min(count, 20) - 1))
    return math.ceil(most * (2 + chance()) / 3)


class Consumer:
    """Must be made inside the loop that runs it. `busy` is called when the worker takes work and when it has none."""

    def __init__(
        self,
        queue: Queue,
        records: Records,
        limits: Limits,
        metrics: Prometheus,
        busy: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.held: dict[str, Received] = {}
        """by receipt: messages to finish or to give back"""
        self.stopping = StopSignal(limits.stop_seconds)
        self._queue = ReportingQueue(queue, metrics)
        self._records = records
        self._limits = limits
        self._metrics = metrics
        self._busy = busy
        self._room = Room(limits.held)
        self._receiver = Receiver(
            self._queue, self._room, self.stopping, self._accept, lambda: self._failed_in_a_row >= limits.held
        )
        self._heartbeat = Heartbeat(self._queue, self.held.keys(), metrics)
        self._slots = asyncio.Semaphore(limits.in_flight)
        self._working: set[asyncio.Task[None]] = set()
        self._failed_in_a_row = 0
        """records to retry; the receiver slows down at as many as the worker may hold"""
        self._ends: Counter[str] = Counter()
        """records since the last summary"""
        self._bugs: list[Exception] = []
        self._deletes = Batches(self._queue.delete)
        self._returns = Batches(self._heartbeat.give_back)

    def stop(self) -> None:
        """Takes no more messages. `run` finishes what it can in time and gives back the rest."""
        if not self.stopping.is_set():
            self.stopping.set()
            LOGGER.info("stopping", extra={"line": {"held": len(self.held)}})

    async def run(self, visibility: int) -> None:
        """Ends within stop_seconds after `stop`. `visibility` is the queue's visibility timeout in seconds.

        If a bug ends a receiver or the heartbeat, the consumer stops and raises that error. Without them the worker
        would look alive and do nothing, or do everything twice.
        """
        self._heartbeat.adopt(visibility)
        self._metrics.watch("thumbnailer_in_flight", lambda: len(self.held))
        async with asyncio.TaskGroup() as group:
            loops = [self._heartbeat.run(), self._heartbeat.follow_queue(), self._log_summaries()]
            helpers = [group.create_task(self._supervise(loop)) for loop in loops]
            async with asyncio.TaskGroup() as receivers:
                for _ in range(self._limits.receivers):
                    receivers.create_task(self._supervise(self._receiver.run()))
            await self._finish()
            for helper in helpers:
                helper.cancel()
        log_batch(self._ends)
        if self._bugs:
            raise self._bugs[0]

    async def _supervise(self, work: Coroutine[Any, Any, None]) -> None:
        """Stops the consumer if `work` raises."""
        try:
            await work
        except Exception as bug:
            self._bugs.append(bug)
            self.stop()

    async def _log_summaries(self) -> None:
        while True:
            await asyncio.sleep(SUMMARY_SECONDS)
            log_batch(self._ends)

    def _accept(self, received: Received) -> None:
        self._metrics.count("thumbnailer_messages_received")
        self._metrics.measure("thumbnailer_receive_count", receive_count(received.attributes))
        self._metrics.measure("thumbnailer_queue_lag_seconds", max(0.0, time.time() - received.sent))
        self.held[received.receipt] = received
        self._busy(True)
        task = asyncio.create_task(self._work(received))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _work(self, received: Received) -> None:
        """Deletes the message or gives it back. A cancelled message is given back at once."""
        retry_seconds: int | None = 0
        try:
            retry_seconds = await self._process(received)
        except asyncio.CancelledError:
            pass  # only the consumer's own end cancels this task, and nobody awaits its result
        finally:
            self._release(received, retry_seconds)

    async def _process(self, received: Received) -> int | None:
        """The seconds until the message must be retried; None if it is done."""
        REQUEST_ID.set(received.id)
        message = open_message(received.id, received.body, received.attributes)
        if message.error:
            log_unreadable([message])
            return UNREADABLE_SECONDS
        outcomes = await asyncio.gather(*(self._process_record(event, message) for event in message.events))
        if None in outcomes:
            return 0
        if any(outcome.status.comes_back for outcome in outcomes if outcome):
            return backoff(message.receive_count)
        return None

    async def _process_record(self, event: ObjectEvent, message: Message) -> Outcome | None:
        """None if the worker stops before a slot is free.

        A message received before may have killed the worker that had it, so its records run in a child process.
        """
        if self.stopping.is_set() or not await self.stopping.unless_set(self._slots.acquire()):
            return None
        try:
            deadline = asyncio.get_running_loop().time() + self._limits.record_seconds
            outcome = await self._records.process(event, deadline, isolated=message.receive_count > 1)
        finally:
            self._slots.release()
        self._failed_in_a_row = self._failed_in_a_row + 1 if outcome.status.comes_back else 0
        log_record(outcome)
        self._ends[name_end(outcome)] += 1
        self._metrics.observe(outcome)
        return outcome

    def _release(self, received: Received, retry_seconds: int | None) -> None:
        del self.held[received.receipt]
        self._room.release(1)
        if retry_seconds is None:
            self._deletes.add(received.receipt)
        else:
            self._returns.add((received.receipt, retry_seconds))
        if not self.held:
            self._busy(False)

    async def _finish(self) -> None:
        """Gives running work its time, cancels the rest, which gives it back, and sends what the queue must know.

        The worker does not wait for a queue that does not answer: its messages reappear after the visibility timeout.
        """
        if self._working:
            left = self.stopping.deadline - CLOSING_SECONDS - asyncio.get_running_loop().time()
            await asyncio.wait(self._working, timeout=max(0.0, left))
        for task in self._working:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self.stopping.deadline):
                await asyncio.gather(*self._working, return_exceptions=True)
                await asyncio.gather(self._deletes.flush(), self._returns.flush())
