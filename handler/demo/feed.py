"""The outcomes of the demo, for all that follow them."""

import asyncio
from collections.abc import AsyncIterator

from handler.worker.consumer import Records
from thumbnailer.model import ObjectEvent, Outcome


class Feed:
    """The pipeline, with every outcome so far in order. Belongs to one loop."""

    def __init__(self, records: Records) -> None:
        self.outcomes: list[Outcome] = []
        self._records = records
        self._more = asyncio.Event()
        self._closed = False

    async def process(self, event: ObjectEvent, deadline: float | None = None, isolated: bool = False) -> Outcome:
        outcome = await self._records.process(event, deadline, isolated=isolated)
        self.outcomes.append(outcome)
        self._wake()
        return outcome

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
