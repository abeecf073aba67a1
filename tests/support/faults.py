"""The proxy of bench.rig with rules that say which requests go wrong.

    with fault_proxy(cloud.url, at_random(seed=1, share=0.2)) as proxy:
        ...  # clients go to proxy.url
    proxy.requests["GET", "503"]

A server whose every response is scripted is in tests.support.servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import random
import socket
import struct
import termios
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import aiohttp
from aiohttp import web

from bench.rig.processes import serve
from bench.rig.proxy import Paces, Proxy, accept_body
from tests.support.servers import Answer, error

Do = Literal["pass", "answer", "reset", "stall", "lost", "close", "short", "break", "hang"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a rule gets it: `target` as sent; `attempt` counts earlier requests of this method and target."""

    method: str
    target: str
    headers: Mapping[str, str]
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """What the proxy does to one request.

    pass    forwards request and response
    answer  responds with `answer`; the server never gets the request
    reset   resets the connection; the server never gets the request
    stall   never responds; the server never gets the request
    lost    forwards the request, then resets the connection in place of the response
    close   forwards both, then closes the connection although the response did not announce it
    short   forwards the first `byte` bytes of the response's body, then closes the connection
    break   forwards the first bytes, then resets the connection
    hang    forwards the first bytes, then sends nothing more
    """

    do: Do
    answer: Answer = field(default_factory=Answer)
    byte: int | None = None
    """where the body is cut off; None: in the middle"""
    delay: float = 0.0
    """seconds before the proxy does anything; a delayed `pass` is counted as `late`"""

    @property
    def name(self) -> str:
        if self.do == "answer":
            return str(self.answer.status)
        return "late" if self.do == "pass" and self.delay else self.do

    def cut(self, headers: Mapping[str, str]) -> int | None:
        """Bytes of the body that pass; None: all. A body without a length is cut at byte 0; an empty body passes."""
        if self.do not in ("short", "break", "hang"):
            return None
        length = int(headers.get("Content-Length", "1"))
        return None if length == 0 else min(length // 2 if self.byte is None else self.byte, length - 1)


PASS: Final = Fault("pass")
Rule = Callable[[Request], Fault]
"""Called in the proxy's loop before a request is forwarded. It may block, e.g. to change an object meanwhile."""
SLOW_DOWN = Fault("answer", error(503, "SlowDown"))
INTERNAL_ERROR = Fault("answer", error(500, "InternalError"))
QUICK = (
    SLOW_DOWN,
    INTERNAL_ERROR,
    *(Fault(do) for do in ("reset", "lost", "close", "short", "break")),
    Fault("pass", delay=0.3),
)
"""Faults that a client recovers from quickly. A stall costs the client its time limit, so it is not among them."""


def never(_: Request) -> Fault:
    return PASS


def script(*faults: Fault) -> Rule:
    """These faults, one a request; later requests pass."""
    rest = iter(faults)
    return lambda _: next(rest, PASS)


def at_random(seed: int, share: float, faults: Sequence[Fault] = QUICK) -> Rule:
    """A `share` of the requests get one of `faults`.

    The choice depends on seed, request and attempt alone, not on the order in which concurrent requests arrive.
    """

    def rule(request: Request) -> Fault:
        chance = random.Random(f"{seed} {request.method} {request.target} {request.attempt}")
        if chance.random() >= share:
            return PASS
        fault = chance.choice(faults)
        return replace(fault, byte=chance.choice((0, 1, 100, 5_000, 60_000, None))) if fault.byte is None else fault

    return rule


# --- the proxy ----------------------------------------------------------------------------------------------------


_current: ContextVar[tuple[Fault, web.BaseRequest]] = ContextVar("current")


class FaultProxy(Proxy):
    """Use `fault_proxy`. `rule` may change at any time."""

    url = ""

    def __init__(self, target: str, rule: Rule) -> None:
        super().__init__(target)
        self.rule = rule
        self.errors: list[Exception] = []
        """what the rule raised"""
        self.connections = 0
        self.reset()

    def reset(self, rule: Rule | None = None) -> None:
        """Counts requests and attempts from zero, with the new rule if one is given."""
        self.rule = rule or self.rule
        self.requests: Counter[tuple[str, str]] = Counter()
        """by method and fault name"""
        self.at_once = self.most_at_once = 0
        self._attempts: Counter[tuple[str, str]] = Counter()

    def of(self, method: str) -> int:
        """All requests with this method."""
        return sum(count for (asked, _), count in self.requests.items() if asked == method)

    @property
    def faults(self) -> int:
        """Requests that the proxy did not simply pass."""
        return sum(count for (_, fault), count in self.requests.items() if fault != "pass")

    def connection(self) -> asyncio.Protocol:
        self.connections += 1
        return super().connection()

    async def handle(self, up: Paces, down: Paces, request: web.BaseRequest) -> web.StreamResponse:
        fault = self._fault(request)
        _current.set((fault, request))
        self.requests[request.method, fault.name] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(fault.delay)
            if fault.do in ("answer", "reset", "stall"):
                return await self._refuse(fault, request)
            return await super().handle(up, down, request)
        finally:
            self.at_once -= 1

    def _fault(self, request: web.BaseRequest) -> Fault:
        """The rule's decision. If the rule raises, the connection is reset."""
        attempt = self._attempts[request.method, request.raw_path]
        self._attempts[request.method, request.raw_path] += 1
        try:
            return self.rule(Request(request.method, request.raw_path, request.headers, attempt))
        except Exception as error:
            self.errors.append(error)
            return Fault("reset")

    async def _refuse(self, fault: Fault, request: web.BaseRequest) -> web.StreamResponse:
        accept_body(request)
        await request.content.read()
        if fault.do != "answer":
            await break_off(fault, request)
        return web.Response(status=fault.answer.status, headers=fault.answer.headers, body=fault.answer.body)

    async def respond(
        self, down: Paces, request: web.BaseRequest, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        fault, _ = _current.get()
        if fault.do == "lost":
            await answer.read()
            await break_off(fault, request)
        response = await super().respond(down, request, answer)
        if fault.do == "close":
            response.force_close()
        return response

    async def body(self, down: Paces, answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        fault, request = _current.get()
        left = fault.cut(answer.headers)
        async for piece in super().body(down, answer):
            yield piece[:left]
            if left is not None and len(piece) > left:
                await break_off(fault, request)
                raise ConnectionResetError
            left = None if left is None else left - len(piece)


async def break_off(fault: Fault, request: web.BaseRequest) -> None:
    """Ends the connection as the fault says; returns when it is gone."""
    transport = request.transport
    if fault.do not in ("stall", "hang") and transport is not None:
        connection: socket.socket = transport.get_extra_info("socket")
        await _delivered(transport, connection)
        if fault.do != "short":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.close()
    while request.transport is not None:
        await asyncio.sleep(0.01)


async def _delivered(transport: asyncio.Transport, connection: socket.socket) -> None:
    """Returns when the peer's kernel has every byte written so far: a reset drops bytes under way."""
    for _ in range(1000):
        unsent = transport.get_write_buffer_size()
        if transport.is_closing() or (not unsent and _unacknowledged(connection) == 0):
            return
        await asyncio.sleep(0.01)


def _unacknowledged(connection: socket.socket) -> int:
    return int.from_bytes(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)), "little")


@contextlib.contextmanager
def fault_proxy(target: str, rule: Rule = never) -> Iterator[FaultProxy]:
    """A running proxy before the server at `target`. Raises ExceptionGroup at the end if the rule raised."""
    proxy = FaultProxy(target, rule)
    with serve(proxy.connection, proxy.close) as (proxy.url, _):
        yield proxy
    if proxy.errors:
        raise ExceptionGroup("the rule failed", proxy.errors)
