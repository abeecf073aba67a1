"""What runs at the same time and what must not: counted with an engine that blocks until the test lets it go."""

from __future__ import annotations

import asyncio
import gc
import struct
from dataclasses import replace

import pytest

from tests.conftest import scratch_files
from tests.support.pipelines import (
    CountingEngine,
    HangingEngine,
    created,
    pipeline,
    pipeline_with_stuck_decodes,
    run,
    store_with,
    until,
)
from thumbnailer.engine import Rendering
from thumbnailer.errors import Corrupt, StoreUnavailable
from thumbnailer.execution import decoder, threads
from thumbnailer.model import ObjectEvent, Status
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.tier import MB, tier_for
from thumbnailer.store.base import PutHeaders
from thumbnailer.store.memory import MemoryStore
from thumbnailer.trace import Trace


async def numbered(data: bytes, count: int) -> tuple[MemoryStore, list[ObjectEvent]]:
    """A store with `count` objects of these bytes, and their events."""
    keys = [str(number) for number in range(count)]
    return await store_with(dict.fromkeys(keys, data)), [created(key) for key in keys]


def test_decodes_never_exceed_workers_while_the_next_records_are_fetched(samples: dict[str, bytes]) -> None:
    async def work() -> None:
        engine = CountingEngine()
        store, events = await numbered(samples["chelsea.png"], 20)
        pipe = pipeline(store, engine, replace(tier_for(1769), workers=2, in_flight=6))
        processing = asyncio.create_task(pipe.process_all(events))
        await until(lambda: engine.held == 2 and len(scratch_files()) == 6)
        engine.let_go.set()
        outcomes = await processing
        assert [outcome.status for outcome in outcomes] == [Status.STORED] * 20
        assert engine.most_held == 2
        await pipe.aclose()

    run(work())


def test_estimates_of_running_decodes_never_exceed_the_memory_budget(samples: dict[str, bytes]) -> None:
    """Eight workers are free, but the budget holds two pictures."""

    async def work() -> None:
        engine = CountingEngine()
        store, events = await numbered(samples["chelsea.png"], 16)
        tier = replace(tier_for(3008), workers=8, in_flight=8, memory_budget=14 * MB)
        pipe = pipeline(store, engine, tier)
        processing = asyncio.create_task(pipe.process_all(events))
        await until(lambda: len(scratch_files()) == 8)
        engine.let_go.set()
        assert {outcome.status for outcome in await processing} == {Status.STORED}
        assert 0 < engine.most_bytes <= tier.memory_budget
        assert engine.most_held < 8
        await pipe.aclose()

    run(work())


def test_a_decode_that_outlives_its_record_keeps_its_memory(samples: dict[str, bytes]) -> None:
    """The record is deferred at its deadline. Its thread runs on, so its memory stays reserved."""

    async def work() -> None:
        engine = CountingEngine()
        store, events = await numbered(samples["chelsea.png"], 2)
        pipe = pipeline(store, engine, replace(tier_for(3008), workers=4, memory_budget=9 * MB))
        outcomes = await pipe.process_all(events, asyncio.get_running_loop().time() + 0.6)
        assert [outcome.status for outcome in outcomes] == [Status.DEFERRED] * 2
        assert engine.most_held == 1
        engine.let_go.set()
        assert [outcome.status for outcome in await pipe.process_all(events)] == [Status.STORED] * 2
        assert engine.most_bytes <= 9 * MB
        await pipe.aclose()

    run(work())


@pytest.mark.matrix(47)
@pytest.mark.parametrize("workers", [1, 2])
def test_other_records_are_processed_when_every_worker_is_stuck(
    samples: dict[str, bytes], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "STUCK_SECONDS", 0)

    async def work() -> None:
        pipe, engine = await pipeline_with_stuck_decodes(samples["chelsea.png"], workers, stuck=workers)
        assert pipe.stuck == workers
        outcomes = await pipe.process_all([created(f"good-{number}") for number in range(9)])
        assert {outcome.status for outcome in outcomes} == {Status.STORED}
        engine.let_go.set()
        await until(lambda: pipe.stuck == 0)
        assert (await pipe.process(created("hang-0"))).status is Status.STORED
        await pipe.aclose()

    run(work())


def test_records_behind_a_stuck_decode_are_deferred_at_the_deadline(samples: dict[str, bytes]) -> None:
    async def work() -> None:
        pipe, engine = await pipeline_with_stuck_decodes(samples["chelsea.png"], workers=1, stuck=0)
        keys = ["hang-0", "good-0", "good-1"]
        outcomes = await pipe.process_all([created(key) for key in keys], asyncio.get_running_loop().time() + 0.6)
        assert {outcome.status for outcome in outcomes} == {Status.DEFERRED}
        outcomes = await pipe.process_all([created(key) for key in keys[1:]])
        assert {outcome.status for outcome in outcomes} == {Status.STORED}
        engine.let_go.set()
        await pipe.aclose()

    run(work())


