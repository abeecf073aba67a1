"""Runs the image with the script that builds it (deploy/image)."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from bench.rig.emulator import Function, find_binary
from tests.support.emulator import Emulator

ROOT: Final = Path(__file__).parents[2]
SCRIPT: Final = str(ROOT / "deploy" / "image")
IMAGE: Final = os.environ.get("THUMBNAILER_TEST_IMAGE", "")
SITE: Final = "/opt/thumbnailer/lib/python3*/site-packages"
LAMBDA_512_MB: Final = (
    "--memory=512m",
    "--memory-swap=512m",
    "--cpu-period=20000",
    f"--cpu-quota={20000 * 512 // 1769}",
)
"""A Lambda of 512 MB: 512/1769 of a core, in slices of 20 ms, and no swap."""
MEMORY_LIMIT: Final = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max")
MEMORY_PEAK: Final = ("/sys/fs/cgroup/memory/memory.max_usage_in_bytes", "/sys/fs/cgroup/memory.peak")
"""Inside a container; control groups of version 1 and of version 2."""

MOST_RESIDENT: Final = "grep -h VmHWM /proc/[0-9]*/status"


def run(*command: str, options: Sequence[str] = (), fails: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs a command in a new container. It must exit with 0, unless it `fails`."""
    started = [SCRIPT, "run", "--network=host", *options, IMAGE, *command]
    ended = subprocess.run(started, capture_output=True, text=True, timeout=110, check=False)
    assert fails or ended.returncode == 0, f"{command} ended with {ended.returncode}: {ended.stdout}{ended.stderr}"
    return ended


def shell(script: str) -> str:
    """The output of a shell in the image, as root, who may read everything."""
    return run("sh", "-c", script, options=["--user=0"]).stdout


def engine(*arguments: str) -> str:
    """podman or docker itself."""
    return subprocess.run([SCRIPT, "engine", *arguments], capture_output=True, text=True, timeout=60, check=True).stdout


def config() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(engine("image", "inspect", IMAGE))[0]["Config"]
    return found


def export(to: Path) -> None:
    """The files of the image's layers, as a tar archive."""
    container = engine("create", IMAGE).strip()
    try:
        engine("export", f"--output={to}", container)
    finally:
        engine("rm", container)


class Running:
    """A container in which the emulator runs the image's default command."""

    def __init__(self, name: str, emulator: Emulator) -> None:
        self._name = name
        self.emulator = emulator

    def number(self, *paths: str) -> int:
        """The number in the first of these files that exists."""
        return int(self._shell(" || ".join(f"cat {path} 2>/dev/null" for path in paths)).split()[0])

    def most_resident(self) -> int:
        """The peak resident bytes of the function's process, by far the largest in the container."""
        return max(int(line.split()[1]) * 1024 for line in self._shell(MOST_RESIDENT).splitlines())

    def _shell(self, script: str) -> str:
        return engine("exec", self._name, "sh", "-c", script)


@contextmanager
def function_in_container(
    function: Function, folder: Path, options: Sequence[str] = (), command: Sequence[str] = ()
) -> Iterator[Running]:
    """Runs the image's default command, or another, under the emulator with Lambda's limits. Raises NotInstalled."""
    container, inside = f"thumbnailer-test-{uuid4().hex[:8]}", "/usr/local/bin/aws-lambda-rie"
    # The image's own PATH holds inside; of the host's variables, those that podman and docker look at hold outside.
    inner = [f"--env={name}" for name in function.environment() if name not in ("PATH", "LAMBDA_TASK_ROOT")]
    outer = [f"{name}={os.environ[name]}" for name in ("HOME", "XDG_RUNTIME_DIR", "DOCKER_HOST") if name in os.environ]
    mounted = f"--volume={find_binary()}:{inside}:ro"
    own = [f"--name={container}", "--network=host", mounted, f"--entrypoint={inside}", *inner, *LAMBDA_512_MB]
    script = folder / "emulator"
    script.write_text(f'#!/bin/sh\nexec env {shlex.join([*outer, SCRIPT, "run", *own, *options, IMAGE])} "$@"\n')
    script.chmod(0o755)
    remove = [SCRIPT, "engine", "rm", "--force", container]
    with ExitStack() as stack:
        stack.callback(subprocess.run, remove, capture_output=True, timeout=60, check=False)
        started = replace(function, command=command or [*config()["Entrypoint"], *config()["Cmd"]])
        emulator = Emulator(started, str(script), folder / "log")
        stack.callback(emulator.close)
        yield Running(container, emulator)
