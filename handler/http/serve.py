"""`thumbnailer serve`: pictures of a folder or of buckets over HTTP, in one process or several."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Final, NamedTuple

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder

from handler.http.messages import HttpAnswer, HttpRequest
from handler.http.page import FolderPage
from handler.http.service import Page, Service, make_page, make_site
from thumbnailer import settings as settings_
from thumbnailer.app import App, build, new_event_loop
from thumbnailer.errors import SettingsError
from thumbnailer.machine import Machine, machine
from thumbnailer.reporting.logs import LOGGER, start_logging
from thumbnailer.settings import Settings
from thumbnailer.store.folder import FolderStore

FOLDER: Final = "folder"
"""The name of the only bucket when a folder is served."""
CLOSING_SECONDS: Final = 5.0
REQUEST_SECONDS: Final = 10.0
"""From a connection, or the end of an answer's time, to a whole request."""
ANSWER_SECONDS: Final = 60.0
"""From an answer to the next request."""
IDLE_SECONDS: Final = 15.0
_TIMES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Address(NamedTuple):
    """`shared`: other processes listen there too."""

    host: str
    port: int
    shared: bool


def serve(source: str | None, host: str, port: int, processes: int, page: bool) -> None:
    """Serves until SIGTERM or SIGINT. `source` is a folder, s3://bucket, or None for THUMBNAILER_SOURCES.

    Raises SettingsError.
    """
    settings = _settings(source)
    start_logging(settings.log_level)
    settings = replace(settings, page=settings.page or page)
    folder = None if source is None or source.startswith("s3://") else Path(source)
    share = _share(machine(), processes)
    address = Address(host, _free_port(host, port), shared=processes > 1)

    def run() -> None:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_serve(settings, share, address, folder))

    if processes == 1:
        run()
    else:
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


def _end(children: list[int]) -> None:
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)


async def _serve(settings: Settings, share: Machine, address: Address, folder: Path | None) -> None:
    store = FolderStore(str(folder), FOLDER) if folder else None
    app = build(settings, share, settings_.environment(), store)
    try:
        page = FolderPage(folder) if settings.page and folder else make_page(app)
        async with listening(app, address, page):
            LOGGER.info("serving", extra={"line": {"url": f"http://{address.host}:{address.port}/"}})
            await _stopped()
    finally:
        await app.pipeline.aclose()


@asynccontextmanager
async def listening(app: App, address: Address, page: Page | None = None) -> AsyncIterator[None]:
    """Answers requests within the block."""
    loop, door = asyncio.get_running_loop(), web.Server(Door(app, page))
    options = {"access_log": None, "keepalive_timeout": IDLE_SECONDS}
    connect = partial(_Connection, door, loop=loop, **options)  # type: ignore[arg-type]
    server = await loop.create_server(connect, address.host, address.port, reuse_port=address.shared)
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
    """Closes a connection whose client takes too long to send a request or to read its answer."""

    _timer: asyncio.TimerHandle | None = None

    def allow(self, seconds: float | None) -> None:
        """Until the next call; None: without limit."""
        if self._timer:
            self._timer.cancel()
        self._timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self._abort)

    def _abort(self) -> None:
        """Drops unsent bytes too: the client may never read them."""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.allow(REQUEST_SECONDS)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.allow(None)
        super().connection_lost(exc)


class Door:
    """One aiohttp request after the other. Three paths are the server's own: /metrics, /healthz and /readyz."""

    def __init__(self, app: App, page: Page | None) -> None:
        self._app = app
        self._service = Service(app, make_site(app.settings), page=page)
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "thumbnailer_requests", "requests by the status of their answers", ("status",), registry=self._registry
        )
        self._seconds = Histogram(
            "thumbnailer_request_seconds", "from a request to its answer", buckets=_TIMES, registry=self._registry
        )
        self._own: dict[str, Callable[[web.BaseRequest], Awaitable[web.Response]]] = {
            "/metrics": self._metrics, "/healthz": self._health, "/readyz": self._health,
        }  # fmt: skip

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        if own := self._own.get(path):
            return await own(request)
        connection = request.protocol
        assert isinstance(connection, _Connection)
        connection.allow(None)
        started = perf_counter()
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = await self._service.answer(HttpRequest(request.method, path, query, headers))
        self._requests.labels(status=answer.status).inc()
        self._seconds.observe(perf_counter() - started)
        connection.allow(ANSWER_SECONDS)
        return _response(answer)

    async def _metrics(self, request: web.BaseRequest) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    async def _health(self, _: web.BaseRequest) -> web.Response:
        """A loop that runs answers; it cannot see stuck decoder threads."""
        stuck = self._app.pipeline.stuck >= self._app.tier.workers
        return web.Response(text="every decoder is stuck\n" if stuck else "ok\n", status=503 if stuck else 200)


def _response(answer: HttpAnswer) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body or None)
