"""What runs at once, and what does not: counted, with an engine that waits until it is told."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from tests.conftest import scratch_files
from thumbnailer import pipeline as pipeline_
from thumbnailer.app import new_event_loop
from thumbnailer.engine import Rendering
from thumbnailer.errors import StoreUnavailable
from thumbnailer.execution import threads as decoders
from thumbnailer.model import EngineName, EventKind, Format, ObjectEvent, Status
from thumbnailer.pipeline import Pipeline
from thumbnailer.planning.capabilities import Capability
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.tier import MB, Tier, tier_for
from thumbnailer.settings import Settings, parse_settings
from thumbnailer.store.base import PutHeaders
from thumbnailer.store.memory import MemoryStore

T = TypeVar("T")
INSTALLED = {EngineName.VIPS: Capability(Format.all(), Format.all())}


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(asyncio.wait_for(work, 30))


class CountingEngine:
    """Holds every picture until `let_go`; knows the most it held at once, in number and in estimated bytes."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.held = self.most_held = self.bytes = self.most_bytes = 0
        self._lock = threading.Lock()

    def render(self, path: str, plan: Plan) -> Rendering:
        with self._lock:
            self.held += 1
            self.bytes += plan.memory_estimate
            self.most_held, self.most_bytes = max(self.most_held, self.held), max(self.most_bytes, self.bytes)
        self.let_go.wait(20)
        with self._lock:
            self.held -= 1
            self.bytes -= plan.memory_estimate
        return Rendering(EngineName.VIPS, tuple(b"picture" for _ in plan.targets), "", 0.0, 0.0)


def settings(**env: str) -> Settings:
    return parse_settings({f"THUMBNAILER_{name}": value for name, value in env.items()})


async def filled(store: MemoryStore, data: bytes, count: int) -> list[ObjectEvent]:
    for number in range(count):
        await store.put("photos", f"{number}", data, PutHeaders("image/png"))
    return [ObjectEvent(EventKind.CREATED, "photos", f"{number}") for number in range(count)]


def pipeline(store: MemoryStore, engine: CountingEngine, tier: Tier, **env: str) -> Pipeline:
    return Pipeline(settings(**env), tier, store, INSTALLED, lambda _: engine)


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_never_more_decodes_at_once_than_workers_while_the_next_records_are_fetched(samples: dict[str, bytes]) -> None:
    async def work() -> None:
        store, engine = MemoryStore("photos", "photos-resized"), CountingEngine()
        tier = replace(tier_for(1769), workers=2, in_flight=6)
        pipe = pipeline(store, engine, tier)
        events = await filled(store, samples["chelsea.png"], 20)
        processing = asyncio.create_task(pipe.process_all(events))
        await until(lambda: engine.held == 2 and len(scratch_files()) == 6)
        engine.let_go.set()
        outcomes = await processing
        assert [outcome.status for outcome in outcomes] == [Status.STORED] * 20
        assert engine.most_held == 2
        await pipe.aclose()

    run(work())


def test_memory_in_flight_never_goes_beyond_the_budget(samples: dict[str, bytes]) -> None:
    """Eight could decode, but the estimates of no more than two fit."""

    async def work() -> None:
        store, engine = MemoryStore("photos", "photos-resized"), CountingEngine()
        tier = replace(tier_for(3008), workers=8, in_flight=8, memory_budget=14 * MB)
        pipe = pipeline(store, engine, tier)
        events = await filled(store, samples["chelsea.png"], 16)
        processing = asyncio.create_task(pipe.process_all(events))
        await until(lambda: len(scratch_files()) == 8)
        engine.let_go.set()
        assert {outcome.status for outcome in await processing} == {Status.STORED}
        assert 0 < engine.most_bytes <= tier.memory_budget
        assert engine.most_held < 8
        await pipe.aclose()

    run(work())


def test_a_decode_that_outlives_its_record_keeps_its_memory_until_it_ends(samples: dict[str, bytes]) -> None:
    """The record is deferred in time; the thread cannot be stopped, so nobody is let into its memory before."""

    async def work() -> None:
        store, engine = MemoryStore("photos", "photos-resized"), CountingEngine()
        pipe = pipeline(store, engine, replace(tier_for(3008), workers=4, memory_budget=9 * MB))
        events = await filled(store, samples["chelsea.png"], 2)
        soon = asyncio.get_running_loop().time() + 2
        outcomes = await pipe.process_all(events, soon)
        assert [outcome.status for outcome in outcomes] == [Status.DEFERRED] * 2
        assert engine.most_held == 1
        engine.let_go.set()
        assert [outcome.status for outcome in await pipe.process_all(events)] == [Status.STORED] * 2
        assert engine.most_bytes <= 9 * MB
        await pipe.aclose()

    run(work())


