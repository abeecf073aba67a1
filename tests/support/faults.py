"""The proxy of bench.rig in a thread of this process, with rules that say which requests go wrong.

    with fault_proxy(cloud.url, at_random(seed=1, share=0.2)) as proxy:
        ...  # clients go to proxy.url
    proxy.counts.requests["GET", "503"]

A server whose every response is scripted is in tests.support.servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.rig.faults import PASS, Fault, Request, Rule
from bench.rig.proxy import Proxy
from tests.support.servers import error

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


class FaultProxy(Proxy):
    """Use `fault_proxy`."""

    url = ""

    def run(self, ready: threading.Event) -> None:
        asyncio.run(self._run(ready))

    async def _run(self, ready: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self.url = await self.start()
        ready.set()
        await self._stopping.wait()
        self.stop()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)

    def close_idle(self) -> None:
        """Closes the clients' connections that have no request in work."""
        asyncio.run_coroutine_threadsafe(self._close_idle(), self._loop).result(10)

    async def _close_idle(self) -> None:
        for writer in self.idle:
            writer.close()


@contextlib.contextmanager
def fault_proxy(target: str, rule: Rule = never) -> Iterator[FaultProxy]:
    """A running proxy before the server at `target`. Raises ExceptionGroup at the end if the rule raised."""
    proxy, ready = FaultProxy(target, rule=rule), threading.Event()
    thread = threading.Thread(target=proxy.run, args=(ready,), name="faults", daemon=True)
    thread.start()
    try:
        if not ready.wait(10):
            raise TimeoutError("the proxy does not start")
        yield proxy
    finally:
        proxy.end()
        thread.join(10)
    if proxy.errors:
        raise ExceptionGroup("the rule failed", proxy.errors)
