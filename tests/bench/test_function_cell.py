"""The Lambda cell: its CPU limit applies after the init, and unsuitable cells are refused."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bench.cells.base import CellFailed, settings_of
from bench.cells.function import function_of, latencies, limit_after_init
from bench.cells.pictures import Pictures
from bench.cells.testbed import Testbed
from bench.questions import Options, ours, peer
from bench.result import CellKey
from bench.rig.emulator import HANDLER, Answer, Emulator, Function
from bench.rig.enclosures import Enclosure
from bench.rig.limits import NoLimits

KEY = ours(Options(quick=True), 512)
GROUPS = Enclosure("cgroup v2")
IMAGE = Enclosure("podman, image thumbnailer", "podman", "thumbnailer")


class HeldBox:
    """Keeps what was in the log when it was told to hold."""

    def __init__(self, log: Path, error: NoLimits | None = None) -> None:
        self.log, self.error = log, error
        self.seen: list[str] = []

    def limit_cpu(self) -> None:
        self.seen.append(self.log.read_text())
        if self.error:
            raise self.error


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


def holding(log: Path, box: HeldBox) -> AbstractContextManager[None]:
    return limit_after_init(log, box.limit_cpu)


ANSWERS = [Answer(None, 0.3, 10.0), Answer(None, 0.2, 10.5)]


def test_latency_counts_from_the_start_of_the_invocation() -> None:
    assert latencies(ANSWERS, [10.1, 10.2504, 10.6]) == (100.0, 250.4, 100.0)


def test_without_thumbnails_latency_is_that_of_invocations() -> None:
    assert latencies(ANSWERS, []) == (300.0, 200.0)


def test_the_limit_applies_after_the_init(log: Path) -> None:
    box = HeldBox(log)
    with holding(log, box):
        log.write_text("INIT START(type: on-demand)\n")
        assert box.seen == []
        log.write_text("INIT START(type: on-demand)\nINIT RTDONE(status: success)\n")
        while not box.seen:
            time.sleep(0.001)
    assert len(box.seen) == 1
    assert "INIT RTDONE" in box.seen[0]


def test_the_limit_applies_at_the_end_of_the_first_invocation(log: Path) -> None:
    box = HeldBox(log)
    with holding(log, box):
        pass
    assert box.seen == [""]


def test_a_limit_that_fails_is_raised(log: Path) -> None:
    with pytest.raises(NoLimits, match="cannot be set"), holding(log, HeldBox(log, NoLimits("cpu.max cannot be set"))):
        pass


@pytest.mark.parametrize("error", [CellFailed("it crashed"), KeyboardInterrupt()])
def test_a_failing_limit_hides_no_earlier_error(log: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), holding(log, HeldBox(log, NoLimits("cpu.max cannot be set"))):
        raise error


def test_ctrl_c_during_start_kills_the_emulator(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary, pid = tmp_path / "emulator", tmp_path / "pid"
    binary.write_text(f"#!/bin/sh\necho $$ > {pid}.part && mv {pid}.part {pid}\nexec sleep 600\n")
    binary.chmod(0o755)

    def interrupted(*_: object, **__: object) -> None:
        while not pid.exists():
            time.sleep(0.001)
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.rig.processes.socket.create_connection", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Emulator(Function(), str(binary), log)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


# --- what is measured ---------------------------------------------------------------------------------------------


def stub_testbed(tmp_path: Path, enclosure: Enclosure, names: tuple[str, ...] = ("a.jpg", "b.jpg")) -> Testbed:
    def environment(_: str) -> Mapping[str, str]:
        return {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}

    pictures = Pictures("photos", tmp_path, tuple(tmp_path / name for name in names))
    made = SimpleNamespace(
        sets={"photos": pictures},
        enclosure=enclosure,
        pictures=tmp_path,
        environment=environment,
    )
    return cast("Testbed", made)


def test_our_function_has_the_settings_of_its_key(tmp_path: Path) -> None:
    key = CellKey("lambda", 512, 0.2894, "vips", "aioboto3", "photos", 5, in_flight=4)
    function = function_of(key, stub_testbed(tmp_path, GROUPS), tmp_path / "tree", tmp_path / "scratch")
    assert (function.memory_mb, function.root, function.command[-1]) == (512, tmp_path / "tree", HANDLER)
    assert function.env == {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "TMPDIR": str(tmp_path / "scratch"),
        "THUMBNAILER_ENGINE": "vips",
        "THUMBNAILER_TRANSPORT": "aioboto3",
        "THUMBNAILER_SOURCES": "bench",
        "THUMBNAILER_IN_FLIGHT": "4",
    }
    assert "THUMBNAILER_IN_FLIGHT" not in settings_of(KEY)


def test_a_container_uses_its_own_python(tmp_path: Path) -> None:
    assert function_of(KEY, stub_testbed(tmp_path, IMAGE), tmp_path, tmp_path).command[0] == "python"


def test_a_container_refuses_a_peer(tmp_path: Path) -> None:
    with pytest.raises(CellFailed, match="not in podman, image thumbnailer: only control groups can hold it"):
        function_of(peer("textbook", KEY), stub_testbed(tmp_path, IMAGE), tmp_path, tmp_path)
