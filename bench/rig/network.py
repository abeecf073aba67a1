"""A proxy before an S3 on loopback that makes it as far away as S3 is: time to the first byte, and bandwidth.

    python -m bench.rig.network --target http://127.0.0.1:9000 --preset near

It is a process of its own, so that its CPU is not the cell's. What passes is not changed in any byte. The first byte of
an answer comes no earlier than the wait that is drawn for it after the last byte of its request; what the server takes
itself is part of that. `100 Continue` is passed on at once. Connections are kept as both sides keep them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import math
import random
import signal
import sys
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from bench.result import percentile
from bench.rig.http1 import END, MOST_HEAD_BYTES, PIECE, ends_connection, has_no_body, head, is_chunked, parsed
from bench.rig.processes import background

P99: Final = 2.3263478740408408
"""Standard deviations above the median, of a normal distribution."""
MB: Final = 1_000_000
MIB: Final = 1024 * 1024
REPORT: Final = "/-/report"
"""No bucket can be called so."""
SLACK: Final = 0.002
"""Seconds that bytes may be early: a timer is no finer than a millisecond."""
TICK: Final = 0.001
PATIENCE: Final = 0.01
"""Seconds that the end of a request may come after the first byte of its answer."""
READING: Final = frozenset({"GET", "HEAD"})


# --- the model ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wait:
    """Milliseconds to the first byte; with a p99 lognormal around the median, without it always the same."""

    median_ms: float = 0.0
    p99_ms: float | None = None

    def __post_init__(self) -> None:
        if self.median_ms < 0 or (self.p99_ms is not None and not 0 < self.median_ms <= self.p99_ms):
            raise ValueError(f"expected 0 < median <= p99, found {self.median_ms:g} and {self.p99_ms} ms")

    def draw(self, chance: random.Random) -> float:
        """Seconds."""
        if self.p99_ms is None:
            return self.median_ms / 1000
        return chance.lognormvariate(math.log(self.median_ms), math.log(self.p99_ms / self.median_ms) / P99) / 1000


@dataclass(frozen=True, slots=True)
class Distance:
    """How far S3 is. HEAD waits as GET does, all other methods as PUT; bytes a second each way, None: no limit."""

    get: Wait = Wait()
    put: Wait = Wait()
    connection_rate: float | None = None
    total_rate: float | None = None


PRESETS: Final[Mapping[str, Distance]] = {
    "loopback": Distance(),
    # Medians in the tens of ms and 85 MB/s a connection are AWS's words; 75 MiB/s is what a function is planned with.
    "near": Distance(Wait(20), Wait(30), 85 * MB, 75 * MIB),
    # "Roughly 100 to 200 ms" for small objects and first bytes; AWS publishes no figure for PUT alone.
    "published": Distance(Wait(150), Wait(150), 85 * MB, 75 * MIB),
    # The same medians with a lognormal tail: a guess at S3's, of which nothing is published.
    "near-tail": Distance(Wait(20, 120), Wait(30, 180), 85 * MB, 75 * MIB),
}


class Pace:
    """When bytes are due at a rate; what is late may catch up for a few milliseconds."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._free = 0.0

    def due(self, count: int, now: float) -> float:
        if self._rate is None:
            return now
        self._free = max(self._free, now - 2 * SLACK) + count / self._rate
        return self._free


# --- the proxy ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Streams:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def gone(self) -> bool:
        return self.reader.at_eof() or self.writer.is_closing()


class Broken(Exception):
    """The server went away, or answered what is no HTTP."""


class Counts:
    """What passed since the last reset. Bytes are of bodies, as they came over the wire."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.connections = 0
        self.most_at_once = 0
        self.unreachable = 0
        self.broken = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self.stored_at = array("d")
        """seconds of time.monotonic, which all processes of a machine share, when a PUT's answer had gone out"""
        self.asked: dict[str, array[float]] = {"get": array("d"), "put": array("d")}
        self.first_byte: dict[str, array[float]] = {"get": array("d"), "put": array("d")}
        self.cpu_before = time.process_time()

    def report(self) -> dict[str, Any]:
        return {
            "requests": dict(self.requests),
            "statuses": dict(self.statuses),
            "connections": self.connections,
            "most_at_once": self.most_at_once,
            "unreachable": self.unreachable,
            "broken": self.broken,
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "stored_at": list(self.stored_at),
            "asked_ms": {kind: _spread(values) for kind, values in self.asked.items() if values},
            "first_byte_ms": {kind: _spread(values) for kind, values in self.first_byte.items() if values},
            "cpu_seconds": time.process_time() - self.cpu_before,
        }


def _spread(seconds: array[float]) -> dict[str, float]:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {name: round(1000 * percentile(seconds, share), 3) for name, share in shares.items()}


