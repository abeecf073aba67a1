"""The rows of the bad-input matrix (shared/MATRIX.md) that tests show.

`pytest --matrix FILE` writes the rows of one run to FILE. `python -m tests.support.matrix FILE...` prints the union of
several runs and exits with 1 if a test of a row failed, or a row is not shown that is not in `NOT_BUILT`.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROWS = range(1, 63)
NOT_BUILT: set[int] = set()
"""Rows of features that do not exist yet: a test may show them, none has to. A row leaves this set with its feature."""
ROW = "matrix-row"
"""The user property that carries a row number from a pytest-xdist worker to the main process."""

Shown = dict[int, dict[str, bool]]
"""By row: the names of its tests, and whether all cases passed."""


class Matrix:
    """A pytest plugin that collects the rows of a run."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._shown: Shown = defaultdict(dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped or (report.when != "call" and report.passed):
            return
        name = report.nodeid.rpartition("::")[2].partition("[")[0].partition("@")[0]
        for row in (value for key, value in report.user_properties if key == ROW and isinstance(value, int)):
            self._shown[row][name] = self._shown[row].get(name, True) and report.passed

    def pytest_sessionfinish(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self._shown))


def union(runs: list[Shown]) -> Shown:
    """The rows of all runs; a test failed if it failed in one of them."""
    merged: Shown = {row: {} for row in ROWS}
    for run in runs:
        for row, tests in run.items():
            for name, passed in tests.items():
                merged[row][name] = merged[row].get(name, True) and passed
    return merged


def missing(shown: Shown) -> list[int]:
    """Rows that a test breaks, or that no test shows though the feature exists."""
    return [row for row, tests in shown.items() if not all(tests.values()) or (not tests and row not in NOT_BUILT)]


def main(files: list[str]) -> int:
    runs = [json.loads(path.read_text()) for path in map(Path, files) if path.is_file()]
    shown = union([{int(row): tests for row, tests in run.items()} for run in runs])
    for row, tests in shown.items():
        mark = "·" if not tests else "✓" if all(tests.values()) else "✗"
        print(f"{mark} {row:2} {', '.join(sorted(tests))}")
    passing = sum(bool(tests) and all(tests.values()) for tests in shown.values())
    print(f"bad-input matrix: {passing} of {len(ROWS)} rows shown")
    return 1 if missing(shown) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
