"""A picture that kills the process and one that hangs it, in the Lambda function under AWS's emulator."""

from __future__ import annotations

import re
import time
import urllib.error
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from bench.rig.emulator import Function, find_binary
from bench.rig.processes import NotInstalled
from tests.crashing import PYTHONPATH, children, eventually
from tests.support.cloud import Cloud, s3_event, sqs_event
from tests.support.emulator import Emulator, running
from thumbnailer.execution.threads import STUCK_SECONDS

ENDS = {"crash.jpg": "rejected:engine-crash", "loop.jpg": "rejected:engine-crash"}


@pytest.fixture
def function(cloud: Cloud, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """A function with one decoder, whose engines do what keys say. The parameter is its timeout in seconds."""
    try:
        find_binary()
    except NotInstalled as missing:
        pytest.skip(str(missing))
    cloud.reset()
    env = {**cloud.env, "TMPDIR": str(tmp_path), "PYTHONPATH": PYTHONPATH, "THUMBNAILER_WORKERS": "1"}
    env["THUMBNAILER_LOG_LEVEL"] = "DEBUG"
    with running(Function(timeout=request.param, env=env), tmp_path / "log") as started:
        yield started
        print(started.log)


def sqs_batch(cloud: Cloud, picture: bytes, keys: list[str], count: int) -> dict[str, Any]:
    event = sqs_event(*(s3_event(cloud.put(key, picture)) for key in keys))
    for message in event["Records"]:
        message["attributes"]["ApproximateReceiveCount"] = str(count)
    return event


def dies() -> AbstractContextManager[object]:
    """The emulator's answer after the runtime died."""
    return pytest.raises(urllib.error.HTTPError, match="502")


def ends(function: Emulator) -> dict[str, str]:
    """The last logged outcome of each record."""
    records = [line for line in function.lines() if line.get("message") == "record"]
    return {line["key"]: ":".join(filter(None, (line["outcome"], line.get("reason", "")))) for line in records}


@pytest.mark.matrix(21)
@pytest.mark.parametrize("function", [90], indirect=True)
def test_picture_that_kills_the_runtime_is_rejected_on_redelivery_and_the_others_are_stored(
    function: Emulator, cloud: Cloud, samples: dict[str, bytes], tmp_path: Path
) -> None:
    good = [f"good-{number}.jpg" for number in range(4)]
    keys = ["crash.jpg", *good[:2], "loop.jpg", *good[2:]]
    with dies():
        function.invoke(sqs_batch(cloud, samples["rocket.jpg"], ["crash.jpg", *good], count=1))
    assert "signal: segmentation fault" in function.log
    before_the_crash = set(cloud.thumbnails())  # their number depends on whose bytes arrive first
    assert before_the_crash <= set(good)
    again = function.invoke(sqs_batch(cloud, samples["rocket.jpg"], keys, count=2))
    assert again.value == {"batchItemFailures": []}
    assert ends(function) == ENDS | dict.fromkeys(good, "stored")
    assert set(cloud.thumbnails()) == {*good, "_failed/crash.jpg.json", "_failed/loop.jpg.json"}
    assert len(re.findall("Process runtime-1 exited", function.log)) == 1
    assert all(children(pid) == set() for pid in function.runtime_pids())


@pytest.mark.matrix(47)
@pytest.mark.parametrize("function", [8], indirect=True)
def test_runtime_with_a_stuck_decoder_exits_and_a_new_one_takes_the_event(
    function: Emulator, cloud: Cloud, samples: dict[str, bytes]
) -> None:
    hung = function.invoke(sqs_batch(cloud, samples["rocket.jpg"], ["wait.jpg"], count=1))
    assert hung.value == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    at_once = function.invoke(sqs_batch(cloud, samples["rocket.jpg"], ["good-1.jpg"], count=1))
    assert at_once.value == {"batchItemFailures": []}
    time.sleep(STUCK_SECONDS + 0.5)
    with dies():
        function.invoke(sqs_batch(cloud, samples["rocket.jpg"], ["good-2.jpg"], count=1))
    assert [line["level"] for line in function.lines() if line.get("message") == "all-decoders-stuck"] == ["CRITICAL"]
    fresh = function.invoke(sqs_batch(cloud, samples["rocket.jpg"], ["good-2.jpg"], count=2))
    assert fresh.value == {"batchItemFailures": []}
    assert ends(function) == {"wait.jpg": "deferred:out-of-time", "good-1.jpg": "stored", "good-2.jpg": "stored"}
    assert eventually(lambda: all(children(pid) == set() for pid in function.runtime_pids()))