class LatencyProxy:
    """Serves until it is cancelled; `url` is set when it is ready."""

    def __init__(self, target: str, distance: Distance, seed: int = 0) -> None:
        parts = urlsplit(target)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"{target}: expected http://host:port")
        self._target = (parts.hostname, parts.port or 80)
        self._distance = distance
        self._chance = random.Random(seed)  # noqa: S311
        self._up, self._down = Pace(distance.total_rate), Pace(distance.total_rate)
        self._at_once = 0
        self.counts = Counts()

    async def start(self, port: int = 0) -> str:
        """Its URL."""
        self._server = await asyncio.start_server(
            self._connection, "127.0.0.1", port, limit=MOST_HEAD_BYTES, backlog=1024
        )
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self._server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        client = Streams(reader, writer)
        paces = Pace(self._distance.connection_rate), Pace(self._distance.connection_rate)
        server: Streams | None = None
        try:
            while (request := await _next_head(reader)) is not None:
                (method, target, *_), headers = parsed(request)
                if target.partition("?")[0] == REPORT:
                    self._tell(writer, reset=target.endswith("?reset"))
                    continue
                server = await self._connected(server)
                if not await self._exchange(method, headers, request, client, server, *paces):
                    return
        except Broken:
            self.counts.broken += 1
            writer.transport.abort()
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass  # the client went away or speaks no HTTP, or there is no server: it sees a closed connection
        finally:
            writer.close()
            if server is not None:
                server.writer.close()

    async def _connected(self, server: Streams | None) -> Streams:
        if server is not None and not server.gone:
            return server
        if server is not None:
            server.writer.close()
        try:
            return Streams(*await asyncio.open_connection(*self._target, limit=MOST_HEAD_BYTES))
        except OSError:
            self.counts.unreachable += 1
            raise

    async def _exchange(
        self,
        method: str,
        headers: Mapping[str, str],
        request: bytes,
        client: Streams,
        server: Streams,
        up: Pace,
        down: Pace,
    ) -> bool:
        """One request and its answer; True while the connection may be used again."""
        self.counts.requests[method] += 1
        self._at_once += 1
        self.counts.most_at_once = max(self.counts.most_at_once, self._at_once)
        uploading = asyncio.create_task(self._upload(request, headers, client, server, up))
        uploading.add_done_callback(lambda task: _give_up(task, server))
        try:
            answer = await _answer_head(client, server)
            # An answer to half a request is a refusal: the rest of the request is not for the server any more.
            await asyncio.wait({uploading}, timeout=PATIENCE)
            whole = uploading.done()
            sent = await uploading if whole else asyncio.get_running_loop().time()
            await self._wait(method, sent)
            return await self._download(method, headers, answer, client, server, down) and whole
        finally:
            self._at_once -= 1
            uploading.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
                await uploading

    async def _upload(
        self, request: bytes, headers: Mapping[str, str], client: Streams, server: Streams, pace: Pace
    ) -> float:
        """Passes on the request; when its last byte went."""
        server.writer.write(request)
        async for piece in _body(client.reader, headers, until_closed=False):
            self.counts.bytes_up += len(piece)
            await self._paced(len(piece), pace, self._up)
            server.writer.write(piece)
            await server.writer.drain()
        return asyncio.get_running_loop().time()

    async def _download(
        self,
        method: str,
        asked: Mapping[str, str],
        answer: bytes,
        client: Streams,
        server: Streams,
        pace: Pace,
    ) -> bool:
        (version, status, *_), headers = parsed(answer)
        self.counts.statuses[status] += 1
        client.writer.write(answer)
        if not has_no_body(method, status):
            body = _body(server.reader, headers, until_closed=True)
            while (piece := await _from_server(body)) is not None:
                self.counts.bytes_down += len(piece)
                await self._paced(len(piece), pace, self._down)
                client.writer.write(piece)
                await client.writer.drain()
        await client.writer.drain()
        if method == "PUT" and status.startswith("2"):
            self.counts.stored_at.append(time.monotonic())
        unmarked = not has_no_body(method, status) and "content-length" not in headers and not is_chunked(headers)
        return not (unmarked or ends_connection(version, headers) or asked.get("connection", "").lower() == "close")

    async def _wait(self, method: str, sent: float) -> None:
        kind = "get" if method in READING else "put"
        wait = (self._distance.get if kind == "get" else self._distance.put).draw(self._chance)
        now = asyncio.get_running_loop().time
        left = sent + wait - now()
        if left > 0:
            await asyncio.sleep(left + TICK)  # a timer counts in these, and may be one of them early
        self.counts.asked[kind].append(wait)
        self.counts.first_byte[kind].append(now() - sent)

    async def _paced(self, count: int, own: Pace, shared: Pace) -> None:
        now = asyncio.get_running_loop().time()
        early = max(own.due(count, now), shared.due(count, now)) - now
        if early > SLACK:
            await asyncio.sleep(early)

    def _tell(self, writer: asyncio.StreamWriter, reset: bool) -> None:
        body = json.dumps(self.counts.report()).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        writer.write(head("HTTP/1.1 200 OK", headers) + body)
        if reset:
            self.counts = Counts()


