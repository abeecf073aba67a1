"""The outcomes of the demo, taken from the log as an operator would."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from thumbnailer.model import Outcome


class Feed:
    """Every outcome so far, in order. Belongs to one loop."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self._more = asyncio.Event()
        self._closed = False

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._wake()

    def close(self) -> None:
        """Ends every `follow`."""
        self._closed = True
        self._wake()

    async def more_than(self, number: int) -> bool:
        """Waits until there are more outcomes than `number`. Returns False if the feed is closed."""
        while len(self.outcomes) <= number and not self._closed:
            await self._more.wait()
        return len(self.outcomes) > number

    async def follow(self) -> AsyncIterator[Outcome]:
        """All outcomes from the first on, until the feed is closed."""
        number = 0
        while await self.more_than(number):
            yield self.outcomes[number]
            number += 1

    def _wake(self) -> None:
        """Wakes current waiters. Later waiters wait for the next outcome."""
        self._more.set()
        self._more = asyncio.Event()


class OutcomeTap(logging.Filter):
    """Hands on the Outcome that each log line about a record carries, so that the Lambda door needs no hook."""

    def __init__(self, sink: Callable[[Outcome], object]) -> None:
        super().__init__()
        self._sink = sink

    def filter(self, record: logging.LogRecord) -> bool:
        outcome = getattr(record, "outcome", None)
        if isinstance(outcome, Outcome):
            self._sink(outcome)
        return True
