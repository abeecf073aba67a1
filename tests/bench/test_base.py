"""The recorder's sources: the log of a cell, its answers, and the proxy's counts."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from bench.cells.base import (
    TAIL,
    Log,
    S3Gone,
    assert_s3_answers,
    json_lines,
    mean_stages,
    outcomes_of,
    proxy_report,
    requests_of,
)
from bench.rig.network import Running
from tests.support.servers import ScriptedServer, error


def record(**ms: float) -> bytes:
    return json.dumps({"message": "record", "outcome": "stored", "ms": ms}).encode() + b"\n"


def test_own_bytes_exclude_the_emulators_lines(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    own = b"START RequestId: 1 Version: $LATEST\n" + record(get=1)
    log.path.write_bytes(b"28 Nov 2026 15:59:37,155 [INFO] (rapid) INIT RTDONE(status: success)\n" + own)
    assert log.own_bytes() == len(own)


# --- logs ---------------------------------------------------------------------------------------------------------

GARBAGE = b'INIT START(type: on-demand)\n\n\xff\xfe\x00{\n{broken\n{\xff}\n[1]\n7\n"x"\n{"message": "batch"}\n'


def test_json_objects_are_found_among_other_lines() -> None:
    assert list(json_lines(GARBAGE + record(get=1))) == [
        {"message": "batch"},
        {"message": "record", "outcome": "stored", "ms": {"get": 1}},
    ]


def test_a_log_gives_each_record_once(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.path.write_bytes(GARBAGE + record(get=1) + GARBAGE)
    assert [line["ms"] for line in log.new_records()] == [{"get": 1}]
    assert log.new_records() == []
    with log.path.open("ab") as more:
        more.write(record(get=2) + record(get=3))
    assert [line["ms"] for line in log.new_records()] == [{"get": 2}, {"get": 3}]


def test_an_incomplete_line_is_read_later(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    half = len(record(get=2)) // 2
    log.path.write_bytes(record(get=1) + record(get=2)[:half])
    assert [line["ms"] for line in log.new_records()] == [{"get": 1}]
    assert log.new_records() == []
    with log.path.open("ab") as more:
        more.write(record(get=2)[half:])
    assert [line["ms"] for line in log.new_records()] == [{"get": 2}]


def test_the_tail_is_short_text(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.path.write_bytes(b"x" * 5000 + b"\xffend")
    assert len(log.tail()) == TAIL
    assert log.tail().endswith("x\ufffdend")


# --- what is made of it -------------------------------------------------------------------------------------------


def test_stages_are_means_over_the_records_with_them() -> None:
    lines: list[dict[str, Any]] = [{"ms": {"get": 10, "decode": 4}}, {"ms": {"get": 20}}, {"ms": {}}]
    assert mean_stages(lines) == {"get": 15, "decode": 4}
    assert mean_stages([]) == {}


@pytest.mark.parametrize(
    ("answer", "outcomes"),
    [
        ({"outcomes": {"stored": 3, "rejected": 1}}, {"stored": 3, "rejected": 1}),
        ({"statusCode": 200}, {"done": 4}),
        ({"outcomes": None}, {"done": 4}),
        (None, {"done": 4}),
        ("fine", {"done": 4}),
        ([], {"done": 4}),
    ],
)
def test_outcomes_come_from_our_answer_and_peers_are_done(answer: object, outcomes: dict[str, int]) -> None:
    assert outcomes_of(answer, 4) == outcomes


def test_requests_are_counted_per_record() -> None:
    assert requests_of({"requests": {"GET": 8, "PUT": 4, "POST": 9}}, 4) == {"get": 2, "head": 0, "put": 1}


# --- S3 that is gone ----------------------------------------------------------------------------------------------


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_dead_proxy_counts_as_a_dead_s3(nobody: str) -> None:
    with pytest.raises(S3Gone, match="the proxy before S3 does not answer any more"):
        proxy_report(Running(nobody))


def test_a_dead_s3_is_distinguished_from_a_living_one(nobody: str, scripted: ScriptedServer) -> None:
    scripted.play(error(403, "AccessDenied"))
    assert_s3_answers(scripted.url)
    with pytest.raises(S3Gone, match=f"the S3 at {nobody} does not answer any more"):
        assert_s3_answers(nobody)
