"""Enclosures: a control group or a container with the limits of the cell."""

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
from bench.rig.enclosures import Container, Enclosure, find_enclosure, group_of
from bench.rig.limits import MB, Group, NoLimits

IMAGE: Final = os.environ.get("THUMBNAILER_TEST_IMAGE", "")
LIMIT: Final = 512, 0.2894, 20_000, (0, 1)


# --- control groups -----------------------------------------------------------------------------------------------


def test_a_control_group_limits_memory_at_once_and_cpu_later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sizes = []

    @contextmanager
    def limited(memory: int) -> Iterator[Group]:
        sizes.append(memory)
        yield Group(tmp_path, tmp_path, tmp_path)

    monkeypatch.setattr(enclosures, "limited", limited)
    with Enclosure("cgroup v2").hold(*LIMIT) as group:
        assert sizes == [512 * MB]
        assert not list(tmp_path.iterdir())
        group.limit_cpu(*LIMIT[1:3])
        assert (tmp_path / "cpu.max").read_text() == "5788 20000"


# --- containers, as data ------------------------------------------------------------------------------------------


def test_a_container_command_has_variable_names_without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    box = Container(Path("m"), Path("c"), Path("a"), "/usr/bin/podman", "bench-1")
    names = ["PATH", "TMPDIR", "LAMBDA_TASK_ROOT", "AWS_REGION", "AWS_SECRET_ACCESS_KEY"]
    command = box.command(["python", "-m", "awslambdaric"], (0, 1), names)
    assert command == [
        "env",
        "HOME=/home/me",
        "XDG_RUNTIME_DIR=/run/user/1",
        "/usr/bin/podman",
        "exec",
        "--env=AWS_REGION",
        "--env=AWS_SECRET_ACCESS_KEY",  # the value is not to be seen in a list of processes
        "bench-1",
        "/usr/local/bin/entry",
        "python",
        "-m",
        "awslambdaric",
    ]


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
    assert found.image == "thumbnailer:1"


def test_without_an_image_the_enclosure_is_a_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enclosures, "kind_of_limits", lambda: "cgroup v2")
    found = find_enclosure(None)
    assert (found.name, found.image) == ("cgroup v2", "")


def test_the_reason_for_missing_groups_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> str:
        raise NoLimits("run as root")

    monkeypatch.setattr(enclosures, "kind_of_limits", refused)
    with pytest.raises(NoLimits, match="run as root"):
        find_enclosure(None)


def test_a_container_has_the_limits_and_is_removed(engine: Path) -> None:
    script = engine_that(engine, f"[ $1 = inspect ] && echo {os.getpid()}; exit 0")
    with Enclosure("podman", str(script), "thumbnailer").hold(*LIMIT) as group:
        assert group.folders == group_of(os.getpid()).folders
    run, inspect, remove = (engine / "calls").read_text().splitlines()
    container = remove.split()[-1]
    assert container.startswith("thumbnailer-bench-")
    assert run.split() == [
        "run",
        "--detach",
        f"--name={container}",
        "--network=host",
        "--memory=512m",
        "--memory-swap=512m",
        "--cpu-period=20000",
        "--cpu-quota=5788",
        "--cpuset-cpus=0,1",
        "--stop-signal=KILL",
        "--entrypoint=sleep",
        "thumbnailer",
        "infinity",
    ]
    assert (inspect, remove) == (f"inspect --format={{{{.State.Pid}}}} {container}", f"rm --force {container}")


def test_a_container_that_does_not_start_is_refused_with_the_reason(engine: Path) -> None:
    script = engine_that(engine, "[ $1 = rm ] && exit; echo no such device >&2; exit 125")
    with (
        pytest.raises(NoLimits, match="podman does not start a container: no such device"),
        Enclosure("podman", str(script), "thumbnailer").hold(*LIMIT),
    ):
        pass


# --- containers, for real -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not IMAGE, reason="needs the container image: `make test-image` builds it")
def test_a_real_container_is_limited_counted_and_removed() -> None:
    enclosure = find_enclosure(IMAGE)
    core = min(os.sched_getaffinity(0))
    busy = "import hashlib; data = bytes(1 << 20)\nwhile True: hashlib.sha256(data).digest()"
    with ExitStack() as stack:
        group = stack.enter_context(enclosure.hold(128, 0.25, 20_000, (core,)))
        assert isinstance(group, Container)
        process = stack.enter_context(subprocess.Popen(group.command(["python", "-c", busy])))
        stack.callback(process.kill)
        time.sleep(1)
        group.reset_peak_rss()
        before, began = group.cpu_seconds(), time.monotonic()
        time.sleep(1.5)
        used, wall = group.cpu_seconds() - before, time.monotonic() - began
        limit = "memory.limit_in_bytes" if group.version == 1 else "memory.max"
        assert int((group.memory / limit).read_text()) == 128 * MB
        assert 0.02 < used / wall < 0.35
        assert MB < group.peak_rss() < 128 * MB
        assert group.kills == 0
        hog = subprocess.run(group.command(["python", "-c", f"bytearray({200 * MB})"]), timeout=60, check=False)
        assert (hog.returncode, group.kills) == (137, 1)
    assert not any(place.exists() for place in group.folders)
