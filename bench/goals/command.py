"""`python -m bench goals`: measures the cells of goals.toml, then the thumbnails, and judges each row."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import typer

from bench.cells.base import CellFailed
from bench.cells.pictures import Pictures, folder_set
from bench.cells.runs import Slot
from bench.goals import thumbnails
from bench.measuring import STOPPED, measure, pictures_for, usable
from bench.money.costing import cell_cost
from bench.peers import PEERS
from bench.questions import VARIANTS, Experiment, Options, ours, peer
from bench.result import Cell, CellKey
from bench.rig.emulator import find_binary
from bench.rig.limits import NoLimits
from bench.rig.processes import NotStarted, cache, made_once
from thumbnailer.backfill.prices import Prices, load_prices
from thumbnailer.errors import SettingsError, ThumbnailerError
from thumbnailer.settings import parse_settings


class Measured(NamedTuple):
    options: Options
    prices: Prices
    sets: Mapping[str, Pictures]
    cells: Mapping[CellKey, Cell]


class Goal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row. `number` names a metric of cells, or a function of bench.goals.thumbnails with the arguments `of`.

    Our cells differ in memory; the best of them is divided by the best cell of the best rival. A rival is a peer, or
    ourselves at another distance to S3. `cell`: other fields of the cells' keys.
    """

    name: str
    number: str
    most: float | None = None
    least: float | None = None
    unit: str = "x"
    pictures: str = "photos"
    of: Sequence[str] = ()
    rivals: Sequence[str] = ()
    memories: tuple[int, ...] = (1769,)
    cell: Mapping[str, Any] = {}

    def keys(self, options: Options) -> Iterator[list[CellKey]]:
        """Yields our cells, then those of each rival; nothing for thumbnails. Raises SettingsError if not built."""
        parse_settings(VARIANTS[self.cell.get("variant", "")])
        if hasattr(thumbnails, self.number):
            return
        memories = options.memories if options.memories and len(self.memories) > 1 else self.memories
        cell = {"pictures": self.pictures, "batch_size": 10, **self.cell}
        places = [replace(ours(options, memory), **cell) for memory in memories]
        yield places
        for name in self.rivals:
            yield [peer(name, place) if name in PEERS else replace(place, latency=name) for place in places]

    def measure(self, run: Measured) -> float:
        """Raises SettingsError if not built, ThumbnailerError if the run has no number."""
        groups = list(self.keys(run.options))
        if self.pictures not in run.sets:
            raise CellFailed(f"this run has no pictures {self.pictures}")
        if not groups:
            return float(getattr(thumbnails, self.number)(run.sets[self.pictures].files, *self.of))
        best = max if self.number.startswith("images_per") else min
        mine, *theirs = [best(self._numbers(run, keys)) for keys in groups]
        return mine / best(theirs) if theirs else mine

    def _numbers(self, run: Measured, keys: Sequence[CellKey]) -> list[float]:
        found = [cell for key in keys if (cell := run.cells[key]).repetitions]
        if not found:
            raise CellFailed("; ".join(dict.fromkeys(run.cells[key].refused for key in keys)))
        if self.number == "usd_per_million":
            return [cell_cost(cell, run.prices).total for cell in found]
        return [cell.median(self.number) or 0.0 for cell in found]

    def judge(self, run: Measured) -> tuple[str, str]:
        """Returns the verdict, and the measured number or the reason why there is none."""
        try:
            value = self.measure(run)
        except SettingsError:
            return "not built", "the product has no such setting"
        except ThumbnailerError as error:
            return "not measured", " ".join(str(error).split())
        except Exception as error:  # the other rows still count
            return "failed", f"{type(error).__name__}: {error}"
        missed = (self.most is not None and value > self.most) or (self.least is not None and value < self.least)
        return "missed" if missed else "reached", f"{value:.4g} {self.unit}"


GOALS: Final = msgspec.toml.decode(Path(__file__).with_name("goals.toml").read_bytes(), type=dict[str, list[Goal]])
"""rows by table"""


def _goals(options: Options) -> Iterator[tuple[str, Goal]]:
    """The rows that the options ask for, and the tables that they are in."""
    return ((table, goal) for table, goals in GOALS.items() for goal in goals if options.row in goal.name)


def _cells(options: Options) -> Iterator[CellKey]:
    for _, goal in _goals(options):
        with suppress(SettingsError):
            yield from (key for keys in goal.keys(options) for key in keys)


EXPERIMENT: Final = Experiment("goals", "Which goals are reached?", _cells, ())


def run(experiment: Experiment, options: Options) -> int:
    """Returns 1 if a goal is missed or not built. Raises ThumbnailerError for what a user can correct."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # one core for the cells, one for S3
    prices, sets = load_prices(options.prices), pictures_for(options)
    sets["coloured-text"] = folder_set(made_once(cache() / "coloured-text", thumbnails.draw_text))
    keys = usable(experiment.keys(options), sets)
    if keys:
        find_binary()  # without it no cell could be measured
    try:
        result, stopped = measure([Slot(key) for key in keys], sets, options, prices) if keys else (None, False)
        if stopped:
            return STOPPED
        cells = result.cells if result else ()
    except (NoLimits, NotStarted) as error:
        cells = tuple(Cell(key, refused=str(error)) for key in keys)
    return show(Measured(options, prices, sets, {cell.key: cell for cell in cells}))


def show(measured: Measured) -> int:
    """Prints a line a goal. Returns the exit code."""
    failed, last = False, ""
    for table, goal in _goals(measured.options):
        if table != last:
            typer.echo(f"\n{table}")
        verdict, number = goal.judge(measured)
        bound = f"≤ {goal.most:g}" if goal.least is None else f"≥ {goal.least:g}"
        typer.echo(f"{goal.name:80} {bound:>8} {goal.unit:5} {verdict}: {number}")
        last = table
        failed |= verdict in ("missed", "not built", "failed")
    return int(failed)
