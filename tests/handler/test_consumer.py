"""The worker's consumer over a queue in memory and records that wait for a signal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from handler.worker import consumer as consumer_
from handler.worker import heartbeat
from handler.worker.consumer import FIRST_BACKOFF, GROWTH, LONGEST_BACKOFF, Consumer, Limits, backoff
from handler.worker.sqs import CONNECTIONS
from tests.support.queues import FlakyQueue, Records, body, shorten_waits, until
from thumbnailer.app import new_event_loop
from thumbnailer.reporting.metrics import Prometheus


class Bench:
    """A running consumer and its queue."""

    def __init__(self, queue: FlakyQueue, limits: Limits) -> None:
        self.queue, self.records, self.registry = queue, Records(), CollectorRegistry()
        self.busy: list[bool] = []
        self.running: asyncio.Future[None]
        self.consumer = Consumer(queue, self.records, limits, Prometheus(self.registry), self.busy.append)

    def metric(self, name: str) -> float:
        return self.registry.get_sample_value(name) or 0.0

    async def stopped(self) -> None:
        self.consumer.stop()
        await asyncio.wait_for(self.running, 20)


def working(
    work: Callable[[Bench], Awaitable[None]],
    queue: FlakyQueue,
    limits: Limits = Limits(in_flight=10, record_seconds=30, stop_seconds=20),  # noqa: B008
    visibility: int = 30,
) -> Bench:
    """Runs `work` concurrently with the consumer, then stops the consumer."""

    async def run() -> Bench:
        bench = Bench(queue, limits)
        bench.running = asyncio.ensure_future(bench.consumer.run(visibility))
        await work(bench)
        if not bench.running.done():
            await bench.stopped()
        return bench

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(asyncio.wait_for(run(), 60))


def empty(queue: FlakyQueue) -> Callable[[Bench], Coroutine[Any, Any, None]]:
    return lambda _: until(lambda: not queue.messages)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_waits(monkeypatch)


def test_finished_messages_are_deleted_in_batches_of_ten() -> None:
    queue = FlakyQueue()
    for number in range(200):
        queue.send(body(f"{number}.jpg"))
    bench = working(empty(queue), queue)
    assert sorted(key for key, _ in bench.records.processed) == sorted(f"{number}.jpg" for number in range(200))
    assert queue.calls["delete"] <= 40
    assert queue.calls["receive"] <= 30
    assert bench.metric("thumbnailer_messages_received_total") == 200
    assert bench.metric("thumbnailer_messages_deleted_total") == 200
    assert bench.metric("thumbnailer_records_stored_total") is not None


def test_in_flight_messages_are_processed_and_as_many_again_held() -> None:
    queue = FlakyQueue()
    for number in range(100):
        queue.send(body(f"wait{number}"))

    async def work(bench: Bench) -> None:
        await until(lambda: len(bench.consumer.held) == 20)
        await asyncio.sleep(0.05)
        assert (bench.records.most_at_once, len(bench.consumer.held)) == (10, 20)
        assert bench.metric("thumbnailer_in_flight") == 20
        bench.records.go.set()
        await until(lambda: not queue.messages)

    assert working(work, queue).records.most_at_once == 10


def test_failed_and_unreadable_messages_are_given_back_for_later() -> None:
    queue = FlakyQueue()
    failed, unreadable, good = queue.send(body("fail.jpg")), queue.send("{"), queue.send(body("good.jpg"))
    working(lambda _: until(lambda: len(queue.hidden) == 2 and good not in queue.messages), queue)
    assert set(queue.messages) == {failed, unreadable}
    assert all(0 < seconds <= FIRST_BACKOFF for _, seconds in queue.hidden)


def test_unreadable_message_ends_in_the_dead_letter_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer_, "UNREADABLE_SECONDS", 0)
    queue = FlakyQueue(most_receives=3)
    queue.send("no event")
    working(lambda _: until(lambda: queue.dead), queue)
    assert queue.dead == ["no event"]


def test_message_with_one_failed_record_is_retried_whole() -> None:
    queue = FlakyQueue()
    id_ = queue.send(body("good.jpg", "fail.jpg"))
    working(lambda _: until(lambda: queue.hidden), queue)
    assert set(queue.messages) == {id_}


def test_redelivered_message_is_isolated() -> None:
    queue = FlakyQueue(visibility=0.05)
    queue.send(body("wait.jpg"))

    async def work(bench: Bench) -> None:
        await until(lambda: len(bench.records.processed) == 2)
        bench.records.go.set()

    bench = working(work, queue)
    assert bench.records.processed[:2] == [("wait.jpg", False), ("wait.jpg", True)]


def test_heartbeat_keeps_held_messages_invisible_in_batches() -> None:
    queue = FlakyQueue(visibility=1)
    for number in range(15):
        queue.send(body(f"wait{number}"))

    async def work(bench: Bench) -> None:
        await until(lambda: len(bench.consumer.held) == 15)
        await asyncio.sleep(1.6)
        assert max(stored.receives for stored in queue.messages.values()) == 1
        bench.records.go.set()
        await until(lambda: not queue.messages)

    bench = working(work, queue, visibility=1)
    assert len(bench.records.processed) == 15
    assert 6 <= queue.calls["hide"] <= 14  # 15 receipts need two requests every third of a second


@pytest.mark.matrix(39)
def test_lowered_visibility_timeout_makes_the_heartbeat_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.05)
    queue = FlakyQueue(visibility=60)

    async def work(bench: Bench) -> None:
        queue.visibility = 1
        await until(lambda: queue.calls["state"] >= 2)
        queue.send(body("wait.jpg"))
        await until(lambda: queue.calls["hide"] >= 4 or len(bench.records.processed) > 1)
        assert bench.records.processed == [("wait.jpg", False)]
        bench.records.go.set()
        await until(lambda: not queue.messages)

    working(work, queue, visibility=60)


@pytest.mark.matrix(39)
def test_expired_receipt_is_no_error() -> None:
    """By then another worker has the message and does the same work."""
    queue = FlakyQueue(visibility=0.05)
    queue.send(body("wait.jpg"))

    async def work(bench: Bench) -> None:
        await until(lambda: len(bench.records.processed) >= 2)
        bench.records.go.set()
        await until(lambda: not queue.messages)

    assert working(work, queue).metric("thumbnailer_queue_errors_total") == 0


@pytest.mark.matrix(40)
@pytest.mark.parametrize("operation", ["receive", "delete", "hide", "state"])
def test_failing_queue_operation_is_retried_and_nothing_is_lost(operation: str) -> None:
    queue = FlakyQueue(visibility=0.2, broken={operation})
    for number in range(30):
        queue.send(body(f"{number}.jpg" if operation != "hide" else f"fail{number}.jpg"))

    async def work(bench: Bench) -> None:
        await until(lambda: bench.metric("thumbnailer_queue_errors_total") >= 1)
        queue.broken.clear()
        if operation == "hide":
            await until(lambda: len({receipt.partition(".")[0] for receipt, _ in queue.hidden}) == 30)
        else:
            await until(lambda: not queue.messages)

    bench = working(work, queue)
    assert len({key for key, _ in bench.records.processed}) == 30


@pytest.mark.matrix(40)
def test_failing_queue_is_asked_with_pauses() -> None:
    queue = FlakyQueue(broken={"receive"})
    working(lambda _: asyncio.sleep(1), queue)
    assert 5 <= queue.calls["receive"] <= 120


# --- while S3 is away ---------------------------------------------------------------------------------------------


@pytest.mark.matrix(31)
def test_ten_minutes_of_failures_bring_nothing_to_the_dead_letter_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second stands for ten minutes."""
    monkeypatch.setattr(consumer_, "backoff", lambda count: backoff(count) / 600)
    queue = FlakyQueue(most_receives=5)
    for number in range(40):
        queue.send(body(f"{number}.jpg"))

    async def work(bench: Bench) -> None:
        bench.records.away = True
        await asyncio.sleep(1)
        bench.records.away = False
        await until(lambda: not queue.messages)

    bench = working(work, queue)
    assert len(bench.records.processed) > 40
    assert queue.dead == []


