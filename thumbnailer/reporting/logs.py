"""One JSON line a batch, and one for each record that an operator may look for. ASCII only: no key can forge a line.

docs/operating.md has the table of all fields.
"""

import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final

from thumbnailer.model import Message, Outcome, Status
from thumbnailer.reporting.metrics import EMF_MOST_VALUES, STAGES, emf

LOGGER: Final = logging.getLogger("thumbnailer")
MOST_TRACEBACK: Final = 8000  # characters
NOTED: Final = (Status.REJECTED, Status.FAILED, Status.DEFERRED)
REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""The id of the current invocation or message, for every line logged in it."""


class JsonLines(logging.Formatter):
    """Level, message and the fields of `extra={"line": {...}}`; a traceback becomes one field."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"level": record.levelname, "message": record.getMessage()}
        line |= getattr(record, "line", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)[:MOST_TRACEBACK]
        return json_line(line)


def json_line(fields: Mapping[str, Any]) -> str:
    """The fields and the request id as one line."""
    request_id = REQUEST_ID.get()
    line = fields if request_id is None else {**fields, "request_id": request_id}
    return json.dumps(line, default=str, separators=(",", ":"))


def start_logging(level: str) -> None:
    """Logs to standard output without the root logger: Lambda's handler would print each line a second time."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    LOGGER.handlers = [handler]
    LOGGER.propagate = False
    LOGGER.setLevel(level)


def record_line(outcome: Outcome) -> dict[str, Any]:
    """The fields of a record's line that are not empty. `ms` holds the milliseconds of each of STAGES."""
    event, info, seconds = outcome.event, outcome.info, dict(outcome.timings)
    always = {"bucket": event.bucket, "key": event.key, "outcome": outcome.status}
    fields = {
        "version": event.version_id,
        "reason": outcome.reason,
        "detail": outcome.detail,
        "bytes": outcome.bytes_in,
        "bytes_out": outcome.bytes_out,
        "pixels": info and info.pixels,
        "format": info and info.format,
        "engine": outcome.engine,
        "damaged": outcome.damaged,
        "first_frame_only": outcome.first_frame_only,
        "profile_ignored": outcome.profile_ignored,
        "engine_bug": outcome.engine_bug,
        "ms": [round(seconds.get(stage, 0) * 1000, 1) for stage in STAGES] if seconds else None,
    }
    return always | {name: value for name, value in fields.items() if value}


def log_record(outcome: Outcome) -> None:
    """A warning if an operator may look for the record, else a line at DEBUG."""
    odd = outcome.damaged or outcome.first_frame_only or outcome.profile_ignored or outcome.engine_bug
    level = logging.WARNING if odd or outcome.status in NOTED else logging.DEBUG
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, "record", extra={"line": record_line(outcome)})


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Counts by status and reason, e.g. {"records": 3, "outcomes": {"stored": 2, "rejected:corrupt": 1}}."""
    return _counts(Counter(map(name_end, outcomes)))


def log_batch(ends: Counter[str]) -> None:
    """Logs how many records ended in each way of `name_end`, and starts to count anew."""
    if ends:
        LOGGER.info("batch", extra={"line": _counts(ends)})
        ends.clear()


def _counts(ends: Counter[str]) -> dict[str, Any]:
    return {"records": ends.total(), "outcomes": dict(ends)}


def name_end(outcome: Outcome) -> str:
    """Its status, and its reason if there is one."""
    return f"{outcome.status}:{outcome.reason}" if outcome.reason else str(outcome.status)


def batch_lines(outcomes: Sequence[Outcome], seconds: float, timestamp_ms: int, function: str) -> Iterator[str]:
    """Lines with the summary and the metrics of up to EMF_MOST_VALUES records each; one if there is no record.

    They have no level to hide them, because CloudWatch makes the metrics from them.
    """
    for start in range(0, max(1, len(outcomes)), EMF_MOST_VALUES):
        part = outcomes[start : start + EMF_MOST_VALUES]
        head = {"level": "INFO", "message": "batch", **summarise(part), "ms": round(seconds * 1000)}
        yield json_line(head | (emf(part, timestamp_ms, function) if part else {}))


def log_unreadable(messages: Sequence[Message]) -> None:
    for message in messages:
        line = {"message_id": message.id, "detail": message.error}
        LOGGER.error("unreadable-message", extra={"line": line})
