"""Plans one picture, or processes one object by the real pipeline with a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from thumbnailer.app import build, new_event_loop
from thumbnailer.engine import installed_engines
from thumbnailer.formats import probe
from thumbnailer.machine import Machine
from thumbnailer.model import EngineName, EventKind, ObjectEvent, Outcome
from thumbnailer.planning.capabilities import BOTH_ENGINES, engines_for
from thumbnailer.planning.plan import Plan, make_plan
from thumbnailer.planning.tier import tier_for
from thumbnailer.settings import parse_settings
from thumbnailer.store.base import ObjectHeaders, PutHeaders
from thumbnailer.store.memory import MemoryStore

LAMBDA_MB = 3008
EVERY_ENGINE = pytest.mark.parametrize("engine", EngineName, indirect=True)
"""For tests of JPEGs: the fixture `engine` gives the compiled engine too, where it is built."""


@dataclass(frozen=True, slots=True)
class Processed:
    outcome: Outcome
    thumbnails: tuple[bytes, ...]
    headers: tuple[ObjectHeaders, ...]


def planned(data: bytes, engine: str = "auto", renditions: str = "128x128", **settings: str) -> Plan:
    """The plan of a picture on a Lambda; settings without THUMBNAILER_. Raises as `probe` and `make_plan` do."""
    values = {"ENGINE": engine, "RENDITIONS": renditions, **settings}
    chosen = parse_settings({f"THUMBNAILER_{name}": value for name, value in values.items()})
    headers = ObjectHeaders(len(data), "e", None, None, None, None, None, {})
    event = ObjectEvent(EventKind.CREATED, "photos", "x")
    return make_plan(event, probe(data, len(data)), headers, chosen, tier_for(LAMBDA_MB), installed_engines())


def process(data: bytes, memory_mb: int = LAMBDA_MB, key: str = "x", **settings: str) -> Processed:
    """The outcome of an object on a Lambda of that size; settings without THUMBNAILER_."""

    async def work() -> Processed:
        store = MemoryStore("photos", "photos-resized")
        await store.put("photos", key, data, PutHeaders("image/jpeg"))
        chosen = parse_settings({f"THUMBNAILER_{name}": value for name, value in settings.items()})
        pipeline = build(chosen, Machine(memory_mb, None), {}, store).pipeline
        outcome = await pipeline.process(ObjectEvent(EventKind.CREATED, "photos", key))
        await pipeline.aclose()
        stored = [await _read(store, output.bucket, output.key) for output in outcome.outputs]
        return Processed(outcome, tuple(body for body, _ in stored), tuple(headers for _, headers in stored))

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work())


def process_by(engine: EngineName, data: bytes, key: str = "x", **settings: str) -> Processed:
    """Processes with the engine that the plan names first. Fails if the other engine had to repair its result."""
    made = process(data, LAMBDA_MB, key, ENGINE=engine, **settings)
    info = made.outcome.info
    if info is not None and made.outcome.outputs:
        written = frozenset(output.format for output in made.outcome.outputs)
        planned = engines_for(info, 1, written, engine if engine in BOTH_ENGINES else None, installed_engines())[0]
        assert made.outcome.engine in (planned, engine), f"{info.format} was read by {made.outcome.engine}"
    return made


async def stored_objects(store: MemoryStore, outcomes: Iterable[Outcome]) -> dict[str, bytes]:
    """The thumbnails by their keys."""
    outputs = [output for outcome in outcomes for output in outcome.outputs]
    return {output.key: (await _read(store, output.bucket, output.key))[0] for output in outputs}


async def _read(store: MemoryStore, bucket: str, key: str) -> tuple[bytes, ObjectHeaders]:
    async with store.open(bucket, key) as body:
        return b"".join([bytes(chunk) async for chunk in body.chunks()]), body.headers
