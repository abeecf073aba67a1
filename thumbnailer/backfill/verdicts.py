"""What a source needs, from the times of listings: no object is asked."""

from enum import StrEnum
from typing import Final, NamedTuple

from thumbnailer.backfill.comparison import Match
from thumbnailer.settings import Settings
from thumbnailer.store.listing import Listed
from thumbnailer.values import dataclass

ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})
RESERVED: Final = ("_any/", "_runs/")
"""Prefixes of the destination beside that of notes: kept pictures, and plans of runs."""


class Verdict(StrEnum):
    FRESH = "fresh"
    MISSING = "missing"
    STALE = "stale"
    REFUSED = "refused"
    """a note says why there is no thumbnail"""
    RETRY = "retry"
    """refused, and to be tried again"""
    UNKNOWN = "unknown"
    """listings cannot tell; sent, unless a HEAD of its thumbnails says that it is fresh"""
    ARCHIVED = "archived"
    FILTERED = "filtered"
    ORPHAN = "orphan"
    """a thumbnail whose source is gone"""
    FOREIGN = "foreign"
    """an object of somebody else in the destination"""
    GONE = "gone"
    """a key of a list without an object"""

    @property
    def is_work(self) -> bool:
        return self in WORK


WORK: Final = frozenset({Verdict.MISSING, Verdict.STALE, Verdict.RETRY, Verdict.UNKNOWN, Verdict.ORPHAN})
MEANINGS: Final = {
    Verdict.FRESH: "have their thumbnails",
    Verdict.MISSING: "have no thumbnail",
    Verdict.STALE: "have an older thumbnail",
    Verdict.REFUSED: "cannot have one: a note says why",
    Verdict.RETRY: "were refused and are tried again",
    Verdict.UNKNOWN: "cannot be compared by listings",
    Verdict.ARCHIVED: "are in an archive: restore them first",
    Verdict.FILTERED: "are left out by settings, or are folders",
    Verdict.ORPHAN: "are thumbnails without a source",
    Verdict.FOREIGN: "are objects of others in the destination",
    Verdict.GONE: "are not in the bucket",
}


class Finding(NamedTuple):
    """`listed` is the source; of an orphan, its thumbnail. A record names `key`."""

    verdict: Verdict
    listed: Listed
    key: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What counts as fresh. `redo_before` is epoch seconds; 0 redoes nothing."""

    redo_before: int = 0
    retry_failed: bool = False


def judge(match: Match, policy: Policy) -> Verdict:
    """The verdict over a source that may have thumbnails, by the times of listings."""
    oldest, changed = min(match.times), match.source.modified
    if oldest >= changed and oldest >= policy.redo_before:
        return Verdict.FRESH
    if oldest < changed <= match.note:
        return Verdict.RETRY if policy.retry_failed else Verdict.REFUSED
    return Verdict.STALE if oldest >= 0 else Verdict.MISSING


def exclude(source: Listed, settings: Settings) -> Verdict | None:
    """ARCHIVED or FILTERED for a source that gets no thumbnail, whatever the destination has."""
    if source.storage_class in ARCHIVES:
        return Verdict.ARCHIVED
    key, notes = source.key, settings.failed_prefix
    folder = source.size == 0 and key.endswith("/")
    return Verdict.FILTERED if folder or (notes and key.startswith(notes)) or not settings.wants(key) else None
