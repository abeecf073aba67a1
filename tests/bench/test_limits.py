"""Limits of memory and CPU: files in made-up trees of both versions, and real groups."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from bench.rig import limits
from bench.rig.limits import MB, Group, NoLimits, kind_of_limits, limited

PARTS: Final = ("memory", "cpu", "cpuacct")


# --- trees that are laid ------------------------------------------------------------------------------------------


@dataclass
class Kernel:
    """What a kernel does with groups: files are in them as soon as they are made, and go with them."""

    files: dict[str, str] = field(default_factory=dict)
    """laid into each new group"""
    written: list[tuple[str, str]] = field(default_factory=list)
    """file and value, in order"""
    made: list[Path] = field(default_factory=list)
    refused: tuple[str, str] | None = None
    """a file and the value that cannot be written to it"""


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    state = Kernel()
    make, write = limits._make, Path.write_text

    def made(path: Path) -> None:
        make(path)
        for name, text in state.files.items():
            write(path / name, text)
        state.made.append(path)

    def written(path: Path, text: str) -> int:
        if (path.name, text) == state.refused:
            raise OSError(22, "Invalid argument")
        state.written.append((path.name, text))
        return write(path, text)

    monkeypatch.setattr(limits, "_make", made)
    monkeypatch.setattr(limits, "_remove", lambda path: shutil.rmtree(path, ignore_errors=True))
    monkeypatch.setattr(Path, "write_text", written)
    return state


def version_1(root: Path, parts: tuple[str, ...] = PARTS) -> Path:
    for part in parts:
        (root / part).mkdir(parents=True)
        (root / part / "cgroup.procs").touch()
    (root / "memory" / "memory.limit_in_bytes").touch()
    return root


def version_2(root: Path, controllers: str = "cpuset cpu io memory pids") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "cgroup.controllers").touch()
    (root / "cgroup.subtree_control").write_bytes(f"{controllers}\n".encode())
    return root


def laid(path: Path, files: dict[str, str]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name).write_bytes(text.encode())
    return path


def test_version_1_makes_and_removes_three_groups(tmp_path: Path, kernel: Kernel) -> None:
    root = version_1(tmp_path)
    with limited(64 * MB, root) as group:
        assert group.version == 1
        assert [place.parent.name for place in group.folders] == list(PARTS)
        assert all(place.is_dir() for place in group.folders)
    assert len(kernel.made) == 3
    assert not any(place.exists() for place in kernel.made)
    assert kind_of_limits(root) == "cgroup v1"


def test_version_1_resets_the_quota_before_the_period(tmp_path: Path, kernel: Kernel) -> None:
    with limited(64 * MB, root=version_1(tmp_path)) as group:
        group.limit_cpu(0.5)
        assert kernel.written == [
            ("memory.limit_in_bytes", str(64 * MB)),
            ("cpu.cfs_quota_us", "-1"),
            ("cpu.cfs_period_us", "20000"),
            ("cpu.cfs_quota_us", "10000"),
        ]
        assert (group.memory / "memory.limit_in_bytes").exists()
        assert (group.cpu / "cpu.cfs_quota_us").exists()


def test_version_1_limits_swap_if_the_kernel_accounts_for_it(tmp_path: Path, kernel: Kernel) -> None:
    kernel.files["memory.memsw.limit_in_bytes"] = "9223372036854771712"
    with limited(64 * MB, root=version_1(tmp_path)):
        assert kernel.written == [
            ("memory.limit_in_bytes", str(64 * MB)),  # that of both must not be below that of memory alone
            ("memory.memsw.limit_in_bytes", str(64 * MB)),
        ]


def test_version_1_recognises_a_joint_cpu_hierarchy(tmp_path: Path, kernel: Kernel) -> None:
    version_1(tmp_path, ("memory", "cpu,cpuacct"))
    for link in ("cpu", "cpuacct"):
        (tmp_path / link).symlink_to("cpu,cpuacct")
    with limited(64 * MB, root=tmp_path) as group:
        assert group.cpu == group.cpuacct
        assert [place.parent.name for place in group.folders] == ["memory", "cpu,cpuacct"]


def test_version_1_finds_a_joint_hierarchy_without_links(tmp_path: Path, kernel: Kernel) -> None:
    with limited(64 * MB, root=version_1(tmp_path, ("memory", "cpu,cpuacct"))) as group:
        assert group.cpu == group.cpuacct


def test_version_2_is_one_group(tmp_path: Path, kernel: Kernel) -> None:
    kernel.files["memory.swap.max"] = "max"
    root = version_2(tmp_path)
    with limited(64 * MB, root) as group:
        group.limit_cpu(0.25, 100_000)
        assert (group.version, len(group.folders)) == (2, 1)
        assert kernel.written == [
            ("memory.max", str(64 * MB)),
            ("memory.swap.max", "0"),
            ("cpu.max", "25000 100000"),
        ]
    assert not any(place.exists() for place in kernel.made)
    assert kind_of_limits(root) == "cgroup v2"


def test_version_2_skips_swap_without_its_file(tmp_path: Path, kernel: Kernel) -> None:
    with limited(64 * MB, root=version_2(tmp_path)):
        assert kernel.written == [("memory.max", str(64 * MB))]


def test_groups_of_one_process_have_different_names(tmp_path: Path, kernel: Kernel) -> None:
    root = version_2(tmp_path)
    with limited(64 * MB, root=root) as one, limited(64 * MB, root=root) as other:
        assert one.folders != other.folders


# --- why not ------------------------------------------------------------------------------------------------------


def refusal(root: Path) -> str:
    with pytest.raises(NoLimits) as raised:
        kind_of_limits(root)
    return str(raised.value)


@pytest.mark.parametrize("controllers", ["", "memory pids", "cpu cpuset"])
def test_version_2_without_controllers_says_how_to_get_them(tmp_path: Path, controllers: str) -> None:
    said = refusal(version_2(tmp_path, controllers))
    assert said == f"no group with memory and CPU can be made in {tmp_path}: run as root, or with --container"


def test_missing_control_groups_say_the_same(tmp_path: Path) -> None:
    assert "run as root" in refusal(tmp_path / "none")


def test_a_read_only_version_2_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = version_2(tmp_path)
    mkdir = Path.mkdir

    def denied(path: Path, mode: int = 0o777, **more: bool) -> None:
        if path.parent == root:
            raise PermissionError(13, "Permission denied")
        mkdir(path, mode, **more)

    monkeypatch.setattr(Path, "mkdir", denied)
    assert refusal(root) == f"no group can be made in {root}: Permission denied; run as root, or with --container"


@pytest.mark.parametrize("part", ["cpu", "cpuacct"])
def test_version_1_names_a_missing_controller(tmp_path: Path, part: str) -> None:
    root = version_1(tmp_path, tuple(name for name in PARTS if name != part))
    assert refusal(root).startswith(f"control groups of version 1 without {part} in {tmp_path}: ")
    assert "--container" in refusal(root)
    assert not list(tmp_path.glob("*/thumbnailer-*"))


def test_a_read_only_version_1_is_refused_and_cleaned_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = Path.mkdir

    def denied(path: Path, mode: int = 0o777, **more: bool) -> None:
        if path.parent == tmp_path / "cpuacct":
            raise PermissionError(13, "Permission denied")
        mkdir(path, mode, **more)

    version_1(tmp_path)
    monkeypatch.setattr(Path, "mkdir", denied)
    wanted = f"no group can be made in {tmp_path / 'cpuacct'}: Permission denied; run as root, or with --container"
    assert refusal(tmp_path) == wanted
    assert not list(tmp_path.glob("*/thumbnailer-*"))


@pytest.mark.parametrize(
    ("version", "file", "value"), [(1, "cpu.cfs_quota_us", "10000"), (2, "cpu.max", "10000 20000")]
)
def test_a_refused_value_is_named_and_the_group_removed(
    tmp_path: Path, kernel: Kernel, version: int, file: str, value: str
) -> None:
    kernel.refused = (file, value)
    said = refusal(version_1(tmp_path) if version == 1 else version_2(tmp_path))
    assert f"{file} cannot be set to {value}: Invalid argument" in said
    assert "--container" in said
    assert kernel.made
    assert not any(place.exists() for place in kernel.made)


# --- what is counted ----------------------------------------------------------------------------------------------


def test_version_1_reads_counts_from_three_folders(tmp_path: Path) -> None:
    memory = {
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        "cgroup.procs": "0\n17\n4\n",
    }
    group = Group(
        laid(tmp_path / "memory", memory),
        laid(tmp_path / "cpu", {}),
        laid(tmp_path / "cpuacct", {"cpuacct.usage": "2500000000\n"}),
    )
    assert (group.kills, group.cpu_seconds(), group.pids()) == (3, 2.5, [17, 4])


def test_version_2_reads_counts_from_one_folder(tmp_path: Path) -> None:
    files = {
        "memory.events": "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\n",
        "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\n",
        "cgroup.procs": "",
    }
    one = laid(tmp_path, files)
    group = Group(one, one, one)
    assert (group.kills, group.cpu_seconds(), group.pids()) == (1, 2.5, [])


@pytest.mark.parametrize("version", [1, 2])
def test_a_command_joins_all_folders_first(tmp_path: Path, version: int) -> None:
    places = [laid(tmp_path / name, {"cgroup.procs": ""}) for name in (PARTS if version == 1 else ("it's one",) * 3)]
    group = Group(*places)
    core = min(os.sched_getaffinity(0))
    command = [sys.executable, "-c", "import os, sys; print(os.getpid(), os.sched_getaffinity(0), sys.argv[1:])", "a b"]
    process = subprocess.Popen(group.command(command, [core]), stdout=subprocess.PIPE, text=True)
    out, _ = process.communicate(timeout=30)
    assert out.strip() == f"{process.pid} {{{core}}} ['a b']"
    assert {int((place / "cgroup.procs").read_text()) for place in group.folders} == {process.pid}


# --- for real -----------------------------------------------------------------------------------------------------


@pytest.fixture
def real() -> Iterator[Callable[[int], Group]]:
    """Makes real groups, and skips where that cannot be."""
    with ExitStack() as stack:

        def make(memory: int) -> Group:
            try:
                return stack.enter_context(limited(memory))
            except NoLimits as reason:
                pytest.skip(f"no limit can be set: {reason}")

        yield make


@contextmanager
def member(group: Group, program: str) -> Iterator[subprocess.Popen[str]]:
    """A process of the group that has said a line; it ends with its input."""
    command = group.command([sys.executable, "-c", program])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


WAITS: Final = "print('ready', flush=True); input()"


def test_the_kernel_kills_above_the_limit_and_the_group_counts_it(real: Callable[[int], Group]) -> None:
    group = real(48 * MB)
    assert group.kills == 0
    fits = subprocess.run(group.command([sys.executable, "-c", f"bytearray({8 * MB})"]), timeout=60, check=False)
    assert (fits.returncode, group.kills) == (0, 0)
    hog = subprocess.run(group.command([sys.executable, "-c", f"bytearray({96 * MB})"]), timeout=60, check=False)
    assert (hog.returncode, group.kills) == (-9, 1)


BUSY: Final = """
import hashlib, threading, time
def work():
    data = bytes(1 << 20)
    while True:
        hashlib.sha256(data).digest()  # without the interpreter's lock
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
print('ready', flush=True)
input()
"""


def test_two_busy_threads_stay_within_the_share(real: Callable[[int], Group]) -> None:
    group = real(256 * MB)
    with member(group, BUSY):
        group.limit_cpu(0.25)
        time.sleep(0.1)
        cpu, began = group.cpu_seconds(), time.monotonic()
        time.sleep(1.5)
        share = (group.cpu_seconds() - cpu) / (time.monotonic() - began)
    assert 0.02 < share < 0.35


def test_a_group_ends_with_its_processes(real: Callable[[int], Group]) -> None:
    try:
        with limited(256 * MB) as group:
            with_no_end = subprocess.Popen(group.command(["sleep", "600"]))
            while with_no_end.pid not in group.pids():
                time.sleep(0.01)
    except NoLimits as reason:
        pytest.skip(f"no limit can be set: {reason}")
    assert not any(place.exists() for place in group.folders)
    assert with_no_end.wait(10) == -9


def test_the_peak_of_memory_can_be_reset(real: Callable[[int], Group]) -> None:
    group = real(512 * MB)
    with member(group, f"bytearray({64 * MB}); {WAITS}"):
        before = group.peak_rss()
        group.reset_peak_rss()
        after = group.peak_rss()
    assert before > 64 * MB
    assert 0 < after < before - 48 * MB
    assert group.peak_rss() == 0


def test_the_kind_of_limits_is_named(real: Callable[[int], Group]) -> None:
    version = real(64 * MB).version
    assert kind_of_limits() == f"cgroup v{version}"


def test_the_smallest_function_has_the_kernels_minimum_at_the_shortest_period(real: Callable[[int], Group]) -> None:
    """The kernel gives no less than 1 ms a period; `--period` takes no less than 14 ms."""
    real(64 * MB).limit_cpu(128 / 1769, 14_000)
