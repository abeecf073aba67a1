"""The image's worker, under limits."""

from __future__ import annotations

import pytest

from tests.image.drain import drain


@pytest.mark.parametrize("kill", [False, True], ids=["to its end", "killed in mid-work"])
def test_the_worker_drains_a_queue_and_loses_no_message(kill: bool) -> None:
    drained = drain(80, ["--cpus=1", "--memory=512m", "--memory-swap=512m"], kill, told=lambda _: None)
    assert (drained.missing, drained.other, drained.dead, drained.exit_code) == (0, 0, 0, 0)
    assert drained.peak_mb < 512
