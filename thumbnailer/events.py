"""Parses AWS's events into ObjectEvents: S3 notifications, also in SNS envelopes, EventBridge events, S3's test event.

Sources: S3 "notification content structure" (2.1 to 2.6), EventBridge "Amazon S3 events", SNS HTTP/SQS envelope. As AWS
asks, every version 2.x is accepted and unknown fields are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

from thumbnailer.errors import EventError
from thumbnailer.model import EventKind, ObjectEvent

EXPECTED: Final = (
    "expected an S3 notification ({'Records': [{'eventSource': 'aws:s3', ...}]}), the same in an SNS or SQS envelope, "
    "an EventBridge event ({'source': 'aws.s3', 'detail': ...}), or s3:TestEvent"
)
_MOST_ENVELOPES: Final = 4  # S3 in SNS has one; no configuration has more than a few
_S3_KINDS: Final = {
    "ObjectCreated": EventKind.CREATED,
    "ObjectRemoved": EventKind.REMOVED,
    "LifecycleExpiration": EventKind.REMOVED,
}
_EVENTBRIDGE_KINDS: Final = {
    "Object Created": EventKind.CREATED,
    "Object Deleted": EventKind.REMOVED,
    "Object Restore Completed": EventKind.RESTORED,
}


def parse_text(text: object) -> tuple[ObjectEvent, ...]:
    """Parses an event from JSON text. Raises EventError if it is not an event."""
    return parse_event(_json(text))


def parse_event(payload: object, envelopes: int = 0) -> tuple[ObjectEvent, ...]:
    """Parses an event, unwrapping SNS. A test event or an empty Records list gives (). Raises EventError."""
    if envelopes > _MOST_ENVELOPES:
        raise EventError(f"more than {_MOST_ENVELOPES} nested envelopes; {EXPECTED}")
    if not isinstance(payload, Mapping):
        raise EventError(f"got {type(payload).__name__}; {EXPECTED}")
    if payload.get("Event") == "s3:TestEvent":
        return ()
    if isinstance(payload.get("Records"), list):
        return tuple(event for record in payload["Records"] for event in _record(record, envelopes))
    if payload.get("Type") == "Notification":
        return parse_event(_json(payload.get("Message")), envelopes + 1)
    if payload.get("source") == "aws.s3":
        return (_eventbridge(payload),)
    raise EventError(f"got an object with {_names(payload)}; {EXPECTED}")


def _record(record: object, envelopes: int) -> tuple[ObjectEvent, ...]:
    if isinstance(record, Mapping) and "s3" in record:
        return (_s3(record),)
    if isinstance(record, Mapping) and isinstance(record.get("Sns"), Mapping):
        return parse_event(_json(record["Sns"].get("Message")), envelopes + 1)
    got = _names(record) if isinstance(record, Mapping) else type(record).__name__
    raise EventError(f"got a record with {got}; {EXPECTED}")


def _s3(record: Mapping[str, Any]) -> ObjectEvent:
    version = str(record.get("eventVersion", "2.0"))
    if version.partition(".")[0] != "2":
        raise EventError(f"eventVersion {version!r} is not supported; expected 2.x")
    item = _object(_object(record, "s3"), "object")
    return ObjectEvent(
        kind=_s3_kind(_text(record, "eventName").removeprefix("s3:")),
        bucket=_text(_object(_object(record, "s3"), "bucket"), "name"),
        key=_form_decoded(_text(item, "key")),
        version_id=_optional_text(item, "versionId"),
        etag=_optional_text(item, "eTag"),
        size=_size(item),
        sequencer=_optional_text(item, "sequencer"),
        time=_optional_text(record, "eventTime"),
    )


def _s3_kind(name: str) -> EventKind:
    if name == "ObjectRestore:Completed":
        return EventKind.RESTORED
    return _S3_KINDS.get(name.partition(":")[0], EventKind.OTHER)


def _eventbridge(payload: Mapping[str, Any]) -> ObjectEvent:
    detail = _object(payload, "detail")
    item = _object(detail, "object")
    return ObjectEvent(
        kind=_EVENTBRIDGE_KINDS.get(_text(payload, "detail-type"), EventKind.OTHER),
        bucket=_text(_object(detail, "bucket"), "name"),
        key=_utf8(_text(item, "key")),  # EventBridge does not form-encode keys
        version_id=_optional_text(item, "version-id"),
        etag=_optional_text(item, "etag"),
        size=_size(item),
        sequencer=_optional_text(item, "sequencer"),
        time=_optional_text(payload, "time"),
    )


def _form_decoded(key: str) -> str:
    try:
        return _utf8(unquote_plus(key, errors="strict"))
    except UnicodeDecodeError as error:
        raise EventError(f"the key {key!r} is not form-encoded UTF-8") from error


def _utf8(key: str) -> str:
    """The key. Raises EventError if it is not UTF-8: JSON can contain half of a surrogate pair, a key cannot."""
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise EventError(f"the key {key!r} is not UTF-8") from error
    return key


def _json(text: object) -> object:
    if not isinstance(text, str):
        raise EventError(f"got {type(text).__name__} where JSON text was expected; {EXPECTED}")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EventError(f"the text is not JSON ({error}); {EXPECTED}") from error


def _object(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    if not isinstance(value, Mapping):
        raise EventError(f"{name!r} is missing or no object; {EXPECTED}")
    return value


def _text(parent: Mapping[str, Any], name: str) -> str:
    value = parent.get(name)
    if not isinstance(value, str) or not value:
        raise EventError(f"{name!r} is missing or no text; {EXPECTED}")
    return value


def _optional_text(parent: Mapping[str, Any], name: str) -> str | None:
    value = parent.get(name)
    return value if isinstance(value, str) and value else None


def _size(item: Mapping[str, Any]) -> int | None:
    value = item.get("size")
    return value if type(value) is int and value >= 0 else None


def _names(payload: Mapping[str, Any]) -> str:
    return ", ".join(repr(str(name)[:40]) for name in list(payload)[:6]) or "no fields"
