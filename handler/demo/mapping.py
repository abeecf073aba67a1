"""A stand-in for Lambda's event source mapping: the poller that AWS runs between a queue and a function.

It long-polls the queue for up to ten messages, builds from them the event that AWS would build, invokes the real
`handler.aws_lambda.handler`, and honours its partial batch response: messages named in `batchItemFailures` stay in
the queue, come back when their visibility timeout ends and after too many tries go to the dead-letter queue; the
others are deleted. One invocation runs at a time, as with a concurrency of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NoReturn
from uuid import uuid4

from handler import aws_lambda
from handler.demo.cloud import REGION, Queue
from thumbnailer.model import Outcome
from thumbnailer.reporting.logs import LOGGER

BATCH: Final = 10
POLL_SECONDS: Final = 1
FUNCTION_SECONDS: Final = 15.0
"""The function's time limit."""


class Feed:
    """Every outcome so far, in the order they came, and a way to follow them. Belongs to one loop."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self._more = asyncio.Event()
        self._closed = False

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._wake()

    def close(self) -> None:
        """Ends every `follow`."""
        self._closed = True
        self._wake()

    async def more_than(self, number: int) -> bool:
        """Waits until there are more outcomes than `number`; False when there will be none."""
        while len(self.outcomes) <= number and not self._closed:
            await self._more.wait()
        return len(self.outcomes) > number

    async def follow(self) -> AsyncIterator[Outcome]:
        """All outcomes, from the first on, until the feed is closed."""
        number = 0
        while await self.more_than(number):
            yield self.outcomes[number]
            number += 1

    def _wake(self) -> None:
        """Wakes who waits now; who waits later waits for the next."""
        self._more.set()
        self._more = asyncio.Event()


class OutcomeTap(logging.Filter):
    """Sees the log records of `thumbnailer` and hands on the Outcome that each line about a record carries.

    So the demo learns from the log what an operator would, and the door needs no hook for it.
    """

    def __init__(self, sink: Callable[[Outcome], object]) -> None:
        super().__init__()
        self._sink = sink

    def filter(self, record: logging.LogRecord) -> bool:
        outcome = getattr(record, "outcome", None)
        if isinstance(outcome, Outcome):
            self._sink(outcome)
        return True


class Context:
    """What the door uses of Lambda's context object."""

    def __init__(self, seconds: float) -> None:
        self.aws_request_id = str(uuid4())
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self._end - time.monotonic()) * 1000))


class _Nowhere(io.TextIOBase):
    """Takes everything, keeps nothing: stands for CloudWatch."""

    def write(self, text: str) -> int:
        return len(text)


class Function:
    """The Lambda function, in the one thread its loop lives in. Outcomes are handed on in the loop that made this."""

    def __init__(self, sink: Callable[[Outcome], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lambda")
        self._tap = OutcomeTap(lambda outcome: self._loop.call_soon_threadsafe(sink, outcome))
        LOGGER.addFilter(self._tap)

    async def invoke(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Raises whatever the handler raises."""
        return await self._loop.run_in_executor(self._thread, _invoke, event)

    async def aclose(self) -> None:
        """Waits for the invocation in work and lets go of all that the function holds."""
        await self._loop.run_in_executor(self._thread, aws_lambda.close)
        self._thread.shutdown()
        LOGGER.removeFilter(self._tap)
        LOGGER.handlers = []  # start_logging's, with a stream that ends here


def _invoke(event: Mapping[str, Any]) -> dict[str, Any]:
    """One invocation, its standard output (JSON lines and metrics, meant for CloudWatch) kept off the terminal.

    The redirection is the process's: whoever else prints meanwhile must hold on to the real stream, as run.py does.
    """
    with contextlib.redirect_stdout(_Nowhere()):
        return aws_lambda.handler(event, Context(FUNCTION_SECONDS))


async def poll(sqs: Any, queue: Queue, function: Function, failed: Callable[[Exception], object]) -> NoReturn:
    """Carries messages from the queue to the function until cancelled; `failed` hears of invocations that raised."""
    while True:
        answer = await sqs.receive_message(
            QueueUrl=queue.url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=POLL_SECONDS, AttributeNames=["All"]
        )
        messages = answer.get("Messages", [])
        if messages:
            await _deliver(sqs, queue, function, messages, failed)


async def _deliver(
    sqs: Any,
    queue: Queue,
    function: Function,
    messages: Sequence[Mapping[str, Any]],
    failed: Callable[[Exception], object],
) -> None:
    try:
        answer = await function.invoke(sqs_event(messages, queue.arn))
    except Exception as error:  # as in AWS: nothing is deleted, all of the batch comes back
        failed(error)
        return
    done = list(_done(messages, answer))
    if done:
        await sqs.delete_message_batch(QueueUrl=queue.url, Entries=done)


def sqs_event(messages: Sequence[Mapping[str, Any]], arn: str) -> dict[str, Any]:
    """Received messages as the event that Lambda makes of them (tests/events/sqs_s3.json is a real one)."""
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
        "awsRegion": REGION,
    }


def _done(messages: Sequence[Mapping[str, Any]], answer: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The entries to delete: every message that the function did not give back."""
    back = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
    for message in messages:
        if message["MessageId"] not in back:
            yield {"Id": message["MessageId"], "ReceiptHandle": message["ReceiptHandle"]}
