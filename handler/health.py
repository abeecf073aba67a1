"""/metrics, /healthz and /readyz of the worker and of `thumbnailer serve`."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from thumbnailer.app import App
from thumbnailer.errors import ObjectMissing, StoreDenied, ThumbnailerError
from thumbnailer.reporting.logs import LOGGER
from thumbnailer.settings import Settings

READY_SECONDS: Final = 5.0
PROBE_KEY: Final = ".thumbnailer-ready"
"""This object need not exist: the probe asks whether S3 answers for the bucket."""


class Health:
    """Each check returns the problem, or None. Ready: `buckets` answer, and `ask` raise no ThumbnailerError."""

    def __init__(self, app: App, buckets: Sequence[str], *ask: Callable[[], Awaitable[object]]) -> None:
        self._app = app
        self._buckets = buckets
        self._others = ask
        self._probe: asyncio.Task[bool] | None = None
        self._probe_at = 0.0

    async def live(self) -> str | None:
        """Any answer shows that the loop runs, but the loop cannot see stuck decoder threads."""
        stuck = self._app.pipeline.stuck
        return f"{stuck} decoders are stuck" if stuck >= self._app.tier.workers else None

    async def ready(self) -> str | None:
        """Probes cost requests, so one serves for READY_SECONDS. The log alone has the details."""
        now = asyncio.get_running_loop().time()
        if self._probe is None or now >= self._probe_at + READY_SECONDS:
            self._probe, self._probe_at = asyncio.create_task(self._all_answer()), now
        return None if await asyncio.shield(self._probe) else "a bucket or the queue does not answer; see the log"

    async def _all_answer(self) -> bool:
        try:
            await asyncio.gather(*(ask() for ask in self._others), *map(self._ask, self._buckets))
        except ThumbnailerError as error:
            LOGGER.warning("not-ready", extra={"line": {"detail": str(error)}})
            return False
        return True

    async def _ask(self, bucket: str) -> None:
        """Raises StoreError. A denied read is an answer: reading and writing objects are other permissions."""
        with suppress(ObjectMissing, StoreDenied):
            async with self._app.store.open(bucket, PROBE_KEY):
                pass


def named_sources(settings: Settings) -> list[str]:
    """The sources that are no globs."""
    return [bucket for bucket in settings.sources if not set(bucket) & set("*?[")]


async def metrics_answer(request: web.BaseRequest, registry: CollectorRegistry) -> web.Response:
    """Sums over the processes that share a folder of metrics, if this process is one of several."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(registry), headers={"Content-Type": content_type})


async def health_answer(check: Awaitable[str | None]) -> web.Response:
    problem = await check
    return web.Response(text=problem or "ok\n", status=503 if problem else 200)
