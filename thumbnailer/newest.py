"""Newest wins: whatever the order of events and requests, the thumbnails end as those of the newest source.

Events arrive late, twice and in any order, and records of one key run at the same time in many processes. So a record
works in rounds. Each round fetches the source, writes its thumbnails or deletes them, and then looks at the source
again. If the source has changed, another round follows. docs/architecture.md proves that this is enough.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from thumbnailer.errors import AccessDenied, Archived, CustomerEncrypted, Gone, SourceUnavailable
from thumbnailer.model import Status
from thumbnailer.rendering import Refused, Rendered

MOST_ROUNDS: Final = 5
"""A source that changes in every round fails its record, which is delivered again."""


@dataclass(slots=True)
class Rounds:
    """The rounds of one record and the decisions between them."""

    removed: bool
    """the event is the removal of the source"""
    deletes: bool
    """THUMBNAILER_ON_DELETE=delete"""
    write_once: bool = False
    on_demand: bool = False
    """a client waits: there is nothing to delete before the first write"""
    uploaded: bool = False
    """a PUT was sent, or is about to be"""
    _wrote: bool = False

    def __iter__(self) -> Iterator[int]:
        """Raises SourceUnavailable after the last round."""
        for number in range(MOST_ROUNDS):
            self._wrote = self.removed or number > 0
            yield number
        raise SourceUnavailable(f"the source changed {MOST_ROUNDS} times while its thumbnails were made")

    def check(self, result: Rendered | Refused) -> None:
        """Raises the refusal if the record ends here: no thumbnail needs to be uploaded or deleted."""
        if isinstance(result, Rendered):
            self.uploaded = True
        elif not self._withdraws(result):
            raise result.error

    def needs_look(self, result: Rendered | Refused) -> bool:
        """False after an upload if keys are written once. Deletes are rare, and a removal may meet a newer source."""
        return self.removed or not self.write_once or isinstance(result, Refused)

    def _withdraws(self, refused: Refused) -> bool:
        """Whether thumbnails of the key's former content must be deleted.

        Yes if nothing is there: an earlier try of this record may have died between its write and its look. Yes if the
        content can have no thumbnail; anybody can forge the mark of our own output. No if it cannot be read: lifecycle
        rules archive sources with good thumbnails, and a missing permission must not delete all.
        """
        unreadable = isinstance(refused.error, AccessDenied | Archived | CustomerEncrypted)
        return self.deletes and (self._wrote or not (unreadable or self.on_demand))

    def status(self, result: Rendered | Refused) -> Status:
        """How the record ends once a look has confirmed `result`. Raises the RecordError that ends it otherwise."""
        if isinstance(result, Rendered):
            return Status.STORED
        missing = isinstance(result.error, Gone | AccessDenied)  # without s3:ListBucket a missing key is a 403
        if self.removed and missing and not self.uploaded:
            return Status.DELETED
        if self.uploaded and isinstance(result.error, AccessDenied):
            raise SourceUnavailable(f"the source became unreadable: {result.error}") from result.error
        raise result.error
