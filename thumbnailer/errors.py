"""Every error that this project raises on purpose. Its class carries its policy.

    ThumbnailerError
    ├── SettingsError               the settings are invalid; the process exits with 2
    ├── NeedMoreBytes               the header is longer than the probed bytes; the caller reads on
    └── DetailError                 its message has at most 500 characters
        ├── EventError              the payload is not an event; the message goes back to its queue
        ├── StoreError              an object store failed; `again`: whether to retry at once
        │   ├── ObjectMissing, BucketMissing, StoreDenied, ObjectArchived, InvalidRequest   permanent
        │   └── StoreThrottled, StoreUnavailable                            temporary
        │       └── StoreRefused    temporary, but a retry at once cannot help: credentials, clock, region
        └── RecordError             ends one record; `status` and `reason` are on the class
            └── Skipped, Rejected, Failed, Deferred                         and their subclasses, one for each reason

The adapter of a library maps its errors to these, once; no other code matches on message text. `store_errors` maps
StoreErrors to RecordErrors.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Final

from thumbnailer.model import Status

REASONS: Final[set[str]] = set()
"""Every reason why a record is not stored or deleted. The codes in logs, metrics and notes do not change."""
MOST_DETAIL: Final = 500  # characters


class ThumbnailerError(Exception): ...


class SettingsError(ThumbnailerError):
    """Invalid settings; the message names each variable and what it accepts."""


_OF_ONE_RUN: Final = re.compile(r"/proc/\w+/fd/\d+|<[\w.]+ object at 0x[0-9a-f]+>")


class DetailError(ThumbnailerError):
    """The message may quote strangers and gets into logs and notes, so it is cut. It is the same in every run."""

    def __str__(self) -> str:
        return _OF_ONE_RUN.sub("the source", super().__str__())[:MOST_DETAIL]


class EventError(DetailError):
    """The payload is not an event; the message says what was expected."""


class NeedMoreBytes(ThumbnailerError):
    """The header is longer than the given bytes; read on and probe again."""


class StoreError(DetailError):
    """An object store failed. The pipeline knows whether it was a GET or a PUT, and maps it to a RecordError."""

    again: ClassVar[bool] = False


class ObjectMissing(StoreError):
    """No such key, or no such version."""


class BucketMissing(StoreError): ...


class StoreDenied(StoreError):
    """A policy denies the request (AccessDenied). Invalid credentials are StoreRefused: they can be replaced."""


class ObjectArchived(StoreError):
    """The object is in an archive (InvalidObjectState) and must be restored first."""


class InvalidRequest(StoreError):
    """S3 wants something more. Of a GET, that is the key of an object that its uploader encrypted (SSE-C)."""


class StoreThrottled(StoreError):
    """Too many requests; all tries are used up."""

    again = True


class StoreUnavailable(StoreError):
    """5xx, reset, timeout or an incomplete body; all tries are used up."""

    again = True


class StoreRefused(StoreUnavailable):
    """S3 refuses the request, and would if it were repeated at once; the message says what to check."""

    again = False


class RecordError(DetailError):
    """Ends one record. The message is for people; code uses `status` and `reason`."""

    status: ClassVar[Status]
    reason: ClassVar[str]

    def __init_subclass__(cls, reason: str = "") -> None:
        if reason:
            cls.reason = reason
            REASONS.add(reason)


class Skipped(RecordError):
    status = Status.SKIPPED


class OwnOutput(Skipped, reason="own-output"): ...


class Filtered(Skipped, reason="filtered"): ...


class FolderMarker(Skipped, reason="folder-marker"): ...


class Gone(Skipped, reason="gone"): ...


class Rejected(RecordError):
    status = Status.REJECTED


class NotAnImage(Rejected, reason="not-an-image"): ...


class UnsupportedFormat(Rejected, reason="unsupported-format"): ...


class Corrupt(Rejected, reason="corrupt"): ...


class CutShort(Corrupt):
    """Data is missing: no other decoder can show more of the picture."""


class DamagedPixels(Corrupt):
    """libjpeg warns of the pixels. If another decoder shows the picture all the same, its outcome names `defect`."""

    defect: ClassVar[str] = "libjpeg warns of damaged pixels"


class EngineBug(Corrupt):
    """The compiled engine caught a panic of its own: the picture is for the other engines, the bug for a metric."""


class TooMuchWork(Rejected, reason="corrupt"):
    """The file has more parts than any honest file of its size. No Corrupt, which readers may catch and read on."""


class TooManyPixels(Rejected, reason="too-many-pixels"): ...


class TooManyBytes(Rejected, reason="too-many-bytes"): ...


class Archived(Rejected, reason="archived"): ...


class CustomerEncrypted(Rejected, reason="customer-encrypted"): ...


class AccessDenied(Rejected, reason="access-denied"): ...


class KeyTooLong(Rejected, reason="key-too-long"): ...


class BucketNotAllowed(Rejected, reason="bucket-not-allowed"):
    """The event's bucket is not in THUMBNAILER_SOURCES. No note is written: a forged event would choose its place."""


class CrashesEngine(Rejected, reason="engine-crash"):
    """The only picture in a process ended it, so it would again. With EngineCrash, another picture may be the cause."""


class Failed(RecordError):
    status = Status.FAILED


class SourceUnavailable(Failed, reason="source-unavailable"): ...


class DestinationUnavailable(Failed, reason="destination-unavailable"): ...


class DestinationDenied(Failed, reason="destination-denied"): ...


class Throttled(Failed, reason="throttled"): ...


class EngineCrash(Failed, reason="engine-crash"): ...


class Deferred(RecordError):
    status = Status.DEFERRED


class OutOfTime(Deferred, reason="out-of-time"): ...


class NoSpace(Deferred, reason="no-space"): ...


# --- from StoreErrors and bugs to RecordErrors ----------------------------------------------------------------------

ErrorMap = Mapping[type[StoreError], type[RecordError]]
OF_SOURCE: Final[ErrorMap] = {
    ObjectMissing: Gone,
    BucketMissing: Gone,
    StoreDenied: AccessDenied,
    ObjectArchived: Archived,
    InvalidRequest: CustomerEncrypted,
    StoreThrottled: Throttled,
    StoreError: SourceUnavailable,
}
OF_DESTINATION: Final[ErrorMap] = {  # all are retried: the operator can repair the destination
    StoreDenied: DestinationDenied,
    StoreThrottled: Throttled,
    StoreError: DestinationUnavailable,
}


@contextmanager
def store_errors(mapping: ErrorMap) -> Iterator[None]:
    """Raises the RecordError for a StoreError of the block: the first entry whose class fits."""
    try:
        yield
    except StoreError as error:
        kind = next(kind for kind in mapping if isinstance(error, kind))
        raise mapping[kind](str(error)) from error


def internal_error(error: Exception) -> RecordError:
    """For a bug in the product or in an engine: the record is retried, the others go on."""
    return EngineCrash(f"internal error: {type(error).__name__}: {error}")


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the known one that is most like it, or nothing."""
    from difflib import get_close_matches  # most processes never need it

    found = get_close_matches(word, list(known), 1)
    return f"; the nearest is {str(found[0])!r}" if found else ""
