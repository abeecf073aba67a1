"""One JSON line per record and one per batch. ASCII only, so that no key can forge or break a line."""

import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Final

from thumbnailer.model import Message, Outcome, Status

LOGGER: Final = logging.getLogger("thumbnailer")
MOST_TRACEBACK: Final = 8000  # characters
REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""The id of the current invocation or message, for every line logged in it."""


class JsonLines(logging.Formatter):
    """Level, message and the fields of `extra={"line": {...}}`; a traceback becomes one field."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"level": record.levelname, "message": record.getMessage()}
        line |= getattr(record, "line", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)[:MOST_TRACEBACK]
        if (request_id := REQUEST_ID.get()) is not None:
            line["request_id"] = request_id
        return json.dumps(line, default=str)


def start_logging(level: str) -> None:
    """Logs to standard output without the root logger: Lambda's handler would print each line a second time."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    LOGGER.handlers = [handler]
    LOGGER.propagate = False
    LOGGER.setLevel(level)


def record_line(outcome: Outcome) -> dict[str, Any]:
    """The fields of a record's line. Times are milliseconds."""
    event, info = outcome.event, outcome.info
    return {
        "bucket": event.bucket,
        "key": event.key,
        "version": event.version_id,
        "outcome": outcome.status,
        "reason": outcome.reason,
        "detail": outcome.detail,
        "bytes": outcome.bytes_in,
        "bytes_out": outcome.bytes_out,
        "pixels": info.pixels if info else None,
        "format": info.format if info else None,
        "engine": outcome.engine,
        "damaged": outcome.damaged,
        "first_frame_only": outcome.first_frame_only,
        "profile_ignored": outcome.profile_ignored,
        **({"engine_bug": outcome.engine_bug} if outcome.engine_bug else {}),
        "ms": {stage: round(seconds * 1000, 2) for stage, seconds in outcome.timings},
    }


def log_record(outcome: Outcome) -> None:
    level = logging.WARNING if outcome.status.comes_back or outcome.status is Status.REJECTED else logging.INFO
    LOGGER.log(level, "record", extra={"line": record_line(outcome), "outcome": outcome})


def log_batch(outcomes: Sequence[Outcome], seconds: float) -> None:
    counts = Counter(str(outcome.status) for outcome in outcomes)
    line = {"records": len(outcomes), **counts, "ms": round(seconds * 1000, 2)}
    LOGGER.info("batch", extra={"line": line})


def log_unreadable(messages: Sequence[Message]) -> None:
    for message in messages:
        line = {"message_id": message.id, "detail": message.error}
        LOGGER.error("unreadable-message", extra={"line": line})
