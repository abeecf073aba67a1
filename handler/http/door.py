"""One aiohttp request after the other, from a connection to its answer."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from time import monotonic, perf_counter
from typing import Any, Final, TypeVar

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

from handler.health import Health, health_answer, metrics_answer, named_sources
from handler.http.messages import HttpAnswer, HttpRequest
from handler.http.page import Page
from handler.http.service import Service, make_site
from thumbnailer.app import App

T = TypeVar("T", bound=web.StreamResponse)
METRICS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client looks for this variable when it is imported."""
CLOSING_SECONDS: Final = 5.0
REQUEST_SECONDS: Final = 10.0
"""From a connection, or the end of an answer's time, to a whole request."""
ANSWER_SECONDS: Final = 60.0
"""From an answer to the next request."""
IDLE_SECONDS: Final = 15.0
_TIMES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@asynccontextmanager
async def listening(app: App, host: str, port: int, shared: bool, page: Page | None = None) -> AsyncIterator[None]:
    """Answers requests within the block. `shared`: other processes listen there too."""
    loop, door = asyncio.get_running_loop(), web.Server(Door(app, page))
    options = {"access_log": None, "keepalive_timeout": IDLE_SECONDS}
    connect = partial(_Connection, door, loop=loop, **options)  # type: ignore[arg-type]
    server = await loop.create_server(connect, host, port, reuse_port=shared)
    try:
        yield
    finally:
        server.close()
        await door.shutdown(CLOSING_SECONDS)


class _Connection(web.RequestHandler):
    """Closes a connection whose client takes too long to send a request or to read its answer.

    One timer a connection looks at the deadline, at most REQUEST_SECONDS late: a timer a request costs more CPU.
    """

    _deadline = inf
    _timer: asyncio.TimerHandle | None = None

    def allow(self, seconds: float) -> None:
        """Until the next call."""
        self._deadline = monotonic() + seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.allow(REQUEST_SECONDS)
        self._look()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._timer:
            self._timer.cancel()
        super().connection_lost(exc)

    def handle_error(self, *arguments: Any, **options: Any) -> web.StreamResponse:
        """The answer to a request that is no HTTP."""
        return _without_versions(super().handle_error(*arguments, **options))

    def _look(self) -> None:
        if monotonic() < self._deadline:
            self._timer = asyncio.get_running_loop().call_later(REQUEST_SECONDS, self._look)
        elif self.transport is not None:
            self.transport.abort()  # drops unsent bytes too: the client may never read them


class Door:
    """One aiohttp request after the other. Three paths are the server's own: /metrics, /healthz and /readyz."""

    def __init__(self, app: App, page: Page | None) -> None:
        self._page = page
        self._service = Service(app, make_site(app.settings))
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "thumbnailer_requests", "requests by the status of their answers", ("status",), registry=registry
        )
        self._seconds = Histogram(
            "thumbnailer_request_seconds", "from a request to its answer", buckets=_TIMES, registry=registry
        )
        health = Health(app, named_sources(app.settings))
        self._own: dict[str, Callable[[web.BaseRequest], Awaitable[web.Response]]] = {
            "/metrics": lambda request: metrics_answer(request, _of_all_processes(registry)),
            "/healthz": lambda _: health_answer(health.live()),
            "/readyz": lambda _: health_answer(health.ready()),
        }

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        if own := self._own.get(path):
            return _without_versions(await own(request))
        if self._page and (answer := self._page.answer(path)):
            return _response(answer)
        connection = request.protocol
        assert isinstance(connection, _Connection)
        connection.allow(inf)
        started = perf_counter()
        answer = await self._service.answer(HttpRequest(request.method, path, query, request.headers))
        self._requests.labels(answer.status).inc()
        self._seconds.observe(perf_counter() - started)
        connection.allow(ANSWER_SECONDS)
        return _response(answer)


def _of_all_processes(own: CollectorRegistry) -> CollectorRegistry:
    """The sums over the processes that share a folder of metrics, if this process shares one."""
    if METRICS_FOLDER not in os.environ:
        return own
    every = CollectorRegistry()
    MultiProcessCollector(every)  # type: ignore[no-untyped-call]
    return every


def _response(answer: HttpAnswer) -> web.Response:
    return _without_versions(web.Response(status=answer.status, headers=answer.headers, body=answer.body or None))


def _without_versions(response: T) -> T:
    response.headers["Server"] = "thumbnailer"
    return response
