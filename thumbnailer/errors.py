"""Every error this project raises on purpose, with its policy from birth.

    ThumbnailerError
    ├── SettingsError               the environment makes no sense; ends the process with 2
    ├── EventError                  the payload is no event we know; the message goes back to its queue
    ├── NeedMoreBytes               the header is longer than what was probed; the caller reads on
    ├── StoreError                  an object store said no; `again` on the class: is another try at once worth it
    │   ├── ObjectMissing, BucketMissing, StoreDenied, ObjectArchived   final
    │   └── StoreThrottled, StoreUnavailable                            passing
    │       └── StoreRefused        passing, but not by asking again at once: credentials, clock, region
    └── RecordError                 ends one record; `status` and `reason` are on the class
        ├── Skipped                 OwnOutput, Filtered, FolderMarker, Gone
        ├── Rejected                NotAnImage, UnsupportedFormat, Corrupt, TooManyPixels, TooManyBytes,
        │                           TooManyFrames, Archived, AccessDenied, KeyTooLong, BucketNotAllowed
        ├── Failed                  SourceUnavailable, DestinationUnavailable, DestinationDenied, Throttled, EngineCrash
        └── Deferred                OutOfTime, NoSpace

Foreign errors are mapped to these once, in the adapter that sees them; nobody above matches on message text.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from thumbnailer.model import Status


class Reason(StrEnum):
    """Why a record did not end as stored or deleted. The codes are a contract: logs, metrics and notes carry them."""

    OWN_OUTPUT = "own-output"
    FILTERED = "filtered"
    FOLDER_MARKER = "folder-marker"
    GONE = "gone"
    NOT_AN_IMAGE = "not-an-image"
    UNSUPPORTED_FORMAT = "unsupported-format"
    CORRUPT = "corrupt"
    TOO_MANY_PIXELS = "too-many-pixels"
    TOO_MANY_BYTES = "too-many-bytes"
    TOO_MANY_FRAMES = "too-many-frames"
    ARCHIVED = "archived"
    ACCESS_DENIED = "access-denied"
    KEY_TOO_LONG = "key-too-long"
    BUCKET_NOT_ALLOWED = "bucket-not-allowed"
    SOURCE_UNAVAILABLE = "source-unavailable"
    DESTINATION_UNAVAILABLE = "destination-unavailable"
    DESTINATION_DENIED = "destination-denied"
    THROTTLED = "throttled"
    ENGINE_CRASH = "engine-crash"
    OUT_OF_TIME = "out-of-time"
    NO_SPACE = "no-space"


class ThumbnailerError(Exception):
    """The root of the tree above."""


class SettingsError(ThumbnailerError):
    """One or more settings make no sense; the message names each variable and what it accepts."""


class EventError(ThumbnailerError):
    """The payload is no event we know; the message says what was expected."""


class NeedMoreBytes(ThumbnailerError):
    """The header goes on beyond the bytes at hand; read on and probe again."""


class StoreError(ThumbnailerError):
    """What an object store answered, or failed to; the pipeline knows whether it was GET or PUT, and maps it."""

    again: ClassVar[bool] = False


class ObjectMissing(StoreError):
    """No such key, or no such version of it."""


class BucketMissing(StoreError):
    """No such bucket."""


class StoreDenied(StoreError):
    """A policy says no (AccessDenied). Credentials that do not work are StoreRefused: those may yet."""


class ObjectArchived(StoreError):
    """The object lies in an archive (InvalidObjectState) and would have to be restored first."""


class StoreThrottled(StoreError):
    """Too many requests, of us or of everybody; every try we had was spent."""

    again = True


class StoreUnavailable(StoreError):
    """5xx, reset, timeout, or a body that did not come whole; every try we had was spent."""

    again = True


class StoreRefused(StoreUnavailable):
    """A request that S3 will take later, or never, but not when repeated at once; the message says what to look at."""

    again = False


class RecordError(ThumbnailerError):
    """Ends one record. The message is for people; `status` and `reason` are what code goes by."""

    status: ClassVar[Status]
    reason: ClassVar[Reason]


class Skipped(RecordError):
    status = Status.SKIPPED


class OwnOutput(Skipped):
    reason = Reason.OWN_OUTPUT


class Filtered(Skipped):
    reason = Reason.FILTERED


class FolderMarker(Skipped):
    reason = Reason.FOLDER_MARKER


class Gone(Skipped):
    reason = Reason.GONE


class Rejected(RecordError):
    status = Status.REJECTED


class NotAnImage(Rejected):
    reason = Reason.NOT_AN_IMAGE


class UnsupportedFormat(Rejected):
    reason = Reason.UNSUPPORTED_FORMAT


class Corrupt(Rejected):
    reason = Reason.CORRUPT


class CutShort(Corrupt):
    """Data is certainly missing: no other decoder can show more of the picture."""


class DamagedPixels(Corrupt):
    """libjpeg warns of the pixels. If another decoder shows the picture all the same, its outcome names `defect`."""

    defect: ClassVar[str] = "libjpeg warns of damaged pixels"


class TooManyPixels(Rejected):
    reason = Reason.TOO_MANY_PIXELS


class TooManyBytes(Rejected):
    reason = Reason.TOO_MANY_BYTES


class TooManyFrames(Rejected):
    reason = Reason.TOO_MANY_FRAMES


class Archived(Rejected):
    reason = Reason.ARCHIVED


class AccessDenied(Rejected):
    reason = Reason.ACCESS_DENIED


class KeyTooLong(Rejected):
    reason = Reason.KEY_TOO_LONG


class BucketNotAllowed(Rejected):
    """An event of a bucket that is none of THUMBNAILER_SOURCES. No note: it would go where a forged name says."""

    reason = Reason.BUCKET_NOT_ALLOWED


class CrashesEngine(Rejected):
    """It was alone in its process, and ended it: it would do so again. EngineCrash is what may have been another's."""

    reason = Reason.ENGINE_CRASH


class Failed(RecordError):
    status = Status.FAILED


class SourceUnavailable(Failed):
    reason = Reason.SOURCE_UNAVAILABLE


class DestinationUnavailable(Failed):
    reason = Reason.DESTINATION_UNAVAILABLE


class DestinationDenied(Failed):
    reason = Reason.DESTINATION_DENIED


class Throttled(Failed):
    reason = Reason.THROTTLED


class EngineCrash(Failed):
    reason = Reason.ENGINE_CRASH


class Deferred(RecordError):
    status = Status.DEFERRED


class OutOfTime(Deferred):
    reason = Reason.OUT_OF_TIME


class NoSpace(Deferred):
    reason = Reason.NO_SPACE
