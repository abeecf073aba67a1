"""An HTTP/1.1 proxy on loopback: as far from its server as a Distance says, with the faults that a rule asks for.

    python -m bench.rig.proxy --target http://127.0.0.1:9000 --preset near

The proxy passes every byte unchanged except the Connection header, which each hop has for itself. The first byte of a
response comes no earlier than the drawn wait after the last byte of its request; the server's own time counts towards
that wait. `100 Continue` passes at once. The proxy keeps connections alive on both sides.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from bench.rig import http1
from bench.rig.faults import PASS, Fault, Request, Rule, reset, until_delivered, until_gone
from bench.rig.network import PRESETS, REPORT, SLACK, Distance, Pace, distance_from_json, with_tail
from bench.rig.traffic import Counts

TICK: Final = 0.001
"""Seconds between two ticks of a timer, which may fire one tick early."""
PATIENCE: Final = 0.01
"""Seconds that the end of a request may come after the first byte of its response."""
READING: Final = frozenset({"GET", "HEAD"})


class Broken(Exception):
    """The server closed the connection in the middle of a response, or did not speak HTTP."""


class Proxy:
    """The shared state of all connections. `rule` and `idle_seconds` may change at any time."""

    def __init__(
        self, target: str, distance: Distance = PRESETS["loopback"], seed: int = 0, rule: Rule | None = None
    ) -> None:
        """Raises ValueError if `target` is not an http:// address."""
        parts = urlsplit(target)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"{target}: expected http://host:port")
        self.address = (parts.hostname, parts.port or 80)
        self.distance = distance
        self.rule = rule
        self.chance = random.Random(seed)  # noqa: S311
        self.up, self.down = Pace(distance.total_rate), Pace(distance.total_rate)
        self.counts = Counts()
        self.errors: list[Exception] = []
        """what the rule raised"""
        self.idle_seconds: float | None = None
        """how long a client's connection may be idle before the proxy closes it"""
        self.idle: set[asyncio.StreamWriter] = set()
        self.at_once = 0
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> str:
        """Returns the proxy's URL."""
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", port, limit=http1.MOST_HEAD_BYTES, backlog=1024
        )
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        """Stops listening."""
        self._server.close()

    def reset(self, rule: Rule | None = None) -> None:
        """Counts requests and attempts from zero, with the new rule if one is given."""
        self.rule = rule or self.rule
        self.counts = Counts()
        self._attempts.clear()

    def fault(self, method: str, target: str, headers: Mapping[str, str]) -> Fault:
        """The rule's decision. If the rule raises, the connection is reset."""
        if self.rule is None:
            return PASS
        attempt = self._attempts[method, target]
        self._attempts[method, target] += 1
        try:
            return self.rule(Request(method, target, headers, attempt))
        except Exception as error:
            self.errors.append(error)
            return Fault("reset")

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        task = asyncio.create_task(_Connection(self, reader, writer).serve())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)


