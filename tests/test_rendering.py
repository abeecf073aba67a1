"""Fetch and render without the pipeline around it: encoded pictures out, nothing written."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import pytest

from tests.support.pipelines import built, created, read, run, settings, store_with
from thumbnailer.engine import installed_engines, load_engine
from thumbnailer.errors import (
    AccessDenied,
    Gone,
    NotAnImage,
    RecordError,
    SourceUnavailable,
    StoreDenied,
    StoreUnavailable,
)
from thumbnailer.execution.decoder import Decoder
from thumbnailer.planning.tier import tier_for
from thumbnailer.rendering import Refused, Rendered, Renderer
from thumbnailer.store.memory import MemoryStore
from thumbnailer.trace import Trace

RENDITIONS = "a=128x128,b=64x64:cover:webp"
KEYS = ["rocket.jpg", "chelsea.png"]


class RecordingStore(MemoryStore):
    def __init__(self, source: MemoryStore, error: Exception | None = None) -> None:
        super().__init__()
        self._objects = source._objects
        self.requests: list[str] = []
        self._error = error

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> Any:
        self.requests.append("GET")
        if self._error:
            raise self._error
        async with super().open(bucket, key) as body:
            yield body

    async def head(self, *_: Any) -> Any:
        self.requests.append("HEAD")

    async def put(self, *_: Any) -> None:
        self.requests.append("PUT")

    async def delete(self, *_: Any) -> None:
        self.requests.append("DELETE")


def renderer(store: MemoryStore) -> Renderer:
    return Renderer(tier_for(3008), store, installed_engines(), cache(load_engine))


@pytest.mark.parametrize("key", KEYS)
def test_rendering_sends_one_get_and_returns_the_bytes_that_the_pipeline_stores(
    samples: dict[str, bytes], key: str
) -> None:
    async def work() -> None:
        stored = await store_with({key: samples[key]})
        app = built(stored, RENDITIONS=RENDITIONS)
        outcome = await app.pipeline.process(created(key))
        await app.pipeline.aclose()
        store = RecordingStore(stored)
        rendering, trace = renderer(store), Trace(created(key))
        result = await rendering.render(created(key), settings(RENDITIONS=RENDITIONS), trace)
        await rendering.decoder.aclose()
        assert store.requests == ["GET"]
        assert isinstance(result, Rendered)
        assert result.rendering.pictures == tuple([await read(stored, output.key) for output in outcome.outputs])
        assert [target.key for target in result.plan.targets] == [output.key for output in outcome.outputs]
        assert result.version == await stored.head("photos", key)
        assert (trace.bytes_in, trace.info, trace.engine) == (outcome.bytes_in, outcome.info, outcome.engine)
        assert rendering.memory.reserved == 0

    run(work())


def test_each_call_may_ask_for_other_renditions(samples: dict[str, bytes]) -> None:
    async def work() -> None:
        event = created("rocket.jpg")
        rendering = renderer(await store_with({"rocket.jpg": samples["rocket.jpg"]}))
        sides = []
        for wish in ("64x64", "32x32"):
            result = await rendering.render(event, settings(RENDITIONS=wish), Trace(event))
            assert isinstance(result, Rendered)
            sides.append(max(result.plan.targets[0].width, result.plan.targets[0].height))
        await rendering.decoder.aclose()
        assert sides == [64, 32]

    run(work())


def refusal(objects: dict[str, bytes], error: Exception | None = None) -> tuple[type[RecordError], bool]:
    """The error that refuses `x`, and whether an object was found."""

    async def work() -> tuple[type[RecordError], bool]:
        store = RecordingStore(await store_with(objects), error)
        rendering = renderer(store)
        try:
            result = await rendering.render(created("x"), settings(), Trace(created("x")))
        finally:
            await rendering.decoder.aclose()
        assert isinstance(result, Refused)
        return type(result.error), result.version is not None

    return run(work())


def test_a_source_without_a_thumbnail_is_a_value() -> None:
    assert refusal({}) == (Gone, False)
    assert refusal({"x": b"only text"}) == (NotAnImage, True)
    assert refusal({"x": b""}, StoreDenied("403")) == (AccessDenied, False)


def test_a_passing_failure_is_raised() -> None:
    with pytest.raises(SourceUnavailable):
        refusal({}, StoreUnavailable("503"))


def test_a_deadline_of_the_caller_ends_the_rendering(samples: dict[str, bytes]) -> None:
    async def work() -> None:
        rendering = renderer(await store_with({"x": samples["rocket.jpg"]}))

        class Never(Decoder):
            async def render(self, *_: Any) -> Any:
                await asyncio.Event().wait()

        rendering.decoder = Never(tier_for(3008), rendering.memory, load_engine)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await rendering.render(created("x"), settings(), Trace(created("x")))
        await rendering.decoder.aclose()

    run(work())
