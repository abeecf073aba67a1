"""Decodes pictures in child processes: a picture that crashes its decoder, or takes it over, reaches nothing else.

The standard library's process pools need /dev/shm, which Lambda has not, and unpickle what their processes send.
"""

import asyncio
import os
import pickle
import resource
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from contextlib import ExitStack, suppress
from functools import cache
from math import ceil
from tempfile import gettempdir
from typing import Final

from thumbnailer.engine import Rendering
from thumbnailer.errors import Corrupt, CrashesEngine, EngineCrash, RecordError, UnsupportedFormat
from thumbnailer.execution.attempt import LENGTH_BYTES, MOST_HEADER_BYTES, Attempt, most_reply_bytes, unpack_reply
from thumbnailer.execution.child import MOST_FILE_BYTES, READY_BYTES
from thumbnailer.execution.sandbox import hide_memory
from thumbnailer.planning.capabilities import OUTPUTS, pixels_of_work
from thumbnailer.planning.memory import MB
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import keeps_animation
from thumbnailer.reporting.logs import LOGGER

FIXED_SECONDS: Final = 5.0
SECONDS_PER_PIXEL_READ: Final = 0.2e-6
SECONDS_PER_PIXEL_WRITTEN: Final = 5e-6
"""CPU time, several times that of the slowest formats (docs/why.md)."""
WALL_PER_CPU: Final = 10
"""Wall seconds per CPU second: a blocked decoder uses no CPU time, a decoder on a busy machine gets little."""
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""People and service managers send these; crashes do not."""
MOST_PRINTED: Final = 200
"""Bytes of a dead child's output that the outcome's detail quotes."""
MOST_PICTURES: Final = 200
"""A child is replaced after so many: a decoder that was taken over sees no more of them."""
PIECE_BYTES: Final = 256 * 1024
SPARE_ADDRESSES: Final = (160 + 16 * (os.cpu_count() or 1)) * MB
"""Address space beside twice the estimate and the mapped source: libraries loaded late, stacks of decoders' threads."""
KEPT_VARIABLES: Final = ("HOME", "LANG", "LC_", "LD_LIBRARY_PATH", "MALLOC_", "PATH", "PYTHON", "TMPDIR", "VIPS_")
"""Beginnings of the variables that a child gets: no credentials, no address of a service that hands them out."""
ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1"}
"""numpy, which pylibjxl needs, takes 40 MB of addresses for each of OpenBLAS' threads."""


def cpu_seconds(plan: Plan) -> int:
    """The CPU time after which a decode counts as an endless loop."""
    read = pixels_of_work(plan.info, plan.frames)
    written = 0
    for target in plan.targets:
        frames = plan.frames if keeps_animation(plan.info, target) else 1
        tries = 1 if target.most_bytes is None else 1 + len(OUTPUTS[target.format].lower)  # for a byte limit
        written += target.scaled[0] * target.scaled[1] * frames * tries
    return round(FIXED_SECONDS + read * SECONDS_PER_PIXEL_READ + written * SECONDS_PER_PIXEL_WRITTEN)


