"""The threads that decode. Unlike those of ThreadPoolExecutor, they can be given up, and the process can exit first."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from time import monotonic
from typing import Final, Generic, TypeVar

T = TypeVar("T")
STUCK_SECONDS: Final = 5.0
"""A decode that still runs this long after it was given up counts as an endless loop."""


class DecoderThreads(Generic[T]):
    """Starts up to `size` threads on demand, and one replacement for each given-up decode, up to `size` of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._alive = 0
        self._jobs: SimpleQueue[tuple[Future[T], Callable[[], T]] | None] = SimpleQueue()
        self._running: set[Future[T]] = set()
        self._given_up: dict[Future[T], float] = {}
        self._lock = threading.Lock()

    @property
    def stuck(self) -> int:
        """Decodes given up more than STUCK_SECONDS ago that still run."""
        with self._lock:
            return sum(monotonic() - since > STUCK_SECONDS for since in self._given_up.values())

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queues `work` for the next free thread."""
        future: Future[T] = Future()
        self._jobs.put((future, work))
        self._start_thread()
        return future

    def give_up(self, future: Future[T]) -> None:
        """Cancels queued work. Running work cannot be stopped, so another thread replaces its thread."""
        if future.cancel():
            return
        with self._lock:
            if future not in self._running:
                return
            self._given_up[future] = monotonic()
        self._start_thread()

    def close(self) -> None:
        """Each thread ends after its current work."""
        for _ in range(self._alive):
            self._jobs.put(None)

    def _limit(self) -> int:
        return self._size + min(self._size, len(self._given_up))

    def _start_thread(self) -> None:
        with self._lock:
            if self._alive >= self._limit():
                return
            self._alive += 1
        threading.Thread(target=self._work, name="decode", daemon=True).start()

    def _work(self) -> None:
        continues = True
        while continues and (job := self._jobs.get()) is not None:
            continues = self._run(*job)
            del job

    def _run(self, future: Future[T], work: Callable[[], T]) -> bool:
        """Whether this thread must take another job."""
        if future.set_running_or_notify_cancel():
            with self._lock:
                self._running.add(future)
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
        with self._lock:
            self._running.discard(future)
            self._given_up.pop(future, None)
            continues = self._alive <= self._limit()
            self._alive -= not continues
        del future, work  # an error's traceback holds this frame: together they would keep the decoded pixels
        return continues
