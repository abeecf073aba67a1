"""A proxy that stands before an HTTP server (any S3 or SQS) and does to its requests what networks and AWS do.

    with fault_proxy(cloud.url, at_random(seed=1, share=0.2)) as proxy:
        ...  # clients go to proxy.url
    proxy.counts[("GET", "503")]

Connections are kept alive on both sides, bodies are passed on in pieces, everything runs in one thread of its own.
What a server of its own is to answer, without another behind it, is scripted with `tests.support.servers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import random
import socket
import struct
import termios
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import urlsplit

from bench.rig.http1 import MOST_HEAD_BYTES, PIECE, has_no_body, is_chunked, parsed
from bench.rig.http1 import head as http_head
from tests.support.servers import Answer, error

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "proxy-connection"}
Do = Literal["pass", "answer", "reset", "stall", "lost", "close", "short", "break", "hang"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the rule sees it; `target` is not decoded, header names are lower-case.

    `attempt`: how often this method and target have been asked for before.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to one request.

    pass    it is passed on, and so is its answer
    answer  it gets `answer`; the server never sees it
    reset   the connection is reset; the server never sees it
    stall   no answer ever comes; the server never sees it
    lost    the server does what it was asked; the connection is reset in place of its answer
    close   passed on; the connection is closed after the answer, which does not say so
    short   the first `byte` bytes of the answer's body come, then the connection is closed as if that were all
    break   the first bytes come, then the connection is reset
    hang    the first bytes come, then nothing more
    """

    do: Do
    answer: Answer = field(default_factory=Answer)
    byte: int | None = None
    """where the body breaks off; None: in the middle"""
    delay: float = 0.0
    """seconds before anything is done; what is passed on after it is counted as late"""

    @property
    def name(self) -> str:
        if self.do == "answer":
            return str(self.answer.status)
        return "late" if self.do == "pass" and self.delay else self.do


Rule = Callable[[Request], Fault]
"""Called in the proxy's thread, for one request after the other; it may do things of its own meanwhile."""

PASS = Fault("pass")
SLOW_DOWN = Fault("answer", error(503, "SlowDown"))
INTERNAL_ERROR = Fault("answer", error(500, "InternalError"))
PASSING = (
    SLOW_DOWN,
    INTERNAL_ERROR,
    *(Fault(do) for do in ("reset", "lost", "close", "short", "break")),
    Fault("pass", delay=0.3),
)
"""What a client has to get over quickly; a stall costs it its time limit, so it is not among them."""


def never(_: Request) -> Fault:
    return PASS


def script(*faults: Fault) -> Rule:
    """These faults, one a request; all requests after them are passed on."""
    rest = iter(faults)
    return lambda _: next(rest, PASS)


def at_random(seed: int, share: float, faults: Sequence[Fault] = PASSING) -> Rule:
    """A `share` of the requests get one of `faults`.

    Which ones depends on the seed, the request and its attempt alone: what is asked for at the same time, and in which
    order, changes nothing.
    """

    def rule(request: Request) -> Fault:
        chance = random.Random(f"{seed} {request.method} {request.target} {request.attempt}")
        if chance.random() >= share:
            return PASS
        fault = chance.choice(faults)
        return replace(fault, byte=chance.choice((0, 1, 100, 5_000, 60_000, None))) if fault.byte is None else fault

    return rule


