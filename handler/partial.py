"""Turns outcomes into the answer to Lambda. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from handler.envelope import Delivery
from thumbnailer.errors import ThumbnailerError
from thumbnailer.model import Message, Outcome


class RecordsComeBack(ThumbnailerError):
    """Ends a direct invocation, so that Lambda retries it and then sends it to its dead-letter target."""


def answer(delivery: Delivery, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """A partial batch response for a queue, a summary for a direct invocation. `outcomes`: one an event, in order.

    Raises RecordsComeBack if a record of a direct invocation failed or was deferred.
    """
    if delivery.from_queue:
        return {"batchItemFailures": [{"itemIdentifier": id_} for id_ in ids_to_give_back(delivery, outcomes)]}
    summary = summarised(outcomes)
    if any(outcome.status.comes_back for outcome in outcomes):
        raise RecordsComeBack(f"some records failed or were deferred: {summary}")
    return summary


def ids_to_give_back(delivery: Delivery, outcomes: Sequence[Outcome]) -> list[str]:
    """The unreadable messages, and those with a failed or deferred record."""
    unread = [message.id for message in delivery.broken]
    return unread + [
        message.id
        for message, ended in by_message(delivery.messages, outcomes)
        if any(outcome.status.comes_back for outcome in ended)
    ]


def by_message(messages: Sequence[Message], outcomes: Sequence[Outcome]) -> Iterator[tuple[Message, Sequence[Outcome]]]:
    """Each message with the outcomes of its events."""
    start = 0
    for message in messages:
        yield message, outcomes[start : start + len(message.events)]
        start += len(message.events)


def summarised(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Counts by status and reason, e.g. {"records": 3, "outcomes": {"stored": 2, "rejected:corrupt": 1}}."""
    ends = Counter(f"{o.status}:{o.reason}" if o.reason else str(o.status) for o in outcomes)
    return {"records": len(outcomes), "outcomes": dict(ends)}
