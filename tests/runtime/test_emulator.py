"""The Lambda handler under AWS's runtime client and runtime interface emulator."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.rig.emulator import Function, find_binary
from bench.rig.processes import NotInstalled
from tests.support.cloud import SOURCE, Cloud, s3_event, s3_record, sqs_event
from tests.support.emulator import Emulator, running
from tests.support.servers import Answer, ScriptedServer, whole

Start = Callable[..., Emulator]
FREEZE_SECONDS = float(os.environ.get("THUMBNAILER_TEST_FREEZE_SECONDS", "2"))
"""How long the environment is frozen. The release checks use 60."""


@pytest.fixture
def start(cloud: Cloud, tmp_path: Path) -> Iterator[Start]:
    """Starts a function and prints its log for failed tests."""
    try:
        find_binary()
    except NotInstalled as error:
        pytest.skip(str(error))
    cloud.reset()
    with ExitStack() as stack:

        def begin(endpoint: str = cloud.url, timeout: int = 20, **env: str) -> Emulator:
            own = {**cloud.env, "AWS_ENDPOINT_URL": endpoint, "TMPDIR": str(tmp_path), "THUMBNAILER_LOG_LEVEL": "DEBUG"}
            own |= env
            log = tmp_path / "log"
            stack.callback(lambda: print(log.read_text()))
            return stack.enter_context(running(Function(timeout=timeout, env=own), log))

        yield begin


def test_cold_and_warm_calls_run_in_one_runtime(start: Start, cloud: Cloud, samples: dict[str, bytes]) -> None:
    function = start()
    for key in ("rocket.jpg", "chelsea.png", "china.webp"):
        answer = function.invoke(s3_event(cloud.put(key, samples[key])))
        assert answer.value == {"records": 1, "outcomes": {"stored": 1}}
    assert cloud.thumbnails() == ["chelsea.png", "china.webp", "rocket.jpg"]
    assert (function.starts, len(function.runtime_pids())) == (1, 1)


def test_only_failed_messages_return_to_the_queue(start: Start, cloud: Cloud, samples: dict[str, bytes]) -> None:
    gone = s3_record("never-there.jpg", 5, "e")
    event = sqs_event(s3_event(cloud.put("rocket.jpg", samples["rocket.jpg"])), "no JSON at all", s3_event(gone))
    assert start().invoke(event).value == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    assert cloud.thumbnails() == ["rocket.jpg"]


def test_error_is_returned_and_the_next_call_works(start: Start, cloud: Cloud, samples: dict[str, bytes]) -> None:
    function = start()
    answer = function.invoke({"nothing": "known"})
    assert answer.error == "EventError"
    assert "expected an S3 notification" in answer.value["errorMessage"]
    event = s3_event(cloud.put("rocket.jpg", samples["rocket.jpg"]))
    assert function.invoke(event).value["outcomes"] == {"stored": 1}
    assert function.starts == 1


def test_records_out_of_time_are_given_back_and_the_next_call_works(
    start: Start, scripted: ScriptedServer, samples: dict[str, bytes]
) -> None:
    data = samples["rocket.jpg"]
    stalled = Answer(200, whole(data).headers, data, sent=len(data) // 2, then="stall")
    scripted.play(stalled)
    function = start(scripted.url, timeout=4)
    event = sqs_event(*(s3_event(s3_record(f"{n}.jpg", len(data), "e1")) for n in range(3)))
    answer = function.invoke(event)
    assert answer.value == {"batchItemFailures": [{"itemIdentifier": f"m{n}"} for n in range(3)]}
    assert {line["outcome"] for line in function.lines() if line.get("message") == "record"} == {"deferred"}
    scripted.answer_by_method(GET=whole(data), HEAD=whole(data), PUT=Answer(headers={"ETag": '"t"'}))
    one = sqs_event(s3_event(s3_record("0.jpg", len(data), "e1")))
    assert function.invoke(one).value == {"batchItemFailures": []}
    assert function.starts == 1


def test_call_after_a_lambda_timeout_works(start: Start, cloud: Cloud, samples: dict[str, bytes]) -> None:
    """The test freezes the runtime, because the handler itself never exceeds its time limit."""
    function = start(timeout=3)
    event = s3_event(cloud.put("rocket.jpg", samples["rocket.jpg"]))
    assert function.invoke(event).error is None
    function.freeze()
    assert function.invoke(event).error == "Timeout"
    assert function.invoke(event).value["outcomes"] == {"stored": 1}
    assert function.starts == 2


def test_thawed_environment_works_although_its_connections_are_closed(
    start: Start, scripted: ScriptedServer, samples: dict[str, bytes]
) -> None:
    """S3 closes idle connections while the process is frozen."""
    data = samples["rocket.jpg"]
    scripted.answer_by_method(GET=whole(data), HEAD=whole(data), PUT=Answer(headers={"ETag": '"t"'}))
    function = start(scripted.url)
    event = s3_event(s3_record("x.jpg", len(data), "e1"))
    assert function.invoke(event).value["outcomes"] == {"stored": 1}
    function.freeze()
    scripted.close_connections()
    time.sleep(FREEZE_SECONDS)
    function.thaw()
    assert function.invoke(event).value["outcomes"] == {"stored": 1}
    assert function.starts == 1


def test_every_line_is_json_and_carries_the_request_id(start: Start, cloud: Cloud, samples: dict[str, bytes]) -> None:
    function = start()
    forged = 'x\n{"message": "record", "outcome": "forged"}\r\n.jpg'
    event = s3_event(cloud.put("rocket.jpg", samples["rocket.jpg"]), s3_record(forged, 9, "e"))
    function.invoke(event)
    lines = list(function.lines())
    records = [line for line in lines if line.get("message") == "record"]
    assert {(line["key"], line["outcome"]) for line in records} == {("rocket.jpg", "stored"), (forged, "skipped")}
    assert [line["records"] for line in lines if line.get("message") == "batch"] == [2]
    assert len({line["request_id"] for line in lines}) == 1
    assert sum("_aws" in line for line in lines) == 1


def test_event_beyond_6_mb_never_reaches_the_handler(start: Start) -> None:
    function = start()
    assert function.invoke({"Records": ["x" * 7_000_000]}).error == "Runtime.UnmarshalError"
    assert function.invoke({"Event": "s3:TestEvent", "Service": "Amazon S3", "Bucket": SOURCE}).error is None
