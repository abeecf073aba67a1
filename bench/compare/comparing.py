"""`python -m bench compare BASE NEW`: does NEW take longer than BASE?

Two builds that are measured now take turns, and each repetition is compared with its neighbour in time, so that what
makes the machine slower for a while makes both slower. Two files of results may be of different days: their medians
are compared, each as a ratio to the baseline handler that the same run measured, and must differ by more.

A regression is a metric whose ratio NEW / BASE is above 1 with all of its interval, and by more than is worth acting
on. The intervals are as wide as it takes (Bonferroni) for at most one in a hundred comparisons of equal builds to
show a regression anywhere, whatever the number of cells and metrics; the same for an improvement.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.compare.intervals import Interval, ratio_interval
from bench.compare.trees import ROOT, ResultFile, Tree, checked_out, tree_of
from bench.pages.selection import OURS
from bench.result import METRICS, Cell, CellKey, Machine, Result, read_result
from thumbnailer.errors import ThumbnailerError

JUDGED: Final = ("billed_ms_per_image", "cpu_ms_per_image", "p50_ms")
"""Of each, less is better."""
SHOWN: Final = ("peak_rss_mb", "cold_start_ms", "images_per_gb_second")
SAME_ON_EVERY_MACHINE: Final = frozenset({"peak_rss_mb"})
"""What a faster machine does not change, so that the baseline says nothing about it."""
LEAST: Final = 0.02
"""Below this nobody should act."""
LEAST_BETWEEN_RUNS: Final = 0.05
"""Runs of one build at different times differ by some percent."""
FALSE_ALARMS: Final = 0.01
"""The share of comparisons of equal builds that may show a regression, over all cells and metrics."""
TOO_NOISY: Final = 0.10
"""An interval that reaches further than this to each side says nothing."""
SAME_OUTCOMES: Final = 0.01
"""The share of records that may end otherwise in a cell that is still the same work."""
BASE: Final = "base"
NEW: Final = "new"

Measure = Callable[[Mapping[str, Path]], Result]
"""Measures the trees in turns; cells of the handlers "base" and "new" have equal keys otherwise.