def test_closing_does_not_wait_for_a_stuck_decode(samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "CLOSING_SECONDS", 0.2)

    async def work() -> HangingEngine:
        pipe, engine = await pipeline_with_stuck_decodes(samples["chelsea.png"], workers=2, stuck=1)
        await pipe.aclose()
        return engine

    run(work()).let_go.set()


def test_a_decode_that_fails_after_its_record_ended_prints_nothing(
    samples: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    class LateEngine(HangingEngine):
        def render(self, path: str, plan: Plan) -> Rendering:
            super().render(path, plan)
            raise Corrupt("too late")

    async def work() -> None:
        engine = LateEngine()
        pipe = pipeline(await store_with({"hang": samples["chelsea.png"]}), engine, tier_for(512))
        outcome = await pipe.process(created("hang"), asyncio.get_running_loop().time() + 0.4)
        assert outcome.reason == "out-of-time"
        engine.let_go.set()
        await until(lambda: pipe.renderer.memory.reserved == 0)
        await pipe.aclose()

    run(work())
    gc.collect()
    assert caplog.messages == []


@pytest.mark.parametrize("error", [ValueError, Corrupt])
def test_a_detail_has_at_most_500_characters(samples: dict[str, bytes], error: type[Exception]) -> None:
    class VerboseEngine(HangingEngine):
        def render(self, path: str, plan: Plan) -> Rendering:
            raise error("text of a stranger " * 1000)

    async def work() -> None:
        store, (event,) = await numbered(samples["chelsea.png"], 1)
        pipe = pipeline(store, VerboseEngine(), tier_for(512))
        detail = (await pipe.process(event)).detail
        assert detail is not None
        assert len(detail) == 500
        await pipe.aclose()

    run(work())


def test_the_list_of_defects_has_at_most_500_characters() -> None:
    trace = Trace(created("x"))
    trace.add_defects("a", "text of a stranger " * 1000)
    trace.end(Status.STORED, ())
    assert trace.outcome.detail is not None
    assert len(trace.outcome.detail) == 500


class NoteRefusingStore(MemoryStore):
    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        if key.startswith("_failed/"):
            raise StoreUnavailable("away")
        await super().put(bucket, key, data, headers)


def test_a_rejected_record_whose_note_cannot_be_written_is_retried() -> None:
    async def work() -> None:
        store = NoteRefusingStore("photos", "photos-resized")
        await store.put("photos", "0", b"only text, no picture", PutHeaders("image/png"))
        pipe = pipeline(store, CountingEngine(), tier_for(512))
        outcome = await pipe.process(created("0"))
        assert (outcome.status, outcome.reason) == (Status.FAILED, "destination-unavailable")
        await pipe.aclose()

    run(work())


def test_a_bug_fails_its_own_record_only(samples: dict[str, bytes]) -> None:
    class BuggyEngine(HangingEngine):
        def render(self, path: str, plan: Plan) -> Rendering:
            raise KeyError("unknown")

    async def work() -> None:
        store, (event,) = await numbered(samples["chelsea.png"], 1)
        pipe = pipeline(store, BuggyEngine(), tier_for(512))
        outcome = await pipe.process(event)
        assert (outcome.status, outcome.detail) == (Status.FAILED, "internal error: KeyError: 'unknown'")
        await pipe.aclose()

    run(work())


@pytest.mark.matrix(5)
def test_nothing_is_read_of_an_object_that_is_too_large_whatever_its_event_says() -> None:
    async def work() -> None:
        store, (event,) = await numbered(bytes(1001), 1)
        pipe = pipeline(store, CountingEngine(), tier_for(512).with_changes({"max_bytes": 1000}))
        for size in (None, 10, 1001):
            outcome = await pipe.process(replace(event, size=size))
            assert (outcome.reason, outcome.bytes_in) == ("too-many-bytes", 0)
        await pipe.aclose()

    run(work())


def test_a_picture_too_large_for_every_engine_is_rejected_before_the_download_ends() -> None:
    """A progressive JPEG of 24 MP on the smallest tier: a decoder holds every coefficient."""
    data = progressive_header(6000, 4000) + bytes(5 * MB)

    async def work() -> None:
        store, (event,) = await numbered(data, 1)
        pipe = pipeline(store, CountingEngine(), tier_for(128))
        outcome = await pipe.process(event)
        assert (outcome.status, outcome.reason) == (Status.REJECTED, "too-many-pixels")
        assert outcome.bytes_in < len(data) // 2
        await pipe.aclose()

    run(work())


def progressive_header(width: int, height: int) -> bytes:
    """SOI and SOF2 of three components, 4:4:4 (ITU-T T.81, B.2.2), and the beginning of a scan."""
    frame = struct.pack(">BHHB", 8, height, width, 3) + b"\x01\x11\x00\x02\x11\x00\x03\x11\x00"
    scan = b"\x03\x01\x00\x02\x00\x03\x00\x00\x00\x00"
    return b"\xff\xd8\xff\xc2" + struct.pack(">H", 2 + len(frame)) + frame + b"\xff\xda" + b"\x00\x0c" + scan
