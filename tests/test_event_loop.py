"""Hostile files do not hold up the event loop: deadlines, lease renewal and health checks run on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from tests.bombs import MB
from tests.bombs.floods import FLOODS, METADATA
from thumbnailer.app import build, new_event_loop
from thumbnailer.execution.decoder import Decoder
from thumbnailer.machine import Machine
from thumbnailer.model import EventKind, ObjectEvent, Outcome, Status
from thumbnailer.settings import parse_settings
from thumbnailer.store.base import ObjectBody, ObjectHeaders, PutHeaders
from thumbnailer.store.memory import MemoryStore

LONGEST_PAUSE = 0.1
"""Seconds between two turns of a task that waits for nothing."""


class LargeChunks(MemoryStore):
    """Hands out chunks of a MB, so that the first probe sees many parts."""

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[ObjectBody]:
        async with super().open(bucket, key) as body:
            yield Body(body.headers, body.data)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Body:
    headers: ObjectHeaders
    data: bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.data), MB):
            yield self.data[start : start + MB]


async def processed(data: bytes, clock: Callable[[], float], deadline: float | None = None) -> tuple[Outcome, float]:
    """The outcome, and the longest time between two turns of the loop by `clock`."""
    store = LargeChunks("photos", "photos-resized")
    await store.put("photos", "x", data, PutHeaders("image/jpeg"))
    pipeline = build(parse_settings({}), Machine(3008, None), {}, store).pipeline
    pauses = [0.0]

    async def beat() -> None:
        while True:
            before = clock()
            await asyncio.sleep(0.001)
            pauses.append(clock() - before)

    beating = asyncio.create_task(beat())
    at = None if deadline is None else asyncio.get_running_loop().time() + deadline
    try:
        outcome = await pipeline.process(ObjectEvent(EventKind.CREATED, "photos", "x"), at)
        await asyncio.sleep(0.002)  # the last pause
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
        await pipeline.aclose()
    return outcome, max(pauses)


def run(data: bytes, clock: Callable[[], float], deadline: float | None = None) -> tuple[Outcome, float]:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(processed(data, clock, deadline))


@pytest.mark.matrix(51)
@pytest.mark.parametrize("name", [*FLOODS, *(f"metadata: {name}" for name in METADATA)])
def test_the_loop_does_little_work_for_a_hostile_file(name: str) -> None:
    """CPU time of the loop's own thread, which other processes do not change."""
    make = METADATA[name.removeprefix("metadata: ")] if name.startswith("metadata") else FLOODS[name]
    _, longest = run(make(2 * MB), time.thread_time)
    assert longest < LONGEST_PAUSE


def test_the_loop_does_not_hide_metadata() -> None:
    _, longest = run(METADATA["GIF: small comments"](10 * MB), time.thread_time)
    assert longest < LONGEST_PAUSE


@pytest.mark.lab
@pytest.mark.parametrize("name", FLOODS)
def test_the_loop_never_pauses_for_long(name: str) -> None:
    """Also for the threads that read: they hold the interpreter's lock."""
    _, longest = run(FLOODS[name](16 * MB), time.monotonic)
    assert longest < LONGEST_PAUSE


def test_an_ordinary_picture_is_read_on_the_loop(samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A switch to a thread and back costs more than the read itself."""
    reads: list[object] = []
    monkeypatch.setattr(Decoder, "read", lambda _, work: reads.append(work))
    for name, data in samples.items():
        assert run(data, time.thread_time)[0].status in (Status.STORED, Status.REJECTED), name
    assert reads == []


def test_a_flood_is_read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[object] = []
    read = Decoder.read

    async def counted(decoder: Decoder, work: Callable[[], Any]) -> Any:
        reads.append(work)
        return await read(decoder, work)

    monkeypatch.setattr(Decoder, "read", counted)
    outcome, _ = run(FLOODS["AVIF: alphas of one extent"](MB), time.thread_time)
    assert (outcome.reason, bool(reads)) == ("corrupt", True)


def test_a_read_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(data: Any, read: Any) -> None:
        with data:
            time.sleep(1.5)

    monkeypatch.setattr("thumbnailer.rendering._read_all", slow)
    monkeypatch.setattr("thumbnailer.pipeline.LEAST_SECONDS", 0.0)
    outcome, longest = run(FLOODS["AVIF: alphas of one extent"](MB), time.thread_time, deadline=0.3)
    assert outcome.status is Status.DEFERRED
    assert longest < LONGEST_PAUSE
