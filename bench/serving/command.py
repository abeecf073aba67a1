"""The rows of `python -m bench serve`: goal, measured, verdict. Both servers take turns on the same core."""

import asyncio
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle, product
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urljoin
from urllib.request import urlopen

from PIL import Image
from rich.console import Console

from bench.cells.pictures import reference_sets
from bench.pages.tables import WIDTH, plain_table
from bench.rig.limits import NoLimits
from bench.rig.processes import NotStarted
from bench.rig.s3 import s3_server
from bench.serving.load import Answers, at_once, at_rate, saturate, tag_of
from bench.serving.servers import LOAD_CORES, Running, ours, thumbor

BUCKET: Final = "pictures"
SIDE: Final = 512
OFFER: Final = f"{SIDE}x{SIDE}:q80"
CONNECTIONS: Final = 4
COPIES: Final = 8
"""Names of each picture: connections that ask for one picture would share its decode."""
MEMORY_MB: Final = 1024
FLOOD_MB: Final = 256
FLOOD_WISHES: Final = 2000
FLOOD_TIMES: Final = 4
PICTURES: Final = {
    "JPEG, 1 MP": "01mp-baseline",
    "JPEG, 12 MP": "12mp-baseline",
    "PNG, 1 MP": "01mp-rgb",
    "WebP, 1 MP": "01mp-lossy",
}
RATES: Final = {"JPEG, 1 MP": 2.7, "JPEG, 12 MP": 2.0, "PNG, 1 MP": 2.5, "WebP, 1 MP": 1.4}
SMALL: Final = "JPEG, 1 MP"
LARGE: Final = "24mp-baseline"
CROWD: Final = 100


@dataclass(frozen=True, slots=True)
class Row:
    goal: str
    bound: str
    measured: str
    reached: bool


