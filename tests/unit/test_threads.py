"""Decoder threads that can be given up: how many replace them, and when they end."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from thumbnailer.execution import threads
from thumbnailer.execution.threads import DecoderThreads


class Hang:
    """Work that runs until it is let go."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        self.let_go.wait(60)
        return "late"


@pytest.fixture
def one() -> Iterator[DecoderThreads[str]]:
    pool: DecoderThreads[str] = DecoderThreads(1)
    yield pool
    pool.close()


@pytest.fixture(autouse=True)
def every_thread_ends() -> Iterator[None]:
    """Decoders of the Python library, which other tests start, live as long as the process."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name == "decode":
            thread.join(20)
            assert not thread.is_alive()


def hanging(pool: DecoderThreads[str]) -> tuple[Hang, Future[str]]:
    """Work that has begun."""
    hang = Hang()
    future = pool.submit(hang)
    assert hang.begun.wait(20)
    return hang, future


def test_work_runs_in_order_on_the_given_number_of_threads() -> None:
    pool: DecoderThreads[int] = DecoderThreads(3)
    barrier = threading.Barrier(3)
    assert {future.result(20) for future in [pool.submit(lambda: barrier.wait(20)) for _ in range(3)]} == {0, 1, 2}
    order: list[int] = []
    single: DecoderThreads[None] = DecoderThreads(1)
    for future in [single.submit(lambda n=n: order.append(n)) for n in range(50)]:  # type: ignore[misc]
        future.result(20)
    assert order == list(range(50))
    pool.close()
    single.close()


def test_an_error_goes_to_the_future_and_the_thread_continues(one: DecoderThreads[str]) -> None:
    def fail() -> str:
        raise KeyError("x")

    with pytest.raises(KeyError):
        one.submit(fail).result(20)
    assert one.submit(lambda: "next").result(20) == "next"


def test_failed_work_is_freed_at_once(one: DecoderThreads[str]) -> None:
    """It may hold a large picture, which must not wait for the garbage collector."""

    class Large: ...

    kept: list[weakref.ref[Large]] = []

    def fail() -> str:
        large = Large()
        kept.append(weakref.ref(large))
        raise KeyError("x")

    gc.disable()
    try:
        future = one.submit(fail)
        assert isinstance(future.exception(20), KeyError)
        del future
        one.submit(lambda: "next").result(20)
        assert kept[0]() is None
    finally:
        gc.enable()


def test_another_thread_replaces_one_that_is_given_up(one: DecoderThreads[str]) -> None:
    hang, future = hanging(one)
    waiting = one.submit(lambda: "next")
    one.give_up(future)
    assert waiting.result(20) == "next"
    assert one.submit(lambda: "and on").result(20) == "and on"
    hang.let_go.set()
    assert future.result(20) == "late"


def test_at_most_size_threads_are_replaced(one: DecoderThreads[str]) -> None:
    first, second = hanging(one), None
    one.give_up(first[1])
    second = hanging(one)
    one.give_up(second[1])
    waiting = one.submit(lambda: "next")
    with pytest.raises(TimeoutError):
        waiting.result(0.2)
    first[0].let_go.set()
    assert waiting.result(20) == "next"
    second[0].let_go.set()


def test_the_replacement_ends_when_the_given_up_work_ends(one: DecoderThreads[str]) -> None:
    hang, future = hanging(one)
    one.give_up(future)
    one.submit(lambda: "next").result(20)
    hang.let_go.set()
    future.result(20)
    again, busy = hanging(one)
    waiting = one.submit(lambda: "next")
    with pytest.raises(TimeoutError):
        waiting.result(0.2)
    again.let_go.set()
    assert (busy.result(20), waiting.result(20)) == ("late", "next")


def test_queued_work_that_is_given_up_never_runs(one: DecoderThreads[str]) -> None:
    hang, future = hanging(one)
    done: list[str] = []
    waiting = one.submit(lambda: done.append("it") or "it")  # type: ignore[func-returns-value]
    one.give_up(waiting)
    hang.let_go.set()
    assert one.submit(lambda: "next").result(20) == "next"
    assert (waiting.cancelled(), done, one.stuck) == (True, [], 0)
    assert future.result(20) == "late"


def test_stuck_counts_work_still_running_after_giving_up(
    one: DecoderThreads[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hang, future = hanging(one)
    assert one.stuck == 0
    one.give_up(future)
    assert one.stuck == 0
    monkeypatch.setattr(threads, "STUCK_SECONDS", 0)
    time.sleep(0.001)
    assert one.stuck == 1
    hang.let_go.set()
    future.result(20)
    one.submit(lambda: "next").result(20)
    deadline = time.monotonic() + 20
    while one.stuck and time.monotonic() < deadline:
        time.sleep(0.005)
    assert one.stuck == 0


def test_giving_up_finished_work_changes_nothing(one: DecoderThreads[str]) -> None:
    future = one.submit(lambda: "done")
    future.result(20)
    one.give_up(future)
    one.submit(lambda: "next").result(20)
    assert one.stuck == 0


def test_a_process_exits_while_a_thread_still_runs() -> None:
    script = """
import threading
from thumbnailer.execution.threads import DecoderThreads
begun, pool = threading.Event(), DecoderThreads(1)
pool.submit(lambda: (begun.set(), threading.Event().wait()))
begun.wait()
pool.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
