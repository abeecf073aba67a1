"""A batch overlaps its requests with its decodes: the order of events, with one decoder and an engine that waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from tests.support.pipelines import created, pipeline, rendering, run, until
from thumbnailer.engine import Rendering
from thumbnailer.model import Outcome, Status
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.tier import tier_for
from thumbnailer.store.base import ObjectVersion, PutHeaders
from thumbnailer.store.memory import MemoryStore

KEYS = ("a", "b", "c")
TIER = replace(tier_for(1769), workers=1)


class GatedEngine:
    """Renders a key after `allow`."""

    def __init__(self, events: list[str]) -> None:
        self._events = events
        self._gates = {key: threading.Event() for key in KEYS}

    def allow(self, key: str) -> None:
        self._gates[key].set()

    def render(self, path: str, plan: Plan) -> Rendering:
        self._events.append(f"decode {plan.event.key}")
        self._gates[plan.event.key].wait(20)
        return rendering(plan)


class RecordingStore(MemoryStore):
    """Lists the requests as they start. A PUT to a key in `slow` ends when its event is set."""

    def __init__(self, events: list[str]) -> None:
        super().__init__("photos", "photos-resized")
        self.events = events
        self.slow: dict[str, asyncio.Event] = {}

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[Any]:
        self.events.append(f"GET {key}")
        async with super().open(bucket, key) as body:
            yield body

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        if bucket == "photos-resized":
            self.events.append(f"PUT {key}")
            if key in self.slow:
                await self.slow[key].wait()
        await super().put(bucket, key, data, headers)

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        self.events.append(f"HEAD {key}")
        return await super().head(bucket, key)


Steps = Callable[[RecordingStore, GatedEngine, list[str]], Awaitable[None]]


def processed(data: bytes, steps: Steps, **env: str) -> None:
    """Processes one batch of KEYS while `steps` watches its events."""

    async def work() -> None:
        events: list[str] = []
        store, engine = RecordingStore(events), GatedEngine(events)
        for key in KEYS:
            await store.put("photos", key, data, PutHeaders("image/png"))
        pipe = pipeline(store, engine, TIER, **env)

        def note(outcome: Outcome) -> None:
            events.append(f"end {outcome.event.key}")

        batch = asyncio.create_task(pipe.process_all([created(key) for key in KEYS], done=note))
        await steps(store, engine, events)
        for key in KEYS:
            engine.allow(key)
        assert [outcome.status for outcome in await batch] == [Status.STORED] * len(KEYS)
        await pipe.aclose()

    run(work())


def test_all_sources_are_requested_before_the_first_decode_ends(samples: dict[str, bytes]) -> None:
    async def steps(store: RecordingStore, engine: GatedEngine, events: list[str]) -> None:
        await until(lambda: {"GET a", "GET b", "GET c", "decode a"} <= set(events))
        assert not {"decode b", "decode c", "PUT a"} & set(events)

    processed(samples["chelsea.png"], steps)


def test_upload_and_look_of_a_record_do_not_wait_for_other_decodes(samples: dict[str, bytes]) -> None:
    async def steps(store: RecordingStore, engine: GatedEngine, events: list[str]) -> None:
        engine.allow("a")
        await until(lambda: "end a" in events)
        await until(lambda: "decode b" in events)
        own = [event for event in events if event.endswith(" a")]
        assert own == ["GET a", "decode a", "PUT a", "HEAD a", "end a"]
        assert "PUT b" not in events

    processed(samples["chelsea.png"], steps)


def test_the_next_decode_does_not_wait_for_an_upload(samples: dict[str, bytes]) -> None:
    async def steps(store: RecordingStore, engine: GatedEngine, events: list[str]) -> None:
        store.slow["a"] = asyncio.Event()
        engine.allow("a")
        await until(lambda: "decode b" in events and "PUT a" in events)
        engine.allow("b")
        await until(lambda: "end b" in events)
        assert "HEAD a" not in events
        store.slow["a"].set()

    processed(samples["chelsea.png"], steps)


def test_the_look_starts_when_the_uploads_of_its_record_end(samples: dict[str, bytes]) -> None:
    async def steps(store: RecordingStore, engine: GatedEngine, events: list[str]) -> None:
        store.slow["a/y.png"] = asyncio.Event()
        engine.allow("a")
        await until(lambda: {"PUT a/x.png", "PUT a/y.png", "decode b"} <= set(events))
        assert "HEAD a" not in events
        store.slow["a/y.png"].set()
        await until(lambda: "HEAD a" in events)
        assert "PUT b/x.png" not in events

    processed(samples["chelsea.png"], steps, RENDITIONS="x=4x4,y=5x5")