class Bench:
    """A folder with COPIES of each picture; numbers are medians of `turns`."""

    def __init__(self, folder: Path, seconds: float, turns: int) -> None:
        self._folder = folder
        self._seconds = seconds
        self._turns = turns

    def rows(self) -> Iterator[Row]:
        """Raises NotStarted, NoLimits."""
        with ExitStack() as stack:
            servers = [stack.enter_context(start(self._folder, MEMORY_MB)) for start in (ours, thumbor)]
            rates = {}
            for name, least in RATES.items():
                mine, rates[name] = self._in_turns(servers, partial(self._rate, name))
                yield _at_least(f"{name}: requests per CPU second, against thumbor", mine, rates[name], least)
            yield self._p99(servers, rates[SMALL] / 2)
            yield _at_most("304 from a folder, ms of CPU", self._cost(servers[0], known=True), 0.15)
            yield self._crowd(servers[0])
        with (
            s3_server(f"{BUCKET}-resized", folder=self._folder.parent) as s3,
            ours(f"s3://{BUCKET}", MEMORY_MB, s3.environment() | {"THUMBNAILER_OFFERS": OFFER}) as server,
        ):
            yield _at_most("304 from S3 (one HEAD), ms of CPU", self._cost(server, known=True), 0.5)
            yield _at_most("kept picture from S3 (one GET), ms of CPU", self._cost(server, known=False), 0.7)
        yield self._memory()
        yield self._flood()

    def _in_turns(self, servers: Sequence[Running], measure: Callable[[Running], float]) -> list[float]:
        found = [[measure(server) for server in servers] for _ in range(self._turns)]
        return [median(column) for column in zip(*found, strict=True)]

    def _rate(self, name: str, server: Running) -> float:
        return self._saturate(server, self._urls(server, name), 200).rate

    def _saturate(
        self, server: Running, urls: Sequence[str], status: int, known: dict[str, str] | None = None
    ) -> Answers:
        """Raises NotStarted for an answer of another status."""
        asyncio.run(saturate(urls, 1, self._seconds / 4, known))  # imports, and code that is compiled once
        answers = _charged(server, saturate(urls, CONNECTIONS, self._seconds, known))
        _require_all(status, answers)
        return answers

    def _p99(self, servers: Sequence[Running], rate: float) -> Row:
        def measure(server: Running) -> float:
            return asyncio.run(at_rate(cycle(self._urls(server, SMALL)), rate, 2 * self._seconds)).p99

        mine, theirs = self._in_turns(servers, measure)
        title = f"{SMALL}: p99 at {rate:.0f} requests a second, against thumbor"
        return _at_most(title, mine / theirs, 0.5, f"{1000 * mine:.1f} and {1000 * theirs:.1f} ms")

    def _crowd(self, server: Running) -> Row:
        """One new wish of many clients. It waits for large pictures, so that its decode does not end before all ask."""
        wish = server.url(self._files(SMALL)[0], SIDE // 2)
        _require_all(200, asyncio.run(at_once([*self._urls(server, LARGE), *[wish] * CROWD])))
        with urlopen(urljoin(wish, "/metrics")) as answer:  # noqa: S310  # our own server
            shared = re.search(r"thumbnailer_flights_shared_total (\d+)", answer.read().decode())
        decodes = CROWD - int(shared[1] if shared else 0)
        return _at_most(f"{CROWD} requests of one new wish: decodes", decodes, 1)

    def _cost(self, server: Running, known: bool) -> float:
        """Milliseconds of CPU for an answer to a known ETag, or with a kept picture: the turn least disturbed."""
        urls, status = (self._urls(server, SMALL)[:1], 304) if known else (self._urls(server, SMALL), 200)
        headers = {"If-None-Match": asyncio.run(tag_of(urls[0]))} if known else None
        runs = (self._saturate(server, urls, status, headers) for _ in range(self._turns))
        return min(1000 * answers.cpu / answers.statuses.total() for answers in runs)

    def _memory(self) -> Row:
        found = []
        for start in (ours, thumbor):
            with start(self._folder, 4 * MEMORY_MB) as server:
                _require_all(200, asyncio.run(at_once(self._urls(server, LARGE))))
                found.append(server.group.peak_rss() / 2**20)
        title = f"{COPIES} JPEGs of 24 MP at once: peak memory, against thumbor"
        return _at_most(title, found[0] / found[1], 0.3, f"{found[0]:.0f} and {found[1]:.0f} MB")

    def _flood(self) -> Row:
        """New wishes at FLOOD_TIMES the rate that the server keeps up with, a tenth of them for bombs."""
        kept, statuses = [], Counter[int]()
        with ours(self._folder, FLOOD_MB) as server:
            urls = self._wishes(server)
            some = [next(urls) for _ in range(500)]
            asyncio.run(saturate(some, 1, self._seconds / 4))
            for _ in range(self._turns):
                capacity = _charged(server, saturate(some, CONNECTIONS, self._seconds)).rate
                rate = FLOOD_TIMES * capacity
                flood = _charged(server, at_rate(urls, rate, FLOOD_WISHES / rate))
                kept.append(flood.rate / capacity)
                statuses += flood.statuses
            kills = server.group.kills
        odd = [status for status in statuses if not _is_proper(status)]
        measured = f"{median(kept):.2f} x, {kills} kills, odd answers: {odd or 'none'}"
        title = f"flood of {FLOOD_WISHES} wishes in {FLOOD_MB} MB: capacity kept"
        return Row(title, ">= 0.8", measured, median(kept) >= 0.8 and not kills and not odd)

    def _wishes(self, server: Running) -> Iterator[str]:
        for number in count():
            name = "bomb.png" if number % 10 == 9 else self._files(SMALL)[0]
            yield server.url(name, 100 + number % 400)

    def _urls(self, server: Running, name: str) -> list[str]:
        return [server.url(file, SIDE) for file in self._files(name)]

    def _files(self, name: str) -> list[str]:
        return sorted(file.name for file in self._folder.glob(f"*-{PICTURES.get(name, name)}*"))


def _is_proper(status: int) -> bool:
    return status in (200, 503) or 400 <= status < 500


def _charged(server: Running, load: Coroutine[Any, Any, Answers]) -> Answers:
    """The answers, with the CPU that the server took for them."""
    before = server.group.cpu_seconds()
    answers = asyncio.run(load)
    answers.cpu = server.group.cpu_seconds() - before
    return answers


def _require_all(status: int, answers: Answers) -> None:
    if set(answers.statuses) != {status}:
        raise NotStarted(f"a server answered {dict(answers.statuses)}")


def _at_least(title: str, mine: float, theirs: float, least: float) -> Row:
    return Row(title, f">= {least}", f"{mine / theirs:.2f} x ({mine:.0f} and {theirs:.0f})", mine >= least * theirs)


def _at_most(title: str, value: float, most: float, more: str = "") -> Row:
    return Row(title, f"<= {most}", f"{value:.3g}{f' ({more})' if more else ''}", value <= most)


def _bomb(folder: Path) -> None:
    """A PNG of 900 megapixels in a few hundred KB."""
    Image.new("1", (30_000, 30_000)).save(folder / "bomb.png")


def run(quick: bool) -> int:
    """Prints the table. Returns 1 if a goal is missed, 2 if the servers cannot be measured here."""
    os.sched_setaffinity(0, set(LOAD_CORES) & os.sched_getaffinity(0) or os.sched_getaffinity(0))
    console, sets = Console(width=WIDTH), reference_sets(quick=False)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="thumbnailer-serve-") as name:
        folder = Path(name) / BUCKET
        folder.mkdir()
        for wanted, number in product((*PICTURES.values(), LARGE), range(COPIES)):
            shutil.copy(picture := sets[wanted].files[0], folder / f"{number}-{picture.name}")
        _bomb(folder)
        try:
            for row in Bench(folder, 1.0 if quick else 4.0, 3 if quick else 5).rows():
                console.print(f"{row.goal}: {row.measured}", highlight=False)
                rows.append(row)
        except (NotStarted, NoLimits) as error:
            console.print(str(error), style="red", markup=False)
            return 2
    body = [(row.goal, row.bound, row.measured, "reached" if row.reached else "missed") for row in rows]
    console.print(plain_table(["goal", "bound", "measured", ""], body))
    return 0 if all(row.reached for row in rows) else 1