def _give_up(uploading: asyncio.Task[float], server: Streams) -> None:
    """The server waits for the rest of a request that does not come: then no answer comes either."""
    if not uploading.cancelled() and uploading.exception() is not None:
        server.writer.transport.abort()


async def _next_head(reader: asyncio.StreamReader) -> bytes | None:
    try:
        return await reader.readuntil(END)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None


async def _answer_head(client: Streams, server: Streams) -> bytes:
    """The head of the final answer; those before it (100 Continue) are passed on."""
    while True:
        try:
            answer = await server.reader.readuntil(END)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise Broken from error
        (_, status, *_), _ = parsed(answer)
        if not status.startswith("1"):
            return answer
        client.writer.write(answer)


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str], until_closed: bool) -> AsyncIterator[bytes]:
    """A body piece by piece, as it is on the wire. Raises IncompleteReadError where it breaks off."""
    if is_chunked(headers):
        async for piece in _chunks(reader):
            yield piece
    elif "content-length" in headers:
        async for piece in _bytes(reader, int(headers["content-length"])):
            yield piece
    elif until_closed:
        while piece := await reader.read(PIECE):
            yield piece


async def _bytes(reader: asyncio.StreamReader, count: int) -> AsyncIterator[bytes]:
    while count:
        piece = await reader.read(min(PIECE, count))
        if not piece:
            raise asyncio.IncompleteReadError(b"", count)
        count -= len(piece)
        yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        line = await reader.readuntil(b"\r\n")
        yield line
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            break
        async for piece in _bytes(reader, size + 2):
            yield piece
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        yield line
    yield line


async def _from_server(body: AsyncIterator[bytes]) -> bytes | None:
    try:
        return await anext(body, None)
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        raise Broken from error


# --- as a process of its own --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that runs beside us."""

    url: str

    def report(self, reset: bool = False) -> dict[str, Any]:
        """What passed since the last reset: requests, bytes, waits, and the proxy's own CPU seconds."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
        try:
            connection.request("GET", REPORT + ("?reset" if reset else ""))
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return found


@contextlib.contextmanager
def latency_proxy(target: str, distance: Distance, seed: int = 0, core: int | None = None) -> Iterator[Running]:
    """A proxy in a process of its own, on a core of its own if one is named. Raises NotStarted."""
    model = json.dumps(asdict(distance))
    command = [sys.executable, "-m", "bench.rig.network", "--target", target, "--model", model, "--seed", str(seed)]
    with background("the latency proxy", command, core) as program:
        program.wait_until(lambda: program.output().startswith('{"url"') and "\n" in program.output())
        yield Running(json.loads(program.output().splitlines()[0])["url"])


def model_of(text: str) -> Distance:
    values = json.loads(text)
    rates = {name: values[name] for name in ("connection_rate", "total_rate")}
    return Distance(Wait(**values["get"]), Wait(**values["put"]), **rates)


def with_tail(distance: Distance, get_p99_ms: float, put_p99_ms: float) -> Distance:
    """The same medians with a lognormal tail. Raises ValueError."""
    return replace(distance, get=Wait(distance.get.median_ms, get_p99_ms), put=Wait(distance.put.median_ms, put_p99_ms))


async def _serve(target: str, distance: Distance, seed: int, port: int) -> None:
    proxy = LatencyProxy(target, distance, seed)
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    print(json.dumps({"url": await proxy.start(port)}), flush=True)  # noqa: T201
    await stopping.wait()
    proxy.stop()
    print(json.dumps(proxy.counts.report()), flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.rig.network", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", required=True, metavar="URL", help="the S3 behind it")
    parser.add_argument("--preset", choices=PRESETS, default="near")
    parser.add_argument("--tail", metavar="GET,PUT", help="lognormal waits with these p99, in ms")
    parser.add_argument("--port", type=int, default=0, help="default: any")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        distance = model_of(options.model) if options.model else PRESETS[options.preset]
        if options.tail:
            distance = with_tail(distance, *(float(ms) for ms in options.tail.split(",")))
        LatencyProxy(options.target, distance)
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options.target, distance, options.seed, options.port))


if __name__ == "__main__":
    main()
