"""The comparison of listings: each source with its thumbnails and its note, in one pass and flat memory.

Every thumbnail and note of a source begins with the source's key, once the head is taken off. So in byte order they
follow the source, and everything between them begins with that key too. The open sources are therefore a chain of
keys, each one the beginning of the next. A key has at most 1,024 bytes, so the chain has at most 1,024 links.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from thumbnailer.backfill.shapes import owner_of
from thumbnailer.store.listing import Listed

SOURCE: Final = 0
MADE: Final = 1
NOTE: Final = 2
NOTE_TAIL: Final = ".json"
NEVER: Final = -1
"""In place of a time: there is no such object."""


class Event(NamedTuple):
    """A listed object at its place: its key without the head, and `kind` after sources at the same place."""

    place: str
    kind: int
    listed: Listed
    tails: Mapping[str, int]
    """of the thumbnail's head; empty for sources and notes"""


class Match:
    """A source with the times of its thumbnails, one for each rendition, and of its note. NEVER: there is none."""

    __slots__ = ("keys", "note", "source", "times")

    def __init__(self, source: Listed, renditions: int) -> None:
        self.source = source
        self.times = [NEVER] * renditions
        self.keys = [""] * renditions
        self.note = NEVER

    def add(self, number: int, thumbnail: Listed) -> None:
        """Of several formats of one rendition, the newest thumbnail counts."""
        if thumbnail.modified > self.times[number]:
            self.times[number], self.keys[number] = thumbnail.modified, thumbnail.key


class Orphan(NamedTuple):
    """A thumbnail whose source is not listed."""

    owner: str
    thumbnail: Listed


class Comparison:
    """Takes events in the order of their places and gives matches in the order in which they are complete."""

    def __init__(self, renditions: int) -> None:
        self._renditions = renditions
        self._open: list[Match] = []

    def add(self, events: Iterable[Event]) -> list[Match | Orphan]:
        """Matches that are complete before the last event, and orphans."""
        opened, complete = self._open, list[Match | Orphan]()
        for event in events:
            place = event.place
            while opened and not place.startswith(opened[-1].source.key):
                complete.append(opened.pop())
            if event.kind == SOURCE:
                opened.append(Match(event.listed, self._renditions))
            elif event.kind == NOTE:
                self._note(event)
            elif not self._belongs(event) and (owner := owner_of(place, event.tails)):
                complete.append(Orphan(owner, event.listed))
        return complete

    def close(self) -> list[Match]:
        """The matches that are still open: all events were added."""
        rest, self._open = self._open, []
        return rest

    def _belongs(self, event: Event) -> bool:
        """Adds a thumbnail to its source, if that is open."""
        for match in reversed(self._open):
            number = event.tails.get(event.place[len(match.source.key) :])
            if number is not None:
                match.add(number, event.listed)
                return True
        return False

    def _note(self, event: Event) -> None:
        for match in self._open:
            if event.place == match.source.key + NOTE_TAIL:
                match.note = event.listed.modified
