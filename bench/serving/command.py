"""The rows of `python -m bench serve`: goal, measured, verdict. Both servers take turns on the same core."""

import asyncio
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from typing import Final

from PIL import Image
from rich.console import Console

from bench.cells.pictures import reference_sets
from bench.pages.tables import WIDTH, plain_table
from bench.rig.limits import NoLimits
from bench.rig.processes import NotStarted
from bench.serving.load import Answers, at_once, at_rate, saturate, tag_of
from bench.serving.servers import LOAD_CORES, Running, ours, thumbor

SIDE: Final = 512
CONNECTIONS: Final = 4
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
LARGE: Final = "24mp-baseline"
LARGE_COUNT: Final = 8
KNOWN: Final = 2000
"""Requests with a known ETag."""


@dataclass(frozen=True, slots=True)
class Row:
    goal: str
    bound: str
    measured: str
    reached: bool


class Bench:
    """A folder with one picture of each kind; numbers are medians of `turns`."""

    def __init__(self, folder: Path, seconds: float, turns: int) -> None:
        self._folder = folder
        self._seconds = seconds
        self._turns = turns

    def rows(self) -> Iterator[Row]:
        """Raises NotStarted, NoLimits."""
        rates: dict[str, float] = {}
        for name, least in RATES.items():
            mine, theirs = self._rates(name)
            rates[name] = theirs
            yield _at_least(f"requests a second against thumbor, {name}", mine, theirs, least)
        yield self._p99(rates["JPEG, 1 MP"] / 2)
        yield self._memory()
        yield self._known()
        yield self._flood()

    def _rates(self, name: str) -> tuple[float, float]:
        found: list[list[float]] = [[], []]
        for _ in range(self._turns):
            for side, start in enumerate((ours, thumbor)):
                with start(self._folder, MEMORY_MB) as server:
                    url = server.url(self._file(name), SIDE)
                    asyncio.run(saturate([url], 1, self._seconds / 4))  # imports, and code that is compiled once
                    found[side].append(asyncio.run(saturate([url], CONNECTIONS, self._seconds)).rate)
        return statistics.median(found[0]), statistics.median(found[1])

    def _p99(self, rate: float) -> Row:
        found: list[float] = []
        for start in (ours, thumbor):
            with start(self._folder, MEMORY_MB) as server:
                url = server.url(self._file("JPEG, 1 MP"), SIDE)
                asyncio.run(saturate([url], 1, self._seconds / 4))
                found.append(asyncio.run(at_rate(cycle([url]), rate, 4 * self._seconds)).p99)
        title = f"p99 against thumbor's at {rate:.0f} requests a second, JPEG, 1 MP"
        return _at_most(title, found[0] / found[1], 0.5, f"{1000 * found[0]:.1f} and {1000 * found[1]:.1f} ms")

    def _memory(self) -> Row:
        found = []
        for start in (ours, thumbor):
            with start(self._folder, 4 * MEMORY_MB) as server:
                # other sizes, or the clients would share one decode
                urls = [server.url(self._file(LARGE), SIDE - number) for number in range(LARGE_COUNT)]
                answers = asyncio.run(at_once(urls))
                _require_good(answers)
                found.append(server.group.peak_rss() / 2**20)
        title = f"peak memory of {LARGE_COUNT} JPEGs of 24 MP at once, against thumbor's"
        return _at_most(title, found[0] / found[1], 0.3, f"{found[0]:.0f} and {found[1]:.0f} MB")

    def _known(self) -> Row:
        with ours(self._folder, MEMORY_MB) as server:
            url = server.url(self._file("JPEG, 1 MP"), SIDE)
            known = {"If-None-Match": asyncio.run(tag_of(url))}
            asyncio.run(_in_order(url, known, KNOWN // 10))
            before = server.group.cpu_seconds()
            answers = asyncio.run(_in_order(url, known, KNOWN))
            milliseconds = 1000 * (server.group.cpu_seconds() - before) / answers.statuses[304]
        return _at_most("server's CPU of a 304 from a folder, ms", milliseconds, 0.15)

    def _flood(self) -> Row:
        """New wishes at FLOOD_TIMES the rate that the server keeps up with, a tenth of them for bombs."""
        with ours(self._folder, FLOOD_MB) as server:
            urls = self._wishes(server)
            capacity = asyncio.run(saturate([next(urls) for _ in range(500)], CONNECTIONS, self._seconds)).rate
            flood = asyncio.run(at_rate(urls, FLOOD_TIMES * capacity, FLOOD_WISHES / (FLOOD_TIMES * capacity)))
            kills = server.group.kills
        odd = {status: number for status, number in flood.statuses.items() if not _is_proper(status)}
        measured = f"{flood.rate / capacity:.2f} x, {kills} kills, other answers: {odd or 'none'}"
        title = f"capacity kept in a flood of {FLOOD_WISHES} wishes in {FLOOD_MB} MB, no kill, only 200, 4xx and 503"
        return Row(title, ">= 0.8 x", measured, flood.rate >= 0.8 * capacity and not kills and not odd)

    def _wishes(self, server: Running) -> Iterator[str]:
        for number in count():
            yield server.url("bomb.png" if number % 10 == 9 else self._file("JPEG, 1 MP"), 100 + number % 400)

    def _file(self, name: str) -> str:
        return next(self._folder.glob(f"{PICTURES.get(name, name)}*")).name


def _is_proper(status: int) -> bool:
    return status in (200, 503) or 400 <= status < 500


async def _in_order(url: str, headers: dict[str, str], number: int) -> Answers:
    answers = Answers()
    for _ in range(number // 100):
        some = await at_once([url] * 100, headers)
        answers.statuses += some.statuses
    return answers


def _require_good(answers: Answers) -> None:
    if set(answers.statuses) != {200}:
        raise NotStarted(f"a server answered {dict(answers.statuses)}")


def _at_least(title: str, mine: float, theirs: float, least: float) -> Row:
    return Row(title, f">= {least} x", f"{mine / theirs:.2f} x ({mine:.0f} and {theirs:.0f})", mine >= least * theirs)


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
        folder = Path(name)
        for wanted in (*PICTURES.values(), LARGE):
            shutil.copy(sets[wanted].files[0], folder)
        _bomb(folder)
        try:
            for row in Bench(folder, 2.0 if quick else 8.0, 1 if quick else 5).rows():
                console.print(f"{row.goal}: {row.measured}", highlight=False)
                rows.append(row)
        except (NotStarted, NoLimits) as error:
            console.print(str(error), style="red", markup=False)
            return 2
    body = [(row.goal, row.bound, row.measured, "reached" if row.reached else "missed") for row in rows]
    console.print(plain_table(["goal", "bound", "measured", ""], body))
    return 0 if all(row.reached for row in rows) else 1