class FaultProxy:
    """Use `fault_proxy`. `rule` may be exchanged at any time."""

    def __init__(self, target: str, rule: Rule) -> None:
        parts = urlsplit(target)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"{target}: expected http://host:port")
        self._target = (parts.hostname, parts.port or 80)
        self.rule = rule
        self.url = ""
        self.errors: list[Exception] = []
        self.idle_seconds: float | None = None
        """a connection on which nothing is asked for so long is closed"""
        self._in_work = 0
        self.reset()

    def reset(self, rule: Rule | None = None) -> None:
        """Counts from zero, with a new rule if one is given."""
        self.rule = rule or self.rule
        self.counts: Counter[tuple[str, str]] = Counter()
        """requests by method and what was done to them; ("GET", "unreachable") where the server did not answer"""
        self.connections = 0
        self.most_at_once = 0
        """requests in work at the same time"""
        self._attempts: Counter[tuple[str, str]] = Counter()

    def count(self, method: str) -> int:
        """All requests of a method."""
        return sum(count for (asked, _), count in self.counts.items() if asked == method)

    @property
    def faults(self) -> int:
        """Requests to which anything was done but to pass them on."""
        return sum(count for (_, done), count in self.counts.items() if done != "pass")

    def close_idle(self) -> None:
        """Closes the clients' connections on which nothing is being asked."""
        asyncio.run_coroutine_threadsafe(self._close_idle(), self._loop).result(10)

    # --- the thread -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), name="faults", daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise TimeoutError("the proxy does not start")

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        if self.errors:
            raise ExceptionGroup("the rule or the proxy failed", self.errors)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=MOST_HEAD_BYTES, backlog=1024)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await self._stopping.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the loop lets go of closed connections in its next round

    async def _close_idle(self) -> None:
        for writer in self._waiting:
            writer.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    # --- one connection -------------------------------------------------------------------------------------------

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = _Server(self._target)
        writer.transport.set_write_buffer_limits(0)  # what was drained has left us, so a reset does not take it along
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # the client went away
                while (request := await self._next(reader, writer)) is not None:
                    if not await self._answered(request, reader, writer, server):
                        return
        finally:
            server.close()
            writer.close()

    async def _next(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
        """The next request; None where none comes."""
        self._waiting.add(writer)
        try:
            async with asyncio.timeout(self.idle_seconds):
                head = await reader.readuntil(b"\r\n\r\n")
        except (TimeoutError, asyncio.IncompleteReadError):
            return None
        finally:
            self._waiting.discard(writer)
        (method, target, *_), headers = parsed(head)
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _whole_body(reader, headers)
        attempt = self._attempts[method, target]
        self._attempts[method, target] += 1
        return Request(method, target, headers, body, attempt)

    async def _answered(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: _Server
    ) -> bool:
        """Does to the request what the rule says; True while the connection may be used again."""
        fault = self.rule(request)
        self.counts[request.method, fault.name] += 1
        self._in_work += 1
        self.most_at_once = max(self.most_at_once, self._in_work)
        try:
            await asyncio.sleep(fault.delay)
            return await self._do(fault, request, reader, writer, server)
        finally:
            self._in_work -= 1

    async def _do(
        self,
        fault: Fault,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: _Server,
    ) -> bool:
        if fault.do == "answer":
            writer.write(_scripted(fault.answer, request.method))
            await writer.drain()
            return True
        if fault.do == "stall":
            return await _gone(reader)
        if fault.do == "reset":
            return _reset(writer)
        try:
            reply = await server.ask(request)
        except (OSError, asyncio.IncompleteReadError):
            self.counts[request.method, fault.name] -= 1
            self.counts[request.method, "unreachable"] += 1
            return _reset(writer)
        if fault.do == "lost":
            await reply.read()
            return _reset(writer)
        writer.write(reply.head)
        if await _passed(reply, writer, _last_byte(fault, reply.length)):
            return fault.do != "close"
        await writer.drain()
        if fault.do == "hang":
            return await _gone(reader)
        if fault.do == "break":
            await _delivered(writer)
            _reset(writer)
        return False


def _last_byte(fault: Fault, length: int) -> int | None:
    """After how many bytes the body breaks off; None: it does not. A body of nothing cannot."""
    if fault.do not in ("short", "break", "hang") or length == 0:
        return None
    return min(length // 2 if fault.byte is None else fault.byte, length - 1)


async def _passed(reply: _Reply, writer: asyncio.StreamWriter, end: int | None) -> bool:
    """Passes on the body, as far as `end`; True if all of it went."""
    sent = 0
    while piece := await reply.read_piece():
        writer.write(piece if end is None else piece[: end - sent])
        await writer.drain()
        sent += len(piece)
        if end is not None and sent > end:
            return False
    return True


async def _gone(reader: asyncio.StreamReader) -> bool:
    """Until the client gives up."""
    while await reader.read(PIECE):
        pass
    return False


async def _delivered(writer: asyncio.StreamWriter) -> None:
    """Until the client's side has all that was sent: a reset drops what is still under way."""
    connection: socket.socket = writer.get_extra_info("socket")
    for _ in range(1000):
        if writer.is_closing() or fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)) == bytes(4):
            return
        await asyncio.sleep(0.01)