@pytest.mark.matrix(31)
def test_backlog_stays_in_the_queue_while_every_record_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer_, "backoff", lambda count: 0.2)
    queue = FlakyQueue()
    for number in range(300):
        queue.send(body(f"{number}.jpg"))

    async def work(bench: Bench) -> None:
        bench.records.away = True
        await until(lambda: len(bench.records.processed) >= 20)
        await asyncio.sleep(0.5)
        assert 20 < len(bench.records.processed) < 150
        bench.records.away = False
        await until(lambda: not queue.messages)

    working(work, queue)


# --- bugs ---------------------------------------------------------------------------------------------------------


class BuggyQueue(FlakyQueue):
    """The operation `bug[0]` raises an unexpected error on its call number `bug[1]`."""

    bug = ("", 0)

    def called(self, operation: str) -> None:
        super().called(operation)
        if (operation, self.calls[operation]) == self.bug:
            raise RuntimeError("a bug")


@pytest.mark.parametrize("bug", [("receive", 2), ("hide", 1), ("state", 2)], ids=lambda bug: str(bug[0]))
def test_bug_in_receiver_or_heartbeat_stops_the_worker_and_gives_everything_back(
    bug: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.1)
    queue = BuggyQueue(visibility=1)
    queue.bug = bug
    for _ in range(3):
        queue.send(body("wait.jpg"))

    async def work(bench: Bench) -> None:
        with pytest.raises(RuntimeError, match="a bug"):
            await asyncio.wait_for(asyncio.shield(bench.running), 20)
        assert not bench.consumer.held

    working(work, queue, Limits(in_flight=10, record_seconds=30, stop_seconds=1), visibility=1)
    assert [seconds for _, seconds in queue.hidden[-3:]] == [0] * 3
    assert len(queue.messages) == 3


