"""Limits of memory and CPU that hold: a control group of version 1 or 2, whichever the machine has and lets us make.

A Lambda of so many MB has MB / 1,769 of a core, handed out in slices of 20 ms (shared facts: AWS, "configure memory";
arXiv 2506.01283). Where no limit can be set there is no group: nothing runs unlimited under a limited label.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from shlex import quote
from typing import Final

from thumbnailer.errors import ThumbnailerError

GROUPS: Final = Path("/sys/fs/cgroup")
MB: Final = 1024 * 1024
LAMBDA_PERIOD_US: Final = 20_000
CONTAINER_PERIOD_US: Final = 100_000
"""What container runtimes set, and so what a Fargate task has."""
ELSE: Final = "run as root, or with --container"
LEAST_QUOTA_US: Final = 1000
_numbers: Final = count()


class NoLimits(ThumbnailerError):
    """No limit can be set here; the message says why."""


@dataclass(frozen=True, slots=True)
class Controller:
    """One of version 1's hierarchies, or version 2's one: where the group is in it, and what it can do there."""

    path: Path

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    def fields(self, name: str) -> dict[str, int]:
        """A file with a name and a number a line."""
        return {key: int(value) for key, value in (line.split() for line in self.read(name).splitlines())}

    def write(self, name: str, value: int | str) -> None:
        try:
            (self.path / name).write_text(str(value))
        except OSError as error:
            raise NoLimits(
                f"{self.path / name} cannot be set to {value}: {error.strerror}; a group above may allow less: {ELSE}"
            ) from error

    def number(self, name: str) -> int | None:
        """None where this kernel does not say."""
        with suppress(OSError):
            return int(self.read(name))
        return None


@dataclass(frozen=True, slots=True)
class Group:
    """Processes that are limited and counted together. Of version 1: `memory`, `cpu` and `cpuacct` are three places."""

    version: int
    memory: Controller
    cpu: Controller
    cpuacct: Controller

    @property
    def places(self) -> list[Path]:
        return list(dict.fromkeys(controller.path for controller in (self.memory, self.cpu, self.cpuacct)))

    def joining(self, command: Sequence[str], cores: Sequence[int] = ()) -> list[str]:
        """The command as a member from its first instruction on, on these cores."""
        joins = " && ".join(f"echo $$ > {quote(f'{place}/cgroup.procs')}" for place in self.places)
        pinned = f"taskset -c {','.join(map(str, cores))} " if cores else ""
        return ["sh", "-c", f'{joins} && exec {pinned}"$@"', "sh", *command]

    def limit_cpu(self, vcpus: float | None, period_us: int = LAMBDA_PERIOD_US) -> None:
        """So many cores' time a period; None: as much as there is. Raises NoLimits."""
        quota = None if vcpus is None else cpu_quota_us(vcpus, period_us)
        if self.version == 2:
            self.cpu.write("cpu.max", f"{'max' if quota is None else quota} {period_us}")
            return
        self.cpu.write("cpu.cfs_quota_us", -1)  # else a quota and a period that do not go together are refused
        self.cpu.write("cpu.cfs_period_us", period_us)
        if quota is not None:
            self.cpu.write("cpu.cfs_quota_us", quota)

    def limit_memory(self, size: int) -> None:
        """Bytes, with no swap to go to. Raises NoLimits."""
        if self.version == 2:
            self.memory.write("memory.max", size)
            if (self.memory.path / "memory.swap.max").exists():
                self.memory.write("memory.swap.max", 0)
            return
        self.memory.write("memory.limit_in_bytes", size)
        if (self.memory.path / "memory.memsw.limit_in_bytes").exists():  # only where swap is accounted for
            self.memory.write("memory.memsw.limit_in_bytes", size)

    def cpu_seconds(self) -> float:
        if self.version == 2:
            return self.cpu.fields("cpu.stat")["usage_usec"] / 1e6
        return int(self.cpuacct.read("cpuacct.usage")) / 1e9

    @property
    def kills(self) -> int:
        """Processes that were killed because the group had no memory left."""
        return self.memory.fields("memory.events" if self.version == 2 else "memory.oom_control")["oom_kill"]

    @property
    def peak(self) -> int | None:
        """The most bytes the group ever held, pages of files among them; None where the kernel does not say."""
        return self.memory.number("memory.peak" if self.version == 2 else "memory.max_usage_in_bytes")

    def pids(self) -> list[int]:
        """Without those of another PID namespace, which the kernel calls 0."""
        return [int(pid) for pid in self.memory.read("cgroup.procs").split() if pid != "0"]

    def peak_rss(self) -> int:
        """Bytes: the resident peaks of its processes, together; since `forget_peak_rss`."""
        return sum(_peak_rss(pid) for pid in self.pids())

    def forget_peak_rss(self) -> None:
        for pid in self.pids():
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_quota_us(vcpus: float, period_us: int) -> int:
    """Raises NoLimits where it is less than the kernel hands out."""
    quota = round(vcpus * period_us)
    if quota < LEAST_QUOTA_US:
        raise NoLimits(
            f"{vcpus:.3g} vCPUs of {period_us / 1000:g} ms are {quota / 1000:g} ms, and the kernel gives no less than "
            f"1 ms: take a --period of {math.ceil(LEAST_QUOTA_US / vcpus / 1000)} ms or more"
        )
    return quota


