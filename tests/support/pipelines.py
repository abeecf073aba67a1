"""Pipelines over a store in memory, and engines that block until the test lets them go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

from thumbnailer.app import App, build, new_event_loop
from thumbnailer.engine import Engine, Rendering, installed_engines, load_engine
from thumbnailer.machine import Machine
from thumbnailer.model import EngineName, EventKind, Format, ObjectEvent, Outcome
from thumbnailer.pipeline import Pipeline
from thumbnailer.planning.capabilities import Capability
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.tier import MB, Tier, tier_for
from thumbnailer.rendering import Renderer
from thumbnailer.settings import Settings, parse_settings
from thumbnailer.store.base import ObjectStore, PutHeaders
from thumbnailer.store.memory import MemoryStore

T = TypeVar("T")
INSTALLED = {EngineName.VIPS: Capability(Format.all(), Format.all())}


def run(work: Coroutine[Any, Any, T], seconds: float = 60) -> T:
    """Runs `work` on the product's own loop. Raises TimeoutError after `seconds`."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(asyncio.wait_for(work, seconds))


async def until(condition: Callable[..., object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def settings(**env: str) -> Settings:
    """Settings by their names without THUMBNAILER_."""
    return parse_settings({f"THUMBNAILER_{name}": value for name, value in env.items()})


def created(key: str) -> ObjectEvent:
    return ObjectEvent(EventKind.CREATED, "photos", key)


async def store_with(objects: Mapping[str, bytes]) -> MemoryStore:
    """A store whose bucket `photos` holds `objects`."""
    store = MemoryStore("photos", "photos-resized")
    for key, data in objects.items():
        await store.put("photos", key, data, PutHeaders("image/jpeg"))
    return store


async def read(store: ObjectStore, key: str, bucket: str = "photos-resized") -> bytes:
    async with store.open(bucket, key) as body:
        return b"".join([bytes(chunk) async for chunk in body.chunks()])


def reasons(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """How each key ended: `stored`, `rejected:corrupt` and so on."""
    return {o.event.key: f"{o.status}:{o.reason}" if o.reason else str(o.status) for o in outcomes}


def built(store: MemoryStore, memory_mb: int = 3008, **env: Any) -> App:
    """The product as a door builds it, over `store`."""
    return build(settings(**env), Machine(memory_mb, None), {}, store)


def real_pipeline(store: MemoryStore, tmp: str | None, tier: Tier | None = None, **env: Any) -> Pipeline:
    """A pipeline with the real engines, whose sources lie in `tmp`."""
    renderer = Renderer(tier or tier_for(3008), store, installed_engines(), cache(load_engine), tmp)
    return Pipeline(settings(**env), store, renderer)


def outcomes_in(pictures: Mapping[str, bytes], tmp: str | None, **env: Any) -> tuple[dict[str, Outcome], MemoryStore]:
    """The outcomes by key with the real engines and sources in `tmp`, and the store."""

    async def work() -> tuple[dict[str, Outcome], MemoryStore]:
        store = await store_with(pictures)
        pipe = real_pipeline(store, tmp, **env)
        outcomes = await pipe.process_all([created(key) for key in pictures])
        await pipe.aclose()
        assert pipe.renderer.memory.reserved == 0
        return {outcome.event.key: outcome for outcome in outcomes}, store

    return run(work())


def pipeline(store: ObjectStore, engine: Engine, tier: Tier, tmp: str | None = None, **env: str) -> Pipeline:
    """A pipeline with this one engine."""
    return Pipeline(settings(**env), store, Renderer(tier, store, INSTALLED, lambda _: engine, tmp))


def rendering(plan: Plan) -> Rendering:
    return Rendering(EngineName.VIPS, tuple(b"picture" for _ in plan.targets), "", 0.0, 0.0)


class CountingEngine:
    """Holds every picture until `let_go`; counts the pictures and the estimated bytes it holds at once."""

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
        return rendering(plan)


class HangingEngine:
    """Hangs on keys that begin with `hang` until `let_go`, without the GIL; returns at once for other keys."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def render(self, path: str, plan: Plan) -> Rendering:
        if plan.event.key.startswith("hang"):
            self.let_go.wait(60)
        return rendering(plan)


async def pipeline_with_stuck_decodes(data: bytes, workers: int, stuck: int) -> tuple[Pipeline, HangingEngine]:
    """A pipeline after `stuck` records whose decodes did not end; its source bucket has `hang-N` and `good-N`."""
    engine = HangingEngine()
    store = await store_with({f"{kind}-{number}": data for kind in ("hang", "good") for number in range(9)})
    tier = replace(tier_for(1769), workers=workers, in_flight=20, memory_budget=100 * MB)
    pipe = pipeline(store, engine, tier)
    deadline = asyncio.get_running_loop().time() + 0.4
    outcomes = await asyncio.gather(*(pipe.process(created(f"hang-{number}"), deadline) for number in range(stuck)))
    assert {outcome.reason for outcome in outcomes} <= {"out-of-time"}
    return pipe, engine
