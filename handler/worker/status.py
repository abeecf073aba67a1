"""The worker's HTTP port: /metrics, /healthz, /readyz."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from handler.worker.sqs import Queue, QueueError
from thumbnailer.app import App
from thumbnailer.errors import ObjectMissing, SettingsError, StoreDenied, StoreError
from thumbnailer.reporting.logs import LOGGER
from thumbnailer.settings import Settings

HOST: Final = "0.0.0.0"  # noqa: S104  # nosec B104  # a container is scraped from outside
READY_SECONDS: Final = 5.0
PROBE_KEY: Final = ".thumbnailer-ready"
"""This object need not exist: the probe asks whether S3 answers for the bucket."""


class Health:
    """Each check returns the problem, or None."""

    def __init__(self, app: App, queue: Queue) -> None:
        self._app = app
        self._queue = queue
        self._probe: asyncio.Task[bool] | None = None
        self._probe_at = 0.0

    async def live(self) -> str | None:
        """Any answer shows that the loop runs, but the loop cannot see stuck decoder threads."""
        stuck = self._app.pipeline.stuck
        return f"{stuck} decoders are stuck" if stuck >= self._app.tier.workers else None

    async def ready(self) -> str | None:
        """The queue must answer, and so must the buckets in THUMBNAILER_SOURCES and their destinations.

        Probes cost requests, so one serves for READY_SECONDS. The log alone has the details.
        """
        now = asyncio.get_running_loop().time()
        if self._probe is None or now >= self._probe_at + READY_SECONDS:
            self._probe, self._probe_at = asyncio.create_task(self._all_answer()), now
        return None if await asyncio.shield(self._probe) else "the queue or a bucket does not answer; see the log"

    async def _all_answer(self) -> bool:
        try:
            await self._queue.state()
            await asyncio.gather(*map(self._ask, named_buckets(self._app.settings)))
        except (QueueError, StoreError) as error:
            LOGGER.warning("not-ready", extra={"line": {"detail": str(error)}})
            return False
        return True

    async def _ask(self, bucket: str) -> None:
        """Raises StoreError. A denied read is an answer: reading and writing objects are other permissions."""
        with suppress(ObjectMissing, StoreDenied):
            async with self._app.store.open(bucket, PROBE_KEY):
                pass


def named_buckets(settings: Settings) -> list[str]:
    """The buckets known before any event: the sources that are no globs, and their destinations."""
    sources = [bucket for bucket in settings.sources if not set(bucket) & set("*?[")]
    fixed = [] if "{bucket}" in settings.destination else [settings.destination]
    return list(dict.fromkeys([*sources, *map(settings.destination_bucket, sources), *fixed]))


@asynccontextmanager
async def serve_status(port: int, registry: CollectorRegistry, health: Health) -> AsyncIterator[int]:
    """Serves on `port`, or on a free one for 0. Yields the port. Raises SettingsError if it cannot be used."""
    app = web.Application()
    app.router.add_get("/metrics", lambda request: _metrics(request, registry))
    app.router.add_get("/healthz", lambda _: _check(health.live()))
    app.router.add_get("/readyz", lambda _: _check(health.ready()))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError as error:
            problem = os.strerror(error.errno or 0)
            raise SettingsError(f"THUMBNAILER_PORT={port} cannot be used: {problem}; 0 takes any free port") from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _metrics(request: web.Request, registry: CollectorRegistry) -> web.Response:
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(registry), headers={"Content-Type": content_type})


async def _check(check: Awaitable[str | None]) -> web.Response:
    problem = await check
    return web.Response(text=problem or "ok\n", status=503 if problem else 200)
