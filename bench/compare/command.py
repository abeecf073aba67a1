"""`python -m bench compare BASE NEW`: measures or reads both sides and prints tables and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.compare.trees import ROOT, ResultFile, Tree, checked_out, tree_of
from bench.compare.verdicts import (
    BASE,
    NEW,
    CompareError,
    Comparison,
    Row,
    Verdict,
    compare,
    compare_results,
    name_of,
)
from bench.pages.tables import plain_table
from bench.result import CellKey, Result, read_result

COLUMNS = ("", BASE, NEW, "change", "between", "visible from", "used", "verdict")
Measure = Callable[[Mapping[str, Path]], Result]
"""Measures the trees in turns: base, new, new, base, so that a machine that gets slower slows both. The cells of the
handlers "base" and "new" have otherwise equal keys."""


def run(base: str, new: str, measure: Measure, console: Console) -> int:
    """Print tables and verdict. Returns 1 for a regression, 2 if the sides cannot be compared, else 0.

    Raises CompareError, TreeError, ResultError, and the errors of `measure`.
    """
    sides = tree_of(base, ROOT), tree_of(new, ROOT)
    _say(console, f"{BASE}: {sides[0]}; {NEW}: {sides[1]}")
    comparison = _compare(*sides, measure)
    for key in dict.fromkeys(row.key for row in comparison.rows):
        console.print(_table(key, [row for row in comparison.rows if row.key == key]))
    for line in (*comparison.notes, *comparison.uncompared, sentence(comparison)):
        _say(console, line)
    return comparison.exit_code


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _compare(base: ResultFile | Tree, new: ResultFile | Tree, measure: Measure) -> Comparison:
    if isinstance(base, ResultFile) and isinstance(new, ResultFile):
        return compare_results(read_result(base.path), read_result(new.path))
    if isinstance(base, ResultFile) or isinstance(new, ResultFile):
        raise CompareError(
            "one side is a file of results, the other a build to be measured now: give two files, or two folders or "
            "revisions, which are measured in turns"
        )
    with ExitStack() as stack:
        trees = {side: stack.enter_context(checked_out(tree, ROOT)) for side, tree in ((BASE, base), (NEW, new))}
        cells = measure(trees).cells
    of_base, of_new = ([cell for cell in cells if cell.key.handler == side] for side in (BASE, NEW))
    return compare(of_base, of_new, paired=True)


def _table(key: CellKey, rows: Sequence[Row]) -> Table:
    return plain_table(COLUMNS, map(_texts, rows), title=Text(name_of(key)))


def _texts(row: Row) -> list[str]:
    known = row.lower > 0
    return [
        row.metric,
        f"{row.base_median:,.4g}",
        f"{row.new_median:,.4g}",
        _change(row.ratio),
        f"{_change(row.lower)} and {_change(row.upper)}" if known else "-",
        f"{row.visible:.1%}" if known else "-",
        f"{row.used} of {row.measured}",
        row.verdict,
    ]


def _change(ratio: float) -> str:
    return f"{ratio - 1:+.1%}"


def _by_cell(rows: Sequence[Row], say: Callable[[Row], str]) -> Iterator[str]:
    for key in dict.fromkeys(row.key for row in rows):
        yield ", ".join(say(row) for row in rows if row.key == key) + f" in {name_of(key)}"


def sentence(comparison: Comparison) -> str:
    """Return the verdict and its reason."""
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
        Verdict.NO_DIFFERENCE: f"No difference seen; a difference below {visible:.1%} would not be visible.",
    }[found]