def _reset(writer: asyncio.StreamWriter) -> bool:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


# --- the server behind -------------------------------------------------------------------------------------------


class _Reply:
    """The server's answer: its head, as the client gets it, and its body, piece by piece."""

    def __init__(self, head: bytes, length: int, reader: asyncio.StreamReader | None, body: bytes = b"") -> None:
        self.head = head
        self.length = length
        self._left = length
        self._reader = reader
        self._body = body

    async def read_piece(self) -> bytes:
        if self._reader is None:
            piece, self._body = self._body[:PIECE], self._body[PIECE:]
            return piece
        if self._left == 0:
            return b""
        piece = await self._reader.read(min(PIECE, self._left))
        if not piece:
            raise ConnectionError("the server's answer broke off")
        self._left -= len(piece)
        return piece

    async def read(self) -> None:
        while await self.read_piece():
            pass


class _Server:
    """A connection to the server, kept while both sides like; opened anew where it was closed meanwhile."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> _Reply:
        if self._streams is not None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                return await self._ask(request, *self._streams)
            self.close()
        self._streams = await asyncio.open_connection(*self._address, limit=MOST_HEAD_BYTES)
        return await self._ask(request, *self._streams)

    async def _ask(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Reply:
        kept = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
        if request.body or request.method in ("PUT", "POST"):
            kept["content-length"] = str(len(request.body))
        writer.write(http_head(f"{request.method} {request.target} HTTP/1.1", kept) + request.body)
        await writer.drain()
        (version, status, *_), headers = parsed(await reader.readuntil(b"\r\n\r\n"))
        ends = version == "HTTP/1.0" or headers.get("connection", "").lower() == "close"
        if ends:
            self._streams = None
        reply = await _reply(request.method, status, headers, reader, until_closed=ends)
        if ends:
            reply = _Reply(reply.head, reply.length, None, await _drained(reply))
            writer.close()
        return reply

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _drained(reply: _Reply) -> bytes:
    pieces = []
    while piece := await reply.read_piece():
        pieces.append(piece)
    return b"".join(pieces)


async def _reply(
    method: str, status: str, headers: dict[str, str], reader: asyncio.StreamReader, *, until_closed: bool
) -> _Reply:
    kept = {name: value for name, value in headers.items() if name not in HOP_BY_HOP}
    bare = has_no_body(method, status)
    line = f"HTTP/1.1 {status} Passed"
    if bare:
        return _Reply(http_head(line, kept), 0, None)
    if "content-length" in headers:
        return _Reply(http_head(line, kept), int(headers["content-length"]), reader)
    body = await reader.read() if until_closed and "transfer-encoding" not in headers else b""
    body = body or await _whole_body(reader, headers)
    return _Reply(http_head(line, kept | {"content-length": str(len(body))}), len(body), None, body)


# --- HTTP ---------------------------------------------------------------------------------------------------------


async def _whole_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if not is_chunked(headers):
        return await reader.readexactly(int(headers.get("content-length", "0")))
    pieces = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return b"".join(pieces)


def _scripted(answer: Answer, method: str) -> bytes:
    bare = answer.status == 204 or method == "HEAD"
    length = {} if answer.status == 204 else {"Content-Length": str(len(answer.body))}
    return http_head(f"HTTP/1.1 {answer.status} Fault", {**answer.headers, **length}) + (b"" if bare else answer.body)


@contextlib.contextmanager
def fault_proxy(target: str, rule: Rule = never) -> Iterator[FaultProxy]:
    """A running proxy before the server at `target`."""
    proxy = FaultProxy(target, rule)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
