"""Enclosures: a control group or a container with the limits of the cell, and its meter."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from bench.rig import enclosures
from bench.rig.enclosures import (
    Box,
    ContainerBox,
    Limit,
    find_enclosure,
    group_of,
    new_container,
    new_group,
)
from bench.rig.limits import MB, Group, NoLimits

IMAGE: Final = os.environ.get("THUMBNAILER_TEST_IMAGE", "")
LIMIT: Final = Limit(512, 0.2894, 20_000, (0, 1))
COUNTS: Final = {
    "memory.events": "oom_kill 2\n",
    "cpu.stat": "usage_usec 1500000\n",
    "cgroup.procs": "",
}


def group_in(path: Path) -> Group:
    """Of version 2, with its counts."""
    path.mkdir(exist_ok=True)
    for name, text in COUNTS.items():
        (path / name).write_text(text)
    return Group(2, path, path, path)


# --- control groups -----------------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The sizes of the groups that are made; they are folders."""
    sizes = []

    @contextmanager
    def limited(memory: int) -> Iterator[Group]:
        sizes.append(memory)
        yield group_in(tmp_path / "group")

    monkeypatch.setattr(enclosures, "limited", limited)
    return sizes


@pytest.mark.parametrize("free_init", [True, False])
def test_a_group_limits_memory_first_and_cpu_on_demand(made: list[int], tmp_path: Path, free_init: bool) -> None:
    with ExitStack() as stack:
        box = new_group(LIMIT, stack, free_init)
        assert made == [512 * MB]
        assert (tmp_path / "group" / "cpu.max").exists() is not free_init
        box.limit_cpu()
        assert (tmp_path / "group" / "cpu.max").read_text() == "5788 20000"
        assert box.command(["x", "y"], ["ANY"]) == box.group().command(["x", "y"], (0, 1))


def test_a_meter_counts_from_its_reset(tmp_path: Path) -> None:
    group = group_in(tmp_path)
    meter = Box(LIMIT, group)
    assert (meter.usage().cpu_seconds, meter.kills()) == (1.5, 2)
    meter.reset_meter()
    (tmp_path / "cpu.stat").write_text("usage_usec 1750000\n")
    (tmp_path / "memory.events").write_text("oom_kill 3\n")
    used = meter.usage()
    assert (used.cpu_seconds, used.kills, used.peak_rss) == (0.25, 1, 0)
    assert meter.kills() == 1


def test_a_removed_group_has_no_kills(tmp_path: Path) -> None:
    meter = Box(LIMIT, group_in(tmp_path))
    meter.reset_meter()
    (tmp_path / "memory.events").unlink()
    assert meter.kills() == 0


def test_a_meter_reports_the_peak_of_its_processes(tmp_path: Path) -> None:
    group = group_in(tmp_path)
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n")
    assert Box(LIMIT, group).usage().peak_rss > MB


# --- containers, as data ------------------------------------------------------------------------------------------


def test_a_container_command_has_limits_cores_and_variable_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    box = ContainerBox(LIMIT, "thumbnailer", "/usr/bin/podman", "bench-1")
    names = ["PATH", "TMPDIR", "LAMBDA_TASK_ROOT", "AWS_REGION", "AWS_SECRET_ACCESS_KEY"]
    command = box.command(["python", "-m", "awslambdaric"], names)
    assert command == [
        "env",
        "HOME=/home/me",
        "XDG_RUNTIME_DIR=/run/user/1",
        "/usr/bin/podman",
        "run",
        "--rm",
        "--name=bench-1",
        "--network=host",
        "--memory=512m",
        "--memory-swap=512m",
        "--cpu-period=20000",
        "--cpu-quota=5788",
        "--cpuset-cpus=0,1",
        "--env=AWS_REGION",
        "--env=AWS_SECRET_ACCESS_KEY",  # the value is not to be seen in a list of processes
        "thumbnailer",
        "python",
        "-m",
        "awslambdaric",
    ]


def test_a_container_refuses_a_share_below_the_minimum() -> None:
    box = ContainerBox(Limit(128, 0.01, 20_000, (0,)), "thumbnailer", "podman", "bench-1")
    with pytest.raises(NoLimits, match="gives no less than 1 ms"):
        box.command([], [])


