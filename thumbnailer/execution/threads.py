"""The threads that decode. Unlike ThreadPoolExecutor's, they can be given up, and no process waits for them to end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from time import monotonic
from typing import Final, Generic, TypeVar

T = TypeVar("T")
STUCK_SECONDS: Final = 5.0
"""A decode that runs on for so long after it was given up is taken to be in an endless loop."""


class Decoders(Generic[T]):
    """`size` threads, started when they are needed, and one more for each that is given up, up to as many again."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._alive = 0
        self._jobs: SimpleQueue[tuple[Future[T], Callable[[], T]] | None] = SimpleQueue()
        self._running: set[Future[T]] = set()
        self._given_up: dict[Future[T], float] = {}
        self._lock = threading.Lock()

    @property
    def stuck(self) -> int:
        """Decodes that were given up a while ago, and still run."""
        with self._lock:
            return sum(monotonic() - since > STUCK_SECONDS for since in self._given_up.values())

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queued for the next free thread."""
        future: Future[T] = Future()
        self._jobs.put((future, work))
        self._start_another()
        return future

    def give_up(self, future: Future[T]) -> None:
        """Nobody waits for it any more. A running one cannot be stopped, but another thread takes its place."""
        if future.cancel():
            return
        with self._lock:
            if future not in self._running:
                return
            self._given_up[future] = monotonic()
        self._start_another()

    def close(self) -> None:
        """Each thread ends after what it is at."""
        for _ in range(self._alive):
            self._jobs.put(None)

    def _most(self) -> int:
        return self._size + min(self._size, len(self._given_up))

    def _start_another(self) -> None:
        with self._lock:
            if self._alive >= self._most():
                return
            self._alive += 1
        threading.Thread(target=self._work, name="decode", daemon=True).start()

    def _work(self) -> None:
        while self._work_one(self._jobs.get()):
            pass

    def _work_one(self, job: tuple[Future[T], Callable[[], T]] | None) -> bool:
        """Whether there is need of this thread for another."""
        if job is None:
            return self._goes_on(None, wanted=False)
        future, work = job
        if future.set_running_or_notify_cancel():
            with self._lock:
                self._running.add(future)
            _settle(future, work)
        goes_on = self._goes_on(future, wanted=True)
        del job, future, work  # the traceback of an error has this frame: together they would keep what was decoded
        return goes_on

    def _goes_on(self, ended: Future[T] | None, wanted: bool) -> bool:
        with self._lock:
            if ended is not None:
                self._running.discard(ended)
                self._given_up.pop(ended, None)
            goes_on = wanted and self._alive <= self._most()
            self._alive -= not goes_on
            return goes_on


def _settle(future: Future[T], work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)
        del future  # as there