Best base, new, new, base: where base is always the first, a machine that gets slower makes new a little slower.
"""


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
    """A metric in a cell. `ratio` is NEW / BASE, and not that of the two medians: see bench.compare.intervals.

    `used` of `measured` repetitions have the metric. `visible` is the smallest difference that could have been seen.
    """

    key: CellKey
    metric: str
    base_median: float
    new_median: float
    ratio: float
    lower: float
    upper: float
    visible: float
    used: int
    measured: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Comparison:
    """`uncompared`: why something that should have been compared was not; `notes`: what a reader should know."""

    rows: tuple[Row, ...]
    uncompared: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def judged(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.verdict is not Verdict.NOT_JUDGED)

    @property
    def verdict(self) -> Verdict:
        """A regression that is seen counts, even where something else was not compared."""
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


# --- two builds, or two files -------------------------------------------------------------------------------------


def compare(base: Sequence[Cell], new: Sequence[Cell], paired: bool) -> Comparison:
    """Cells with equal keys; paired, whatever their handlers are, and then every cell must be on both sides."""
    bases, news = _by_key(base, paired), _by_key(new, paired)
    common = [key for key in bases if key in news]
    if not common:
        return Comparison((), (_nothing_in_common(bases, news),))
    alone = [*_only_in(BASE, bases, news), *_only_in(NEW, news, bases)]
    pairs = [_Pair(key, bases[key], news[key]) for key in common]
    refused = {pair.key: _why_not(pair, paired) for pair in pairs}
    uncompared = [*filter(None, refused.values()), *(alone if paired else ())]
    rows = _rows([pair for pair in pairs if not refused[pair.key]], paired)
    return Comparison(rows, tuple(uncompared), () if paired else tuple(alone))


def compare_results(base: Result, new: Result) -> Comparison:
    """What this project's own handler did in two runs; what it was compared with there is the yardstick."""
    bases, news = _by_key(_ours(base), False), _by_key(_ours(new), False)
    common = [key for key in bases if key in news]
    if not common:
        return Comparison((), (_nothing_in_common(bases, news),))
    pairs = [_Pair(key, bases[key], news[key], *_yardsticks(base, new, bases[key], news[key])) for key in common]
    refused = {pair.key: _why_not(pair, False) or _other_conditions(base, new, pair) for pair in pairs}
    rows = _rows([pair for pair in pairs if not refused[pair.key]], False)
    notes = [*_only_in(BASE, bases, news), *_only_in(NEW, news, bases), *_other_settings(base, new)]
    notes += [
        f"{_name(pair.key)}: no baseline in both runs, compared as it is" for pair in pairs if not pair.yardsticks
    ]
    return Comparison(rows, tuple(filter(None, refused.values())), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Pair:
    """A cell of each side, and the baseline's in each run where both have it."""

    key: CellKey
    base: Cell
    new: Cell
    base_yardstick: Cell | None = None
    new_yardstick: Cell | None = None

    @property
    def yardsticks(self) -> tuple[Cell, Cell] | None:
        if self.base_yardstick is None or self.new_yardstick is None:
            return None
        return self.base_yardstick, self.new_yardstick


def _by_key(cells: Sequence[Cell], paired: bool) -> dict[CellKey, Cell]:
    """What was measured. Raises CompareError if a key is there twice."""
    found: dict[CellKey, Cell] = {}
    for cell in cells:
        key = replace(cell.key, handler="") if paired else cell.key
        if key in found:
            raise CompareError(f"{_name(key)}: is there twice: one cell of each kind is expected")
        if cell.repetitions:
            found[key] = cell
    return found


def _ours(result: Result) -> list[Cell]:
    return [cell for cell in result.cells if cell.key.handler == OURS]


def _yardsticks(base: Result, new: Result, one: Cell, other: Cell) -> tuple[Cell | None, Cell | None]:
    if base.baseline != new.baseline:
        return None, None
    return base.baseline_of(one), new.baseline_of(other)


def _why_not(pair: _Pair, paired: bool) -> str:
    base, new = len(pair.base.repetitions), len(pair.new.repetitions)
    if paired and base != new:
        return f"{_name(pair.key)}: {base} repetitions of {BASE} and {new} of {NEW}: as many are expected, in turns"
    for metric in JUDGED:
        if not _known(pair.base, metric) or not _known(pair.new, metric):
            return f"{_name(pair.key)}: has no {metric} on both sides"
    ended, ended_now = _outcomes(pair.base), _outcomes(pair.new)
    if any(abs(ended.get(name, 0) - ended_now.get(name, 0)) > SAME_OUTCOMES for name in ended | ended_now):
        return f"{_name(pair.key)}: is not the same work: {_shares(ended)} in {BASE}, {_shares(ended_now)} in {NEW}"
    return ""


def _outcomes(cell: Cell) -> dict[str, float]:
    """The share of each outcome."""
    total: Counter[str] = Counter()
    for one in cell.repetitions:
        total.update(one.outcomes)
    everything = max(1, total.total())
    return {name: count / everything for name, count in total.items()}


def _shares(outcomes: Mapping[str, float]) -> str:
    return ", ".join(f"{share:.1%} {name}" for name, share in sorted(outcomes.items())) or "no outcome"


def _other_conditions(base: Result, new: Result, pair: _Pair) -> str:
    hashes = [{each.name: each.hash for each in result.picture_sets} for result in (base, new)]
    of_base, of_new = (each.get(pair.key.pictures) for each in hashes)
    if of_base != of_new:
        return f"{_name(pair.key)}: the pictures are others: measure both with one set"
    if pair.yardsticks is None and _speed_of(base.machine) != _speed_of(new.machine):
        return (
            f"{_name(pair.key)}: measured on {base.machine.cpu} and on {new.machine.cpu}, without a baseline in both: "
            "measure both on one machine, or the baseline too"
        )
    return ""


def _speed_of(machine: Machine) -> tuple[object, ...]:
    return machine.architecture, machine.cpu, machine.cores


def _other_settings(base: Result, new: Result) -> Iterator[str]:
    for name in sorted(base.settings.keys() | new.settings.keys()):
        one, other = base.settings.get(name, "not set"), new.settings.get(name, "not set")
        if one != other:
            yield f"settings differ: {name} is {one} in {BASE} and {other} in {NEW}"


def _only_in(side: str, these: Mapping[CellKey, Cell], others: Mapping[CellKey, Cell]) -> list[str]:
    return [f"{_name(key)}: measured in {side} only" for key in these if key not in others]


def _nothing_in_common(bases: Mapping[CellKey, Cell], news: Mapping[CellKey, Cell]) -> str:
    of_base, of_new = ("; ".join(map(_name, cells)) or "nothing that was measured" for cells in (bases, news))
    return f"no cell in common: {BASE} has {of_base}; {NEW} has {of_new}"


def _name(key: CellKey) -> str:
    handler = f"{key.handler}: " if key.handler not in ("", OURS) else ""
    return (
        f"{handler}{key.platform} {key.memory_mb} MB, {key.vcpus:g} vCPU, {key.architecture}, {key.engine}, "
        f"{key.transport}, {key.latency}, {key.pictures} x {key.batch_size}"
    )


# --- rows ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Samples:
    """A metric of a pair, as ratio_interval takes it."""

    pair: _Pair
    metric: str
    base: Sequence[float]
    new: Sequence[float]
    over: Sequence[Sequence[float]]
    under: Sequence[Sequence[float]]


def _rows(pairs: Sequence[_Pair], paired: bool) -> tuple[Row, ...]:
    of = _paired_samples if paired else _unpaired_samples
    every = [of(pair, metric) for pair in pairs for metric in (*JUDGED, *SHOWN)]
    found = [samples for samples in every if samples.base and samples.new]
    risk = FALSE_ALARMS / max(1, sum(samples.metric in JUDGED for samples in found))
    least = LEAST if paired else LEAST_BETWEEN_RUNS
    return tuple(_row(samples, risk, least) for samples in found)


def _paired_samples(pair: _Pair, metric: str) -> _Samples:
    neighbours = zip(_values(pair.base, metric), _values(pair.new, metric), strict=True)
    both = [(one, other) for one, other in neighbours if one is not None and other is not None]
    base, new = [one for one, _ in both], [other for _, other in both]
    return _Samples(pair, metric, base, new, [[other / one for one, other in both]], [])


def _unpaired_samples(pair: _Pair, metric: str) -> _Samples:
    base, new = _known(pair.base, metric), _known(pair.new, metric)
    over, under = [new], [base]
    if pair.yardsticks and metric not in SAME_ON_EVERY_MACHINE:
        of_base, of_new = (_known(cell, metric) for cell in pair.yardsticks)
        if of_base and of_new:
            over, under = [new, of_base], [base, of_new]
    return _Samples(pair, metric, base, new, over, under)


def _values(cell: Cell, metric: str) -> list[float | None]:
    """A metric of each repetition; None where it was not measured, or is nothing that a ratio can be made of."""
    found = (METRICS[metric](cell.key, one) for one in cell.repetitions)
    return [value if value is not None and value > 0 else None for value in found]


def _known(cell: Cell, metric: str) -> list[float]:
    return [value for value in _values(cell, metric) if value is not None]


def _row(samples: _Samples, risk: float, least: float) -> Row:
    interval = ratio_interval(samples.over, samples.under, risk)
    return Row(
        key=samples.pair.key,
        metric=samples.metric,
        base_median=statistics.median(samples.base),
        new_median=statistics.median(samples.new),
        ratio=interval.ratio,
        lower=interval.lower,
        upper=interval.upper,
        visible=max(least, interval.half_width),
        used=min(len(samples.base), len(samples.new)),
        measured=max(len(samples.pair.base.repetitions), len(samples.pair.new.repetitions)),
        verdict=_judge(interval, least) if samples.metric in JUDGED else Verdict.NOT_JUDGED,
    )


def _judge(interval: Interval, least: float) -> Verdict:
    if interval.lower > 1 and interval.ratio > 1 + least:
        return Verdict.REGRESSION
    if interval.upper < 1 and interval.ratio < 1 / (1 + least):
        return Verdict.IMPROVEMENT
    return Verdict.TOO_NOISY if interval.half_width > TOO_NOISY else Verdict.NO_DIFFERENCE


# --- on the terminal ----------------------------------------------------------------------------------------------


def run(base: str, new: str, measure: Measure, console: Console) -> int:
    """Prints tables and verdict. The exit code is 1 for a regression and 2 for what cannot be compared.

    Raises CompareError, TreeError, ResultError, and what `measure` raises.
    """
    sides = tree_of(base, ROOT), tree_of(new, ROOT)
    console.print(f"{BASE}: {sides[0]}; {NEW}: {sides[1]}", markup=False, highlight=False, soft_wrap=True)
    comparison = _compare(*sides, measure)
    _show(comparison, console)
    return comparison.exit_code


def _compare(base: ResultFile | Tree, new: ResultFile | Tree, measure: Measure) -> Comparison:
    if isinstance(base, ResultFile) and isinstance(new, ResultFile):
        return compare_results(read_result(base.path), read_result(new.path))
    if isinstance(base, ResultFile) or isinstance(new, ResultFile):
        raise CompareError(
            "one is a file of results, and the other is a build that would be measured now: give two files, or two "
            "folders or revisions, which are measured in turns"
        )
    with ExitStack() as stack:
        trees = {side: stack.enter_context(checked_out(tree, ROOT)) for side, tree in ((BASE, base), (NEW, new))}
        cells = measure(trees).cells
    of_base, of_new = ([cell for cell in cells if cell.key.handler == side] for side in (BASE, NEW))
    return compare(of_base, of_new, paired=True)


def _show(comparison: Comparison, console: Console) -> None:
    for key in dict.fromkeys(row.key for row in comparison.rows):
        console.print(_table(key, [row for row in comparison.rows if row.key == key]))
    lines = (*comparison.notes, *comparison.uncompared, sentence(comparison))
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(key: CellKey, rows: Sequence[Row]) -> Table:
    table = Table("", BASE, NEW, "change", "between", "visible from", "used", "verdict", title=Text(_name(key)))
    table.show_edge = False
    for column in table.columns[1:-1]:
        column.justify = "right"
    for row in rows:
        between = f"{_change(row.lower)} and {_change(row.upper)}" if row.lower else "-"
        medians = f"{row.base_median:,.4g}", f"{row.new_median:,.4g}"
        visible = f"{row.visible:.1%}" if row.lower else "-"
        used = f"{row.used} of {row.measured}"
        table.add_row(row.metric, *medians, _change(row.ratio), between, visible, used, row.verdict)
    return table


def _change(ratio: float) -> str:
    return f"{ratio - 1:+.1%}"


def _by_cell(rows: Sequence[Row], say: Callable[[Row], str]) -> Iterator[str]:
    for key in dict.fromkeys(row.key for row in rows):
        yield ", ".join(say(row) for row in rows if row.key == key) + f" in {_name(key)}"


def sentence(comparison: Comparison) -> str:
    """The verdict, and what it rests on."""
    found = comparison.verdict
    if found is Verdict.INCOMPARABLE:
        return f"{NEW} and {BASE} cannot be compared: see above."
    rows = [row for row in comparison.judged if row.verdict is found]
    changes = "; ".join(_by_cell(rows, lambda row: f"{row.metric} {_change(row.ratio)}"))
    noisy = "; ".join(_by_cell(rows, lambda row: row.metric))
    visible = max(row.visible for row in rows)
    return {
        Verdict.REGRESSION: f"Regression: {NEW} takes more than {BASE}: {changes}.",
        Verdict.IMPROVEMENT: f"Improvement: {NEW} takes less than {BASE}: {changes}.",
        Verdict.TOO_NOISY: f"Too noisy to tell: {noisy}. Take more repetitions, or a quieter machine.",
        Verdict.NO_DIFFERENCE: f"No difference seen; one of less than {visible:.1%} would not have been seen here.",
    }[found]
