"""A stand-in for Lambda's event source mapping: AWS runs it between a queue and a function.

The mapping receives messages up to the batch size for as long as the batching window lasts, invokes the function with
the event that AWS would build, and deletes the messages that the response does not name. A failed invocation deletes
nothing. Without ReportBatchItemFailures AWS ignores the response and deletes the whole batch.

AWS's rules: Lambda developer guide, "Handling errors for an SQS event source in Lambda".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MOST_OF_ONE_RECEIVE: Final = 10
Invoke = Callable[[dict[str, Any]], Any]
"""The function: answers with JSON, or raises InvocationFailed."""


class InvocationFailed(Exception):
    """The function raised, ran out of time or answered with something else than JSON."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One batch: the ids of its messages, the function's answer (None if it failed), and the ids left in the queue."""

    ids: tuple[str, ...]
    answer: Any
    kept: tuple[str, ...]


class QueueMapping:
    """`configuration` has the form of AWS's GetEventSourceMapping; `sqs` is a boto3 client."""

    def __init__(self, configuration: Mapping[str, Any], sqs: Any, invoke: Invoke) -> None:
        self.configuration = configuration
        self.arn = str(configuration["EventSourceArn"])
        self.batch_size = int(configuration["BatchSize"])
        self.window_seconds = float(configuration.get("MaximumBatchingWindowInSeconds", 0))
        self.reports_failures = "ReportBatchItemFailures" in configuration.get("FunctionResponseTypes", [])
        self.sqs = sqs
        self.url = str(sqs.get_queue_url(QueueName=self.arn.rpartition(":")[2])["QueueUrl"])
        self._invoke = invoke
        self._kept_receipts: list[str] = []

    def deliver(self) -> Delivery | None:
        """One batch through the function. None if the queue is empty or the mapping is disabled."""
        messages = self._batch() if self.configuration["State"] == "Enabled" else []
        if not messages:
            return None
        ids = [message["MessageId"] for message in messages]
        try:
            answer = self._invoke(sqs_event(messages, self.arn))
            kept = ids_to_keep(answer, ids) if self.reports_failures else set[str]()
        except InvocationFailed:
            answer, kept = None, set(ids)
        for message in messages:
            if message["MessageId"] in kept:
                self._kept_receipts.append(message["ReceiptHandle"])
            else:
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return Delivery(tuple(ids), answer, tuple(id_ for id_ in ids if id_ in kept))

    def deliver_all(self) -> list[Delivery]:
        """Delivers batches until the queue is empty."""
        deliveries = []
        while delivery := self.deliver():
            deliveries.append(delivery)
        return deliveries

    def let_visibility_end(self) -> None:
        """Does at once what the visibility timeout does after minutes."""
        for receipt in self._kept_receipts:
            self.sqs.change_message_visibility(QueueUrl=self.url, ReceiptHandle=receipt, VisibilityTimeout=0)
        self._kept_receipts.clear()

    def _batch(self) -> list[Mapping[str, Any]]:
        """Up to the batch size. The window begins with the first message; without a window, one receive."""
        messages = self._receive(self.batch_size)
        end = time.monotonic() + self.window_seconds
        while messages and len(messages) < self.batch_size and (left := end - time.monotonic()) > 0:
            more = self._receive(self.batch_size - len(messages))
            messages += more
            if not more:
                time.sleep(min(left, 0.02))
        return messages

    def _receive(self, most: int) -> list[Mapping[str, Any]]:
        answer = self.sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=min(most, MOST_OF_ONE_RECEIVE), AttributeNames=["All"]
        )
        return list(answer.get("Messages", []))


def ids_to_keep(answer: Any, ids: Collection[str]) -> set[str]:
    """The messages that a partial batch response keeps in the queue. All of them if AWS cannot read the response."""
    if not answer:
        return set()
    if not isinstance(answer, Mapping):
        return set(ids)
    items = answer.get("batchItemFailures") or []
    named = {str(item.get("itemIdentifier")) if isinstance(item, Mapping) else "" for item in items}
    return named if named <= set(ids) else set(ids)


def sqs_event(messages: Sequence[Mapping[str, Any]], arn: str) -> dict[str, Any]:
    """The event that Lambda builds from received messages (tests/events/sqs_s3.json is a real one)."""
    return {"Records": [_record(message, arn) for message in messages]}


def _record(message: Mapping[str, Any], arn: str) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": arn.split(":")[3],
    }
