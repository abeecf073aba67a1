"""`thumbnailer serve`: pictures of a folder or of buckets over HTTP, in one process or several."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter
from typing import Any, Final, TypeVar

from aiohttp import web

from handler.http.messages import HttpAnswer, HttpRequest
from handler.http.page import Page
from handler.http.service import Service, make_site
from thumbnailer import settings as settings_
from thumbnailer.app import App, build, new_event_loop
from thumbnailer.errors import SettingsError
from thumbnailer.execution.malloc import tame_heap
from thumbnailer.machine import Machine, machine
from thumbnailer.reporting.logs import LOGGER, start_logging
from thumbnailer.settings import Settings
from thumbnailer.store.folder import FolderStore

FOLDER: Final = "folder"
"""The name of the only bucket when a folder is served."""
Address = tuple[str, int, bool]
"""Host, port, and whether other processes listen there too."""
T = TypeVar("T", bound=web.StreamResponse)
CLOSING_SECONDS: Final = 5.0
REQUEST_SECONDS: Final = 10.0
"""From a connection, or the end of an answer's time, to a whole request."""
ANSWER_SECONDS: Final = 60.0
"""From an answer to the next request."""
IDLE_SECONDS: Final = 15.0
_TIMES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
MOST_KEPT: Final = 32 * 1024 * 1024
"""Bytes that the heap keeps for the next picture; more is no threshold for glibc. Clearing new pages takes a tenth of a
picture's CPU."""


def serve(source: str | None, host: str, port: int, processes: int, page: bool) -> None:
    """Serves until SIGTERM or SIGINT. `source` is a folder, s3://bucket, or None for THUMBNAILER_SOURCES.

    Raises SettingsError.
    """
    settings = _settings(source)
    start_logging(settings.log_level)
    folder = None if source is None or source.startswith("s3://") else Path(source)
    if page and folder is None:
        raise SettingsError("--page shows the pictures of a folder; serve a folder")
    share = _share(machine(), processes)
    address = host, _free_port(host, port), processes > 1

    def run() -> None:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_serve(settings, share, address, folder, page))

    if processes == 1:
        run()
    else:
        with TemporaryDirectory(prefix="thumbnailer-metrics-") as metrics:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics  # before its first import
            _run_many(run, processes)


def _free_port(host: str, port: int) -> int:
    """The port, or any free one for 0. Processes share it later, and would share it with another program's too."""
    try:
        with socket.create_server((host, port)) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}, port {port}: {error.strerror}. Choose another --port."
        ) from error


def _settings(source: str | None) -> Settings:
    settings = settings_.load()
    if source is not None and source.startswith("s3://"):
        settings = replace(settings, sources=(source.removeprefix("s3://").rstrip("/"),))
    elif source is not None:
        if not Path(source).is_dir():
            raise SettingsError(f"{source} is no folder; serve takes a folder or s3://bucket")
        settings = replace(settings, sources=(FOLDER,), any_prefix="")
    if not settings.sources:
        raise SettingsError("serve needs a folder, s3://bucket, or THUMBNAILER_SOURCES: nothing else can be reached")
    return settings


def _share(whole: Machine, processes: int) -> Machine:
    """One process's part of the machine."""
    return replace(whole, memory_mb=whole.memory_mb // processes, cpus=(whole.cpus or os.cpu_count() or 1) / processes)


def _run_many(run: Callable[[], None], processes: int) -> None:
    """Forks before any thread exists. Passes signals on, and ends with the first process that ends."""
    children = []
    for _ in range(processes):
        child = os.fork()
        if child == 0:
            run()
            os._exit(0)
        children.append(child)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _end(children))
    os.wait()
    _end(children)
    for _ in children[1:]:
        os.wait()  # they still write metrics


def _end(children: list[int]) -> None:
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)


async def _serve(settings: Settings, share: Machine, address: Address, folder: Path | None, page: bool) -> None:
    store = FolderStore(str(folder), FOLDER) if folder else None
    app = build(settings, share, settings_.environment(), store)
    tame_heap(min(MOST_KEPT, app.tier.most_kept_free))
    try:
        async with listening(app, address, Page(folder) if page and folder else None):
            LOGGER.info("serving", extra={"line": {"url": f"http://{address[0]}:{address[1]}/"}})
            await _stopped()
    finally:
        await app.pipeline.aclose()


@asynccontextmanager
async def listening(app: App, address: Address, page: Page | None = None) -> AsyncIterator[None]:
    """Answers requests within the block."""
    loop, door = asyncio.get_running_loop(), web.Server(Door(app, page))
    options = {"access_log": None, "keepalive_timeout": IDLE_SECONDS}
    connect = partial(_Connection, door, loop=loop, **options)  # type: ignore[arg-type]
    server = await loop.create_server(connect, *address[:2], reuse_port=address[2])
    try:
        yield
    finally:
        server.close()
        await door.shutdown(CLOSING_SECONDS)


async def _stopped() -> None:
    """Returns at SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


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
        """Imports prometheus_client, which then looks whether this process is one of several."""
        from prometheus_client import CollectorRegistry, Counter, Histogram

        from handler.health import Health, health_answer, metrics_answer, named_sources

        self._page = page
        self._service = Service(app, make_site(app.settings))
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "thumbnailer_requests", "requests by the status of their answers", ("status",), registry=registry
        )
        self._seconds = Histogram(
            "thumbnailer_request_seconds", "from a request to its answer", buckets=_TIMES, registry=registry
        )
        shared = Counter("thumbnailer_flights_shared", "requests that waited for another's picture", registry=registry)
        self._service.shared = shared.inc
        health = Health(app, named_sources(app.settings))
        self._own: dict[str, Callable[[web.BaseRequest], Awaitable[web.Response]]] = {
            "/metrics": lambda request: metrics_answer(request, registry),
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


def _response(answer: HttpAnswer) -> web.Response:
    return _without_versions(web.Response(status=answer.status, headers=answer.headers, body=answer.body or None))


def _without_versions(response: T) -> T:
    response.headers["Server"] = "thumbnailer"
    return response
