"""Decodes pictures: each one is admitted by memory, then by a free thread or child process."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from thumbnailer.engine import Load, Rendering
from thumbnailer.errors import Corrupt
from thumbnailer.execution.attempt import Attempt
from thumbnailer.execution.budget import MemoryBudget
from thumbnailer.execution.malloc import trim_heap
from thumbnailer.execution.threads import DecoderThreads
from thumbnailer.planning.memory import CHILD
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.tier import Tier

if TYPE_CHECKING:
    from thumbnailer.execution.isolated import Children

T = TypeVar("T")
CLOSING_SECONDS: Final = 3.0
"""How long `aclose` waits for decodes whose records were given up; they may never end."""


class Decoder:
    """At most `workers` threads and `workers` child processes decode at once, all within one memory budget."""

    def __init__(self, tier: Tier, memory: MemoryBudget, load: Load, always_isolated: bool = False) -> None:
        self._tier = tier
        self._memory = memory
        self._load = load
        self._threads: DecoderThreads[Rendering] = DecoderThreads(tier.workers)
        self._readers: DecoderThreads[Any] = DecoderThreads(1)  # they take turns anyway: they run Python
        self._always_isolated = always_isolated
        self._children: Children | None = None
        self._child_slots = asyncio.Semaphore(tier.workers)
        self._in_threads: set[asyncio.Task[None]] = set()

    @property
    def stuck(self) -> int:
        """Decodes that still run long after their records were given up."""
        return self._threads.stuck

    async def render(self, path: str, plan: Plan, isolated: bool = False) -> Rendering:
        """One encoded picture per target. Raises the errors of the engines, and NoSpace.

        A second try is admitted separately: it may need much more memory than the first, and most pictures never
        need it.
        """
        try:
            return await self._run(Attempt(path, plan), isolated)
        except Corrupt as error:
            if not plan.second_estimate:
                raise
            failure = error
        return await self._run(Attempt(path, plan, failure), isolated)

    async def read(self, work: Callable[[], T]) -> T:
        """Runs `work`, which ends by itself, in a thread. It does not wait for decodes, because its GET does not."""
        thread: Future[T] = self._readers.submit(work)
        try:
            return await asyncio.wrap_future(thread)
        except asyncio.CancelledError:
            self._readers.give_up(thread)
            raise

    async def aclose(self) -> None:
        """Waits for running decodes, but not for stuck ones."""
        if self._children:
            await self._children.aclose()
        if self._in_threads:
            await asyncio.wait(self._in_threads, timeout=0 if self.stuck else CLOSING_SECONDS)
        self._threads.close()
        self._readers.close()

    async def _run(self, attempt: Attempt, isolated: bool) -> Rendering:
        """In a thread if the tier has no room for a child process: the kernel would kill even a good picture's."""
        if self._always_isolated:  # the tier's budget leaves room for the children
            return await self._run_in_child(attempt, attempt.memory)
        if isolated and attempt.memory + CHILD <= self._tier.memory_budget:
            return await self._run_in_child(attempt, attempt.memory + CHILD)
        return await self._run_in_thread(attempt)

    async def _run_in_child(self, attempt: Attempt, memory: int) -> Rendering:
        from thumbnailer.execution.isolated import Children  # most cold starts never need it

        self._children = self._children or Children(keep=self._always_isolated)
        async with self._child_slots:
            await self._memory.reserve(memory)
            try:
                return await self._children.render(attempt)
            finally:
                self._memory.release(memory)

    async def _run_in_thread(self, attempt: Attempt) -> Rendering:
        """A cancelled record leaves its thread running, because threads cannot be stopped."""
        await self._memory.reserve(attempt.memory)
        thread = self._threads.submit(partial(self._render, attempt))
        task = asyncio.create_task(self._release_after(thread, attempt.memory))
        self._in_threads.add(task)
        task.add_done_callback(self._in_threads.discard)
        try:
            await asyncio.wait({task})  # it leaves the task alone if this record is cancelled
        except asyncio.CancelledError:
            self._threads.give_up(thread)
            raise
        return thread.result()

    async def _release_after(self, thread: Future[Rendering], memory: int) -> None:
        """Keeps the memory reserved until the thread ends, even if its record was given up before.

        Raises nothing: asyncio would print an error that no record waits for.
        """
        with suppress(BaseException):
            await asyncio.wrap_future(thread)
        self._memory.release(memory)

    def _render(self, attempt: Attempt) -> Rendering:
        try:
            return attempt.render(self._load)
        finally:
            trim_heap(self._tier.most_kept_free)
