from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from tests.http.service import Bench, CountingStore
from tests.support.pipelines import built, run
from thumbnailer.store.base import PutHeaders

ANY: dict[str, Any] = {"SOURCES": "photos", "OPEN": "on"}


@pytest.fixture
def serving(samples: dict[str, bytes]) -> Callable[..., None]:
    """Runs a test's coroutine with a bench of these settings and objects."""

    def run_with(
        test: Callable[[Bench], Coroutine[Any, Any, None]], objects: Mapping[str, bytes] = {}, **env: str
    ) -> None:
        async def work() -> None:
            store = CountingStore()
            for key, data in {**samples, **objects}.items():
                await store.put("photos", key, data, PutHeaders("image/jpeg"))
            app = built(store, **(ANY | env))
            try:
                await test(Bench(app, store))
                assert app.pipeline.renderer.memory.reserved == 0
            finally:
                await app.pipeline.aclose()

        run(work())

    return run_with
