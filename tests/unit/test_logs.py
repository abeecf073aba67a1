"""Log lines: one ASCII line of JSON each, whatever a key holds."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbnailer.model import EngineName, EventKind, Format, ImageInfo, ObjectEvent, Outcome, Output, Status
from thumbnailer.reporting.logs import (
    LOGGER,
    REQUEST_ID,
    JsonLines,
    batch_lines,
    log_record,
    record_line,
    start_logging,
)

HOSTILE = [
    "line\nbreak\r\n.jpg",
    "quotes\"'`.jpg",
    "separators\u2028\u2029\x85\x0b\x0c.jpg",
    "escape\x1b[31m\x07.jpg",
    "backslash\\n\\u0041\\.jpg",
    "nul\x00.jpg",
    "emoji 👩\u200d🚀.jpg",
    "half a pair \ud83d.jpg",
    '"}\n{"level": "ERROR", "message": "forged',
    "rtl \u202egpj.exe",
    "../../etc/passwd",
]


def outcome(key: str = "a.jpg", status: Status = Status.STORED, reason: str | None = None) -> Outcome:
    return Outcome(
        ObjectEvent(EventKind.CREATED, "photos", key, version_id="v1"),
        status,
        reason,
        detail=f"about {key}" if reason else None,
        outputs=(Output("photos-resized", key, "s", 128, 96, Format.JPEG, 4000),),
        bytes_in=1000,
        info=ImageInfo(Format.JPEG, 4000, 3000),
        engine=EngineName.VIPS,
        timings=(("decode", 0.0123456), ("total", 0.05)),
    )


def formatted(line: dict[str, Any], message: str = "record", **record: Any) -> str:
    made = logging.LogRecord("thumbnailer", logging.INFO, "x.py", 1, message, None, record.get("exc_info"))
    made.line = line
    return JsonLines().format(made)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The product's logger, restored afterwards."""
    before = LOGGER.handlers, LOGGER.propagate, LOGGER.level
    yield LOGGER
    LOGGER.handlers, LOGGER.propagate = before[:2]
    LOGGER.setLevel(before[2])


def is_one_ascii_line(text: str) -> bool:
    return text.isascii() and text.isprintable() and len(text.splitlines()) == 1


@pytest.fixture
def request_id() -> Iterator[None]:
    token = REQUEST_ID.set("r1")
    yield
    REQUEST_ID.reset(token)


@pytest.mark.matrix(1)
@pytest.mark.parametrize("key", HOSTILE, ids=ascii)
def test_a_hostile_key_is_one_ascii_line_and_reads_back_unchanged(key: str) -> None:
    text = formatted(record_line(outcome(key, Status.REJECTED, "corrupt")))
    assert is_one_ascii_line(text)
    read = json.loads(text)
    assert (read["key"], read["detail"]) == (key, f"about {key}")
    assert (read["level"], read["message"]) == ("INFO", "record")


@pytest.mark.matrix(1)
@given(st.text(st.characters()))
def test_any_key_is_one_ascii_line_and_reads_back_unchanged(key: str) -> None:
    text = formatted(record_line(outcome(key)))
    assert is_one_ascii_line(text)
    assert json.loads(text)["key"] == key


@pytest.mark.matrix(1)
@pytest.mark.parametrize("key", HOSTILE, ids=ascii)
def test_a_message_or_traceback_with_a_hostile_key_is_one_line(key: str) -> None:
    try:
        raise ValueError(key)
    except ValueError:
        text = formatted({}, key, exc_info=sys.exc_info())
    assert is_one_ascii_line(text)
    assert json.loads(text)["message"] == key
    assert "ValueError" in json.loads(text)["traceback"]


def test_a_traceback_with_a_long_message_is_cut() -> None:
    try:
        raise ValueError("text of a stranger " * 100_000)
    except ValueError:
        text = formatted({}, exc_info=sys.exc_info())
    assert "test_logs.py" in json.loads(text)["traceback"]
    assert len(text) < 10_000


@pytest.mark.usefixtures("request_id")
def test_the_line_of_a_record_has_every_field_an_operator_needs() -> None:
    rejected = outcome(status=Status.REJECTED, reason="corrupt")
    odd = replace(rejected, damaged=True, first_frame_only=True, profile_ignored=True, engine_bug="p")
    assert json.loads(formatted(record_line(odd))) == {
        "level": "INFO",
        "message": "record",
        "bucket": "photos",
        "key": "a.jpg",
        "version": "v1",
        "outcome": "rejected",
        "reason": "corrupt",
        "detail": "about a.jpg",
        "bytes": 1000,
        "bytes_out": 4000,
        "pixels": 12_000_000,
        "format": "jpeg",
        "engine": "vips",
        "damaged": True,
        "first_frame_only": True,
        "profile_ignored": True,
        "engine_bug": "p",
        "ms": [0, 0, 0, 12.3, 0, 0, 50.0],
        "request_id": "r1",
    }


def test_fields_without_a_value_are_left_out() -> None:
    event = ObjectEvent(EventKind.CREATED, "photos", "a.jpg")
    line = record_line(Outcome(event, Status.SKIPPED, "filtered"))
    assert line == {"bucket": "photos", "key": "a.jpg", "outcome": "skipped", "reason": "filtered"}


@pytest.mark.usefixtures("request_id")
def test_the_line_of_a_batch_counts_its_outcomes() -> None:
    failed = outcome(status=Status.FAILED, reason="throttled")
    line = json.loads(next(batch_lines([outcome(), outcome(), failed], 0.5, 0, "f")))
    counts = {"records": 3, "outcomes": {"stored": 2, "failed:throttled": 1}}
    assert counts | {"level": "INFO", "message": "batch", "ms": 500, "request_id": "r1"} == {
        name: value for name, value in line.items() if name.islower() and not name.startswith(("_", "thumbnailer"))
    }


NOTED = [
    *(outcome(status=status) for status in (Status.REJECTED, Status.FAILED, Status.DEFERRED)),
    replace(outcome(), damaged=True),
    replace(outcome(), first_frame_only=True),
    replace(outcome(), profile_ignored=True),
    replace(outcome(), engine_bug="panic"),
]
QUIET = [outcome(status=status) for status in (Status.STORED, Status.DELETED, Status.SKIPPED)]


@pytest.mark.usefixtures("logger")
def test_only_records_that_an_operator_may_look_for_have_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("INFO")
    for each in NOTED + QUIET:
        log_record(each)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["level"], line["outcome"]) for line in lines] == [("WARNING", each.status) for each in NOTED]


@pytest.mark.usefixtures("logger")
def test_each_record_has_a_line_at_debug(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("DEBUG")
    for each in QUIET:
        log_record(each)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["level"], line["outcome"]) for line in lines] == [("DEBUG", each.status) for each in QUIET]


def test_starting_twice_prints_each_line_once(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("INFO")
    start_logging("INFO")
    log_record(NOTED[0])
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_lines_below_the_level_are_not_logged(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("ERROR")
    log_record(NOTED[0])
    assert capsys.readouterr().out == ""


def test_the_root_logger_does_not_repeat_our_lines(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.StreamHandler(sys.stdout)
    logging.getLogger().addHandler(root)
    try:
        start_logging("INFO")
        log_record(NOTED[0])
    finally:
        logging.getLogger().removeHandler(root)
    assert len(capsys.readouterr().out.splitlines()) == 1
