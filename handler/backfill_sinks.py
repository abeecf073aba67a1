"""Where the records of a run go: through the pipeline of this process, or to the queue."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from handler.worker.sqs import Queue
from thumbnailer.backfill.records import event_of, message_of
from thumbnailer.backfill.verdicts import Finding
from thumbnailer.errors import ThumbnailerError
from thumbnailer.model import Outcome
from thumbnailer.pipeline import Pipeline

BACKLOG: Final = 1000
"""The most visible messages while a run sends: a run that is stopped leaves no more behind."""
PAUSE_SECONDS: Final = 5.0
STALL_SECONDS: Final = 600.0
"""A full queue that nobody empties for so long ends the run."""


class QueueStalled(ThumbnailerError):
    """No consumer takes messages."""


class DecodersStuck(ThumbnailerError):
    """This process can make no thumbnail any more."""


class Here:
    """Makes the thumbnails in this process, `in_flight` records at a time. `done` gets each outcome."""

    def __init__(self, pipeline: Pipeline, bucket: str, seconds: float, done: Callable[[Outcome], None]) -> None:
        """`seconds` is the most that a record may take."""
        self._pipeline = pipeline
        self._bucket = bucket
        self._seconds = seconds
        self._done = done
        self._free = asyncio.Semaphore(pipeline.renderer.tier.in_flight)
        self._running: set[asyncio.Task[None]] = set()

    async def send(self, findings: Sequence[Finding]) -> None:
        """Returns when all findings are in work. Raises DecodersStuck."""
        if self._pipeline.stuck >= self._pipeline.renderer.tier.workers:
            raise DecodersStuck("every decoder is stuck: run this again, with THUMBNAILER_ISOLATION=always")
        for finding in findings:
            await self._free.acquire()
            task = asyncio.create_task(self._process(finding))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def finish(self) -> None:
        """Returns when the last record has ended."""
        if self._running:
            await asyncio.wait(self._running)

    async def _process(self, finding: Finding) -> None:
        deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            self._done(await self._pipeline.process(event_of(finding, self._bucket), deadline))
        finally:
            self._free.release()


class ToQueue:
    """Sends one message a record, all of one group, while fewer than BACKLOG messages are visible."""

    def __init__(self, queue: Queue, bucket: str, group: str, sent: Callable[[int], None], stop: asyncio.Event) -> None:
        """`sent` gets the number of messages of each batch. After `stop`, nothing more is sent."""
        self._queue = queue
        self._bucket = bucket
        self._group = group
        self._sent = sent
        self._stop = stop
        self._room = 0

    async def send(self, findings: Sequence[Finding]) -> None:
        await self._wait_for_room(len(findings))
        if self._stop.is_set():
            return
        await self._queue.send_batch([message_of(finding, self._bucket) for finding in findings], self._group)
        self._room -= len(findings)
        self._sent(len(findings))

    async def finish(self) -> None:
        """Every batch is in the queue already."""

    async def _wait_for_room(self, wanted: int) -> None:
        """Raises QueueStalled if the queue stays full."""
        clock = asyncio.get_running_loop().time
        fewest, since = None, clock()
        while self._room < wanted and not self._stop.is_set():
            visible = (await self._queue.state()).visible
            self._room = BACKLOG - visible
            if fewest is None or visible < fewest:
                fewest, since = visible, clock()
            if self._room >= wanted:
                return
            if clock() - since > STALL_SECONDS:
                raise QueueStalled(
                    f"{visible:,} messages have waited in the queue for {STALL_SECONDS / 60:.0f} minutes, and nobody "
                    "takes any: start a worker, or enable the function's mapping, and run this again"
                )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), PAUSE_SECONDS)