def _peak_rss(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


@contextmanager
def limited(
    memory: int, vcpus: float | None = None, period_us: int = LAMBDA_PERIOD_US, root: Path = GROUPS
) -> Iterator[Group]:
    """A group of at most `memory` bytes and `vcpus` cores, for as long as the block. Raises NoLimits."""
    group = _made(root)
    try:
        group.limit_memory(memory)
        if vcpus is not None:
            group.limit_cpu(vcpus, period_us)
        yield group
    finally:
        _end(group)
        for place in group.places:
            _remove(place)


def kind_of_limits(root: Path = GROUPS) -> str:
    """`cgroup v1` or `cgroup v2`. Raises NoLimits where no group with memory and CPU can be made."""
    with limited(64 * MB, 0.5, root=root) as group:
        return f"cgroup v{group.version}"


def _made(root: Path) -> Group:
    name = f"thumbnailer-{os.getpid()}-{next(_numbers)}"
    if (root / "memory" / "memory.limit_in_bytes").exists():
        places = [_hierarchy(root, part) / name for part in ("memory", "cpu", "cpuacct")]
        with ExitStack() as undo:
            for place in dict.fromkeys(places):
                _new(place)
                undo.callback(_remove, place)
            undo.pop_all()
        return Group(1, *map(Controller, places))
    one = _new(_parent(root) / name)
    return Group(2, one, one, one)


def _hierarchy(root: Path, part: str) -> Path:
    """`cpu` and `cpuacct` are one hierarchy on most machines, two on others."""
    for name in (part, "cpu,cpuacct"):
        if (root / name / "cgroup.procs").exists():
            return (root / name).resolve()  # one of the two may be a link to the other
    raise NoLimits(f"control groups of version 1 without {part} in {root}: mount it there, or measure with --container")


def _parent(root: Path) -> Path:
    """Of version 2: the root's own children, or those of a group that systemd has given to this user."""
    for parent in (root, *_delegated(root)):
        controllers = parent / "cgroup.subtree_control"
        there = set(controllers.read_text().split()) if controllers.exists() else set()
        if {"memory", "cpu"} <= there and os.access(parent, os.W_OK):
            return parent
    raise NoLimits(
        f"no group with memory and CPU can be made in {root}: run as root, or inside "
        "`systemd-run --user --scope -p Delegate=yes`, or with --container"
    )


def _delegated(root: Path) -> Iterator[Path]:
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                yield from (root / line[3:].strip().lstrip("/")).parents


def _new(path: Path) -> Controller:
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise NoLimits(f"no group can be made in {path.parent}: {error.strerror}; {ELSE}") from error
    return Controller(path)


def _end(group: Group) -> None:
    """No process is longer there than its group: what a crash or Ctrl-C has left is killed."""
    with suppress(OSError):
        for pid in group.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _remove(path: Path) -> None:
    """A group is busy for a moment after its last process has ended."""
    for _ in range(100):
        with suppress(OSError):
            path.rmdir()
            return
        time.sleep(0.05)
    path.rmdir()