# --- metrics and limits -------------------------------------------------------------------------------------------


class RefusingQueue(FlakyQueue):
    """Refuses to delete the first message of a batch."""

    async def delete(self, receipts: Sequence[str]) -> list[str]:
        return [*await super().delete(receipts[1:]), "InternalError: try again"]


def test_refused_deletes_are_not_counted_as_deleted() -> None:
    queue = RefusingQueue()
    for number in range(10):
        queue.send(body(f"{number}.jpg"))
    bench = working(lambda _: until(lambda: len(queue.messages) == 1), queue)
    assert bench.metric("thumbnailer_messages_deleted_total") == 9
    assert bench.metric("thumbnailer_queue_errors_total") == 1


@given(st.integers(1, 10_000))
def test_receivers_leave_connections_for_deletes_and_heartbeats(in_flight: int) -> None:
    assert 2 <= Limits(in_flight, record_seconds=30, stop_seconds=20).receivers <= CONNECTIONS // 2


# --- stopping -----------------------------------------------------------------------------------------------------


class SlowQueue(FlakyQueue):
    """Applies its first change of visibility when `go` is set, even if the caller no longer waits."""

    def __init__(self, visibility: float) -> None:
        super().__init__(visibility)
        self.go = asyncio.Event()
        self.late: list[asyncio.Task[list[str]]] = []

    async def hide(self, receipts: Mapping[str, int]) -> list[str]:
        first = not self.late
        self.late.append(asyncio.create_task(self._hide(receipts, wait=first)))
        return await asyncio.shield(self.late[-1])

    async def _hide(self, receipts: Mapping[str, int], wait: bool) -> list[str]:
        if wait:
            await self.go.wait()
        return await super().hide(receipts)


