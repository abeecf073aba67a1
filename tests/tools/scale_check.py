"""A real worker under a real load, compared with the simulation of `python -m bench scale`.

The worker first drains a full queue; only its speed goes into the simulation. Then messages arrive at random at shares
of that speed, and all at once.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.progress import track
from rich.table import Table

from bench.cells.runs import Run, Slot
from bench.cells.testbed import Testbed
from bench.cells.worker import WorkerCell
from bench.measuring import pictures_for, set_up, wide_console
from bench.questions import Options, ours
from bench.result import CellKey, percentile
from bench.scale.model import Arrivals, Fleet, Outcome
from bench.scale.service import fleet_from
from bench.scale.simulation import simulate_fleet
from thumbnailer.backfill.prices import Prices, load_prices

LOADS: Final = (0.3, 0.6, 0.8)
BURST_SECONDS: Final = 10.0
"""work that arrives at once"""
INSTANT: Final = 0.1
"""seconds of a burst in the simulation, which has no single moment of arrival"""
PERCENTILES: Final = (("p50", 0.5), ("p95", 0.95))
SEEDS: Final = range(1, 21)
"""simulated runs: the table shows their median, minimum and maximum"""


@dataclass(frozen=True, slots=True)
class Row:
    """Seconds of the real run, and median, minimum and maximum of the simulated runs."""

    load: str
    what: str
    pictures: int
    real: float
    simulated: float
    least: float
    most: float


def run(options: Options, seconds: float) -> None:
    """Prints the table. Raises as a cell does."""
    prices, sets = load_prices(options.prices), pictures_for(options)
    key = replace(ours(options), platform="fargate", vcpus=1.0, memory_mb=2048, batch_size=10)
    with set_up([key], sets, options) as testbed:
        rows = list(track(check(testbed, key, options, seconds, prices), "measuring", transient=True))
    console = wide_console()
    console.print(table(rows))
    console.print(
        "Seconds from sending a message until its thumbnail was stored. "
        f"Simulated: median, least and most of {len(SEEDS)} runs."
    )


def check(testbed: Testbed, key: CellKey, options: Options, seconds: float, prices: Prices) -> Iterator[Row]:
    with ExitStack() as stack:
        worker = WorkerCell(key, testbed, options, stack)
        slot = Slot(key, repetitions=[worker.repeat() for _ in range(3)])
        fleet = fleet_from(Run(testbed, [slot], options, prices).result())
        fleet = replace(fleet, least=1, most=1)
        for load in LOADS:
            arrivals = Arrivals(load * fleet.task.images_per_second, seconds)
            real = _steady(worker, arrivals)
            simulated = _simulated(arrivals, fleet, prices)
            yield from _percentile_rows(f"{load:.0%} of its speed", real, simulated, [1.0] * len(simulated))
        yield from _burst_rows(worker, fleet, prices)


def _simulated(arrivals: Arrivals, fleet: Fleet, prices: Prices) -> list[Outcome]:
    return [simulate_fleet(arrivals, fleet, prices, seed=seed) for seed in SEEDS]


def _steady(worker: WorkerCell, arrivals: Arrivals) -> list[float]:
    """Sends messages at random times, as the simulation does; returns the seconds that each picture took."""
    chance = random.Random(1)
    bodies = iter(worker.bodies(round(3 * arrivals.rate * arrivals.seconds)))
    sent: dict[str, float] = {}
    with _Watch(worker) as watch:
        began, due = time.monotonic(), 0.0
        while (due := due + chance.expovariate(arrivals.rate)) < arrivals.seconds:
            time.sleep(max(0.0, began + due - time.monotonic()))
            moment = time.monotonic()
            (id_,) = worker.queue.send([next(bodies)])
            sent[id_] = moment
        worker.wait_until_empty()
    return [watch.done[id_] - moment for id_, moment in sent.items()]


def _burst_rows(worker: WorkerCell, fleet: Fleet, prices: Prices) -> Iterator[Row]:
    count = max(1, round(BURST_SECONDS * fleet.task.images_per_second))
    bodies = worker.bodies(count)
    with _Watch(worker) as watch:
        began = time.monotonic()
        ids = worker.queue.send(bodies)
        worker.wait_until_empty()
    real = [watch.done[id_] - began for id_ in ids]
    simulated = _simulated(Arrivals(count / INSTANT, INSTANT), fleet, prices)
    sizes = [count / outcome.arrived for outcome in simulated]  # the number of simulated arrivals is random
    ends = [(outcome.drained or 0.0) * size for outcome, size in zip(simulated, sizes, strict=True)]
    load = f"{count} at once"
    yield _row(load, "all done after", count, max(real), ends)
    yield from _percentile_rows(load, real, simulated, sizes)


def _percentile_rows(load: str, real: list[float], simulated: list[Outcome], sizes: list[float]) -> Iterator[Row]:
    for what, share in PERCENTILES:
        values = [getattr(outcome, what) * size for outcome, size in zip(simulated, sizes, strict=True)]
        yield _row(load, what, len(real), percentile(real, share), values)


def _row(load: str, what: str, pictures: int, real: float, simulated: list[float]) -> Row:
    return Row(load, what, pictures, real, percentile(simulated, 0.5), min(simulated), max(simulated))


class _Watch:
    """Records when the worker logged each message; the worker deletes messages later, in batches."""

    def __init__(self, worker: WorkerCell) -> None:
        self._worker = worker
        self.done: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self._take()

    def _take(self) -> None:
        for line in self._worker.new_lines():
            if line.get("message") == "record":
                self.done[line["request_id"]] = time.monotonic()

    def __enter__(self) -> _Watch:
        self._take()  # earlier records
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._take()


def table(rows: list[Row]) -> Table:
    made = Table("load", "", "pictures", "real s", "simulated s", "from", "to", "simulated / real", box=SIMPLE_HEAD)
    for column in made.columns[2:]:
        column.justify = "right"
    for row in rows:
        numbers = (f"{value:.3f}" for value in (row.real, row.simulated, row.least, row.most))
        made.add_row(row.load, row.what, f"{row.pictures:,}", *numbers, f"{row.simulated / row.real:.2f}")
    return made
