"""The recorder's sources: the log of a cell, its answers, and the proxy's counts."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.cells.base import (
    DEBUG,
    TAIL,
    Log,
    Recorder,
    S3Gone,
    json_lines,
    mean_stages,
)
from bench.cells.function import outcomes_of
from bench.cells.testbed import Cores, Testbed
from bench.result import CellKey
from bench.rig.emulator import Answer
from bench.rig.limits import MB, Group
from bench.rig.processes import free_port
from bench.rig.proxy import Counts
from tests.support.servers import ScriptedServer
from thumbnailer.model import EventKind, ObjectEvent, Outcome, Status
from thumbnailer.reporting.logs import batch_lines


def record(*ms: float) -> bytes:
    return json.dumps({"message": "record", "outcome": "stored", "ms": ms}).encode() + b"\n"


def test_own_bytes_exclude_the_emulators_lines_and_those_at_debug(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    own = b"START RequestId: 1 Version: $LATEST\n" + record(1)
    log.path.write_bytes(
        b"28 Nov 2026 15:59:37,155 [INFO] (rapid) INIT RTDONE(status: success)\n" + own + DEBUG + b"}\n"
    )
    assert log.own_bytes() == len(own)


# --- logs ---------------------------------------------------------------------------------------------------------

GARBAGE = b'INIT START(type: on-demand)\n\n\xff\xfe\x00{\n{broken\n{\xff}\n[1]\n7\n"x"\n{"message": "batch"}\n'


def test_json_objects_are_found_among_other_lines() -> None:
    assert list(json_lines(GARBAGE + record(1))) == [
        {"message": "batch"},
        {"message": "record", "outcome": "stored", "ms": [1]},
    ]


def test_a_log_gives_each_line_once(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.path.write_bytes(GARBAGE + record(1) + GARBAGE)
    assert [line["ms"] for line in log.new_lines() if "ms" in line] == [[1]]
    assert log.new_lines() == []
    with log.path.open("ab") as more:
        more.write(record(2) + record(3))
    assert [line["ms"] for line in log.new_lines() if "ms" in line] == [[2], [3]]


def test_an_incomplete_line_is_read_later(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    half = len(record(2)) // 2
    log.path.write_bytes(record(1) + record(2)[:half])
    assert [line["ms"] for line in log.new_lines() if "ms" in line] == [[1]]
    assert log.new_lines() == []
    with log.path.open("ab") as more:
        more.write(record(2)[half:])
    assert [line["ms"] for line in log.new_lines() if "ms" in line] == [[2]]


def test_the_tail_is_short_text(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.path.write_bytes(b"x" * 5000 + b"\xffend")
    assert len(log.tail()) == TAIL
    assert log.tail().endswith("x\ufffdend")


# --- what is made of it -------------------------------------------------------------------------------------------


def test_stages_are_means_over_the_records_of_a_worker() -> None:
    lines: list[dict[str, Any]] = [{"message": "record", "ms": [ms, 1]} for ms in (10, 20)]
    assert mean_stages(lines) == {"open": 15, "fetch": 1}
    assert mean_stages([]) == {}


def test_stages_are_means_over_the_batches_of_a_function() -> None:
    event = ObjectEvent(EventKind.CREATED, "b", "k")
    ended = [Outcome(event, Status.STORED, timings=(("open", seconds),)) for seconds in (0.01, 0.02)]
    lines = [json.loads(line) for line in batch_lines(ended, 1, 0, "f")]
    assert mean_stages(lines) == {"open": 15}


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
    assert outcomes_of(Answer(answer, 0.1), 4) == outcomes


# --- the recorder -------------------------------------------------------------------------------------------------


class Proxy:
    """Counts one GET, whenever it is asked."""

    def take_counts(self) -> Counts:
        return Counts(Counter(GET=1), bytes_up=2, bytes_down=3)


@pytest.fixture
def recorder(tmp_path: Path, scripted: ScriptedServer) -> Iterator[Recorder]:
    """A recorder whose control group is a folder."""
    group = Group(tmp_path, tmp_path, tmp_path)
    place(tmp_path, cpu_us=1_500_000, kills=2)
    testbed = SimpleNamespace(
        cores=Cores((0,), 1),
        enclosure=SimpleNamespace(hold=lambda *_: nullcontext(group)),
        proxy=lambda _: Proxy(),
        s3=SimpleNamespace(port=scripted.server_address[1]),
        scratch=tmp_path,
    )
    key = CellKey("lambda", 512, 0.29, "auto", "auto", "photos", 1)
    with ExitStack() as stack:
        made = Recorder(key, cast("Testbed", testbed), 20_000, 2, stack)
        made.log.path.touch()
        yield made


def place(folder: Path, cpu_us: int, kills: int) -> None:
    (folder / "memory.events").write_text(f"oom_kill {kills}\n")
    (folder / "cpu.stat").write_text(f"usage_usec {cpu_us}\n")
    (folder / "cgroup.procs").write_text(f"{os.getpid()}\n")


def test_a_repetition_counts_from_its_begin(recorder: Recorder, tmp_path: Path) -> None:
    recorder.begin()
    place(tmp_path, cpu_us=1_750_000, kills=3)
    recorder.log.path.write_bytes(record(5))
    fields, counts, lines = recorder.end(2, 0.5)
    assert fields.pop("peak_rss_bytes") > MB
    assert fields == {
        "records": 2,
        "cpu_seconds": 0.25,
        "bytes_in": 3,
        "bytes_out": 2,
        "requests": {"get": 0.5, "head": 0, "put": 0, "sqs": 0.5},
        "stages_ms": {"open": 5},
        "oom_kills": 1,
        "log_bytes": len(record(5)),
    }
    assert (counts.requests, len(lines)) == ({"GET": 1}, 1)


def test_a_failure_while_s3_is_gone_is_not_the_cells(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_s3_port", free_port())
    with pytest.raises(S3Gone, match=r"the S3 at port .* does not answer any more"):
        recorder.failure("no answer")


def test_a_failure_names_kills_and_the_log(recorder: Recorder, tmp_path: Path) -> None:
    recorder.begin()
    recorder.log.path.write_text("last words")
    assert str(recorder.failure("no answer")) == "no answer; it wrote: last words"
    place(tmp_path, cpu_us=0, kills=4)
    killed = "killed for lack of memory (2 times) within 512 MB; it wrote: last words"
    assert str(recorder.failure("no answer")) == killed
    (tmp_path / "memory.events").unlink()  # the group is gone
    assert str(recorder.failure("no answer")) == "no answer; it wrote: last words"