class HangingEngine:
    """Hangs on the pictures named so, with the GIL given up; the others are through at once."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def render(self, path: str, plan: Plan) -> Rendering:
        if plan.event.key.startswith("hang"):
            self.let_go.wait(60)
        return Rendering(EngineName.VIPS, tuple(b"picture" for _ in plan.targets), "", 0.0, 0.0)


async def hung(
    data: bytes, workers: int, hanging: int, memory_budget: int = 100 * MB
) -> tuple[Pipeline, HangingEngine]:
    """A pipeline after some records whose decodes never ended; in its source are `hang-N` and `good-N`."""
    store, engine = MemoryStore("photos", "photos-resized"), HangingEngine()
    for number in range(9):
        await store.put("photos", f"hang-{number}", data, PutHeaders("image/png"))
        await store.put("photos", f"good-{number}", data, PutHeaders("image/png"))
    tier = replace(tier_for(1769), workers=workers, in_flight=20, memory_budget=memory_budget)
    pipe = Pipeline(settings(), tier, store, INSTALLED, lambda _: engine)
    for number in range(hanging):
        outcome = await pipe.process(created(f"hang-{number}"), asyncio.get_running_loop().time() + 0.5)
        assert (outcome.status, outcome.reason) == (Status.DEFERRED, "out-of-time")
    return pipe, engine


def created(key: str) -> ObjectEvent:
    return ObjectEvent(EventKind.CREATED, "photos", key)


@pytest.mark.matrix(47)
@pytest.mark.parametrize("workers", [1, 2])
def test_when_as_many_decodes_hang_as_there_are_workers_the_rest_go_on(
    samples: dict[str, bytes], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "STUCK_SECONDS", 0)

    async def work() -> None:
        pipe, engine = await hung(samples["chelsea.png"], workers, hanging=workers)
        assert pipe.stuck == workers
        outcomes = await pipe.process_all([created(f"good-{number}") for number in range(9)])
        assert {outcome.status for outcome in outcomes} == {Status.STORED}
        engine.let_go.set()
        await until(lambda: pipe.stuck == 0)
        assert (await pipe.process(created("hang-0"))).status is Status.STORED
        await pipe.aclose()

    run(work())


def test_records_that_wait_for_a_hung_decode_in_one_batch_are_all_deferred_in_time(samples: dict[str, bytes]) -> None:
    async def work() -> None:
        pipe, engine = await hung(samples["chelsea.png"], workers=1, hanging=0)
        soon = asyncio.get_running_loop().time() + 1
        keys = ["hang-0", "good-0", "good-1"]
        outcomes = await pipe.process_all([created(key) for key in keys], soon)
        assert {outcome.status for outcome in outcomes} == {Status.DEFERRED}
        outcomes = await pipe.process_all([created(key) for key in keys[1:]])
        assert {outcome.status for outcome in outcomes} == {Status.STORED}
        engine.let_go.set()
        await pipe.aclose()

    run(work())


def test_the_end_does_not_wait_for_a_decode_that_hangs(
    samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_, "CLOSING_SECONDS", 0.5)

    async def work() -> HangingEngine:
        pipe, engine = await hung(samples["chelsea.png"], workers=2, hanging=1)
        await pipe.aclose()
        return engine

    run(work()).let_go.set()


class DenyingStore(MemoryStore):
    """Takes thumbnails, refuses notes."""

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        if key.startswith("_failed/"):
            raise StoreUnavailable("away")
        await super().put(bucket, key, data, headers)


def test_a_rejected_record_whose_note_cannot_be_left_comes_back() -> None:
    async def work() -> None:
        store = DenyingStore("photos", "photos-resized")
        pipe = pipeline(store, CountingEngine(), tier_for(512))
        (event,) = await filled(store, b"only text, no picture", 1)
        outcome = await pipe.process(event)
        assert (outcome.status, outcome.reason) == (Status.FAILED, "destination-unavailable")
        await pipe.aclose()

    run(work())


@pytest.mark.matrix(5)
def test_of_an_object_too_large_nothing_is_read_whatever_its_event_says() -> None:
    async def work() -> None:
        store = MemoryStore("photos", "photos-resized")
        pipe = pipeline(store, CountingEngine(), tier_for(512).with_changes({"max_bytes": 1000}))
        (event,) = await filled(store, bytes(1001), 1)
        for size in (None, 10, 1001):
            outcome = await pipe.process(replace(event, size=size))
            assert (outcome.reason, outcome.bytes_in) == ("too-many-bytes", 0)
        await pipe.aclose()

    run(work())


def test_what_fits_in_no_engine_is_rejected_before_the_download_ends() -> None:
    """A progressive JPEG of 24 MP, of which every coefficient is held, on the smallest tier."""
    header = progressive_header(6000, 4000)
    data = header + bytes(5 * MB)

    async def work() -> None:
        store = MemoryStore("photos", "photos-resized")
        await store.put("photos", "large.jpg", data, PutHeaders("image/jpeg"))
        pipe = pipeline(store, CountingEngine(), tier_for(128))
        outcome = await pipe.process(ObjectEvent(EventKind.CREATED, "photos", "large.jpg"))
        assert (outcome.status, outcome.reason) == (Status.REJECTED, "too-many-pixels")
        assert outcome.bytes_in < len(data) // 2
        await pipe.aclose()

    run(work())


def progressive_header(width: int, height: int) -> bytes:
    """SOI and SOF2 of three components, 4:4:4 (ITU-T T.81, B.2.2), and the beginning of a scan."""
    frame = struct.pack(">BHHB", 8, height, width, 3) + b"\x01\x11\x00\x02\x11\x00\x03\x11\x00"
    scan = b"\x03\x01\x00\x02\x00\x03\x00\x00\x00\x00"
    return b"\xff\xd8\xff\xc2" + struct.pack(">H", 2 + len(frame)) + frame + b"\xff\xda" + b"\x00\x0c" + scan
