"""What the worker tells those who watch it, over HTTP: /metrics, /healthz, /readyz."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

Check = Callable[[], Awaitable[str | None]]
"""What is wrong, or None."""
HOST: Final = "0.0.0.0"  # noqa: S104  # a container is scraped from outside; it serves nothing but its own numbers


@asynccontextmanager
async def served(port: int, registry: CollectorRegistry, live: Check, ready: Check) -> AsyncIterator[int]:
    """Serves on that port, or on a free one for 0; gives the port. It answers as long as the loop turns."""
    app = web.Application()
    app.router.add_get("/metrics", lambda request: _metrics(request, registry))
    app.router.add_get("/healthz", lambda _: _checked(live))
    app.router.add_get("/readyz", lambda _: _checked(ready))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _metrics(request: web.Request, registry: CollectorRegistry) -> web.Response:
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(registry), headers={"Content-Type": content_type})


async def _checked(check: Check) -> web.Response:
    wrong = await check()
    return web.Response(text=wrong or "ok\n", status=503 if wrong else 200)
