"""Thousands of events at once against a slow S3: records and bytes in work are counted, never seconds."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image

from tests.conftest import scratch_files
from tests.support.pipelines import CountingEngine, created, pipeline, run
from thumbnailer.model import Outcome, Status
from thumbnailer.planning.tier import MB, tier_for
from thumbnailer.store.base import ObjectBody, ObjectVersion, PutHeaders
from thumbnailer.store.memory import MemoryStore

IN_FLIGHT = 64
LATENCY = 0.002
SOURCE_BYTES = 16 * 1024


class SlowStore(MemoryStore):
    """One picture under every key; thumbnails are dropped. Counts concurrent requests and source bytes in work."""

    def __init__(self, picture: bytes) -> None:
        super().__init__("photos", "photos-resized")
        self._picture = picture
        self.requests = self.most_requests = 0
        self.bytes = self.most_bytes = 0

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[ObjectBody]:
        await self._wait()
        self.bytes += SOURCE_BYTES
        self.most_bytes = max(self.most_bytes, self.bytes)
        async with super().open(bucket, "picture") as body:
            yield body

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        await self._wait()
        return await super().head(bucket, "picture")

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        await self._wait()

    async def prepare(self) -> None:
        await super().put("photos", "picture", self._picture, PutHeaders("image/png"))

    def end(self, _: Outcome) -> None:
        self.bytes -= SOURCE_BYTES

    async def _wait(self) -> None:
        self.requests += 1
        self.most_requests = max(self.most_requests, self.requests)
        await asyncio.sleep(LATENCY)
        self.requests -= 1


def picture() -> bytes:
    file = BytesIO()
    Image.new("RGB", (200, 200)).save(file, "PNG")
    return file.getvalue().ljust(SOURCE_BYTES, b"\0")


def allocated() -> int:
    """Bytes of all Python objects made since tracemalloc started, without garbage."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.matrix(46)
@pytest.mark.parametrize("events", [2_500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_events_stay_within_in_flight_and_memory(events: int) -> None:
    """The sources are 16 KB each. Each record may leave its outcome of 1.3 KB, which is returned."""
    most_scratch = 0
    memory: list[int] = []

    async def work() -> None:
        store, engine = SlowStore(picture()), CountingEngine()
        await store.prepare()
        engine.let_go.set()
        tier = replace(tier_for(1769), workers=2, in_flight=IN_FLIGHT, memory_budget=64 * MB)
        pipe = pipeline(store, engine, tier)
        ended = 0

        def done(outcome: Outcome) -> None:
            nonlocal ended, most_scratch
            store.end(outcome)
            ended += 1
            if ended % 500 == 0:
                most_scratch = max(most_scratch, len(scratch_files()))
                memory.append(allocated())

        outcomes = await pipe.process_all([created(str(number)) for number in range(events)], done=done)
        await pipe.aclose()
        assert {outcome.status for outcome in outcomes} == {Status.STORED}
        assert len(outcomes) == ended == events
        assert IN_FLIGHT // 2 < store.most_requests <= IN_FLIGHT
        assert SOURCE_BYTES < store.most_bytes <= IN_FLIGHT * SOURCE_BYTES
        assert (store.bytes, store.requests) == (0, 0)
        assert 0 < engine.most_bytes <= tier.memory_budget
        assert engine.most_held <= tier.workers
        assert 0 < most_scratch <= IN_FLIGHT

    tracemalloc.start()
    try:
        run(work(), seconds=300)
    finally:
        tracemalloc.stop()
    grown = memory[-1] - memory[1]
    assert grown < (events - 1_000) * 2_000, f"{grown >> 20} MB from the 1,000th record to the last"
