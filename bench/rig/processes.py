"""Background programs of a measurement: each on its own core if possible, none outlives the measurement."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from thumbnailer.errors import ThumbnailerError

ROOT: Final = Path(__file__).parents[2]
START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 5.0
ENDS_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL")
"""Linux kills the program with the thread that started it, even if that thread is killed (util-linux)."""


class NotStarted(ThumbnailerError):
    """A background program is not installed or does not start."""


class Program:
    """A running program. Its output goes to a file, so it never waits for a reader."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self._name = name
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def output(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")  # keeps the program's file position

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Raises NotStarted, with the program's output, if the program ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if ready() and self._process.poll() is None:
                return
            time.sleep(0.01)
        self.stop()
        raise NotStarted(f"{self._name} does not start: {self.output().strip()[-500:] or 'it has no output'}")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def background(
    name: str,
    command: Sequence[str],
    core: int | None,
    env: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    output: Path | None = None,
) -> Iterator[Program]:
    """A running program that ends with the calling thread. Raises NotStarted for a core this process may not use.

    The program has a session of its own: Ctrl-C does not end it before its user.
    """
    if core is not None and core not in os.sched_getaffinity(0):
        raise NotStarted(f"core {core} cannot be used; there are {sorted(os.sched_getaffinity(0))}")
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    with output.open("w+b") if output else tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603
            [*ENDS_WITH_US, *pinned, *command],
            cwd=folder,
            env=dict(os.environ if env is None else env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        program = Program(name, process, log)
        try:
            yield program
        finally:
            program.stop()


@contextmanager
def own_server(name: str, module: str, core: int | None, *arguments: str) -> Iterator[str]:
    """The URL of a module of the bench that ends in `serve`, running in a process of its own. Raises NotStarted."""
    with background(name, [sys.executable, "-m", module, *arguments], core) as program:
        program.wait_until(lambda: program.output().startswith("http") and "\n" in program.output())
        yield program.output().splitlines()[0]


async def listen(connection: Callable[[], asyncio.Protocol]) -> tuple[asyncio.Server, str]:
    """A server on a free port of loopback, and its URL."""
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0, backlog=1024)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def serve(connection: Callable[[], asyncio.Protocol]) -> None:
    """Prints the URL and serves until the process ends."""
    server, url = await listen(connection)
    print(url, flush=True)  # noqa: T201
    await server.serve_forever()


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


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
