"""The JSON note in the destination bucket for each rejected object, so that an operator can find it."""

import json
from hashlib import sha256
from typing import Final

from thumbnailer.model import Outcome
from thumbnailer.planning.targets import RECIPE, SOURCE_ETAG
from thumbnailer.renditions import MAX_KEY_BYTES
from thumbnailer.settings import Settings
from thumbnailer.store.base import PutHeaders

VERSION: Final = "0.1.0"  # pyproject.toml has it too: the zip has no metadata of packages
_SUFFIX: Final = ".json"
_MOST_LOST_TO_A_CUT: Final = 3  # bytes of a UTF-8 character cut in the middle


def note_key(prefix: str, key: str) -> str:
    """`{prefix}{key}.json`, or a cut key and its hash if that is too long.

    Cut keys have 1,021 to 1,024 bytes and whole ones fewer: no upload can overwrite another object's note.
    """
    whole = f"{prefix}{key}{_SUFFIX}"
    if len(whole.encode()) < MAX_KEY_BYTES - _MOST_LOST_TO_A_CUT:
        return whole
    mark = f"-{sha256(key.encode()).hexdigest()[:16]}{_SUFFIX}"
    room = MAX_KEY_BYTES - len(prefix.encode()) - len(mark)
    return prefix + key.encode()[:room].decode(errors="ignore") + mark


def note_body(outcome: Outcome, settings: Settings) -> bytes:
    """The same outcome with the same settings always gives the same bytes."""
    event = outcome.event
    note = {
        "bucket": event.bucket,
        "key": event.key,
        "version": event.version_id,
        "etag": event.etag,
        "outcome": outcome.status,
        "reason": outcome.reason,
        "detail": outcome.detail,
        "thumbnailer": VERSION,
        "settings": _limits(settings),
    }
    return json.dumps(note, indent=2).encode()


def note_headers(outcome: Outcome, settings: Settings) -> PutHeaders:
    metadata = {SOURCE_ETAG: outcome.event.etag or "", RECIPE: note_recipe(settings)}
    return PutHeaders(content_type="application/json", metadata=metadata)


def note_recipe(settings: Settings) -> str:
    """The version and the limits that refuse: while both stay, another try ends in the same note."""
    return f"{VERSION}-{_limits(settings)}"


def _limits(settings: Settings) -> str:
    """Eight hexadecimal digits. Only settings count, so that every process with the same environment agrees."""
    names = ("max_pixels", "max_bytes", "max_frames", "memory_mb", "engine", "svg")
    text = " ".join(f"{name}={getattr(settings, name)}" for name in names)
    return sha256(text.encode()).hexdigest()[:8]
