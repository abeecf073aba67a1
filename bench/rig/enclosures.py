"""What a cell is put into, so that it has the memory and the CPU of its tier: a control group, or a container.

A container is the third way, for machines where no control group can be made but podman or docker can: it holds the
shipped image, so ours alone can be measured in it, and its limits hold from its start, during the init too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol
from uuid import uuid4

from bench.rig.limits import GROUPS, Controller, Group, NoLimits, cpu_quota_us, kind_of_limits, limited

MB: Final = 1024 * 1024
START_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Limit:
    """MB, vCPUs, the period in which they are handed out (microseconds), and the cores that they may be of."""

    memory_mb: int
    vcpus: float
    period_us: int
    cores: tuple[int, ...]


class Box(Protocol):
    """An enclosure for one cell."""

    def command(self, command: Sequence[str], variables: Iterable[str]) -> list[str]:
        """What starts that command inside, with these of the environment's variables."""

    def group(self) -> Group:
        """Where it is counted; waits for the command to be started. Raises NoLimits."""

    def is_started(self) -> bool:
        """Whether there is a group yet."""

    def hold_cpu(self) -> None:
        """From now on the CPU limit holds, if it did not before."""


class Enclosure(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def holds_ours_alone(self) -> bool: ...

    def box(self, limit: Limit, free_at_first: bool, stack: ExitStack) -> Box:
        """`free_at_first`: the CPU limit holds from `hold_cpu` on, if that can be. Raises NoLimits."""


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds, bytes, processes."""

    cpu_seconds: float
    peak_rss: int
    kills: int


class Meter:
    """What a box uses, from `begin` on."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._cpu, self._kills = 0.0, 0

    def begin(self) -> None:
        """Before the start of a container: all that it will have used."""
        if self._box.is_started():
            group = self._box.group()
            group.forget_peak_rss()
            self._cpu, self._kills = group.cpu_seconds(), group.kills

    def used(self) -> Used:
        group = self._box.group()
        return Used(group.cpu_seconds() - self._cpu, group.peak_rss(), group.kills - self._kills)

    def killed(self) -> int:
        """Processes, for want of memory; of what has ended nothing is known."""
        try:
            return self._box.group().kills - self._kills
        except (NoLimits, OSError):
            return 0


# --- control groups -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ControlGroups:
    name: str
    holds_ours_alone: bool = False

    def box(self, limit: Limit, free_at_first: bool, stack: ExitStack) -> Box:
        group = stack.enter_context(limited(limit.memory_mb * MB))
        box = GroupBox(limit, group)
        if not free_at_first:
            box.hold_cpu()
        return box


@dataclass(frozen=True, slots=True)
class GroupBox:
    limit: Limit
    made: Group

    def command(self, command: Sequence[str], variables: Iterable[str]) -> list[str]:  # noqa: ARG002 (all are there)
        return self.made.joining(command, self.limit.cores)

    def group(self) -> Group:
        return self.made

    def is_started(self) -> bool:
        return True

    def hold_cpu(self) -> None:
        self.made.limit_cpu(self.limit.vcpus, self.limit.period_us)


# --- containers ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Containers:
    """By podman or docker, of an image that `make image` has built."""

    image: str
    engine: str
    holds_ours_alone: bool = True

    @property
    def name(self) -> str:
        return f"{Path(self.engine).name}, image {self.image}"

    def box(self, limit: Limit, free_at_first: bool, stack: ExitStack) -> Box:  # noqa: ARG002 (never free)
        box = ContainerBox(limit, self.image, self.engine, f"thumbnailer-bench-{uuid4().hex[:8]}")
        remove = [self.engine, "rm", "--force", box.container]
        stack.callback(subprocess.run, remove, capture_output=True, timeout=60, check=False)
        return box


@dataclass(slots=True)
class ContainerBox:
    limit: Limit
    image: str
    engine: str
    container: str
    found: Group | None = field(default=None)

    def command(self, command: Sequence[str], variables: Iterable[str]) -> list[str]:
        limit = self.limit
        options = [
            f"--name={self.container}",
            "--network=host",
            f"--memory={limit.memory_mb}m",
            f"--memory-swap={limit.memory_mb}m",
            f"--cpu-period={limit.period_us}",
            f"--cpu-quota={cpu_quota_us(limit.vcpus, limit.period_us)}",
            f"--cpuset-cpus={','.join(map(str, limit.cores))}",
            *(f"--env={name}" for name in variables if name not in ("PATH", "TMPDIR", "LAMBDA_TASK_ROOT")),
        ]
        # Of this machine's variables those that podman and docker look at: the emulator passes on the function's alone.
        names = ("HOME", "XDG_RUNTIME_DIR", "DOCKER_HOST")
        outer = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
        return ["env", *outer, self.engine, "run", "--rm", *options, self.image, *command]

    def group(self) -> Group:
        if self.found is None:
            self.found = group_of(self._pid())
        return self.found

    def is_started(self) -> bool:
        return self.found is not None

    def hold_cpu(self) -> None:
        """It always has."""

    def _pid(self) -> int:
        end = time.monotonic() + START_SECONDS
        command = [self.engine, "inspect", "--format={{.State.Pid}}", self.container]
        while time.monotonic() < end:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
            if done.returncode == 0 and done.stdout.strip() not in ("", "0"):
                return int(done.stdout)
            time.sleep(0.02)
        raise NoLimits(f"{self.engine} does not start the container {self.container}")


def group_of(pid: int, root: Path = GROUPS) -> Group:
    """The group that a process is in, to be read. Raises NoLimits."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError as error:
        raise NoLimits(f"the container has ended: {error.strerror}") from error
    places = {part: path for _, parts, path in (line.split(":", 2) for line in lines) for part in parts.split(",")}
    if "memory" in places:
        return Group(1, *(_controller(root, part, places[part]) for part in ("memory", "cpu", "cpuacct")))
    one = Controller(root / places[""].lstrip("/"))
    return Group(2, one, one, one)


def _controller(root: Path, part: str, place: str) -> Controller:
    return Controller(root / part / place.lstrip("/"))


# --- which --------------------------------------------------------------------------------------------------------


def find_enclosure(container: str | None) -> Enclosure:
    """Control groups; or, where an image is named, containers of it. Raises NoLimits."""
    if container is None:
        return ControlGroups(kind_of_limits())
    engine = shutil.which("podman") or shutil.which("docker")
    if engine is None:
        raise NoLimits("neither podman nor docker is installed: install one, or measure without --container")
    known = subprocess.run([engine, "image", "inspect", container], capture_output=True, timeout=60, check=False)  # noqa: S603
    if known.returncode != 0:
        raise NoLimits(f"{engine} has no image {container}: `make image` builds one")
    return Containers(container, engine)
