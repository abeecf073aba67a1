"""An HTTP proxy on loopback that is as far from its server as a Distance says.

Method, target, headers and body pass unchanged, so signatures stay valid. The first byte of a response comes no earlier
than the drawn wait after the last byte of its request; the server's own time counts towards that wait. The proxy keeps
connections alive on both sides. tests.support.faults has a subclass that breaks requests.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from bench.rig.network import PRESETS, SLACK, Distance, Pace
from bench.rig.processes import serve

TICK: Final = 0.001
"""Seconds between two ticks of a timer, which may fire one tick early."""
IDLE_SECONDS: Final = 3600.0
"""A cell waits for its turn longer than a server usually keeps idle connections."""
MOST_BYTES: Final = 256 * 1024
"""of a line or a header"""
READING: Final = frozenset({"GET", "HEAD"})
OF_ONE_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "expect"})
NOT_ADDED: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


@dataclass(slots=True)
class Counts:
    """Traffic. Byte counts are of bodies."""

    requests: Counter[str] = field(default_factory=Counter)
    bytes_up: int = 0
    bytes_down: int = 0
    stored_at: list[float] = field(default_factory=list)
    """time.monotonic() of each successful PUT"""


Paces = tuple[Pace, Pace]
"""of one direction of a connection: its own, and the one that all connections share"""


class Proxy:
    """Use `latency_proxy`. The shared state of all connections."""

    url = ""

    def __init__(self, target: str, distance: Distance = PRESETS["loopback"], seed: int = 0) -> None:
        self.target = target
        self.distance = distance
        self.counts = Counts()
        self._up, self._down = Pace(distance.total_rate), Pace(distance.total_rate)
        self._chance = random.Random(seed)  # noqa: S311

    @cached_property
    def client(self) -> aiohttp.ClientSession:
        """The connections to the server."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=NOT_ADDED,
            max_line_size=MOST_BYTES,
            max_field_size=MOST_BYTES,
        )

    def connection(self) -> asyncio.Protocol:
        """The protocol of a new connection: an HTTP server with `handle`."""
        rate = self.distance.connection_rate
        server = web.Server(
            partial(self.handle, (Pace(rate), self._up), (Pace(rate), self._down)),
            keepalive_timeout=IDLE_SECONDS,
            max_line_size=MOST_BYTES,
            max_field_size=MOST_BYTES,
        )
        return server()

    async def handle(self, up: Paces, down: Paces, request: web.BaseRequest) -> web.StreamResponse:
        """The response of the server. If that fails, the client sees a broken connection."""
        self.counts.requests[request.method] += 1
        try:
            return await self._forward(up, down, request)
        except (aiohttp.ClientError, OSError):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()  # nobody gets it

    async def _forward(self, up: Paces, down: Paces, request: web.BaseRequest) -> web.StreamResponse:
        accept_body(request)
        sent = now()

        async def upload() -> AsyncIterator[bytes]:
            nonlocal sent
            async for piece in request.content.iter_any():
                self.counts.bytes_up += len(piece)
                await _pace(len(piece), up)
                sent = now()
                yield piece

        asked = self.client.request(
            request.method,
            URL(self.target + request.raw_path, encoded=True),
            headers=of_message(request.headers),
            data=upload() if request.can_read_body else None,
            allow_redirects=False,
        )
        async with asked as answer:
            wait = self.distance.get if request.method in READING else self.distance.put
            left = sent + wait.draw(self._chance) - now()
            if left > 0:
                await asyncio.sleep(left + TICK)
            return await self.respond(down, request, answer)

    async def respond(
        self, down: Paces, request: web.BaseRequest, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        """Passes the response on."""
        if request.method == "PUT" and answer.ok:
            self.counts.stored_at.append(time.monotonic())
        passed = web.StreamResponse(status=answer.status, reason=answer.reason, headers=of_message(answer.headers))
        await passed.prepare(request)
        async for piece in self.body(down, answer):
            await passed.write(piece)
        return passed

    async def body(self, down: Paces, answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The pieces of the response's body, each when it is due."""
        async for piece in answer.content.iter_any():
            self.counts.bytes_down += len(piece)
            await _pace(len(piece), down)
            yield piece

    def take_counts(self) -> Counts:
        """The traffic since the last call."""
        counts, self.counts = self.counts, Counts()
        return counts

    async def close(self) -> None:
        await self.client.close()


def accept_body(request: web.BaseRequest) -> None:
    """Answers the Expect header with which the AWS clients send a body."""
    if "Expect" in request.headers and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def now() -> float:
    return asyncio.get_running_loop().time()


def of_message(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """The headers of the message itself, without those of the connection."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in OF_ONE_HOP)


async def _pace(count: int, paces: Paces) -> None:
    began = now()
    early = max(pace.due(count, began) for pace in paces) - began
    if early > SLACK:
        await asyncio.sleep(early)


@contextmanager
def latency_proxy(target: str, distance: Distance, seed: int = 0) -> Iterator[Proxy]:
    """A proxy in a thread of this process, whose cores are not the cell's."""
    proxy = Proxy(target, distance, seed)
    with serve(proxy.connection, proxy.close) as (proxy.url, _):
        yield proxy
