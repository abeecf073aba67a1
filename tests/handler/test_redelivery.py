"""Redelivered messages in the Lambda handler: each of their pictures is rendered in a child process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handler import aws_lambda
from tests.conftest import Context
from tests.crashing import PYTHONPATH, children
from tests.support.cloud import DESTINATION, Cloud, s3_event, sqs_event
from thumbnailer.execution import isolated
from thumbnailer.model import EventKind, Message, ObjectEvent


@pytest.fixture(autouse=True)
def acting(monkeypatch: pytest.MonkeyPatch, aws: Cloud) -> None:
    """Engines in child processes do what the key says. Engines in this process are real."""
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    monkeypatch.setenv("THUMBNAILER_LOG_LEVEL", "DEBUG")
    monkeypatch.setattr(isolated, "cpu_seconds", lambda plan: 2)


def delivered(event: dict[str, Any], *counts: int) -> dict[str, Any]:
    for message, count in zip(event["Records"], counts, strict=True):
        message["attributes"]["ApproximateReceiveCount"] = str(count)
    return event


def ends(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    records = [line for line in lines if line.get("message") == "record"]
    return {line["key"]: ":".join(filter(None, (line["outcome"], line.get("reason", "")))) for line in records}


@pytest.mark.matrix(21)
def test_redelivered_batch_rejects_crashing_pictures_and_stores_good_ones(
    aws: Cloud, samples: dict[str, bytes], context: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A message of the batch that was not received before is rendered in this process, where nothing crashes."""
    keys = ["crash.jpg", "good-1.jpg", "loop.jpg", "good-2.jpg", "crash-first.jpg"]
    records = [aws.put(key, samples["rocket.jpg"]) for key in keys]
    event = delivered(sqs_event(*(s3_event(record) for record in records)), 2, 2, 5, 2, 1)
    assert aws_lambda.handler(event, context) == {"batchItemFailures": []}
    assert ends(capsys) == {
        "crash.jpg": "rejected:engine-crash",
        "loop.jpg": "rejected:engine-crash",
        "good-1.jpg": "stored",
        "good-2.jpg": "stored",
        "crash-first.jpg": "stored",
    }
    notes = ["_failed/crash.jpg.json", "_failed/loop.jpg.json"]
    assert aws.thumbnails() == [*notes, "crash-first.jpg", "good-1.jpg", "good-2.jpg"]
    note = json.loads(aws.s3.get_object(Bucket=DESTINATION, Key=notes[0])["Body"].read())
    assert note["reason"] == "engine-crash"
    assert "SIGSEGV" in note["detail"]
    assert children() == set()


@pytest.mark.matrix(47)
def test_redelivered_picture_that_hangs_is_given_back_at_the_time_limit(
    aws: Cloud, samples: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    keys = ["wait.jpg", "good.jpg"]
    event = delivered(sqs_event(*(s3_event(aws.put(key, samples["rocket.jpg"])) for key in keys)), 2, 2)
    assert aws_lambda.handler(event, Context(5_000)) == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert ends(capsys) == {"wait.jpg": "deferred:out-of-time", "good.jpg": "stored"}
    assert children() == set()


def test_only_events_of_redelivered_messages_are_isolated() -> None:
    event = ObjectEvent(EventKind.CREATED, "photos", "x")
    messages = (
        Message("a", (event, event), 1),
        Message("b", (event, event), 2),
        Message("c", ()),
        Message("d", (event,), 7),
    )
    assert aws_lambda.find_redelivered(messages) == {2, 3, 4}


def test_direct_event_is_never_isolated(aws: Cloud, samples: dict[str, bytes], context: Any) -> None:
    answer = aws_lambda.handler(s3_event(aws.put("crash.jpg", samples["rocket.jpg"])), context)
    assert answer == {"records": 1, "outcomes": {"stored": 1}}
