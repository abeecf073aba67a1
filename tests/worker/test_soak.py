"""A short soak. `make soak` runs the long one."""

from __future__ import annotations

import pytest

from tests.worker.soak import Day, soak

SHORT = Day(20, 2, 1, 0.2, seed=7, most_receives=6, seconds=60, visibility=3, kill_pauses=(1.0, 2.0))
LONG = Day(100, 2, 2, 0.2, seed=7, most_receives=6, seconds=100)


@pytest.mark.matrix(36)
@pytest.mark.matrix(22)
@pytest.mark.matrix(23)
@pytest.mark.slow
@pytest.mark.parametrize("day", [SHORT, LONG], ids=["short", "long"])
def test_faults_kills_and_duplicates_leave_the_right_end_state(day: Day) -> None:
    report = soak(day)
    assert report.wrong == []
    assert report.killed == day.kills
    assert sum(number for name, number in report.faults.items() if not name.endswith("pass")) > day.messages / 10