class Children:
    """With `keep`, children wait for further pictures; else each decodes a single one."""

    def __init__(self, keep: bool) -> None:
        self._most_pictures = MOST_PICTURES if keep else 1
        self._idle: list[Child] = []

    async def render(self, attempt: Attempt) -> Rendering:
        """Raises as `Child.render` does. The caller limits how many attempts run at once."""
        child = await self._take()
        answered = False
        try:
            rendering = await child.render(attempt)
            answered = True
        except (Corrupt, UnsupportedFormat):
            answered = True
            raise
        finally:
            if answered and child.pictures < self._most_pictures:
                self._idle.append(child)
            else:
                await child.close()
        return rendering

    async def aclose(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    async def _take(self) -> "Child":
        """An idle child. A new one replaces those that died."""
        while self._idle:
            child = self._idle.pop()
            if child.process.returncode is None:
                return child
            await child.close()
        return await start_child()


class Child:
    """A process, the socket to it, and the descriptor of the file that it prints to."""

    def __init__(self, process: Process, channel: socket.socket, printed: int) -> None:
        self.process = process
        self.pictures = 0
        self._honest = 0
        self._channel = channel
        self._printed = printed

    async def render(self, attempt: Attempt) -> Rendering:
        """Raises what the engine raises, CrashesEngine if the picture crashed, hung or took over the child, and
        EngineCrash if the child ended for another reason. After these two, the child has ended.
        """
        limit, printed = cpu_seconds(attempt.plan), os.fstat(self._printed).st_size
        began, cause = False, ""
        try:
            async with asyncio.timeout(WALL_PER_CPU * limit):
                await self._send(attempt)
                self._limit(attempt, limit, int.from_bytes(await self._receive(READY_BYTES)))
                began = True
                await asyncio.get_running_loop().sock_sendall(self._channel, b"G")
                reply = await self._receive_framed(most_reply_bytes(attempt.plan))
            return unpack_reply(reply, attempt.plan)
        except TimeoutError:
            cause = f"not finished after {WALL_PER_CPU * limit} s"
        except ValueError as error:
            cause = f"an unreadable answer: {error}"
        except (EOFError, OSError):
            pass
        await self._end()
        returncode = self.process.returncode or 0
        text = os.pread(self._printed, MOST_FILE_BYTES, printed)[-MOST_PRINTED:].decode(errors="replace")
        cause = cause or _cause_of_death(returncode, limit)
        raise _crash("; ".join(filter(None, (cause, " ".join(text.split())))), returncode, began)

    async def close(self) -> None:
        await self._end()
        self._channel.close()
        os.close(self._printed)

    async def _send(self, attempt: Attempt) -> None:
        if not self.pictures:
            _warn((await self._receive_framed(MOST_HEADER_BYTES)).decode())
        self.pictures += 1
        request = pickle.dumps(attempt)
        file = os.open(attempt.path, os.O_RDONLY)
        try:
            socket.send_fds(self._channel, [len(request).to_bytes(LENGTH_BYTES)], [file])
        finally:
            os.close(file)
        await asyncio.get_running_loop().sock_sendall(self._channel, request)

    def _limit(self, attempt: Attempt, seconds: int, taken: int) -> None:
        """Renews the limits of CPU time and of address space, which the child cannot change itself.

        The child says that it has `taken` bytes of addresses. Before its first picture, it says the truth.
        """
        self._honest = self._honest or taken
        space = min(taken, self._honest + SPARE_ADDRESSES) + 2 * attempt.memory + attempt.plan.fetch_bytes
        used = ceil(time.clock_gettime(~self.process.pid << 3 | 2))  # CPU time, as clock_getcpuclockid of glibc
        limits = {resource.RLIMIT_AS: space + SPARE_ADDRESSES, resource.RLIMIT_CPU: used + seconds}
        try:
            for kind, most in limits.items():
                resource.prlimit(self.process.pid, kind, (most, resource.RLIM_INFINITY))
        except PermissionError:
            _warn("limits of CPU time and address space")

    async def _receive_framed(self, most: int) -> bytes:
        size = int.from_bytes(await self._receive(LENGTH_BYTES))
        if size > most:
            raise ValueError(f"{size} bytes")
        return await self._receive(size)

    async def _receive(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            piece = await asyncio.get_running_loop().sock_recv(self._channel, min(size - len(received), PIECE_BYTES))
            if not piece:
                raise EOFError
            received += piece
        return bytes(received)

    async def _end(self) -> None:
        """Kills the process and those it started."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()


async def start_child() -> Child:
    """Raises EngineCrash."""
    hide_memory()
    variables = {name: value for name, value in os.environ.items() if name.startswith(KEPT_VARIABLES)} | ONE_THREAD
    with ExitStack() as undo:
        ours, theirs = map(undo.enter_context, socket.socketpair())
        ours.setblocking(False)
        printed = os.memfd_create("printed")
        undo.callback(os.close, printed)
        try:
            process = await asyncio.create_subprocess_exec(
                *command(), stdin=theirs.fileno(), stdout=printed, stderr=printed, env=variables, start_new_session=True
            )
        except OSError as error:
            raise EngineCrash(f"no child process can be started: {error.strerror}") from error
        theirs.close()
        undo.pop_all()
    return Child(process, ours, printed)


def command() -> tuple[str, ...]:
    """Starts a child that finds its modules where this process does: in a layer, a zip or anywhere else."""
    start = f"from thumbnailer.execution.child import main; main({os.getpid()}, {gettempdir()!r})"
    return sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {start}"


@cache
def _warn(refused: str) -> None:
    """Logs each set of refused protections once."""
    if refused:
        LOGGER.warning("isolation-limited", extra={"line": {"detail": f"this platform refuses {refused}"}})


def _crash(cause: str, returncode: int, began: bool) -> RecordError:
    if not began:
        return EngineCrash(f"the child process ended before it began to decode: {cause}")
    if -returncode in STOP_SIGNALS:
        return EngineCrash(f"the child process was stopped: {cause}")
    return CrashesEngine(f"the picture ended its own child process: {cause}")


def _cause_of_death(returncode: int, limit: int) -> str:
    if -returncode == signal.SIGXCPU:
        return f"more than {limit} s of CPU time"
    if -returncode == signal.SIGKILL:
        return "SIGKILL, probably out of memory"
    return f"exit code {returncode}" if returncode >= 0 else signal.Signals(-returncode).name
