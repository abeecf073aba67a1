"""The verdict on two sets of cells: does NEW take longer than BASE? Pure.

Two builds take turns, and each repetition is compared with its neighbour in time, so that a slow phase of the machine
slows both. Two files of results may be of different days: the medians are compared, each as a ratio to the baseline
handler of its own run, and must differ by more.

A regression is a metric whose whole interval of NEW / BASE is above 1 and whose ratio exceeds the least relevant
change. The intervals are wide enough (Bonferroni) that at most one in a hundred comparisons of equal builds shows a
regression in any cell or metric; the same holds for improvements.
"""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bench.compare.intervals import Interval, ratio_interval
from bench.pages.selection import OURS
from bench.result import METRICS, Cell, CellKey, Machine, Result
from thumbnailer.errors import ThumbnailerError

JUDGED: Final = ("billed_ms_per_image", "cpu_ms_per_image", "p50_ms")
"""Less is better."""
SHOWN: Final = ("peak_rss_mb", "cold_start_ms", "images_per_gb_second")
SAME_ON_EVERY_MACHINE: Final = frozenset({"peak_rss_mb"})
"""Not divided by the baseline: a faster machine does not change it."""
LEAST: Final = 0.02
LEAST_BETWEEN_RUNS: Final = 0.05
"""Least relevant change of builds that take turns, and of separate runs, which differ by some percent anyway."""
FALSE_ALARMS: Final = 0.01
"""Share of comparisons of equal builds that may show a regression."""
TOO_NOISY: Final = 0.10
"""Largest useful interval, to each side."""
SAME_OUTCOMES: Final = 0.01
"""Share of records that may end differently in the same work."""
BASE: Final = "base"
NEW: Final = "new"


class CompareError(ThumbnailerError):
    """These two cannot be compared."""


class Verdict(StrEnum):
    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    NO_DIFFERENCE = "no difference seen"
    TOO_NOISY = "too noisy to tell"
    NOT_JUDGED = "shown only"
    INCOMPARABLE = "cannot be compared"


@dataclass(frozen=True, slots=True)
class Row:
    """A metric of a cell. The interval is that of NEW / BASE, whose ratio is not the ratio of the medians.

    `used` of `measured` repetitions have the metric. `visible`: the smallest visible difference.
    """

    key: CellKey
    metric: str
    base_median: float
    new_median: float
    interval: Interval
    visible: float
    used: int
    measured: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Comparison:
    """`uncompared`: why an expected comparison is missing; `notes`: what a reader should know."""

    rows: tuple[Row, ...]
    uncompared: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def judged(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.verdict is not Verdict.NOT_JUDGED)

    @property
    def verdict(self) -> Verdict:
        """A regression counts even if another comparison is missing."""
        found = {row.verdict for row in self.judged}
        if Verdict.REGRESSION in found:
            return Verdict.REGRESSION
        if self.uncompared or not found:
            return Verdict.INCOMPARABLE
        order = (Verdict.IMPROVEMENT, Verdict.TOO_NOISY)
        return next((verdict for verdict in order if verdict in found), Verdict.NO_DIFFERENCE)

    @property
    def exit_code(self) -> int:
        return {Verdict.REGRESSION: 1, Verdict.INCOMPARABLE: 2}.get(self.verdict, 0)


def compare(base: Result, new: Result, paired: bool) -> Comparison:
    """Compare our cells of two runs, each relative to the baseline handler of its run if both have one.

    Paired: the runs took turns, and every cell must be on both sides. Raises CompareError.
    """
    bases, news = _by_key(base), _by_key(new)
    pairs = [
        _Pair(key, cell, news[key], _yardsticks(base, new, cell, news[key]))
        for key, cell in bases.items()
        if key in news
    ]
    if not pairs:
        has = [", ".join(key.title for key in cells) or "none" for cells in (bases, news)]
        return Comparison((), (f"no cell in common: {BASE} has {has[0]}; {NEW} has {has[1]}",))
    refused = {pair.key: _obstacle(pair, paired) or _other_conditions(base, new, pair) for pair in pairs}
    rows = _rows([pair for pair in pairs if not refused[pair.key]], paired)
    uncompared = [reason for reason in refused.values() if reason]
    missing = [f"{key.title}: only in {BASE}" for key in bases if key not in news]
    missing += [f"{key.title}: only in {NEW}" for key in news if key not in bases]
    if paired:
        return Comparison(rows, (*uncompared, *missing))
    alone = [f"{pair.key.title}: compared without a baseline in both runs" for pair in pairs if not pair.yardsticks]
    return Comparison(rows, tuple(uncompared), (*missing, *_other_settings(base, new), *alone))


# --- pairs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pair:
    """A cell of each side, and the baseline handler's cells if both runs have one."""

    key: CellKey
    base: Cell
    new: Cell
    yardsticks: tuple[Cell, Cell] | None = None


def _by_key(result: Result) -> dict[CellKey, Cell]:
    """Our measured cells. Raises CompareError if two have the same key."""
    cells = [cell for cell in result.cells if cell.key.handler == OURS]
    key, count = Counter(cell.key for cell in cells).most_common(1)[0] if cells else (None, 0)
    if key and count > 1:
        raise CompareError(f"{key.title}: is there twice: one cell of each kind is expected")
    return {cell.key: cell for cell in cells if cell.repetitions}


def _yardsticks(base: Result, new: Result, base_cell: Cell, new_cell: Cell) -> tuple[Cell, Cell] | None:
    one, other = base.baseline_of(base_cell), new.baseline_of(new_cell)
    return (one, other) if one and other and base.baseline == new.baseline else None


