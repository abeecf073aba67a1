"""Programs and servers of a measurement; none outlives it."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvloop

from thumbnailer.errors import ThumbnailerError

ROOT: Final = Path(__file__).parents[2]
START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 5.0
ENDS_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL")
"""Linux kills the program with the thread that started it, even if that thread is killed (util-linux)."""


class NotStarted(ThumbnailerError):
    """A program does not start."""


class NotInstalled(NotStarted):
    """Something is missing and cannot be installed."""


def find_program(name: str, advice: str = "") -> str:
    """The path of a program, next to this Python or in PATH. Raises NotInstalled with the advice."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if found is None:
        raise NotInstalled(f"{name} is not installed{advice and f': {advice}'}")
    return found


@contextmanager
def background(
    name: str,
    command: Sequence[str],
    ready: Callable[[], bool],
    env: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    output: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ready, keeps to the cores of the calling thread and ends with it. Raises NotStarted.

    The program has a session of its own: Ctrl-C does not end it before its user. Its output goes to a file, so it never
    waits for a reader.
    """
    with output.open("w+b") if output else tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603
            [*ENDS_WITH_US, *command],
            cwd=folder,
            env=env,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            if not _becomes_ready(process, ready):
                _stop(process)
                text = os.pread(log.fileno(), os.fstat(log.fileno()).st_size, 0).decode(errors="replace").strip()
                raise NotStarted(f"{name} does not start: {text[-500:] or 'it has no output'}")
            yield process
        finally:
            _stop(process)


def _becomes_ready(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if ready() and process.poll() is None:
            return True
        time.sleep(0.01)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def serve(
    connection: Callable[[], asyncio.Protocol], close: Callable[[], Awaitable[None]] | None = None
) -> Iterator[tuple[str, asyncio.AbstractEventLoop]]:
    """A server on a free port of loopback, in a thread of this process: its URL and its loop."""
    started: Future[tuple[str, asyncio.AbstractEventLoop]] = Future()
    stopping = asyncio.Event()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(connection, "127.0.0.1", 0, backlog=1024)
        started.set_result((f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", loop))
        await stopping.wait()
        server.close()
        if close:
            await close()

    thread = threading.Thread(target=lambda: uvloop.run(run()), name="server", daemon=True)
    thread.start()
    url, loop = started.result(START_SECONDS)
    try:
        yield url, loop
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(START_SECONDS)


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def listens(port: int) -> bool:
    """True if a server on loopback takes connections at that port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def cache() -> Path:
    """The folder for pictures and packages: in XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thumbnailer-bench"


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, filled by `make` unless it exists; an interrupted `make` leaves nothing."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as scratch:
            partial = Path(scratch) / folder.name
            partial.mkdir()
            make(partial)
            try:
                partial.rename(folder)
            except OSError:
                if not folder.exists():  # otherwise another process was faster
                    raise
    return folder
