"""The worker's HTTP port: /metrics, /healthz, /readyz."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from handler.health import Health, health_answer, metrics_answer, named_sources
from thumbnailer.errors import SettingsError
from thumbnailer.settings import Settings

HOST: Final = "0.0.0.0"  # noqa: S104  # nosec B104  # a container is scraped from outside


def named_buckets(settings: Settings) -> list[str]:
    """The buckets known before any event: the sources that are no globs, and their destinations."""
    sources = named_sources(settings)
    fixed = [] if "{bucket}" in settings.destination else [settings.destination]
    return list(dict.fromkeys([*sources, *map(settings.destination_bucket, sources), *fixed]))


@asynccontextmanager
async def serve_status(port: int, registry: CollectorRegistry, health: Health) -> AsyncIterator[int]:
    """Serves on `port`, or on a free one for 0. Yields the port. Raises SettingsError if it cannot be used."""
    app = web.Application()
    app.router.add_get("/metrics", lambda request: metrics_answer(request, registry))
    app.router.add_get("/healthz", lambda _: health_answer(health.live()))
    app.router.add_get("/readyz", lambda _: health_answer(health.ready()))
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
