from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.envelope import (
    Delivery,
    RecordsComeBack,
    answer,
    ids_to_give_back,
    open_envelope,
)
from thumbnailer.model import EventKind, Message, ObjectEvent, Outcome, Status
from thumbnailer.reporting.logs import summarise

EVENTS = Path(__file__).parents[1] / "events"
FINAL = [status for status in Status if not status.comes_back]
COMING_BACK = [status for status in Status if status.comes_back]
EVENT = ObjectEvent(EventKind.CREATED, "photos", "a.jpg")


def end_record(*statuses: Status) -> list[Outcome]:
    return [Outcome(EVENT, status) for status in statuses]


def queue(*sizes: int, broken: int = 0) -> Delivery:
    """Messages m0, m1, ... with that many events each, and unreadable messages b0, b1, ..."""
    messages = tuple(Message(f"m{index}", (EVENT,) * size) for index, size in enumerate(sizes))
    unreadable = tuple(Message(f"b{index}", (), error="x") for index in range(broken))
    return Delivery(unreadable + messages, from_queue=True)


def direct(size: int) -> Delivery:
    return Delivery((Message("", (EVENT,) * size),))


def failed_ids(delivery: Delivery, outcomes: list[Outcome]) -> list[str]:
    response = answer(delivery, outcomes)
    assert set(response) == {"batchItemFailures"}
    assert all(set(item) == {"itemIdentifier"} for item in response["batchItemFailures"])
    json.dumps(response)
    return [item["itemIdentifier"] for item in response["batchItemFailures"]]


@pytest.mark.parametrize("status", FINAL)
def test_final_outcomes_are_not_given_back(status: Status) -> None:
    assert failed_ids(queue(1, 2), end_record(status, status, status)) == []


@pytest.mark.parametrize("status", COMING_BACK)
def test_messages_with_a_record_to_retry_are_given_back(status: Status) -> None:
    assert failed_ids(queue(1, 1, 1), end_record(Status.STORED, status, Status.REJECTED)) == ["m1"]


@pytest.mark.parametrize("outcomes", [(Status.FAILED, Status.STORED), (Status.STORED, Status.FAILED)])
def test_message_with_one_failed_event_of_two_is_given_back_once(outcomes: tuple[Status, Status]) -> None:
    assert failed_ids(queue(2, 1), end_record(*outcomes, Status.STORED)) == ["m0"]


def test_message_whose_events_all_failed_is_given_back_once() -> None:
    assert failed_ids(queue(3), end_record(*[Status.FAILED] * 3)) == ["m0"]


@pytest.mark.matrix(29)
@pytest.mark.parametrize("status", COMING_BACK)
def test_all_messages_are_given_back_if_all_records_fail(status: Status) -> None:
    assert failed_ids(queue(*[1] * 10), end_record(*[status] * 10)) == [f"m{index}" for index in range(10)]


@pytest.mark.matrix(29)
def test_all_messages_are_given_back_if_all_are_unreadable() -> None:
    assert failed_ids(queue(broken=3), []) == ["b0", "b1", "b2"]


@pytest.mark.matrix(27)
def test_only_unreadable_messages_are_given_back() -> None:
    delivery = open_envelope(json.loads((EVENTS / "sqs_broken.json").read_text()))
    assert failed_ids(delivery, end_record(Status.STORED)) == [
        "50518a24-c72b-4391-b7ff-05f2cceaa0c4",
        "1ab6dd08-2d6c-4567-a7db-7e18a68fa001",
    ]


@pytest.mark.matrix(26)
def test_test_event_in_a_queue_is_accepted() -> None:
    delivery = open_envelope(json.loads((EVENTS / "sqs_s3_test_event.json").read_text()))
    assert failed_ids(delivery, []) == []


def test_messages_without_events_do_not_shift_the_outcomes_of_others() -> None:
    assert failed_ids(queue(0, 1, 0, 1), end_record(Status.STORED, Status.FAILED)) == ["m3"]


@given(st.lists(st.lists(st.sampled_from(Status), max_size=4), max_size=10), st.integers(0, 3))
def test_message_is_given_back_if_and_only_if_a_record_must_be_retried(
    statuses: list[list[Status]], broken: int
) -> None:
    delivery = queue(*map(len, statuses), broken=broken)
    outcomes = end_record(*(status for message in statuses for status in message))
    expected = [f"m{index}" for index, message in enumerate(statuses) if any(s.comes_back for s in message)]
    assert ids_to_give_back(delivery, outcomes) == [f"b{index}" for index in range(broken)] + expected


@pytest.mark.matrix(29)
@pytest.mark.parametrize("status", COMING_BACK)
def test_direct_invocation_with_a_record_to_retry_raises_and_counts_them(status: Status) -> None:
    with pytest.raises(RecordsComeBack, match=rf"'{status}': 1"):
        answer(direct(2), end_record(Status.STORED, status))


@pytest.mark.parametrize("status", FINAL)
def test_direct_invocation_with_final_outcomes_returns_a_summary(status: Status) -> None:
    assert answer(direct(2), end_record(status, status)) == {"records": 2, "outcomes": {str(status): 2}}


@pytest.mark.matrix(26)
def test_a_direct_test_event_is_a_success() -> None:
    assert answer(direct(0), []) == {"records": 0, "outcomes": {}}


def test_summary_counts_reasons_and_is_json() -> None:
    outcomes = [*end_record(Status.STORED, Status.STORED), Outcome(EVENT, Status.REJECTED, "corrupt")]
    summary = summarise(outcomes)
    assert json.loads(json.dumps(summary)) == {"records": 3, "outcomes": {"stored": 2, "rejected:corrupt": 1}}
