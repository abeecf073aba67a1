"""`pytest --matrix`: the rows of the bad-input matrix, with a mark for each that a test showed in this run."""

from __future__ import annotations

from collections import defaultdict

import pytest

ROWS = range(1, 51)


class Matrix:
    def __init__(self) -> None:
        self._shown: dict[int, list[tuple[str, str]]] = defaultdict(list)
        self._rows: dict[str, list[int]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            self._rows[item.nodeid] = [row for mark in item.iter_markers("matrix") for row in mark.args]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            for row in self._rows.get(report.nodeid, []):
                self._shown[row].append((report.nodeid, report.outcome))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("bad-input matrix")
        for row in ROWS:
            shown = self._shown[row]
            mark = "·" if not shown else "✓" if all(outcome == "passed" for _, outcome in shown) else "✗"
            names = ", ".join(sorted({name.rpartition("::")[2].partition("[")[0] for name, _ in shown}))
            terminalreporter.write_line(f"{mark} {row:2} {names}")
