"""Threads that can be given up: who takes their place, and how many."""

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

from thumbnailer.execution import threads as decoders
from thumbnailer.execution.threads import Decoders


class Hang:
    """Work that goes on until it is let go."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        self.let_go.wait(60)
        return "late"


@pytest.fixture
def one() -> Iterator[Decoders[str]]:
    pool: Decoders[str] = Decoders(1)
    yield pool
    pool.close()


@pytest.fixture(autouse=True)
def every_thread_ends() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "decode":
            thread.join(20)
            assert not thread.is_alive()


def hanging(pool: Decoders[str]) -> tuple[Hang, Future[str]]:
    """One that a thread is at."""
    hang = Hang()
    future = pool.submit(hang)
    assert hang.begun.wait(20)
    return hang, future


def test_work_is_done_in_order_by_as_many_threads_as_were_asked_for() -> None:
    pool: Decoders[int] = Decoders(3)
    barrier = threading.Barrier(3)
    assert {future.result(20) for future in [pool.submit(lambda: barrier.wait(20)) for _ in range(3)]} == {0, 1, 2}
    seen: list[int] = []
    alone: Decoders[None] = Decoders(1)
    for future in [alone.submit(lambda n=n: seen.append(n)) for n in range(50)]:  # type: ignore[misc]
        future.result(20)
    assert seen == list(range(50))
    pool.close()
    alone.close()


def test_an_error_is_the_futures_and_the_thread_goes_on(one: Decoders[str]) -> None:
    def fail() -> str:
        raise KeyError("x")

    with pytest.raises(KeyError):
        one.submit(fail).result(20)
    assert one.submit(lambda: "next").result(20) == "next"


def test_nothing_of_what_failed_is_kept(one: Decoders[str]) -> None:
    """It may have decoded a large picture; nothing waits for the collector."""

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


def test_another_thread_takes_the_place_of_one_that_is_given_up(one: Decoders[str]) -> None:
    hang, future = hanging(one)
    waiting = one.submit(lambda: "next")
    one.give_up(future)
    assert waiting.result(20) == "next"
    assert one.submit(lambda: "and on").result(20) == "and on"
    hang.let_go.set()
    assert future.result(20) == "late"


def test_as_many_are_replaced_as_there_were_and_no_more(one: Decoders[str]) -> None:
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


def test_when_one_that_was_given_up_ends_there_is_no_thread_too_many(one: Decoders[str]) -> None:
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


def test_what_is_given_up_before_it_began_is_never_done(one: Decoders[str]) -> None:
    hang, future = hanging(one)
    done: list[str] = []
    waiting = one.submit(lambda: done.append("it") or "it")  # type: ignore[func-returns-value]
    one.give_up(waiting)
    hang.let_go.set()
    assert one.submit(lambda: "next").result(20) == "next"
    assert (waiting.cancelled(), done, one.stuck) == (True, [], 0)
    assert future.result(20) == "late"


def test_stuck_is_what_runs_on_long_after_it_was_given_up(one: Decoders[str], monkeypatch: pytest.MonkeyPatch) -> None:
    hang, future = hanging(one)
    assert one.stuck == 0
    one.give_up(future)
    assert one.stuck == 0
    monkeypatch.setattr(decoders, "STUCK_SECONDS", 0)
    time.sleep(0.001)
    assert one.stuck == 1
    hang.let_go.set()
    future.result(20)
    one.submit(lambda: "next").result(20)
    deadline = time.monotonic() + 20
    while one.stuck and time.monotonic() < deadline:
        time.sleep(0.005)
    assert one.stuck == 0


def test_giving_up_what_is_done_changes_nothing(one: Decoders[str]) -> None:
    future = one.submit(lambda: "done")
    future.result(20)
    one.give_up(future)
    one.submit(lambda: "next").result(20)
    assert one.stuck == 0


def test_a_process_ends_though_a_thread_does_not() -> None:
    script = """
import threading
from thumbnailer.execution.threads import Decoders
begun, pool = threading.Event(), Decoders(1)
pool.submit(lambda: (begun.set(), threading.Event().wait()))
begun.wait()
pool.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
