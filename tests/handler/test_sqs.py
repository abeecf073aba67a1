"""The consumer on the real SQS client, against a real SQS protocol server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import pytest
from botocore.exceptions import EndpointConnectionError
from prometheus_client import CollectorRegistry

from handler.worker import consumer as consumer_
from handler.worker.consumer import Consumer, Limits
from handler.worker.sqs import Queue, QueueError, open_queue
from tests.handler.test_consumer import Records, body, until
from tests.support.cloud import Cloud
from tests.support.faults import INTERNAL_ERROR, PASS, Fault, FaultProxy, Request, fault_proxy
from thumbnailer.app import new_event_loop
from thumbnailer.reporting.metrics import Prometheus

VISIBILITY = 2
FAILURES = 6
"""So many that of two requests at a time, which botocore tries three times, one fails in the end at least."""


class Asked:
    """A rule for a proxy: counts the operations, and lets the first of those in `failing` fail."""

    def __init__(self, *failing: str) -> None:
        self.count: Counter[str] = Counter()
        self._failing = failing

    def __call__(self, request: Request) -> Fault:
        operation = request.headers["x-amz-target"].rpartition(".")[2]
        self.count[operation] += 1
        return INTERNAL_ERROR if operation in self._failing and self.count[operation] <= FAILURES else PASS


class Bench:
    """A consumer at work on `url`, through a proxy with the rule `asked`."""

    def __init__(self, aws: Cloud, url: str, asked: Asked) -> None:
        self.aws, self.url, self.asked = aws, url, asked
        self.records, self.registry = Records(), CollectorRegistry()

    def send(self, *keys: str) -> None:
        for key in keys:
            self._sqs.send_message(QueueUrl=self.url, MessageBody=body(key))

    def purge(self) -> None:
        self._sqs.purge_queue(QueueUrl=self.url)

    def left(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)

    def metric(self, name: str) -> float:
        return self.registry.get_sample_value(name) or 0.0

    async def run(self, proxy: FaultProxy, work: Callable[[Bench], Awaitable[None]]) -> None:
        self._sqs = self.aws.client("sqs")
        url = self.url.replace(self.aws.url, proxy.url)
        async with open_queue(url, self.aws.env) as queue:
            consumer = Consumer(queue, self.records, Limits(10, 30, 5), Prometheus(self.registry))
            running = asyncio.ensure_future(consumer.run(VISIBILITY))
            await work(self)
            consumer.stop()
            await running
        self._sqs.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_, "LAST_POLL_SECONDS", 0.05)
    monkeypatch.setattr(consumer_, "PAUSE_SECONDS", (0.01, 0.05))
    monkeypatch.setattr(consumer_, "FIRST_BACKOFF", 1.0)
    monkeypatch.setattr(consumer_, "LOOK_SECONDS", 0.5)


@pytest.fixture
def url(aws: Cloud) -> Iterator[str]:
    sqs = aws.client("sqs")
    yield sqs.create_queue(QueueName="thumbnails", Attributes={"VisibilityTimeout": str(VISIBILITY)})["QueueUrl"]
    sqs.close()


def working(
    aws: Cloud,
    url: str,
    work: Callable[[Bench], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
    *failing: str,
) -> Bench:
    """Runs `work` beside the consumer, then stops that."""
    bench = Bench(aws, url, Asked(*failing))
    with fault_proxy(aws.url, bench.asked) as proxy, asyncio.Runner(loop_factory=new_event_loop) as runner:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        runner.run(asyncio.wait_for(bench.run(proxy, work), 60))
    return bench


@pytest.mark.matrix(39)
def test_work_that_takes_longer_than_the_visibility_is_not_handed_out_again(
    aws: Cloud, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(bench: Bench) -> None:
        bench.send("wait.jpg")
        beats_of_two_visibilities = 6
        await until(lambda: bench.asked.count["ChangeMessageVisibilityBatch"] > beats_of_two_visibilities)
        bench.records.go.set()
        await until(lambda: bench.metric("thumbnailer_messages_deleted_total"))
        assert bench.left() == 0

    bench = working(aws, url, work, monkeypatch)
    assert bench.records.processed == [("wait.jpg", False)]
    assert bench.metric("thumbnailer_queue_errors_total") == 0


@pytest.mark.matrix(39)
def test_what_is_no_longer_ours_when_it_is_kept_or_deleted_does_no_harm(
    aws: Cloud, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else has worked and deleted it by then."""

    async def work(bench: Bench) -> None:
        bench.send("wait.jpg")
        await until(lambda: bench.records.processed)
        bench.purge()
        beats = bench.asked.count["ChangeMessageVisibilityBatch"]
        await until(lambda: bench.asked.count["ChangeMessageVisibilityBatch"] > beats)
        bench.records.go.set()
        await until(lambda: bench.asked.count["DeleteMessageBatch"])
        bench.send("next.jpg")
        await until(lambda: len(bench.records.processed) == 2)

    bench = working(aws, url, work, monkeypatch)
    assert bench.records.processed == [("wait.jpg", False), ("next.jpg", False)]
    assert bench.metric("thumbnailer_queue_errors_total") == 0


@pytest.mark.matrix(40)
def test_where_every_operation_fails_at_first_all_is_done_in_the_end(
    aws: Cloud, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operations = ("ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch", "GetQueueAttributes")
    keys = [f"{number}.jpg" for number in range(12)]

    async def work(bench: Bench) -> None:
        bench.records.away = True
        bench.send(*keys)
        await until(lambda: len(bench.records.processed) >= len(keys))
        bench.records.away = False
        await until(lambda: all(bench.asked.count[operation] >= FAILURES for operation in operations))
        await until(lambda: bench.left() == 0)

    bench = working(aws, url, work, monkeypatch, *operations)
    assert {key for key, _ in bench.records.processed} == set(keys)
    assert bench.metric("thumbnailer_queue_errors_total") >= len(operations)


@pytest.mark.matrix(40)
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
        EndpointConnectionError(endpoint_url="http://nowhere"),
        ConnectionResetError(),
        KeyError("a bug of the client's"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_request_ends_with_is_an_error_of_the_queue(error: Exception) -> None:
    class Client:
        def __getattr__(self, operation: str) -> Any:
            async def fail(**_: object) -> None:
                raise error

            return fail

    async def ask() -> None:
        queue = Queue(cast("Any", Client()), "http://queue")
        for request in (queue.receive(10, 0), queue.delete(["r"]), queue.hide({"r": 0}), queue.state()):
            with pytest.raises(QueueError, match=type(error).__name__):
                await request

    asyncio.run(ask())
