"""`python -m tests.tools lambda`, as a developer starts it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.rig.emulator import find_binary
from bench.rig.processes import NotInstalled


def test_answers_to_real_s3_and_sqs_events_are_printed() -> None:
    try:
        find_binary()
    except NotInstalled as error:
        pytest.skip(str(error))
    done = subprocess.run(
        [sys.executable, "-m", "tests.tools", "lambda"], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '{"records": 1, "outcomes": {"stored": 1}}' in done.stdout
    assert '{"batchItemFailures": []}' in done.stdout
    assert "EventError" in done.stdout
    assert "started 1 time(s)" in done.stdout
