"""`thumbnailer serve`: pictures of a folder or of buckets over HTTP, in one process or several."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from handler.http.page import Page
from thumbnailer import settings as settings_
from thumbnailer.app import build, new_event_loop
from thumbnailer.errors import SettingsError
from thumbnailer.execution.malloc import tame_heap
from thumbnailer.machine import Machine, machine
from thumbnailer.reporting.logs import LOGGER, start_logging
from thumbnailer.settings import Settings
from thumbnailer.store.folder import FolderStore

FOLDER: Final = "folder"
"""The name of the only bucket when a folder is served."""
MOST_KEPT: Final = 32 * 1024 * 1024
"""Bytes that the heap keeps for the next picture; more is no threshold for glibc. Clearing new pages takes a tenth of a
picture's CPU."""


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
    folder = None if source is None or source.startswith("s3://") else Path(source)
    if page and folder is None:
        raise SettingsError("--page shows the pictures of a folder; serve a folder")
    share = _share(machine(), processes)
    address = Address(host, _free_port(host, port), shared=processes > 1)

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
    with suppress(ChildProcessError):
        while True:
            os.wait()  # until then, they write metrics


def _end(children: list[int]) -> None:
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)


async def _serve(settings: Settings, share: Machine, address: Address, folder: Path | None, page: bool) -> None:
    from handler.http.door import listening  # now: each process has its own file of metrics

    store = FolderStore(str(folder), FOLDER) if folder else None
    app = build(settings, share, settings_.environment(), store)
    tame_heap(min(MOST_KEPT, app.tier.most_kept_free))
    try:
        async with listening(app, *address, Page(folder) if page and folder else None):
            LOGGER.info("serving", extra={"line": {"url": f"http://{address.host}:{address.port}/"}})
            await _stopped()
    finally:
        await app.pipeline.aclose()


async def _stopped() -> None:
    """Returns at SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
