"""The verdict on two sets of cells: does NEW take longer than BASE? Pure.

Two builds take turns, and each repetition is compared with its neighbour in time, so that a slow phase of the machine
slows both. Two files of results of one machine may be of different days, so they must differ by more.

A regression is a metric whose whole interval of NEW / BASE is above 1 and whose ratio exceeds the least relevant
change. The intervals are wide enough (Bonferroni) that at most one in a hundred comparisons of equal builds shows a
regression in any cell or metric; the same holds for improvements.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from bench.compare.intervals import Interval, ratio_interval
from bench.pages.selection import OURS, outcome_shares
from bench.result import Cell, CellKey, Result
from thumbnailer.errors import ThumbnailerError

JUDGED: Final = ("billed_ms_per_image", "cpu_ms_per_image", "p50_ms")
"""Less is better."""
SHOWN: Final = ("peak_rss_mb", "cold_start_ms", "images_per_gb_second")
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
    """These two cannot be compared, or a revision cannot be checked out."""


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

    `visible`: the smallest visible difference.
    """

    key: CellKey
    metric: str
    base_median: float
    new_median: float
    interval: Interval
    visible: float
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
    """Compare our cells of two runs. Paired: the runs took turns.

    Raises CompareError if the runs have different machines or pictures.
    """
    _assert_comparable(base, new)
    bases, news = _by_key(base), _by_key(new)
    both = bases.keys() & news.keys()
    if not both:
        has = [", ".join(key.title for key in cells) or "none" for cells in (bases, news)]
        return Comparison((), (f"no cell in common: {BASE} has {has[0]}; {NEW} has {has[1]}",))
    pairs = [_Pair(cell, news[key]) for key, cell in bases.items() if key in both]
    refused = [f"{pair.base.key.title}: {reason}" for pair in pairs if (reason := _obstacle(pair))]
    rows = _rows([pair for pair in pairs if not _obstacle(pair)], paired)
    missing = [f"{key.title}: only in {BASE if key in bases else NEW}" for key in {**bases, **news} if key not in both]
    return Comparison(rows, tuple(refused), (*missing, *_other_settings(base, new)))


class _Pair(NamedTuple):
    """A cell of each side."""

    base: Cell
    new: Cell


def _by_key(result: Result) -> dict[CellKey, Cell]:
    """Our measured cells."""
    return {cell.key: cell for cell in result.cells if cell.key.handler == OURS and cell.repetitions}


def _assert_comparable(base: Result, new: Result) -> None:
    one, other = base.machine, new.machine
    if (one.architecture, one.cpu, one.cores) != (other.architecture, other.cpu, other.cores):
        raise CompareError(f"measured on {one.cpu} and on {other.cpu}: measure both on one machine")
    hashes = {each.name: each.hash for each in base.picture_sets}
    if any(hashes.get(each.name, each.hash) != each.hash for each in new.picture_sets):
        raise CompareError("the pictures differ: measure both with one set")


def _other_settings(base: Result, new: Result) -> Iterator[str]:
    for name in sorted(base.settings.keys() | new.settings.keys()):
        one, other = base.settings.get(name, "not set"), new.settings.get(name, "not set")
        if one != other:
            yield f"settings differ: {name} is {one} in {BASE} and {other} in {NEW}"


def _obstacle(pair: _Pair) -> str:
    """Why the pair cannot be compared, or ""."""
    for metric in JUDGED:
        if not _known(pair.base, metric) or not _known(pair.new, metric):
            return f"has no {metric} on both sides"
    before, after = outcome_shares([pair.base]), outcome_shares([pair.new])
    if any(abs(before.get(each, 0) - after.get(each, 0)) > SAME_OUTCOMES for each in before | after):
        return f"is not the same work: {_shares(before)} in {BASE}, {_shares(after)} in {NEW}"
    return ""


def _shares(outcomes: Mapping[str, float]) -> str:
    return ", ".join(f"{share:.1%} {name}" for name, share in sorted(outcomes.items())) or "no outcome"


def _rows(pairs: Sequence[_Pair], paired: bool) -> tuple[Row, ...]:
    every = [(pair, metric, *_samples(pair, metric, paired)) for pair in pairs for metric in (*JUDGED, *SHOWN)]
    found = [each for each in every if each[2]]
    risk = FALSE_ALARMS / max(1, sum(metric in JUDGED for _, metric, *_ in found))
    least = LEAST if paired else LEAST_BETWEEN_RUNS
    return tuple(_row(pair, metric, ratio_interval(over, under, risk), least) for pair, metric, over, under in found)


def _samples(pair: _Pair, metric: str, paired: bool) -> tuple[list[float], list[float]]:
    """The two sides; paired: the ratios of neighbours in time. Empty if a side has no values."""
    if paired:
        turns = zip(pair.base.each(metric), pair.new.each(metric), strict=False)
        return [new / base for base, new in turns if base and new], []
    base, new = _known(pair.base, metric), _known(pair.new, metric)
    return (new, base) if base and new else ([], [])


def _known(cell: Cell, metric: str) -> list[float]:
    """A metric of each repetition that has it. 0 has no ratio."""
    return [value for value in cell.values(metric) if value > 0]


def _row(pair: _Pair, metric: str, interval: Interval, least: float) -> Row:
    base, new = statistics.median(_known(pair.base, metric)), statistics.median(_known(pair.new, metric))
    verdict = _judge(interval, least) if metric in JUDGED else Verdict.NOT_JUDGED
    return Row(pair.base.key, metric, base, new, interval, max(least, interval.half_width), verdict)


def _judge(interval: Interval, least: float) -> Verdict:
    if interval.lower > 1 and interval.ratio > 1 + least:
        return Verdict.REGRESSION
    if interval.upper < 1 and interval.ratio < 1 / (1 + least):
        return Verdict.IMPROVEMENT
    return Verdict.TOO_NOISY if interval.half_width > TOO_NOISY else Verdict.NO_DIFFERENCE
