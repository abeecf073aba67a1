"""Every error that this project raises on purpose. Its class carries its policy.

    ThumbnailerError
    ├── SettingsError               the settings are invalid; the process exits with 2
    ├── EventError                  the payload is not an event; the message goes back to its queue
    ├── NeedMoreBytes               the header is longer than the probed bytes; the caller reads on
    ├── StoreError                  an object store failed; `again`: whether to retry at once
    │   ├── ObjectMissing, BucketMissing, StoreDenied, ObjectArchived   permanent
    │   └── StoreThrottled, StoreUnavailable                            temporary
    │       └── StoreRefused        temporary, but a retry at once cannot help: credentials, clock, region
    └── RecordError                 ends one record; `status` and `reason` are on the class
        ├── Skipped                 OwnOutput, Filtered, FolderMarker, Gone
        ├── Rejected                NotAnImage, UnsupportedFormat, Corrupt (CutShort), TooManyPixels, TooManyBytes,
        │                           TooManyFrames, Archived, AccessDenied, KeyTooLong, BucketNotAllowed, CrashesEngine
        ├── Failed                  SourceUnavailable, DestinationUnavailable, DestinationDenied, Throttled, EngineCrash
        └── Deferred                OutOfTime, NoSpace

The adapter of a library maps its errors to these, once; no other code matches on message text.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from thumbnailer.model import Status


class Reason(StrEnum):
    """Why a record is not stored or deleted. The codes in logs, metrics and notes do not change."""

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
    """Invalid settings; the message names each variable and what it accepts."""


class EventError(ThumbnailerError):
    """The payload is not an event; the message says what was expected."""


class NeedMoreBytes(ThumbnailerError):
    """The header is longer than the given bytes; read on and probe again."""


class StoreError(ThumbnailerError):
    """An object store failed. The pipeline knows whether it was a GET or a PUT, and maps it to a RecordError."""

    again: ClassVar[bool] = False


class ObjectMissing(StoreError):
    """No such key, or no such version."""


class BucketMissing(StoreError):
    """No such bucket."""


class StoreDenied(StoreError):
    """A policy denies the request (AccessDenied). Invalid credentials are StoreRefused: they can be replaced."""


class ObjectArchived(StoreError):
    """The object is in an archive (InvalidObjectState) and must be restored first."""


class StoreThrottled(StoreError):
    """Too many requests; all tries are used up."""

    again = True


class StoreUnavailable(StoreError):
    """5xx, reset, timeout or an incomplete body; all tries are used up."""

    again = True


class StoreRefused(StoreUnavailable):
    """S3 refuses the request, and would if it were repeated at once; the message says what to check."""

    again = False


class RecordError(ThumbnailerError):
    """Ends one record. The message is for people; code uses `status` and `reason`."""

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
    """Data is missing: no other decoder can show more of the picture."""


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
    """The event's bucket is not in THUMBNAILER_SOURCES. No note is written: a forged event would choose its place."""

    reason = Reason.BUCKET_NOT_ALLOWED


class CrashesEngine(Rejected):
    """The only picture in a process ended it, so it would again. With EngineCrash, another picture may be the cause."""

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
