"""`python -m bench scale-check`: a real worker under a real load, against what the simulation says of it.

The worker is measured full; from that alone the simulation is told what a task can. Then messages come to the same
worker by chance at shares of its speed, and all at once, in as many seconds as the simulation is asked about.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from bench.rig.testbed import Bed
from rich.box import SIMPLE_HEAD
from rich.table import Table

from bench.cells.base import Effort
from bench.cells.worker import WorkerCell
from bench.money.prices import Prices
from bench.result import Cell, CellKey, Result, percentile
from bench.scale.model import Arrivals, Fleet
from bench.scale.service import fleet_from
from bench.scale.simulation import simulate_fleet

LOADS: Final = (0.3, 0.6, 0.8)
BURST_SECONDS: Final = 10.0
"""Of work, that comes at once."""
INSTANT: Final = 0.1
"""Seconds of a burst in the simulation, which has no moment in which all come."""
PERCENTILES: Final = (("p50", 0.5), ("p95", 0.95))
SEEDS: Final = range(1, 21)
"""The simulation is one run of many, as the real one is: its median of so many is shown, and how far they go."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Seconds: of a real run, and of the simulation: the median of its runs, the least, and the most.

    `pictures`: how many there were in the real run.
    """

    load: str
    what: str
    pictures: int
    real: float
    simulated: float
    least: float
    most: float


def check(
    bed: Bed, key: CellKey, effort: Effort, seconds: float, prices: Prices, tell: Callable[[str], None], result: Result
) -> Iterator[Compared]:
    """`result`: one without cells, that says where it was measured. Raises as a cell does."""
    worker = WorkerCell(key, bed, effort)
    try:
        tell("the worker, full")
        full = [worker.repeat() for _ in range(3)]
        fleet = fleet_of(replace(result, cells=(Cell(key, tuple(full)),)))
        for load in LOADS:
            tell(f"{load:.0%} of its speed, {seconds:g} s")
            arrivals = Arrivals(load * fleet.images_per_second, seconds)
            real = _steady(worker, arrivals)
            yield from _compared(f"{load:.0%} of its speed", real, fleet, arrivals, prices)
        yield from _burst(worker, fleet, prices, tell)
    finally:
        worker.close()


def fleet_of(result: Result) -> Fleet:
    """One task, as it was measured."""
    fleet = fleet_from(result)
    assert fleet is not None
    return replace(fleet, least=1, most=1)


def _steady(worker: WorkerCell, arrivals: Arrivals) -> list[float]:
    """Sends by chance, as the simulation does, and says how long each picture took, in seconds."""
    chance = random.Random(1)
    bodies = iter(worker.bodies(round(3 * arrivals.rate * arrivals.seconds)))
    sent: dict[str, float] = {}
    with _Watch(worker) as watch:
        began, due = time.monotonic(), 0.0
        while (due := due + chance.expovariate(arrivals.rate)) < arrivals.seconds:
            time.sleep(max(0.0, began + due - time.monotonic()))
            now = time.monotonic()
            (id_,) = worker.queue.send([next(bodies)])
            sent[id_] = now
        worker.wait_until_empty()
    return [watch.seen[id_] - moment for id_, moment in sent.items()]


class _Watch:
    """When the worker logged that a message's picture was done. A message is deleted later, with others."""

    def __init__(self, worker: WorkerCell) -> None:
        self._worker = worker
        self.seen: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(0.005):
            self._take()

    def _take(self) -> None:
        for line in self._worker.new_records():
            self.seen[line["request_id"]] = time.monotonic()

    def __enter__(self) -> _Watch:
        self._take()  # what was before
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._take()


def _compared(load: str, real: list[float], fleet: Fleet, arrivals: Arrivals, prices: Prices) -> Iterator[Compared]:
    outcomes = [simulate_fleet(arrivals, fleet, prices, seed=seed) for seed in SEEDS]
    for what, share in PERCENTILES:
        simulated = [getattr(outcome, what) for outcome in outcomes]
        yield _row(load, what, len(real), percentile(real, share), simulated)


def _row(load: str, what: str, pictures: int, real: float, simulated: list[float]) -> Compared:
    return Compared(load, what, pictures, real, percentile(simulated, 0.5), min(simulated), max(simulated))


def _burst(worker: WorkerCell, fleet: Fleet, prices: Prices, tell: Callable[[str], None]) -> Iterator[Compared]:
    count = max(1, round(BURST_SECONDS * fleet.images_per_second))
    load = f"{count} at once"
    tell(load)
    bodies = worker.bodies(count)
    with _Watch(worker) as watch:
        began = time.monotonic()
        ids = worker.queue.send(bodies)
        worker.wait_until_empty()
    real = [watch.seen[id_] - began for id_ in ids]
    arrivals = Arrivals(count / INSTANT, INSTANT)
    outcomes = [simulate_fleet(arrivals, fleet, prices, seed=seed) for seed in SEEDS]
    sizes = [count / outcome.arrived for outcome in outcomes]  # by chance more come or fewer, and it takes as much more
    ends = [(outcome.drained or 0.0) * size for outcome, size in zip(outcomes, sizes, strict=True)]
    yield _row(load, "all done after", count, max(real), ends)
    for what, share in PERCENTILES:
        simulated = [getattr(outcome, what) * size for outcome, size in zip(outcomes, sizes, strict=True)]
        yield _row(load, what, count, percentile(real, share), simulated)


def table(rows: list[Compared]) -> Table:
    shown = Table("load", "", "pictures", "real s", "simulated s", "from", "to", "simulated / real", box=SIMPLE_HEAD)
    for column in shown.columns[2:]:
        column.justify = "right"
    for row in rows:
        numbers = (f"{value:.3f}" for value in (row.real, row.simulated, row.least, row.most))
        shown.add_row(row.load, row.what, f"{row.pictures:,}", *numbers, f"{row.simulated / row.real:.2f}")
    return shown
