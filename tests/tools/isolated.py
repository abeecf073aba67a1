"""A picture in a child process and the same in this one, taking turns: what a message costs that comes again."""

from __future__ import annotations

import asyncio
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.tools.peak import plan_for
from tests.tools.quality import SAMPLES
from thumbnailer.app import new_event_loop
from thumbnailer.engine import load_engine, render_first
from thumbnailer.execution.attempt import Attempt
from thumbnailer.execution.isolated import render_isolated
from thumbnailer.model import EngineName
from thumbnailer.planning.plan import Plan

PICTURES: Final = (
    ("rocket.jpg", EngineName.PILLOW),
    ("rocket.jpg", EngineName.VIPS),
    ("chelsea.png", EngineName.VIPS),
    ("flower.avif", EngineName.PILLOW),
    ("retina.heic", EngineName.PILLOW),
)


def run(rounds: int) -> None:
    """Prints the table; medians of warm caches."""
    table = Table("picture", "engine", "here: CPU ms", "in a child: CPU ms", "ms until it has ended", show_edge=False)
    for name, engine in track(PICTURES, "measuring", console=Console(stderr=True), transient=True):
        path = str(SAMPLES / name)
        here, child, wall = _medians(path, plan_for(path, engine, "128x128"), rounds)
        table.add_row(name, engine, f"{here:.1f}", f"{child:.0f}", f"{wall:.0f}")
    Console().print(table)


@dataclass(frozen=True, slots=True)
class Spent:
    """Milliseconds: CPU time of this process and of its children, and wall time."""

    own: float
    children: float
    wall: float


def _medians(path: str, plan: Plan, rounds: int) -> tuple[float, float, float]:
    """CPU time here, CPU time of a child, and how long that was waited for."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:

        def here() -> None:
            render_first(load_engine, path, plan)

        def child() -> None:
            runner.run(render_isolated(Attempt(path, plan)))

        here()
        child()
        both = [(_spent(here), _spent(child)) for _ in range(rounds)]
    return (
        statistics.median(spent.own for spent, _ in both),
        statistics.median(spent.children for _, spent in both),
        statistics.median(spent.wall for _, spent in both),
    )


def _spent(work: Callable[[], None]) -> Spent:
    before, started = (_cpu(resource.RUSAGE_SELF), _cpu(resource.RUSAGE_CHILDREN)), time.perf_counter()
    work()
    wall = time.perf_counter() - started
    own, children = _cpu(resource.RUSAGE_SELF) - before[0], _cpu(resource.RUSAGE_CHILDREN) - before[1]
    return Spent(own * 1000, children * 1000, wall * 1000)


def _cpu(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime
