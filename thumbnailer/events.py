"""Parses AWS's events into ObjectEvents: S3 notifications, also in SNS envelopes, EventBridge events, S3's test event.

Sources: S3 "notification content structure" (2.1 to 2.6), EventBridge "Amazon S3 events", SNS HTTP/SQS envelope. As AWS
asks, every version 2.x is accepted and unknown fields are ignored. Somebody may forge events. So a field that reaches a
URL, a header or a log has the form that S3 gives it.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import unquote_plus

from thumbnailer.errors import EventError
from thumbnailer.model import EventKind, ObjectEvent
from thumbnailer.renditions import MAX_KEY_BYTES

EXPECTED: Final = (
    "expected an S3 notification ({'Records': [{'eventSource': 'aws:s3', ...}]}), the same in an SNS or SQS envelope, "
    "an EventBridge event ({'source': 'aws.s3', 'detail': ...}), or s3:TestEvent"
)
_BUCKET: Final = re.compile(r"[A-Za-z0-9._-]{3,255}")
"""S3's rule for buckets of us-east-1 made before March 2018, which includes today's. No event names an access point."""
_LABEL: Final = re.compile(r"[ -~]{1,1024}")
"""An ETag, version id, sequencer or time."""
_FORM_ENCODED: Final = re.compile(r"(?:[\w.~+-]|%[0-9A-Fa-f]{2})*", re.ASCII)
_MOST_ENVELOPES: Final = 4  # S3 in SNS has one; no configuration has more than a few
_S3_KINDS: Final = {
    "ObjectRestore:Completed": EventKind.RESTORED,
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
    return parse_event(_load_json(text))


def parse_event(payload: object, envelopes: int = 0) -> tuple[ObjectEvent, ...]:
    """Parses an event, unwrapping SNS. A test event or an empty Records list gives (). Raises EventError."""
    if envelopes > _MOST_ENVELOPES:
        raise EventError(f"more than {_MOST_ENVELOPES} nested envelopes; {EXPECTED}")
    if not isinstance(payload, Mapping):
        raise EventError(f"got {type(payload).__name__}; {EXPECTED}")
    if payload.get("Event") == "s3:TestEvent":
        return ()
    if isinstance(payload.get("Records"), list):
        return tuple(event for record in payload["Records"] for event in _parse_record(record, envelopes))
    if payload.get("Type") == "Notification":
        return parse_event(_load_json(payload.get("Message")), envelopes + 1)
    if payload.get("source") == "aws.s3":
        return _parse_eventbridge(payload)
    raise EventError(f"got an object with {_list_names(payload)}; {EXPECTED}")


def _parse_record(record: object, envelopes: int) -> tuple[ObjectEvent, ...]:
    if isinstance(record, Mapping) and "s3" in record:
        return (_parse_s3(record),)
    if isinstance(record, Mapping) and isinstance(record.get("Sns"), Mapping):
        return parse_event(_load_json(record["Sns"].get("Message")), envelopes + 1)
    got = _list_names(record) if isinstance(record, Mapping) else type(record).__name__
    raise EventError(f"got a record with {got}; {EXPECTED}")


def _parse_s3(record: Mapping[str, Any]) -> ObjectEvent:
    version = str(record.get("eventVersion", "2.0"))[:40]
    if version.partition(".")[0] != "2":
        raise EventError(f"eventVersion {version!r} is not supported; expected 2.x")
    name = _get_text(record, "eventName").removeprefix("s3:")
    kind = _S3_KINDS.get(name) or _S3_KINDS.get(name.partition(":")[0], EventKind.OTHER)
    decode = partial(_decode_form, record.get("eventSource"))
    return _make_event(kind, _get_object(record, "s3"), record.get("eventTime"), decode)


def _decode_form(source: object, key: str) -> str:
    """Ceph never encodes keys. MinIO encodes all but a few characters, or in some versions nothing."""
    plain = source == "ceph:s3" or (source == "minio:s3" and not _FORM_ENCODED.fullmatch(key))
    return key if plain else unquote_plus(key, errors="strict")


def _parse_eventbridge(payload: Mapping[str, Any]) -> tuple[ObjectEvent, ...]:
    """Its keys are not form-encoded. () for an event that is of no object: CloudTrail reports calls of the API."""
    kind = _EVENTBRIDGE_KINDS.get(_get_text(payload, "detail-type"), EventKind.OTHER)
    detail = _get_object(payload, "detail")
    if kind is EventKind.OTHER and "object" not in detail:
        return ()
    return (_make_event(kind, detail, payload.get("time"), str),)


def _make_event(kind: EventKind, parent: Mapping[str, Any], time: object, decode: Callable[[str], str]) -> ObjectEvent:
    """`parent` describes bucket and object; `decode` decodes the key."""
    item = _get_object(parent, "object")
    size = item.get("size")
    return ObjectEvent(
        kind=kind,
        bucket=_check_bucket(_get_text(_get_object(parent, "bucket"), "name")),
        key=_decode_key(_get_text(item, "key"), decode),
        version_id=_get_label(item.get("versionId", item.get("version-id"))),
        etag=_get_label(item.get("eTag", item.get("etag"))),
        size=size if type(size) is int and size >= 0 else None,
        sequencer=_get_label(item.get("sequencer")),
        time=_get_label(time),
    )


def _check_bucket(name: str) -> str:
    """Raises EventError if no bucket can have this name: `a@localhost:1/` in a URL would be another host."""
    if not _BUCKET.fullmatch(name):
        raise EventError(f"{name[:80]!r} is no bucket name; expected 3 to 255 of A-Z, a-z, 0-9, '.', '-', '_'")
    return name


def _decode_key(text: str, decode: Callable[[str], str]) -> str:
    """Raises EventError if no key can be so: JSON can contain half of a surrogate pair, UTF-8 cannot."""
    try:
        key = decode(text)
        size = len(key.encode())
    except UnicodeError as error:
        raise EventError(f"the key {text[:80]!r} is not UTF-8") from error
    if size > MAX_KEY_BYTES:
        raise EventError(f"the key {key[:80]!r}... has {size} bytes; expected at most {MAX_KEY_BYTES}")
    return key


def _load_json(text: object) -> object:
    if not isinstance(text, str):
        raise EventError(f"got {type(text).__name__} where JSON text was expected; {EXPECTED}")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EventError(f"the text is not JSON ({error}); {EXPECTED}") from error


def _get_object(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    if not isinstance(value, Mapping):
        raise EventError(f"{name!r} is missing or no object; {EXPECTED}")
    return value


def _get_text(parent: Mapping[str, Any], name: str) -> str:
    value = parent.get(name)
    if not isinstance(value, str) or not value:
        raise EventError(f"{name!r} is missing or no text; {EXPECTED}")
    return value


def _get_label(value: object) -> str | None:
    return value if isinstance(value, str) and _LABEL.fullmatch(value) else None


def _list_names(payload: Mapping[str, Any]) -> str:
    return ", ".join(repr(str(name)[:40]) for name in list(payload)[:6]) or "no fields"
