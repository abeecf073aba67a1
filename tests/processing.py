"""One object through the real pipeline, with a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from thumbnailer.app import build, new_event_loop
from thumbnailer.model import EventKind, ObjectEvent, Outcome
from thumbnailer.objects import ObjectHeaders, PutHeaders
from thumbnailer.settings import Machine, parse_settings
from thumbnailer.store.memory import MemoryStore


@dataclass(frozen=True, slots=True)
class Processed:
    outcome: Outcome
    thumbnails: tuple[bytes, ...]
    headers: tuple[ObjectHeaders, ...]


def process(data: bytes, memory_mb: int = 3008, key: str = "x", **settings: str) -> Processed:
    """What becomes of an object with these bytes on a Lambda of that size; settings without THUMBNAILER_."""

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


async def stored_objects(store: MemoryStore, outcomes: Iterable[Outcome]) -> dict[str, bytes]:
    """The thumbnails by their keys."""
    outputs = [output for outcome in outcomes for output in outcome.outputs]
    return {output.key: (await _read(store, output.bucket, output.key))[0] for output in outputs}


async def _read(store: MemoryStore, bucket: str, key: str) -> tuple[bytes, ObjectHeaders]:
    async with store.open(bucket, key) as body:
        return b"".join([bytes(chunk) async for chunk in body.chunks()]), body.headers
