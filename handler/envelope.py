"""Turns a Lambda payload into messages with their events, and outcomes into the answer to Lambda. Pure."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from thumbnailer.errors import EventError, ThumbnailerError
from thumbnailer.events import parse_event, parse_text
from thumbnailer.model import Message, Outcome
from thumbnailer.reporting.logs import summarise
from thumbnailer.values import dataclass


@dataclass(frozen=True, slots=True)
class Delivery:
    """One invocation. `from_queue`: single messages can be given back. Otherwise it is all or nothing."""

    messages: tuple[Message, ...]
    from_queue: bool = False

    @property
    def unreadable(self) -> list[Message]:
        return [message for message in self.messages if message.error]


def open_envelope(payload: object) -> Delivery:
    """Raises EventError if the payload has no known shape, or has a message without an id."""
    match payload:
        case {"Records": [{"eventSource": "aws:sqs"}, *_] as records}:
            return Delivery(tuple(map(_message, records)), from_queue=True)
    return Delivery((Message("", parse_event(payload)),))


def _message(record: object) -> Message:
    if not isinstance(record, Mapping) or not isinstance(record.get("messageId"), str):
        raise EventError("a record of an SQS event has no messageId, so it could not be given back")
    return open_message(record["messageId"], record.get("body"), record.get("attributes"))


def open_message(id_: str, body: object, attributes: object) -> Message:
    """One message, as Lambda's mapping and SQS itself deliver it."""
    try:
        return Message(id_, parse_text(body), receive_count(attributes))
    except EventError as error:
        return Message(id_, (), error=str(error))


def receive_count(attributes: object) -> int:
    """How often the message was received, this time included. 1 if unknown."""
    text = attributes.get("ApproximateReceiveCount") if isinstance(attributes, Mapping) else None
    return int(text) if isinstance(text, str) and text.isdecimal() else 1


class RecordsComeBack(ThumbnailerError):
    """Ends a direct invocation, so that Lambda retries it and then sends it to its dead-letter target."""


def answer(delivery: Delivery, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """A partial batch response for a queue, a summary for a direct invocation. `outcomes`: one an event, in order.

    Raises RecordsComeBack if a record of a direct invocation failed or was deferred.
    """
    if delivery.from_queue:
        return {"batchItemFailures": [{"itemIdentifier": id_} for id_ in ids_to_give_back(delivery, outcomes)]}
    summary = summarise(outcomes)
    if any(outcome.status.comes_back for outcome in outcomes):
        raise RecordsComeBack(f"some records failed or were deferred: {summary}")
    return summary


def ids_to_give_back(delivery: Delivery, outcomes: Sequence[Outcome]) -> list[str]:
    """The unreadable messages, and those with a failed or deferred record."""
    ids, ends = [], iter(outcomes)
    for message in delivery.messages:
        ended = list(islice(ends, len(message.events)))
        if message.error or any(outcome.status.comes_back for outcome in ended):
            ids.append(message.id)
    return ids
