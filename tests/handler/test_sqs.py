"""The consumer with the real SQS client, against moto's SQS."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import pytest
from botocore.exceptions import EndpointConnectionError
from prometheus_client import CollectorRegistry

from handler.worker import consumer as consumer_
from handler.worker import heartbeat
from handler.worker.consumer import Consumer, Limits
from handler.worker.sqs import Queue, QueueError, open_queue
from tests.support.cloud import Cloud
from tests.support.faults import INTERNAL_ERROR, PASS, Fault, FaultProxy, Request, fault_proxy
from tests.support.queues import Records, body, shorten_waits, until
from thumbnailer.app import new_event_loop
from thumbnailer.reporting.metrics import Prometheus

VISIBILITY = 1
FAILURES = 6
"""botocore tries a request three times, so of two concurrent requests at least one fails for good."""


class Asked:
    """A rule for the proxy: counts the operations and fails the first FAILURES of those in `failing`."""

    def __init__(self, *failing: str) -> None:
        self.count: Counter[str] = Counter()
        self._failing = failing

    def __call__(self, request: Request) -> Fault:
        operation = request.headers["x-amz-target"].rpartition(".")[2]
        self.count[operation] += 1
        return INTERNAL_ERROR if operation in self._failing and self.count[operation] <= FAILURES else PASS


class Bench:
    """A consumer on the queue `url`, through a proxy with the rule `asked`."""

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
    shorten_waits(monkeypatch)
    monkeypatch.setattr(consumer_, "FIRST_BACKOFF", 1.0)
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.5)


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
    """Runs `work` concurrently with the consumer, then stops the consumer."""
    bench = Bench(aws, url, Asked(*failing))
    with fault_proxy(aws.url, bench.asked) as proxy, asyncio.Runner(loop_factory=new_event_loop) as runner:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        runner.run(asyncio.wait_for(bench.run(proxy, work), 60))
    return bench


@pytest.mark.matrix(39)
def test_work_beyond_the_visibility_timeout_is_not_redelivered(
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
def test_message_deleted_by_another_worker_is_no_error(aws: Cloud, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A purge stands for the other worker."""

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
def test_all_work_is_done_although_every_operation_fails_at_first(
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
def test_any_exception_of_the_client_becomes_a_queue_error(error: Exception) -> None:
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
