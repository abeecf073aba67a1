"""The enclosure of a cell: a control group or a container.

Containers are for machines where the user cannot make control groups but can run podman or docker. They hold the
shipped image, so they can measure our own handler only, and their CPU limit also applies during the init.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from bench.rig.limits import GROUPS, LAMBDA_PERIOD_US, MB, Group, NoLimits, kind_of_limits, limited

ENTRY: Final = "/usr/local/bin/entry"
PASSED_ON: Final = ("HOME", "XDG_RUNTIME_DIR", "DOCKER_HOST")
"""variables of this machine that podman and docker need; the emulator's environment has the function's only"""
NOT_IN_CONTAINERS: Final = ("PATH", "TMPDIR", "LAMBDA_TASK_ROOT")


@dataclass(frozen=True, slots=True)
class Enclosure:
    """Makes control groups, or with an `engine` containers of `image`, which have no room for peers."""

    name: str
    engine: str = ""
    image: str = ""

    def hold(self, memory_mb: int, vcpus: float, period_us: int, cores: Sequence[int]) -> AbstractContextManager[Group]:
        """A group with the memory limit; a container has the CPU limit and the cores too. Raises NoLimits."""
        if not self.image:
            return limited(memory_mb * MB)
        options = [
            f"--memory={memory_mb}m",
            f"--memory-swap={memory_mb}m",
            f"--cpu-period={period_us}",
            f"--cpu-quota={round(vcpus * period_us)}",
            f"--cpuset-cpus={','.join(map(str, cores))}",
        ]
        return _container(self.engine, self.image, options)


def find_enclosure(image: str | None) -> Enclosure:
    """Control groups, or containers of an image. Raises NoLimits."""
    if image is None:
        return Enclosure(kind_of_limits())
    engine = shutil.which("podman") or shutil.which("docker")
    if engine is None:
        raise NoLimits("neither podman nor docker is installed: install one, or measure without --container")
    if _run(engine, "image", "inspect", image).returncode != 0:
        raise NoLimits(f"{engine} has no image {image}: `make image` builds one")
    return Enclosure(f"{Path(engine).name}, image {image}", engine, image)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603


@dataclass(frozen=True, slots=True)
class Container(Group):
    """The group of a running container."""

    engine: str
    name: str

    def command(self, command: Sequence[str], cores: Sequence[int] = (), variables: Iterable[str] = ()) -> list[str]:  # noqa: ARG002
        """A command line that starts the command inside, with these variables of the caller."""
        outer = [f"{name}={os.environ[name]}" for name in PASSED_ON if name in os.environ]
        inner = [f"--env={name}" for name in variables if name not in NOT_IN_CONTAINERS]
        return ["env", *outer, self.engine, "exec", *inner, self.name, ENTRY, *command]

    def limit_cpu(self, vcpus: float, period_us: int = LAMBDA_PERIOD_US) -> None:
        """Does nothing: the limit applies from the start."""


@contextmanager
def _container(engine: str, image: str, limits: Sequence[str]) -> Iterator[Container]:
    """A container that sleeps until commands come. Raises NoLimits."""
    name = f"thumbnailer-bench-{uuid4().hex[:8]}"
    options = [f"--name={name}", "--network=host", *limits, "--stop-signal=KILL", "--entrypoint=sleep"]
    try:
        started = _run(engine, "run", "--detach", *options, image, "infinity")
        if started.returncode:
            raise NoLimits(f"{engine} does not start a container: {started.stderr.strip()[-500:]}")
        group = group_of(int(_run(engine, "inspect", "--format={{.State.Pid}}", name).stdout))
        yield Container(group.memory, group.cpu, group.cpuacct, engine, name)
    finally:
        _run(engine, "rm", "--force", name)


def group_of(pid: int, root: Path = GROUPS) -> Group:
    """The control group of a process, for reading. Raises NoLimits."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError as error:
        raise NoLimits(f"the container has ended: {error.strerror}") from error
    entries = (line.split(":", 2) for line in lines)
    paths = {part: path.lstrip("/") for _, parts, path in entries for part in parts.split(",")}
    if "memory" in paths:
        return Group(*(root / part / paths[part] for part in ("memory", "cpu", "cpuacct")))
    return Group(*3 * (root / paths[""],))
