"""The union of the bad-input matrix over the runs of several tiers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.matrix import NOT_BUILT, ROWS, main


def test_the_union_of_two_runs_shows_every_row_of_a_built_feature(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "test.json", tmp_path / "test-all.json"
    first.write_text(json.dumps({row: {"test_a": True} for row in ROWS if row != 7 and row not in NOT_BUILT}))
    assert main([str(first), str(second)]) == 1
    assert "· " + " 7" in capsys.readouterr().out
    second.write_text(json.dumps({7: {"test_b": True}}))
    assert main([str(first), str(second)]) == 0
    second.write_text(json.dumps({7: {"test_b": True, "test_c": False}}))
    assert main([str(first), str(second)]) == 1
