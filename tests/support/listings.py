"""A lister in memory that counts its requests."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from thumbnailer.backfill.job import EVERYTHING, Job, Shard
from thumbnailer.backfill.run import Run
from thumbnailer.backfill.verdicts import Finding
from thumbnailer.settings import Settings
from thumbnailer.store.listing import Inspected, Listed

SOURCE, DESTINATION = "photos", "photos-resized"


def listed(key: str, modified: int = 100, size: int = 1000, etag: str = "e", storage_class: str = "STANDARD") -> Listed:
    return Listed(key, size, etag, modified, storage_class)


class MemoryLister:
    """Objects by bucket; `metadata` by bucket and key. `requests` counts LIST and HEAD."""

    def __init__(
        self,
        sources: Iterable[Listed] = (),
        thumbnails: Iterable[Listed] = (),
        metadata: Mapping[str, Mapping[str, str]] | None = None,
        page: int = 1000,
    ) -> None:
        self._objects = {SOURCE: sorted(sources), DESTINATION: sorted(thumbnails)}
        self._metadata = metadata or {}
        self._page = page
        self.requests: Counter[str] = Counter()

    async def pages(self, bucket: str, prefix: str = "", after: str = "") -> AsyncIterator[Sequence[Listed]]:
        objects = [one for one in self._objects[bucket] if one.key.startswith(prefix) and one.key > after]
        self.requests["LIST"] += 1
        for start in range(0, len(objects), self._page):
            self.requests["LIST"] += start > 0
            yield objects[start : start + self._page]

    async def inspect(self, bucket: str, key: str) -> Inspected | None:
        self.requests["HEAD"] += 1
        objects = self._objects[bucket]
        at = bisect_right(objects, key, key=lambda one: one.key) - 1
        if at < 0 or objects[at].key != key:
            return None
        return Inspected(objects[at], self._metadata.get(key, {}))


async def find(lister: MemoryLister, settings: Settings, job: Job, shard: Shard = EVERYTHING) -> list[Finding]:
    return [finding async for page in Run(lister, settings, job).findings(shard) for finding in page]


def verdicts(findings: Iterable[Finding]) -> dict[str, str]:
    """Verdicts by key. Raises AssertionError if a key has two."""
    found = list(findings)
    by_key = {finding.key: str(finding.verdict) for finding in found}
    assert len(by_key) == len(found), found
    return by_key
