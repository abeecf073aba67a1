"""Decodes pictures: each one is admitted by memory, then by a free thread or child process."""

import asyncio
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Final

from thumbnailer.engine import Load, Rendering
from thumbnailer.errors import Corrupt
from thumbnailer.execution.attempt import Attempt
from thumbnailer.execution.budget import MemoryBudget
from thumbnailer.execution.malloc import trim_heap
from thumbnailer.execution.threads import DecoderThreads
from thumbnailer.planning.memory import CHILD
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.tier import Tier

CLOSING_SECONDS: Final = 3.0
"""How long `aclose` waits for decodes whose records were given up; they may never end."""


class Decoder:
    """At most `workers` threads and `workers` child processes decode at once, all within one memory budget."""

    def __init__(self, tier: Tier, memory: MemoryBudget, load: Load) -> None:
        self._tier = tier
        self._memory = memory
        self._load = load
        self._threads: DecoderThreads[Rendering] = DecoderThreads(tier.workers)
        self._children = asyncio.Semaphore(tier.workers)
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

    async def aclose(self) -> None:
        """Waits for running decodes, but not for stuck ones."""
        if self._in_threads:
            await asyncio.wait(self._in_threads, timeout=0 if self.stuck else CLOSING_SECONDS)
        self._threads.close()

    async def _run(self, attempt: Attempt, isolated: bool) -> Rendering:
        """In a thread if the tier has no room for a child process: the kernel would kill even a good picture's."""
        if isolated and attempt.memory + CHILD <= self._tier.memory_budget:
            return await self._run_in_child(attempt)
        return await self._run_in_thread(attempt)

    async def _run_in_child(self, attempt: Attempt) -> Rendering:
        """The child has ended when this returns or raises."""
        from thumbnailer.execution.isolated import render_isolated  # most cold starts never need it

        async with self._children:
            await self._memory.reserve(attempt.memory + CHILD)
            try:
                return await render_isolated(attempt)
            finally:
                self._memory.release(attempt.memory + CHILD)

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