# --- conditions ---------------------------------------------------------------------------------------------------


def _obstacle(pair: _Pair, paired: bool) -> str:
    """Why the pair cannot be compared, or ""."""
    base, new, name = len(pair.base.repetitions), len(pair.new.repetitions), pair.key.title
    if paired and base != new:
        return f"{name}: {base} repetitions of {BASE} and {new} of {NEW}: builds that take turns have equally many"
    for metric in JUDGED:
        if not _known(pair.base, metric) or not _known(pair.new, metric):
            return f"{name}: has no {metric} on both sides"
    before, after = _outcomes(pair.base), _outcomes(pair.new)
    if any(abs(before.get(each, 0) - after.get(each, 0)) > SAME_OUTCOMES for each in before | after):
        return f"{name}: is not the same work: {_shares(before)} in {BASE}, {_shares(after)} in {NEW}"
    return ""


def _outcomes(cell: Cell) -> dict[str, float]:
    """The share of each outcome."""
    total: Counter[str] = Counter()
    for one in cell.repetitions:
        total.update(one.outcomes)
    return {name: count / max(1, total.total()) for name, count in total.items()}


def _shares(outcomes: Mapping[str, float]) -> str:
    return ", ".join(f"{share:.1%} {name}" for name, share in sorted(outcomes.items())) or "no outcome"


def _other_conditions(base: Result, new: Result, pair: _Pair) -> str:
    hashes = [{each.name: each.hash for each in result.picture_sets} for result in (base, new)]
    if hashes[0].get(pair.key.pictures) != hashes[1].get(pair.key.pictures):
        return f"{pair.key.title}: the pictures differ: measure both with one set"
    if pair.yardsticks is None and _speed_of(base.machine) != _speed_of(new.machine):
        machines = f"measured on {base.machine.cpu} and on {new.machine.cpu}, without a baseline in both"
        return f"{pair.key.title}: {machines}: measure both on one machine, or the baseline too"
    return ""


def _speed_of(machine: Machine) -> tuple[object, ...]:
    return machine.architecture, machine.cpu, machine.cores


def _other_settings(base: Result, new: Result) -> Iterator[str]:
    for name in sorted(base.settings.keys() | new.settings.keys()):
        one, other = base.settings.get(name, "not set"), new.settings.get(name, "not set")
        if one != other:
            yield f"settings differ: {name} is {one} in {BASE} and {other} in {NEW}"


# --- rows ---------------------------------------------------------------------------------------------------------


Samples = Sequence[Sequence[float]]


def _rows(pairs: Sequence[_Pair], paired: bool) -> tuple[Row, ...]:
    samples_of = _paired_samples if paired else _unpaired_samples
    every = [(pair, metric, *samples_of(pair, metric)) for pair in pairs for metric in (*JUDGED, *SHOWN)]
    found = [each for each in every if all(each[2]) and all(each[3])]
    risk = FALSE_ALARMS / max(1, sum(metric in JUDGED for _, metric, *_ in found))
    least = LEAST if paired else LEAST_BETWEEN_RUNS
    return tuple(
        _row(pair, metric, len(over[0]), ratio_interval(over, under, risk), least)
        for pair, metric, over, under in found
    )


def _paired_samples(pair: _Pair, metric: str) -> tuple[Samples, Samples]:
    """One sample: the ratios of neighbours in time."""
    neighbours = zip(_values(pair.base, metric), _values(pair.new, metric), strict=True)
    return [[other / one for one, other in neighbours if one is not None and other is not None]], []


def _unpaired_samples(pair: _Pair, metric: str) -> tuple[Samples, Samples]:
    """Two samples, or four with the baseline handler's."""
    base, new = _known(pair.base, metric), _known(pair.new, metric)
    if pair.yardsticks and metric not in SAME_ON_EVERY_MACHINE:
        of_base, of_new = (_known(cell, metric) for cell in pair.yardsticks)
        if of_base and of_new:
            return [new, of_base], [base, of_new]
    return [new], [base]


def _values(cell: Cell, metric: str) -> list[float | None]:
    """A metric of each repetition; None if it is missing or 0, which has no ratio."""
    found = (METRICS[metric](cell.key, one) for one in cell.repetitions)
    return [value if value is not None and value > 0 else None for value in found]


def _known(cell: Cell, metric: str) -> list[float]:
    return [value for value in _values(cell, metric) if value is not None]


def _row(pair: _Pair, metric: str, count: int, interval: Interval, least: float) -> Row:
    base, new = _known(pair.base, metric), _known(pair.new, metric)
    return Row(
        key=pair.key,
        metric=metric,
        base_median=statistics.median(base),
        new_median=statistics.median(new),
        interval=interval,
        visible=max(least, interval.half_width),
        used=min(count, len(base)),
        measured=max(len(pair.base.repetitions), len(pair.new.repetitions)),
        verdict=_judge(interval, least) if metric in JUDGED else Verdict.NOT_JUDGED,
    )


def _judge(interval: Interval, least: float) -> Verdict:
    if interval.lower > 1 and interval.ratio > 1 + least:
        return Verdict.REGRESSION
    if interval.upper < 1 and interval.ratio < 1 / (1 + least):
        return Verdict.IMPROVEMENT
    return Verdict.TOO_NOISY if interval.half_width > TOO_NOISY else Verdict.NO_DIFFERENCE