def test_slow_heartbeat_does_not_hide_messages_given_back_meanwhile() -> None:
    queue = SlowQueue(visibility=1)
    queue.send(body("wait.jpg"))

    async def work(bench: Bench) -> None:
        await until(lambda: queue.late)
        bench.consumer.stop()
        await until(lambda: not bench.consumer.held)
        await asyncio.sleep(0.1)
        queue.go.set()
        await bench.running
        await asyncio.gather(*queue.late)

    working(work, queue, Limits(in_flight=10, record_seconds=30, stop_seconds=1), visibility=1)
    assert [seconds for _, seconds in queue.hidden] == [1, 0]


@pytest.mark.parametrize("operation", ["delete", "hide"])
def test_unresponsive_queue_does_not_keep_the_worker_from_ending(
    operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def never(*_: object) -> list[str]:
        asked.set()
        await asyncio.Event().wait()
        return []

    queue = FlakyQueue()
    monkeypatch.setattr(queue, operation, never)
    queue.send(body("good.jpg" if operation == "delete" else "wait.jpg"))

    async def work(bench: Bench) -> None:
        await until(lambda: bench.records.processed)
        await bench.stopped()

    working(work, queue, Limits(in_flight=10, record_seconds=30, stop_seconds=1))
    assert asked.is_set()
    assert len(queue.messages) == 1


@pytest.mark.matrix(37)
def test_stop_finishes_running_messages_and_gives_back_the_rest_at_once() -> None:
    queue = FlakyQueue()
    for number in range(40):
        queue.send(body(f"wait{number}"))

    async def work(bench: Bench) -> None:
        await until(lambda: len(bench.consumer.held) == 20)
        bench.consumer.stop()
        await asyncio.sleep(0.1)
        bench.records.go.set()
        await bench.running

    bench = working(work, queue)
    assert len(queue.messages) == 30
    assert sorted(seconds for _, seconds in queue.hidden) == [0] * 10
    assert all(stored.visible_at <= time.monotonic() for stored in queue.messages.values())
    assert bench.busy[-1] is False


@pytest.mark.matrix(37)
def test_messages_unfinished_at_the_stop_timeout_are_given_back() -> None:
    queue = FlakyQueue()
    for number in range(5):
        queue.send(body(f"wait{number}"))

    async def work(bench: Bench) -> None:
        await until(lambda: bench.records.at_once == 5)
        await bench.stopped()

    bench = working(work, queue, Limits(in_flight=10, record_seconds=30, stop_seconds=1))
    assert sorted(seconds for _, seconds in queue.hidden) == [0] * 5
    assert (len(queue.messages), bench.records.at_once) == (5, 0)


def test_stopped_consumer_receives_nothing() -> None:
    queue = FlakyQueue()

    async def work(bench: Bench) -> None:
        await asyncio.sleep(0.05)
        await bench.stopped()
        queue.send(body("late.jpg"))
        await asyncio.sleep(0.1)

    bench = working(work, queue)
    assert (len(queue.messages), bench.records.processed) == (1, [])


def test_busy_is_reported_with_and_without_work() -> None:
    queue = FlakyQueue()
    queue.send(body("a.jpg"))
    bench = working(empty(queue), queue)
    assert (bench.busy[0], bench.busy[-1]) == (True, False)


@given(st.integers(1, 1000), st.floats(0, 1))
def test_backoff_grows_up_to_its_limit(count: int, chance: float) -> None:
    seconds = backoff(count, lambda: chance)
    assert 0 < seconds <= LONGEST_BACKOFF
    assert seconds >= min(LONGEST_BACKOFF, FIRST_BACKOFF * GROWTH ** (min(count, 12) - 1)) * 2 / 3
    assert backoff(count + 1, lambda: 0.0) >= backoff(count, lambda: 0.0)


def test_five_receives_outlast_15_minutes_and_the_first_retry_comes_within_one() -> None:
    assert sum(backoff(count, lambda: 0.0) for count in range(1, 5)) >= 15 * 60
    assert sum(backoff(count, lambda: 1.0) for count in range(1, 5)) <= 30 * 60
    assert backoff(1, lambda: 1.0) <= 60
