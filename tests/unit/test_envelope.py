from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handler.envelope import Delivery, open_envelope
from thumbnailer.errors import EventError
from thumbnailer.model import Message

EVENTS = Path(__file__).parents[1] / "events"


def load(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def keys(message: Message) -> list[str]:
    return [event.key for event in message.events]


QUEUED: dict[str, list[tuple[str, int, list[str]]]] = {
    "sqs_s3": [
        ("c7c81290-0aae-4051-a1a7-5ef4739a5cf4", 1, ["red flower.jpg"]),
        ("edc86319-1b42-4ba3-81af-40d12363b137", 3, ["2026/chelsea (1).png", "2026/rocket.jpg"]),
    ],
    "sqs_s3_test_event": [("8fd738bb-b251-4419-9dbb-e9a311ba1c6f", 1, [])],
    "sqs_sns_s3": [("41af0ee2-26a6-41c5-b995-7cc4f7f5825b", 1, ["red flower.jpg"])],
    "sqs_sns_raw_s3": [("64456c82-b2de-4929-9e3b-35c67d6550b8", 1, ["red flower.jpg"])],
    "sqs_eventbridge": [("a98dda1d-b366-4705-afbe-ca2abd0d1a58", 1, ["albums/red+flower 100%25.jpg"])],
    "sqs_broken": [("9a114573-0efa-43b8-b2e1-c8e9af36ab12", 1, ["red flower.jpg"])],
}


@pytest.mark.matrix(27)
@pytest.mark.parametrize("name", QUEUED)
def test_each_message_of_a_queue_has_its_id_receive_count_and_events(name: str) -> None:
    delivery = open_envelope(load(name))
    assert delivery.from_queue
    assert [(m.id, m.receive_count, keys(m)) for m in delivery.messages if not m.error] == QUEUED[name]


def test_every_recorded_queue_event_is_tested() -> None:
    assert {path.stem for path in EVENTS.glob("sqs_*.json")} == set(QUEUED)


@pytest.mark.matrix(27)
def test_unreadable_messages_are_separated_with_their_error() -> None:
    not_json, no_event = open_envelope(load("sqs_broken")).unreadable
    assert not_json.id == "50518a24-c72b-4391-b7ff-05f2cceaa0c4"
    assert "not JSON" in not_json.error
    assert no_event.id == "1ab6dd08-2d6c-4567-a7db-7e18a68fa001"
    assert "'hello', 'number'" in no_event.error


@pytest.mark.matrix(27)
@pytest.mark.parametrize(
    "body",
    [None, 3, {}, "", "null", "[" * 100_000, '{"Records": [{"eventSource": "aws:sqs", "body": "{}"}]}', '"' * 65_536],
    ids=lambda body: repr(body)[:30],
)
def test_invalid_body_breaks_only_its_own_message(body: object) -> None:
    payload = load("sqs_s3")
    payload["Records"][0]["body"] = body
    broken, whole = open_envelope(payload).messages
    assert (broken.id, broken.events, whole.id) == (QUEUED["sqs_s3"][0][0], (), QUEUED["sqs_s3"][1][0])
    assert broken.error
    assert not whole.error


@pytest.mark.matrix(26)
def test_a_message_of_version_3_is_returned_with_a_clear_error() -> None:
    payload = load("sqs_s3")
    payload["Records"][0]["body"] = json.dumps(load("s3_put_v30"))
    (broken,) = open_envelope(payload).unreadable
    assert "eventVersion '3.0'" in broken.error


@pytest.mark.parametrize("id_", [None, 3, {}])
def test_message_without_an_id_raises(id_: object) -> None:
    payload = load("sqs_s3")
    payload["Records"][1]["messageId"] = id_
    with pytest.raises(EventError, match="messageId"):
        open_envelope(payload)


@pytest.mark.parametrize("record", [None, "x", [], {}])
def test_record_that_is_no_message_raises(record: object) -> None:
    payload = load("sqs_s3")
    payload["Records"][1] = record
    with pytest.raises(EventError, match="messageId"):
        open_envelope(payload)


@pytest.mark.parametrize(
    "attributes",
    [None, {}, [], *({"ApproximateReceiveCount": count} for count in (None, 3, "", "many", "-1", "²"))],
    ids=repr,
)
def test_missing_or_invalid_receive_count_is_one(attributes: object) -> None:
    payload = load("sqs_sns_s3")
    payload["Records"][0]["attributes"] = attributes
    assert [message.receive_count for message in open_envelope(payload).messages] == [1]


@pytest.mark.parametrize(
    ("name", "events"),
    [
        ("s3_put", 1),
        ("s3_copy_multi", 3),
        ("s3_odd_keys", 13),
        ("sns_s3", 1),
        ("eventbridge_created", 1),
        ("s3_test_event", 0),
        ("s3_empty_records", 0),
        ("sns_test_event", 0),
    ],
)
def test_direct_invocation_is_one_message_without_a_queue(name: str, events: int) -> None:
    delivery = open_envelope(load(name))
    assert not delivery.from_queue
    assert [len(message.events) for message in delivery.messages] == [events]


@pytest.mark.matrix(26)
@pytest.mark.parametrize(
    "payload", [None, [], "x", {}, 3, {"Records": [None]}, load("s3_put_v30")], ids=lambda p: repr(p)[:30]
)
def test_direct_invocation_without_an_event_raises(payload: object) -> None:
    with pytest.raises(EventError):
        open_envelope(payload)


def test_empty_batch_has_no_messages() -> None:
    assert open_envelope({"Records": []}) == Delivery((Message("", ()),))
