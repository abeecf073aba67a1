"""A stand-in for Lambda's event source mapping, configured by the deployed mapping of the stack.

It delivers one batch at a time: it collects messages up to the batch size or the end of the batching window, posts
AWS's event, and deletes the messages that did not fail. Without ReportBatchItemFailures it ignores the answer, as AWS
does.
`post` is the function: it answers with JSON, or raises InvocationFailed.

AWS's rules: Lambda developer guide, "Handling errors for an SQS event source in Lambda".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from handler.demo.mapping import sqs_event

MOST_OF_ONE_RECEIVE: Final = 10
Post = Callable[[dict[str, Any]], Any]


class InvocationFailed(Exception):
    """The function raised, ran out of time or gave an answer that is not JSON."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One batch: ids of its messages, the function's answer (None if it failed), and ids that stay queued."""

    ids: tuple[str, ...]
    answer: Any
    kept: tuple[str, ...]


@dataclass(slots=True)
class QueueMapping:
    """`configuration` is the answer of `get_event_source_mapping`."""

    configuration: Mapping[str, Any]
    sqs: Any
    post: Post
    _hidden: list[str] = field(default_factory=list)

    @property
    def arn(self) -> str:
        return str(self.configuration["EventSourceArn"])

    @property
    def batch_size(self) -> int:
        return int(self.configuration["BatchSize"])

    @property
    def window_seconds(self) -> float:
        return float(self.configuration.get("MaximumBatchingWindowInSeconds", 0))

    @property
    def reports_failures(self) -> bool:
        return "ReportBatchItemFailures" in self.configuration.get("FunctionResponseTypes", [])

    @property
    def url(self) -> str:
        return str(self.sqs.get_queue_url(QueueName=self.arn.rpartition(":")[2])["QueueUrl"])

    def deliver(self) -> Delivery | None:
        """Delivers one batch; None if the queue is empty or the mapping is disabled."""
        messages = self._batch() if self.configuration["State"] == "Enabled" else []
        if not messages:
            return None
        ids = [message["MessageId"] for message in messages]
        try:
            answer = self.post(sqs_event(messages, self.arn))
            kept = given_back(answer, ids) if self.reports_failures else set[str]()
        except InvocationFailed:
            answer, kept = None, set(ids)
        for message in messages:
            if message["MessageId"] in kept:
                self._hidden.append(message["ReceiptHandle"])
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
        """Ends the visibility timeout: kept messages can be received again."""
        for handle in self._hidden:
            self.sqs.change_message_visibility(QueueUrl=self.url, ReceiptHandle=handle, VisibilityTimeout=0)
        self._hidden.clear()

    def _batch(self) -> list[dict[str, Any]]:
        """Up to the batch size; the window begins with the first message. Without a window, one receive."""
        messages = self._receive(self.batch_size)
        end = time.monotonic() + self.window_seconds
        while messages and len(messages) < self.batch_size and (left := end - time.monotonic()) > 0:
            more = self._receive(self.batch_size - len(messages))
            messages += more
            if not more:
                time.sleep(min(left, 0.02))
        return messages

    def _receive(self, most: int) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=min(most, MOST_OF_ONE_RECEIVE), AttributeNames=["All"]
        )
        return list(answer.get("Messages", []))


def given_back(answer: Any, ids: Collection[str]) -> set[str]:
    """The messages that a partial batch response keeps in the queue; all of them if AWS cannot read the response."""
    if not answer:
        return set()
    if not isinstance(answer, Mapping):
        return set(ids)
    items = answer.get("batchItemFailures") or []
    named = {str(item.get("itemIdentifier")) if isinstance(item, Mapping) else "" for item in items}
    return named if named <= set(ids) else set(ids)
