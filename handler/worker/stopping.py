"""When the worker must stop, and by when it must have ended."""

import asyncio
import math
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class StopSignal:
    """Set once. `deadline` is loop time, infinite until then. Belongs to the running loop."""

    def __init__(self, seconds: float) -> None:
        self.deadline = math.inf
        self._seconds = seconds
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        if not self.is_set:
            self.deadline = asyncio.get_running_loop().time() + self._seconds
            self._event.set()

    async def unless_set(self, awaitable: Awaitable[T], grace: float = 0) -> T | None:
        """The result, or None if the signal is set and the result does not arrive within `grace` seconds of that."""
        task = asyncio.ensure_future(awaitable)
        stopping = asyncio.ensure_future(self._event.wait())
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=grace)
        stopping.cancel()
        if not task.done():
            task.cancel()
            return None
        return task.result()
