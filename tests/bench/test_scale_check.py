"""`python -m tests.tools scale-check`: one small real run, and its table."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from bench.cells.pictures import SAMPLES
from bench.questions import Options
from bench.rig.limits import NoLimits, kind_of_limits
from bench.rig.processes import NotStarted
from bench.rig.s3 import rclone
from tests.tools import scale_check
from tests.tools.scale_check import Row

PARTS = {"60% of its speed": ["p50", "p95"], "at once": ["all done after", "p50", "p95"]}


def why_not() -> str:
    if len(os.sched_getaffinity(0)) < 2:
        return "needs two cores"
    try:
        kind_of_limits()
        rclone()
    except (NoLimits, NotStarted) as error:
        return str(error)
    return ""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Options]:
    """One load in place of three, a second's work at once, and a single picture of the user's."""
    if why := why_not():
        pytest.skip(why)
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(SAMPLES / "rocket.jpg", folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(scale_check, "LOADS", (0.6,))
    monkeypatch.setattr(scale_check, "BURST_SECONDS", 1.0)
    cores = os.sched_getaffinity(0)
    yield Options(True, "loopback", output=tmp_path / "x.json", images=folder, seconds=0.0)
    assert os.sched_getaffinity(0) == cores


def test_each_load_has_a_real_and_a_simulated_row(
    small: Options, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Row] = []
    table = scale_check.table

    def kept(found: list[Row]) -> Table:
        rows.extend(found)
        return table(found)

    monkeypatch.setattr(scale_check, "table", kept)
    scale_check.run(small, 1.5)
    loads = list(dict.fromkeys(row.load for row in rows))
    assert [re.sub(r"^\d+ (?=at once)", "", load) for load in loads] == list(PARTS)
    for load, parts in zip(loads, PARTS.values(), strict=True):
        of_load = [row for row in rows if row.load == load]
        assert [row.what for row in of_load] == parts
        assert len({row.pictures for row in of_load}) == 1
        assert of_load[0].pictures > 0
    assert loads[1] == f"{rows[-1].pictures} at once"  # each that was sent was seen
    for row in rows:
        assert row.real > 0
        assert 0 < row.least <= row.simulated <= row.most
    figures = {(row.load, row.what): row for row in rows}
    for load in loads:
        middle, high = figures[load, "p50"], figures[load, "p95"]
        assert middle.real <= high.real
        assert middle.simulated <= high.simulated
    out = capsys.readouterr().out
    assert len(re.findall(r" p95 ", out)) == len(loads)
    assert f"least and most of {len(scale_check.SEEDS)} runs" in out


def test_a_row_ends_with_simulated_divided_by_real() -> None:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(scale_check.table([Row("half", "p95", 1234, 0.2, 0.25, 0.1, 0.4)]))
    *_, row = (line.split() for line in captured.get().splitlines() if line.strip())
    assert row == ["half", "p95", "1,234", "0.200", "0.250", "0.100", "0.400", "1.25"]
