"""The lines of one invocation: one a batch, at DEBUG also one a record. All are JSON and carry the request id."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler import aws_lambda
from tests.conftest import Context
from tests.support import emf
from tests.support.cloud import Cloud, s3_event, s3_record, sqs_event
from thumbnailer.errors import EventError

FORGED = '{"level": "INFO", "message": "record", "outcome": "forged", "request_id": "forged"}'
BREAKS = ("\n", "\r", "\r\n", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x00", "\x1b[2K", "\x9b2K")
KEYS = st.lists(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from(BREAKS), st.sampled_from(("%0A", "+", '"', "\\", FORGED))),
    max_size=40,
).map(lambda parts: f"_failed/{''.join(parts)}")
"""Keys under THUMBNAILER_FAILED_PREFIX: their records need no request."""
RAW_KEYS = st.text(st.one_of(st.characters(), st.sampled_from('%0AFE"\n\r')), min_size=1, max_size=40).map(
    lambda key: f"_failed/{key}"
)
"""Keys that S3 would never send: halves of surrogate pairs, broken percent escapes."""
RECORDS = st.lists(KEYS, max_size=8)
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class OtherContext(Context):
    aws_request_id = 'second"\nrequest'


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """All lines on both streams. Each must be one JSON object in printable ASCII."""
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.split("\n")
    assert lines.pop() == ""
    assert all(line.isascii() and line.isprintable() for line in lines)
    return [json.loads(line) for line in lines]


def kinds(lines: list[dict[str, Any]]) -> Counter[str]:
    return Counter(line["message"] for line in lines)


@pytest.fixture(autouse=True)
def a_line_a_record(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THUMBNAILER_LOG_LEVEL", "DEBUG")


@many
@given(RECORDS, st.booleans())
def test_each_record_and_each_batch_has_one_line_for_any_keys(
    aws: Cloud, capsys: pytest.CaptureFixture[str], keys: list[str], in_queue: bool
) -> None:
    events = [s3_event(s3_record(key, 0, "e")) for key in keys]
    event = sqs_event(*events) if in_queue else s3_event(*(record for event in events for record in event["Records"]))
    context = OtherContext() if in_queue else Context()
    aws_lambda.handler(event, context)
    lines = written(capsys)
    assert kinds(lines) == ({"record": len(keys), "batch": 1} if keys else {"batch": 1})
    assert ("_aws" in lines[-1]) is bool(keys)
    assert {line["request_id"] for line in lines} == {context.aws_request_id}
    assert [line["key"] for line in lines if line.get("message") == "record"] == keys
    for line in lines:
        if "_aws" in line:
            emf.check(json.dumps(line))


@many
@given(RAW_KEYS)
def test_invalid_key_forges_no_log_line(aws: Cloud, capsys: pytest.CaptureFixture[str], raw: str) -> None:
    record = s3_record("x", 0, "e")
    record["s3"]["object"]["key"] = raw
    answer = aws_lambda.handler(sqs_event(s3_event(record), FORGED + "\n" + raw), Context())
    lines = written(capsys)
    unreadable = [line["message_id"] for line in lines if line.get("message") == "unreadable-message"]
    assert unreadable == [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
    assert unreadable in (["m0", "m1"], ["m1"])
    assert kinds(lines)["record"] == 2 - len(unreadable)
    assert {line["request_id"] for line in lines} == {Context.aws_request_id}


@pytest.mark.parametrize("mark", BREAKS, ids=ascii)
def test_event_error_is_one_printable_line(aws: Cloud, mark: str) -> None:
    record = s3_record("x/", 0, "e") | {"eventVersion": f"{mark}{FORGED}"}
    with pytest.raises(EventError) as raised:
        aws_lambda.handler(s3_event(record), Context())
    assert str(raised.value).isprintable()


def test_bug_is_logged_with_its_request(
    aws: Cloud, samples: dict[str, bytes], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from thumbnailer.engine.pillow import PillowEngine

    def bug(*_: object) -> None:
        raise ZeroDivisionError(f"a bug\n{FORGED}")

    monkeypatch.setattr(PillowEngine, "render", bug)
    monkeypatch.setenv("THUMBNAILER_ENGINE", "pillow")
    aws_lambda.handler(sqs_event(s3_event(s3_record("x/", 0, "e"), aws.put("x.jpg", samples["rocket.jpg"]))), Context())
    lines = written(capsys)
    assert kinds(lines) == {"internal-error": 1, "record": 2, "batch": 1}
    assert {line["request_id"] for line in lines} == {Context.aws_request_id}


def test_a_batch_of_stored_pictures_has_one_line_at_any_level(
    aws: Cloud, samples: dict[str, bytes], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CloudWatch makes the metrics from it."""
    for level in ("INFO", "ERROR"):
        monkeypatch.setenv("THUMBNAILER_LOG_LEVEL", level)
        aws_lambda.close()  # the next invocation reads the settings anew
        keys = ("rocket.jpg", "chelsea.png")
        aws_lambda.handler(sqs_event(*(s3_event(aws.put(key, samples[key])) for key in keys)), Context())
        (line,) = written(capsys)
        emf.check(json.dumps(line))
        assert (line["message"], line["records"], line["outcomes"]) == ("batch", 2, {"stored": 2})
