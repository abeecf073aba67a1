"""`python -m bench compare BASE NEW`: measures or reads both sides and prints tables and the verdict."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bench.compare.trees import Side, checked_out, side_of
from bench.compare.verdicts import BASE, NEW, CompareError, Comparison, Row, Verdict, compare
from bench.pages.selection import OURS
from bench.pages.tables import plain_table, say
from bench.result import Result, read_result
from bench.rig.processes import ROOT

COLUMNS = ("", BASE, NEW, "change", "between", "visible from", "verdict")
Measure = Callable[[Mapping[str, Path]], Result]
"""Measures the trees in turns: base, new, new, base, so that a machine that gets slower slows both. The cells of the
handlers "base" and "new" have otherwise equal keys."""


def run(base: str, new: str, measure: Measure, console: Console) -> int:
    """Print tables and verdict. Returns 1 for a regression, 2 if the sides cannot be compared, else 0.

    Raises CompareError, ResultError, and the errors of `measure`.
    """
    sides = side_of(base, ROOT), side_of(new, ROOT)
    say(console, f"{BASE}: {sides[0]}; {NEW}: {sides[1]}")
    comparison = compare(*_results(*sides, measure), paired=not sides[0].is_file)
    for key in dict.fromkeys(row.key for row in comparison.rows):
        rows = [_texts(row) for row in comparison.rows if row.key == key]
        console.print(plain_table(COLUMNS, rows, title=Text(key.title)))
    for line in (*comparison.notes, *comparison.uncompared, sentence(comparison)):
        say(console, line)
    return comparison.exit_code


def _results(base: Side, new: Side, measure: Measure) -> tuple[Result, Result]:
    """The two files, or one run of both builds as two results."""
    if base.is_file and new.is_file:
        return read_result(Path(base.name)), read_result(Path(new.name))
    if base.is_file or new.is_file:
        raise CompareError(
            "one side is a file of results, the other a build to be measured now: give two files, or two folders or "
            "revisions, which are measured in turns"
        )
    with ExitStack() as stack:
        trees = {name: stack.enter_context(checked_out(side, ROOT)) for name, side in ((BASE, base), (NEW, new))}
        result = measure(trees)
    return _side_of(result, BASE), _side_of(result, NEW)


def _side_of(result: Result, handler: str) -> Result:
    cells = (replace(cell, key=replace(cell.key, handler=OURS)) for cell in result.cells if cell.key.handler == handler)
    return replace(result, cells=tuple(cells))


def _texts(row: Row) -> list[str]:
    interval = row.interval
    known = interval.lower > 0
    return [
        row.metric,
        f"{row.base_median:,.4g}",
        f"{row.new_median:,.4g}",
        _change(interval.ratio),
        f"{_change(interval.lower)} and {_change(interval.upper)}" if known else "-",
        f"{row.visible:.1%}" if known else "-",
        row.verdict,
    ]


def _change(ratio: float) -> str:
    return f"{ratio - 1:+.1%}"


def sentence(comparison: Comparison) -> str:
    """Return the verdict and its reason."""
    found = comparison.verdict
    if found is Verdict.INCOMPARABLE:
        return f"{NEW} and {BASE} cannot be compared: see above."
    rows = [row for row in comparison.judged if row.verdict is found]
    changes = "; ".join(f"{row.metric} {_change(row.interval.ratio)} in {row.key.title}" for row in rows)
    noisy = "; ".join(f"{row.metric} in {row.key.title}" for row in rows)
    visible = max(row.visible for row in rows)
    return {
        Verdict.REGRESSION: f"Regression: {NEW} takes more than {BASE}: {changes}.",
        Verdict.IMPROVEMENT: f"Improvement: {NEW} takes less than {BASE}: {changes}.",
        Verdict.TOO_NOISY: f"Too noisy to tell: {noisy}. Take more repetitions, or a quieter machine.",
        Verdict.NO_DIFFERENCE: f"No difference seen; a difference below {visible:.1%} would not be visible.",
    }[found]
