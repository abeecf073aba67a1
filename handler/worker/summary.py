"""The worker's log of records that need no line of their own: counts, every few seconds."""

import asyncio
from collections import Counter
from typing import Final

from thumbnailer.model import Outcome
from thumbnailer.reporting.logs import LOGGER, log_record, name_end

SUMMARY_SECONDS: Final = 10.0


class Summary:
    """Counts outcomes since the last summary."""

    def __init__(self) -> None:
        self._ends: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        log_record(outcome)
        self._ends[name_end(outcome)] += 1

    def log(self) -> None:
        """Logs nothing if no record has ended."""
        if self._ends:
            line = {"records": self._ends.total(), "outcomes": dict(self._ends)}
            LOGGER.info("batch", extra={"line": line})
            self._ends.clear()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(SUMMARY_SECONDS)
            self.log()
