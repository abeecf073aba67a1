"""Ten thousand events at once, and an S3 that takes its time: what is in work is counted, never a second."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.conftest import scratch_files
from tests.test_pipeline import CountingEngine, pipeline
from thumbnailer.app import new_event_loop
from thumbnailer.model import EventKind, ObjectEvent, Outcome, Status
from thumbnailer.planning.tier import MB, tier_for
from thumbnailer.store.base import ObjectBody, ObjectVersion, PutHeaders
from thumbnailer.store.memory import MemoryStore

T = TypeVar("T")
EVENTS = 10_000
IN_FLIGHT = 64
LATENCY = 0.01


class Slow(MemoryStore):
    """One picture under every key; thumbnails are forgotten. Knows the most that was asked of it at a time."""

    def __init__(self, picture: bytes) -> None:
        super().__init__("photos", "photos-resized")
        self.size = len(picture)
        self._picture = picture
        self.requests = self.most_requests = 0
        self.bytes = self.most_bytes = 0
        """of sources: from their GET to their outcome"""

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[ObjectBody]:
        await self._answer()
        self.bytes += self.size
        self.most_bytes = max(self.most_bytes, self.bytes)
        async with super().open(bucket, "the one") as body:
            yield body

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        await self._answer()
        return await super().head(bucket, "the one")

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        await self._answer()

    async def prepare(self) -> None:
        await super().put("photos", "the one", self._picture, PutHeaders("image/png"))

    def done(self, _: Outcome) -> None:
        self.bytes -= self.size

    async def _answer(self) -> None:
        self.requests += 1
        self.most_requests = max(self.most_requests, self.requests)
        await asyncio.sleep(LATENCY)
        self.requests -= 1


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(asyncio.wait_for(work, 300))


@pytest.mark.matrix(46)
def test_of_ten_thousand_events_no_more_are_in_work_than_may_be_in_flight_and_memory_stays_flat(
    samples: dict[str, bytes],
) -> None:
    """The sources are 2 GB; what may be left of each record is its outcome, which is returned, at 1.3 KB."""
    picture = samples["chelsea.png"]
    most_scratch = 0
    ended = 0
    memory: list[int] = []

    async def work() -> None:
        store, engine = Slow(picture), CountingEngine()
        await store.prepare()
        engine.let_go.set()
        tier = replace(tier_for(1769), workers=2, in_flight=IN_FLIGHT, memory_budget=64 * MB)
        pipe = pipeline(store, engine, tier)

        def done(outcome: Outcome) -> None:
            nonlocal ended, most_scratch
            store.done(outcome)
            ended += 1
            if ended % 500 == 0:
                most_scratch = max(most_scratch, len(scratch_files()))
                memory.append(resident())

        events = [ObjectEvent(EventKind.CREATED, "photos", f"{number}") for number in range(EVENTS)]
        outcomes = await pipe.process_all(events, done=done)
        await pipe.aclose()
        assert {outcome.status for outcome in outcomes} == {Status.STORED}
        assert len(outcomes) == ended == EVENTS
        assert IN_FLIGHT // 2 < store.most_requests <= IN_FLIGHT
        assert store.size < store.most_bytes <= IN_FLIGHT * store.size
        assert (store.bytes, store.requests) == (0, 0)
        assert 0 < engine.most_bytes <= tier.memory_budget
        assert engine.most_held <= tier.workers
        assert 0 < most_scratch <= IN_FLIGHT

    run(work())
    grown = memory[-1] - memory[1]
    assert grown < EVENTS * 3_000, f"{grown >> 20} MB from the 1,000th to the last"
