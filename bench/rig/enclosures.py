"""The enclosure of a cell, with the memory and the CPU of its tier: a control group or a container.

Containers are for machines where the user cannot make control groups but can run podman or docker. They hold the
shipped image, so they can measure our own handler only, and their limits also apply during the init.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

from bench.rig.limits import GROUPS, MB, Group, NoLimits, cpu_quota_us, kind_of_limits, limited

START_SECONDS: Final = 20.0
PASSED_ON: Final = ("HOME", "XDG_RUNTIME_DIR", "DOCKER_HOST")
"""variables of this machine that podman and docker need; the emulator's environment has the function's only"""
NOT_IN_CONTAINERS: Final = ("PATH", "TMPDIR", "LAMBDA_TASK_ROOT")


@dataclass(frozen=True, slots=True)
class Limit:
    """MB, vCPUs, the period of the CPU limit in microseconds, and the cores that the cell may use."""

    memory_mb: int
    vcpus: float
    period_us: int
    cores: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds, bytes, and processes killed for lack of memory."""

    cpu_seconds: float
    peak_rss: int
    kills: int


class Box:
    """The enclosure of one cell, and a meter of its processes: here a control group."""

    def __init__(self, limit: Limit, group: Group | None) -> None:
        self.limit = limit
        self._group = group
        self._cpu, self._kills = 0.0, 0

    def command(self, command: Sequence[str], variables: Iterable[str]) -> list[str]:  # noqa: ARG002 (for containers)
        """The command line that starts the command inside, with these environment variables."""
        return self.group().command(command, self.limit.cores)

    def group(self) -> Group:
        """The control group of the processes. Raises NoLimits."""
        if self._group is None:
            self._group = self.find_group()
        return self._group

    def find_group(self) -> Group:
        """The control group of a command that has started."""
        raise NotImplementedError

    def limit_cpu(self) -> None:
        """Sets the CPU limit, if it does not apply yet. Raises NoLimits."""
        self.group().limit_cpu(self.limit.vcpus, self.limit.period_us)

    def reset_meter(self) -> None:
        """Starts counting; without effect before a container starts, which counts from its start."""
        if self._group is not None:
            self._group.reset_peak_rss()
            self._cpu, self._kills = self._group.cpu_seconds(), self._group.kills

    def usage(self) -> Usage:
        group = self.group()
        return Usage(group.cpu_seconds() - self._cpu, group.peak_rss(), group.kills - self._kills)

    def kills(self) -> int:
        """Processes killed for lack of memory; 0 if the group no longer exists."""
        try:
            return self.group().kills - self._kills
        except (NoLimits, OSError):
            return 0


@dataclass(frozen=True, slots=True)
class Enclosure:
    """Makes boxes: `box(limit, stack, free_init)`. Raises NoLimits.

    `free_init`: the CPU limit waits for `Box.limit_cpu`, if the enclosure can do that. `ours_only`: no room for peers.
    """

    name: str
    box: Callable[[Limit, ExitStack, bool], Box]
    ours_only: bool = False


def find_enclosure(image: str | None) -> Enclosure:
    """Control groups, or containers of an image. Raises NoLimits."""
    if image is None:
        return Enclosure(kind_of_limits(), new_group)
    engine = shutil.which("podman") or shutil.which("docker")
    if engine is None:
        raise NoLimits("neither podman nor docker is installed: install one, or measure without --container")
    known = subprocess.run([engine, "image", "inspect", image], capture_output=True, timeout=60, check=False)  # noqa: S603
    if known.returncode != 0:
        raise NoLimits(f"{engine} has no image {image}: `make image` builds one")
    return Enclosure(f"{Path(engine).name}, image {image}", partial(new_container, image, engine), ours_only=True)


def new_group(limit: Limit, stack: ExitStack, free_init: bool) -> Box:
    box = Box(limit, stack.enter_context(limited(limit.memory_mb * MB)))
    if not free_init:
        box.limit_cpu()
    return box


# --- containers ---------------------------------------------------------------------------------------------------


def new_container(image: str, engine: str, limit: Limit, stack: ExitStack, free_init: bool) -> Box:  # noqa: ARG001
    box = ContainerBox(limit, image, engine, f"thumbnailer-bench-{uuid4().hex[:8]}")
    remove = [engine, "rm", "--force", box.container]
    stack.callback(subprocess.run, remove, capture_output=True, timeout=60, check=False)
    return box


class ContainerBox(Box):
    """A container waits for its group: it has none before its command starts. Its limits always apply."""

    def __init__(self, limit: Limit, image: str, engine: str, container: str) -> None:
        super().__init__(limit, None)
        self.image, self.engine, self.container = image, engine, container

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
            *(f"--env={name}" for name in variables if name not in NOT_IN_CONTAINERS),
        ]
        outer = [f"{name}={os.environ[name]}" for name in PASSED_ON if name in os.environ]
        return ["env", *outer, self.engine, "run", "--rm", *options, self.image, *command]

    def limit_cpu(self) -> None:
        """Does nothing: the limit applies from the start."""

    def find_group(self) -> Group:
        deadline = time.monotonic() + START_SECONDS
        command = [self.engine, "inspect", "--format={{.State.Pid}}", self.container]
        while time.monotonic() < deadline:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
            if done.returncode == 0 and done.stdout.strip() not in ("", "0"):
                return group_of(int(done.stdout))
            time.sleep(0.02)
        raise NoLimits(f"{self.engine} does not start the container {self.container}")


def group_of(pid: int, root: Path = GROUPS) -> Group:
    """The control group of a process, for reading. Raises NoLimits."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError as error:
        raise NoLimits(f"the container has ended: {error.strerror}") from error
    entries = (line.split(":", 2) for line in lines)
    paths = {part: path.lstrip("/") for _, parts, path in entries for part in parts.split(",")}
    if "memory" in paths:
        return Group(1, *(root / part / paths[part] for part in ("memory", "cpu", "cpuacct")))
    return Group(2, *3 * (root / paths[""],))
