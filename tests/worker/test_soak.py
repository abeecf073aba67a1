"""The long day, short: `make soak` is the whole one."""

from __future__ import annotations

import pytest

from tests.worker.soak import Day, soak


@pytest.mark.matrix(36)
@pytest.mark.matrix(22)
@pytest.mark.matrix(23)
def test_after_a_day_on_which_everything_went_wrong_all_is_as_it_must_be() -> None:
    report = soak(Day(messages=100, workers=2, kills=2, faults=0.2, seed=7, most_receives=6, seconds=100))
    assert report.wrong == []
    assert report.killed == 2
    assert sum(number for name, number in report.faults.items() if not name.endswith("pass")) > 10
