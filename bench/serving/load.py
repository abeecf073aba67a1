"""Requests of several clients at once, and how long their answers took."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final

import aiohttp

TIMEOUT: Final = aiohttp.ClientTimeout(total=60)


@dataclass(slots=True)
class Answers:
    """Answers by status, and the seconds of each; status 0 is a connection that broke."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    cpu: float = 0.0
    """seconds that the server's processes took"""

    @property
    def rate(self) -> float:
        """Good answers per second of CPU: other programs on the server's core do not count."""
        return self.statuses[200] / self.cpu

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.seconds, n=100)[98]


async def saturate(
    urls: Sequence[str], connections: int, seconds: float, headers: dict[str, str] | None = None
) -> Answers:
    """Each connection asks again as soon as it has its answer."""
    answers, following = Answers(), cycle(urls)
    end = time.perf_counter() + seconds

    async def client(session: aiohttp.ClientSession) -> None:
        while time.perf_counter() < end:
            await _ask(session, next(following), answers, headers)

    async with _session(connections) as session:
        await asyncio.gather(*(client(session) for _ in range(connections)))
    return answers


async def at_rate(urls: Iterator[str], rate: float, seconds: float) -> Answers:
    """A request every 1 / `rate` seconds, whether answers come or not: the time in a queue counts."""
    answers = Answers()
    async with _session(0) as session, asyncio.TaskGroup() as group:
        start = time.perf_counter()
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            group.create_task(_ask(session, next(urls), answers))
    return answers


async def at_once(urls: Sequence[str]) -> Answers:
    """All requests at the same time."""
    answers = Answers()
    async with _session(0) as session:
        await asyncio.gather(*(_ask(session, url, answers) for url in urls))
    return answers


async def tag_of(url: str) -> str:
    async with _session(1) as session, session.get(url) as answer:
        return answer.headers["ETag"]


async def _ask(
    session: aiohttp.ClientSession, url: str, answers: Answers, headers: dict[str, str] | None = None
) -> None:
    started = time.perf_counter()
    try:
        async with session.get(url, headers=headers) as answer:
            await answer.read()
            answers.statuses[answer.status] += 1
    except (aiohttp.ClientError, TimeoutError):
        answers.statuses[0] += 1
    answers.seconds.append(time.perf_counter() - started)


@asynccontextmanager
async def _session(connections: int) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:
        yield session