class _Connection:
    """A client's connection, and the connection to the server behind it."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader, self._writer = reader, writer
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._up, self._down = Pace(proxy.distance.connection_rate), Pace(proxy.distance.connection_rate)

    async def serve(self) -> None:
        try:
            while (request := await self._next_head()) is not None:
                if not await self._serve_one(request):
                    return
        except Broken:
            self._proxy.counts.broken += 1
            self._writer.transport.abort()
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass  # the client left or does not speak HTTP, or the server is away: the client sees a closed connection
        finally:
            self._writer.close()
            self._leave_server()

    async def _next_head(self) -> bytes | None:
        self._proxy.idle.add(self._writer)
        try:
            async with asyncio.timeout(self._proxy.idle_seconds):
                return await self._reader.readuntil(http1.END)
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return None
        finally:
            self._proxy.idle.discard(self._writer)

    async def _serve_one(self, head: bytes) -> bool:
        """One request and its response. Returns True while the connection may be used again."""
        (method, target, *_), headers = http1.parsed(head)
        if target.partition("?")[0] == REPORT:
            self._report(reset=target.endswith("?reset"))
            return True
        proxy, fault = self._proxy, self._proxy.fault(method, target, headers)
        proxy.counts.requests[method, fault.name] += 1
        proxy.at_once += 1
        proxy.counts.most_at_once = max(proxy.counts.most_at_once, proxy.at_once)
        try:
            if fault.delay:
                await asyncio.sleep(fault.delay)
            if fault.do in ("answer", "reset", "stall"):
                return await self._refuse(fault, method, headers)
            return await self._forward(fault, method, head, headers)
        finally:
            proxy.at_once -= 1

    # --- requests that the server never gets ----------------------------------------------------------------------

    async def _refuse(self, fault: Fault, method: str, headers: Mapping[str, str]) -> bool:
        if "expect" in headers:
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async for _ in http1.body(self._reader, headers, until_closed=False):
            pass
        if fault.do != "answer":
            return await self._break_off(fault)
        self._writer.write(fault.answer.encoded(method))
        await self._writer.drain()
        return True

    async def _break_off(self, fault: Fault) -> bool:
        if fault.do in ("stall", "hang"):
            await until_gone(self._reader)
        elif fault.do != "short":
            await until_delivered(self._writer)
            reset(self._writer)
        return False

    def _report(self, reset: bool) -> None:
        text = json.dumps(self._proxy.counts.report()).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(text))}
        self._writer.write(http1.head("HTTP/1.1 200 OK", headers) + text)
        if reset:
            self._proxy.reset()

    # --- requests that go to the server ---------------------------------------------------------------------------

    async def _forward(self, fault: Fault, method: str, head: bytes, headers: Mapping[str, str]) -> bool:
        reader, writer = await self._connected(method, fault)
        uploading = asyncio.create_task(self._upload(head, headers, writer))
        uploading.add_done_callback(lambda task: _abort_if_failed(task, writer))
        try:
            response = await self._response_head(reader)
            # A response to half a request is a refusal: the server does not want the rest.
            await asyncio.wait({uploading}, timeout=PATIENCE)
            complete = uploading.done()
            sent = await uploading if complete else asyncio.get_running_loop().time()
            await self._wait(method, sent)
            keep = headers.get("connection", "").lower() != "close" and complete
            return await self._download(fault, method, response, reader) and keep
        finally:
            uploading.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
                await uploading

    async def _connected(self, method: str, fault: Fault) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The connection to the server, opened anew if the server closed it. Raises OSError."""
        if self._server is not None and (self._server[0].at_eof() or self._server[1].is_closing()):
            self._leave_server()
        if self._server is None:
            try:
                self._server = await asyncio.open_connection(*self._proxy.address, limit=http1.MOST_HEAD_BYTES)
            except OSError:
                self._proxy.counts.requests[method, fault.name] -= 1
                self._proxy.counts.requests[method, "unreachable"] += 1
                raise
        return self._server

    def _leave_server(self) -> None:
        if self._server is not None:
            self._server[1].close()
            self._server = None

    async def _upload(self, head: bytes, headers: Mapping[str, str], writer: asyncio.StreamWriter) -> float:
        """Passes the request on. Returns when its last byte was sent."""
        writer.write(head)
        async for piece in http1.body(self._reader, headers, until_closed=False):
            self._proxy.counts.bytes_up += len(piece)
            await _paced(len(piece), self._up, self._proxy.up)
            writer.write(piece)
            await writer.drain()
        return asyncio.get_running_loop().time()

    async def _response_head(self, reader: asyncio.StreamReader) -> bytes:
        """The head of the final response. Passes on interim ones (100 Continue)."""
        while True:
            try:
                head = await reader.readuntil(http1.END)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                raise Broken from error
            (_, status, *_), _ = http1.parsed(head)
            if not status.startswith("1"):
                return head
            self._writer.write(head)

    async def _wait(self, method: str, sent: float) -> None:
        """Sleeps until the first byte of the response is due."""
        proxy, kind = self._proxy, "get" if method in READING else "put"
        wait = (proxy.distance.get if kind == "get" else proxy.distance.put).draw(proxy.chance)
        now = asyncio.get_running_loop().time
        left = sent + wait - now()
        if left > 0:
            await asyncio.sleep(left + TICK)
        proxy.counts.asked[kind].append(wait)
        proxy.counts.first_byte[kind].append(now() - sent)

    async def _download(self, fault: Fault, method: str, head: bytes, reader: asyncio.StreamReader) -> bool:
        """Passes the response on. Returns True while the client's connection may be used again."""
        (version, status, *_), headers = http1.parsed(head)
        self._proxy.counts.statuses[status] += 1
        unmarked = http1.ends_with_connection(method, status, headers)
        if "connection" in headers and not unmarked:
            head = http1.without_connection(head)
        pieces = _from_server(http1.body(reader, headers, until_closed=True))
        if http1.has_no_body(method, status):
            pieces = _nothing()
        if fault.do == "lost":
            async for _ in pieces:
                pass
            return await self._break_off(fault)
        self._writer.write(head)
        if not await self._pass_body(pieces, fault.cut(headers)):
            return await self._break_off(fault)
        if method == "PUT" and status.startswith("2"):
            self._proxy.counts.stored_at.append(time.monotonic())
        if http1.closes_connection(version, headers):
            self._leave_server()
        return not unmarked and fault.do != "close"

    async def _pass_body(self, pieces: AsyncIterator[bytes], cut: int | None) -> bool:
        """Passes a body on, up to the byte `cut`. Returns True if all of it passed."""
        passed = 0
        async for piece in pieces:
            self._proxy.counts.bytes_down += len(piece)
            await _paced(len(piece), self._down, self._proxy.down)
            self._writer.write(piece if cut is None else piece[: cut - passed])
            await self._writer.drain()
            passed += len(piece)
            if cut is not None and passed > cut:
                return False
        await self._writer.drain()
        return True


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield


async def _from_server(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces. Raises Broken if the server ends the body early."""
    try:
        async for piece in pieces:
            yield piece
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        raise Broken from error


async def _paced(count: int, own: Pace, shared: Pace) -> None:
    """Sleeps until that many bytes are due."""
    now = asyncio.get_running_loop().time()
    early = max(own.due(count, now), shared.due(count, now)) - now
    if early > SLACK:
        await asyncio.sleep(early)


def _abort_if_failed(uploading: asyncio.Task[float], server: asyncio.StreamWriter) -> None:
    """A server that waits for the rest of a broken request would never respond."""
    if not uploading.cancelled() and uploading.exception() is not None:
        server.transport.abort()


# --- the command --------------------------------------------------------------------------------------------------


async def _serve(proxy: Proxy, port: int) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    print(json.dumps({"url": await proxy.start(port)}), flush=True)  # noqa: T201
    await stopping.wait()
    proxy.stop()
    print(json.dumps(proxy.counts.report()), flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.rig.proxy", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", required=True, metavar="URL", help="the S3 behind it")
    parser.add_argument("--preset", choices=PRESETS, default="near")
    parser.add_argument("--tail", metavar="GET,PUT", help="lognormal waits with these p99, in ms")
    parser.add_argument("--port", type=int, default=0, help="default: any")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        distance = distance_from_json(options.model) if options.model else PRESETS[options.preset]
        if options.tail:
            distance = with_tail(distance, *(float(ms) for ms in options.tail.split(",")))
        proxy = Proxy(options.target, distance, options.seed)
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(proxy, options.port))


if __name__ == "__main__":
    main()