def in_groups(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Process 17, as the kernel tells it."""
    read = Path.read_text

    def told(path: Path, *arguments: str, **more: str) -> str:
        return text if str(path) == "/proc/17/cgroup" else read(path, *arguments, **more)

    monkeypatch.setattr(Path, "read_text", told)


@pytest.mark.parametrize(
    ("text", "version", "places"),
    [
        ("0::/machine.slice/libpod-1.scope\n", 2, ["machine.slice/libpod-1.scope"]),
        (
            "12:cpu,cpuacct:/docker/1\n5:memory:/docker/1\n4:name=systemd:/docker/1\n0::/\n",
            1,
            ["memory/docker/1", "cpu/docker/1", "cpuacct/docker/1"],
        ),
        ("3:cpuacct:/c\n2:cpu:/b\n1:memory:/a:with:colons\n", 1, ["memory/a:with:colons", "cpu/b", "cpuacct/c"]),
    ],
)
def test_the_group_of_a_process_comes_from_proc(
    monkeypatch: pytest.MonkeyPatch, text: str, version: int, places: list[str]
) -> None:
    in_groups(monkeypatch, text)
    group = group_of(17, Path("/groups"))
    assert group.version == version
    assert group.folders == [Path("/groups", place) for place in places]


def test_a_process_that_has_ended_has_no_group() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(NoLimits, match="the container has ended: No such file"):
        group_of(process.pid)


# --- containers, by an engine that is a script --------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH; `call` has what its engines were asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def engine_that(folder: Path, does: str, name: str = "podman") -> Path:
    script = folder / name
    script.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\n{does}\n')
    script.chmod(0o755)
    return script


def test_without_an_engine_there_is_no_container(engine: Path) -> None:
    with pytest.raises(NoLimits, match="neither podman nor docker is installed: install one"):
        find_enclosure("thumbnailer")


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_a_missing_image_is_named_with_the_command_to_build_it(engine: Path, name: str) -> None:
    engine_that(engine, "exit 125", name)
    with pytest.raises(NoLimits, match=rf"{name} has no image other: `make image` builds one"):
        find_enclosure("other")
    assert (engine / "calls").read_text() == "image inspect other\n"


def test_an_existing_image_is_an_enclosure_for_ours_only(engine: Path) -> None:
    engine_that(engine, "exit 0", "docker")
    found = find_enclosure("thumbnailer:1")
    assert found.name == "docker, image thumbnailer:1"
    assert found.ours_only


def test_without_an_image_the_enclosure_is_a_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enclosures, "kind_of_limits", lambda: "cgroup v2")
    found = find_enclosure(None)
    assert (found.name, found.ours_only) == ("cgroup v2", False)


def test_the_reason_for_missing_groups_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> str:
        raise NoLimits("run as root")

    monkeypatch.setattr(enclosures, "kind_of_limits", refused)
    with pytest.raises(NoLimits, match="run as root"):
        find_enclosure(None)


def test_a_container_is_awaited_and_removed(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no process at first: the engine says 0."""
    started = f"[ $1 = rm ] && exit; [ -e {engine}/asked ] && echo {os.getpid()} && exit; : > {engine}/asked; echo 0"
    script = engine_that(engine, started)
    with ExitStack() as stack:
        box = new_container("thumbnailer", str(script), LIMIT, stack, True)
        box.reset_meter()  # there is nothing to be counted yet
        assert box.group() == group_of(os.getpid())
    calls = (engine / "calls").read_text().splitlines()
    container = calls[0].split()[-1]
    assert container.startswith("thumbnailer-bench-")
    assert calls == [f"inspect --format={{{{.State.Pid}}}} {container}"] * 2 + [f"rm --force {container}"]


def test_a_container_that_does_not_start_is_named(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enclosures, "START_SECONDS", 0.1)
    script = engine_that(engine, "echo; exit 1")
    with ExitStack() as stack:
        box = new_container("thumbnailer", str(script), LIMIT, stack, True)
        with pytest.raises(NoLimits, match="podman does not start the container thumbnailer-bench-"):
            box.group()
        assert box.kills() == 0


# --- containers, for real -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not IMAGE, reason="needs the container image: `make test-image` builds it")
def test_a_real_container_is_limited_counted_and_removed() -> None:
    enclosure = find_enclosure(IMAGE)
    core = min(os.sched_getaffinity(0))
    busy = "import hashlib; data = bytes(1 << 20)\nwhile True: hashlib.sha256(data).digest()"
    with ExitStack() as stack:
        box = enclosure.box(Limit(128, 0.25, 20_000, (core,)), stack, True)
        assert isinstance(box, ContainerBox)
        process = stack.enter_context(subprocess.Popen(box.command(["python", "-c", busy], [])))
        stack.callback(process.kill)
        group = box.group()
        meter = box
        time.sleep(0.5)
        meter.reset_meter()
        began = time.monotonic()
        time.sleep(1.5)
        used, wall = meter.usage(), time.monotonic() - began
        limit = "memory.limit_in_bytes" if group.version == 1 else "memory.max"
        assert int((group.memory / limit).read_text()) == 128 * MB
        assert 0.02 < used.cpu_seconds / wall < 0.35
        assert MB < used.peak_rss < 128 * MB
        subprocess.run([box.engine, "kill", box.container], check=True, capture_output=True, timeout=60)
    assert not any(place.exists() for place in group.folders)
