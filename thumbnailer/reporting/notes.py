"""The small JSON note the destination gets for each object refused for good, so that an operator can find it."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Final

from thumbnailer.model import Outcome
from thumbnailer.planning.targets import SOURCE_ETAG
from thumbnailer.renditions import MAX_KEY_BYTES
from thumbnailer.store.base import PutHeaders

_SUFFIX: Final = ".json"
_MOST_LOST_TO_A_CUT: Final = 3  # bytes of a UTF-8 character that does not fit whole


def note_key(prefix: str, key: str) -> str:
    """`{prefix}{key}.json`; a key too long for that is cut and told apart by its hash.

    Cut notes have 1,021 to 1,024 bytes, whole ones less: so no key can be chosen to overwrite another's note.
    """
    whole = f"{prefix}{key}{_SUFFIX}"
    if len(whole.encode()) < MAX_KEY_BYTES - _MOST_LOST_TO_A_CUT:
        return whole
    mark = f"-{sha256(key.encode()).hexdigest()[:16]}{_SUFFIX}"
    room = MAX_KEY_BYTES - len(prefix.encode()) - len(mark)
    return prefix + key.encode()[:room].decode(errors="ignore") + mark


def note_body(outcome: Outcome) -> bytes:
    """The same bytes each time for the same outcome."""
    event = outcome.event
    note = {
        "bucket": event.bucket,
        "key": event.key,
        "version": event.version_id,
        "etag": event.etag,
        "outcome": outcome.status,
        "reason": outcome.reason,
        "detail": outcome.detail,
    }
    return json.dumps(note, indent=2).encode()


def note_headers(outcome: Outcome) -> PutHeaders:
    return PutHeaders(content_type="application/json", metadata={SOURCE_ETAG: outcome.event.etag or ""})
