"""Keys that a backfill compares a second on one core, with a lister in memory, and the memory that this takes.

python -m tests.tools.compare [KEYS]
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import AsyncIterator, Sequence

from thumbnailer.backfill.estimate import Survey
from thumbnailer.backfill.job import Job
from thumbnailer.backfill.run import Run
from thumbnailer.settings import parse_settings
from thumbnailer.store.listing import Inspected, Listed


class EndlessLister:
    """`keys` sources with a thumbnail each, made page by page; no notes."""

    def __init__(self, keys: int) -> None:
        self._keys = keys

    async def pages(self, bucket: str, prefix: str = "", after: str = "") -> AsyncIterator[Sequence[Listed]]:
        for start in range(0, 0 if prefix else self._keys, 1000):
            numbers = range(start, min(start + 1000, self._keys))
            yield [Listed(f"photos/{n:012}.jpg", 1000, "0123456789abcdef", 100, "STANDARD") for n in numbers]

    async def inspect(self, bucket: str, key: str) -> Inspected | None:
        return None


async def survey(keys: int) -> Survey:
    found = Survey()
    async for page in Run(EndlessLister(keys), parse_settings({}), Job("photos")).findings():
        found.add(page)
    return found


def report(keys: int) -> str:
    """CPU time of this process, and its peak memory so far."""
    started = time.process_time()
    found = asyncio.run(survey(keys))
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"{found.counts.total():,} keys compared, {keys / seconds:,.0f} a second of CPU, peak {peak:.0f} MB"


if __name__ == "__main__":
    asked = int(sys.argv[1]) if sys.argv[1:] else 1_000_000
    for part in (asked // 10, asked):
        sys.stdout.write(report(part) + "\n")
