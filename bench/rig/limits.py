"""Limits of memory and CPU by control groups, version 1 or 2.

A Lambda function of N MB has N / 1,769 of a core in slices of 20 ms (AWS, "configure memory"; arXiv 2506.01283). A cell
whose limits cannot be set is refused: nothing runs unlimited under a limited label.
"""

import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Final
from uuid import uuid4

from thumbnailer.errors import ThumbnailerError

GROUPS: Final = Path("/sys/fs/cgroup")
MB: Final = 1024 * 1024
LAMBDA_PERIOD_US: Final = 20_000
CONTAINER_PERIOD_US: Final = 100_000
"""set by container runtimes, so a Fargate task has it"""
ADVICE: Final = "run as root, or with --container"


class NoLimits(ThumbnailerError):
    """This machine cannot set the limit; the message says why."""


@dataclass(frozen=True, slots=True)
class Group:
    """A control group. In version 1, memory, CPU limit and CPU time are three folders; in version 2 they are one."""

    memory: Path
    cpu: Path
    cpuacct: Path

    @property
    def version(self) -> int:
        return 2 if self.memory == self.cpu else 1

    @property
    def folders(self) -> list[Path]:
        return list(dict.fromkeys((self.memory, self.cpu, self.cpuacct)))

    def command(self, command: Sequence[str], cores: Sequence[int] = (), variables: Iterable[str] = ()) -> list[str]:  # noqa: ARG002
        """A command line that joins the group, keeps to these cores and then becomes the command.

        A control group has all variables of the caller, a container only `variables`.
        """
        joins = " && ".join(f"echo $$ > {quote(f'{folder}/cgroup.procs')}" for folder in self.folders)
        pinned = f"taskset -c {','.join(map(str, cores))} " if cores else ""
        return ["sh", "-c", f'{joins} && exec {pinned}"$@"', "sh", *command]

    def limit_cpu(self, vcpus: float, period_us: int = LAMBDA_PERIOD_US) -> None:
        """Raises NoLimits."""
        quota = round(vcpus * period_us)
        if self.version == 2:
            _write(self.cpu / "cpu.max", f"{quota} {period_us}")
            return
        _write(self.cpu / "cpu.cfs_quota_us", -1)  # the kernel refuses a new period that does not fit the old quota
        _write(self.cpu / "cpu.cfs_period_us", period_us)
        _write(self.cpu / "cpu.cfs_quota_us", quota)

    def limit_memory(self, size: int) -> None:
        """Limits memory to `size` bytes, without swap. Raises NoLimits."""
        limit, swap, no_swap = {
            1: ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", size),  # memsw counts both
            2: ("memory.max", "memory.swap.max", 0),
        }[self.version]
        _write(self.memory / limit, size)
        if (self.memory / swap).exists():  # only if the kernel accounts for swap
            _write(self.memory / swap, no_swap)

    def cpu_seconds(self) -> float:
        if self.version == 2:
            return _fields(self.cpu / "cpu.stat")["usage_usec"] / 1e6
        return int((self.cpuacct / "cpuacct.usage").read_text()) / 1e9

    @property
    def kills(self) -> int:
        """Processes that the kernel killed because the group ran out of memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return _fields(self.memory / name)["oom_kill"]

    def pids(self) -> list[int]:
        """Processes of this PID namespace; the kernel shows those of others as 0."""
        return [int(pid) for pid in (self.memory / "cgroup.procs").read_text().split() if pid != "0"]

    def peak_rss(self) -> int:
        """Sum of the resident peaks of the processes since `reset_peak_rss`, in bytes."""
        return sum(map(peak_rss_of, self.pids()))

    def reset_peak_rss(self) -> None:
        for pid in self.pids():
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): resets VmHWM


def _write(path: Path, value: int | str) -> None:
    try:
        path.write_text(str(value))
    except OSError as error:
        raise NoLimits(
            f"{path} cannot be set to {value}: {error.strerror}; a parent group may allow less: {ADVICE}"
        ) from error


def _fields(path: Path) -> dict[str, int]:
    """A file with a name and a number on each line."""
    return {key: int(value) for key, value in map(str.split, path.read_text().splitlines())}


def peak_rss_of(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


@contextmanager
def limited(memory: int, root: Path = GROUPS) -> Iterator[Group]:
    """A group of at most `memory` bytes; killed and removed at the end. Raises NoLimits."""
    group = _new_group(root)
    try:
        for folder in group.folders:
            _make(folder)
        group.limit_memory(memory)
        yield group
    finally:
        with suppress(OSError):
            for pid in group.pids():  # left by a crash or Ctrl-C
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for folder in group.folders:
            _remove(folder)


def kind_of_limits(root: Path = GROUPS) -> str:
    """`cgroup v1` or `cgroup v2`. Raises NoLimits if this process cannot make a group with memory and CPU."""
    with limited(64 * MB, root) as group:
        group.limit_cpu(0.5)
        return f"cgroup v{group.version}"


def _new_group(root: Path) -> Group:
    """The folders of a new group, not yet made. Raises NoLimits."""
    name = f"thumbnailer-{os.getpid()}-{uuid4().hex[:8]}"
    if (root / "memory" / "memory.limit_in_bytes").exists():
        return Group(*(_hierarchy(root, part) / name for part in ("memory", "cpu", "cpuacct")))
    controllers = root / "cgroup.subtree_control"
    available = set(controllers.read_text().split()) if controllers.exists() else set()
    if not {"memory", "cpu"} <= available:
        raise NoLimits(f"no group with memory and CPU can be made in {root}: {ADVICE}")
    return Group(*3 * (root / name,))


def _hierarchy(root: Path, part: str) -> Path:
    """Version 1: `cpu` and `cpuacct` are one hierarchy on most machines, two on others."""
    for name in (part, "cpu,cpuacct"):
        if (root / name / "cgroup.procs").exists():
            return (root / name).resolve()  # one of the two may be a link to the other
    raise NoLimits(f"control groups of version 1 without {part} in {root}: mount it there, or measure with --container")


def _make(folder: Path) -> None:
    try:
        folder.mkdir()
    except OSError as error:
        raise NoLimits(f"no group can be made in {folder.parent}: {error.strerror}; {ADVICE}") from error


def _remove(folder: Path) -> None:
    """Removes a group; the kernel keeps it busy for a moment after its last process has ended."""
    for _ in range(100):
        if not folder.exists():
            return
        with suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.05)
    folder.rmdir()
