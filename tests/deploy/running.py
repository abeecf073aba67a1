"""A running stack: its function and its queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest
from moto.awslambda.models import LambdaFunction

from tests.deploy.deploying import Deployed
from tests.support.cloud import DESTINATION, SOURCE, Cloud
from tests.support.mapping import Delivery, Invoke, QueueMapping

EVENTS: Final = "thumbnailer-events"
DEAD: Final = "thumbnailer-dead"
NO_EVENT: Final = "this is no event"


class Running:
    """`post` is the function: it answers an event, or raises InvocationFailed."""

    def __init__(self, deployed: Deployed, post: Invoke) -> None:
        self.deployed, self.cloud, self.post = deployed, deployed.cloud, post
        self.sqs = self.cloud.client("sqs")

    @property
    def mapping(self) -> QueueMapping:
        assert self.deployed.mapping is not None
        return QueueMapping(self.deployed.mapping, self.sqs, self.post)

    def upload(self, key: str, body: bytes) -> list[Delivery]:
        """Puts an object into the source bucket and delivers its events."""
        self.cloud.put(key, body)
        return self.mapping.deliver_all()

    def attributes(self, queue: str) -> dict[str, str]:
        url = self.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        answer: dict[str, str] = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return answer

    def holds(self, queue: str) -> int:
        """The number of messages in a queue, visible or not."""
        told = self.attributes(queue)
        return int(told["ApproximateNumberOfMessages"]) + int(told["ApproximateNumberOfMessagesNotVisible"])

    def send(self, body: str) -> None:
        """Sends a message to the queue."""
        self.sqs.send_message(QueueUrl=self.mapping.url, MessageBody=body)

    def dead_letters(self) -> list[str]:
        """The bodies of messages in the dead-letter queue."""
        url = self.sqs.get_queue_url(QueueName=DEAD)["QueueUrl"]
        answer = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        return [message["Body"] for message in answer.get("Messages", [])]

    def take_test_event(self) -> None:
        """Delivers the test event that S3 sends when a notification is set."""
        at_once: Mapping[str, Any] = {**self.mapping.configuration, "MaximumBatchingWindowInSeconds": 0}
        assert QueueMapping(at_once, self.sqs, self.post).deliver()


def take_over_buckets(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Removes the buckets of the fixture and stops moto from invoking functions in Docker.

    Returns a list that collects each invocation as the function's ARN and the event."""
    invoked: list[tuple[str, str]] = []

    def note(function: Any, body: str, *_: object) -> str:
        invoked.append((function.function_arn, body))
        return "{}"

    monkeypatch.setattr(LambdaFunction, "invoke", note)
    for bucket in (SOURCE, DESTINATION):
        cloud.s3.delete_bucket(Bucket=bucket)
    return invoked
