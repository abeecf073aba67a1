"""`python -m bench goals`: measures the cells of goals.toml, then the thumbnails, and judges each row."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

import msgspec

from bench.cells.base import CellFailed
from bench.cells.pictures import Pictures, folder_set
from bench.cells.runs import REFUSALS, Slot
from bench.goals import thumbnails
from bench.measuring import STOPPED, measure, pictures_for, usable, wide_console
from bench.money.costing import cell_cost
from bench.money.prices import Prices, load_prices
from bench.pages.tables import plain_table
from bench.peers import PEERS
from bench.questions import VARIANTS, Experiment, Options, ours, peer
from bench.result import Cell, CellKey
from bench.rig.limits import NoLimits
from bench.rig.processes import NotStarted, cache, made_once
from thumbnailer.errors import SettingsError
from thumbnailer.settings import parse_settings

REACHED: Final = "reached"
NOT_MEASURED: Final = "not measured: "


@dataclass(frozen=True, slots=True)
class Measured:
    """A run; `reason` says why it has no cells."""

    options: Options
    prices: Prices
    sets: Mapping[str, Pictures]
    cells: Mapping[CellKey, Cell] = field(default_factory=dict)
    reason: str = ""


class Goal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row. `number` names a function of bench.goals.thumbnails, which gets `pictures` and `of`, or one of cells.

    Our cells differ in memory; the best of them is divided by the best cell of the best rival. A rival is a peer, or
    ourselves at another distance to S3.
    """

    name: str
    number: str
    most: float = float("inf")
    least: float = float("-inf")
    unit: str = "x"
    pictures: str = "photos"
    of: Sequence[str] = ()
    rivals: Sequence[str] = ()
    memories: tuple[int, ...] = (1769,)
    batch_size: int = 10
    latency: str = ""
    start: Literal["warm", "cold"] = "warm"
    variant: str = ""

    def keys(self, options: Options) -> Iterator[Sequence[CellKey]]:
        """Yields our cells, then those of each rival; nothing for thumbnails. Raises SettingsError if not built."""
        parse_settings(VARIANTS[self.variant])
        if hasattr(thumbnails, self.number):
            return
        memories = options.memories if options.memories and len(self.memories) > 1 else self.memories
        key = replace(ours(options), pictures=self.pictures, batch_size=self.batch_size, start=self.start)
        key = replace(key, latency=self.latency or options.latency, variant=self.variant)
        sizes = [ours(options, memory) for memory in memories]
        places = [replace(key, memory_mb=size.memory_mb, vcpus=size.vcpus) for size in sizes]
        yield places
        for name in self.rivals:
            yield [peer(name, place) if name in PEERS else replace(place, latency=name) for place in places]

    def measure(self, run: Measured) -> float:
        """Raises SettingsError if the product does not know the variant, REFUSALS if nothing is measured."""
        best = max if self.number.startswith("images_per") else min
        mine, *theirs = [best(self._numbers(run, keys)) for keys in self.keys(run.options)] or [self._number(run)]
        return mine / best(theirs) if theirs else mine

    def _number(self, run: Measured) -> float:
        if self.pictures not in run.sets:
            raise CellFailed(f"this run has no pictures {self.pictures}")
        return float(getattr(thumbnails, self.number)(run.sets[self.pictures].files, *self.of))

    def _numbers(self, run: Measured, keys: Sequence[CellKey]) -> list[float]:
        cells = [run.cells[key] for key in keys if key in run.cells]
        usd = self.number == "usd_per_million"
        found = [
            cell_cost(cell, run.prices).total if usd else cell.median(self.number) for cell in cells if cell.repetitions
        ]
        if not found:
            refused = "; ".join(dict.fromkeys(cell.refused for cell in cells))
            raise CellFailed(run.reason or refused or f"this run has no pictures {self.pictures}")
        return [number for number in found if number is not None]

    def row(self, run: Measured) -> tuple[str, str, str, str]:
        """Returns name, goal, measured number and verdict."""
        goal = f"≤ {self.most:g} {self.unit}" if self.most < float("inf") else f"≥ {self.least:g} {self.unit}"
        try:
            value = self.measure(run)
        except SettingsError:
            return self.name, goal, "-", "not built"
        except REFUSALS as error:
            return self.name, goal, "-", NOT_MEASURED + " ".join(str(error).split())
        return self.name, goal, f"{value:.4g} {self.unit}", REACHED if self.least <= value <= self.most else "MISSED"


GOALS: Final = msgspec.toml.decode(Path(__file__).with_name("goals.toml").read_bytes(), type=dict[str, list[Goal]])
"""rows by the title of their table"""


def _cells(options: Options) -> Iterator[CellKey]:
    for goal in (goal for goals in GOALS.values() for goal in goals):
        with suppress(SettingsError):
            yield from (key for keys in goal.keys(options) for key in keys)


EXPERIMENT: Final = Experiment("goals", "Which goals are reached?", _cells, ())


def run(experiment: Experiment, options: Options) -> int:
    """Returns 1 if a goal is missed or not built. Raises ThumbnailerError for what a user can correct."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # one core for the cells, one for S3
    prices, sets = load_prices(options.prices), pictures_for(options)
    sets["coloured-text"] = folder_set(made_once(cache() / "coloured-text", thumbnails.draw_text))
    try:
        slots = [Slot(key) for key in usable(experiment.keys(options), sets)]
        result, stopped = measure(slots, sets, options, prices)
        measured = Measured(options, prices, sets, {cell.key: cell for cell in result.cells})
    except (NoLimits, NotStarted) as error:
        measured, stopped = Measured(options, prices, sets, reason=str(error)), False
    if stopped:
        return STOPPED
    console, failed = wide_console(), False
    for title, goals in GOALS.items():
        rows = [goal.row(measured) for goal in goals]
        failed |= any(verdict != REACHED and not verdict.startswith(NOT_MEASURED) for *_, verdict in rows)
        console.print(plain_table((title, "goal", "measured", "verdict"), rows), "")
    return int(failed)
