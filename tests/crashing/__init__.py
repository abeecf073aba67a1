"""Engines that crash, hang or eat memory, for child processes and for whole ones."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PYTHONPATH = os.pathsep.join((str(FOLDER), str(ROOT)))
"""Makes any Python that is started with it take the engines of `sitecustomize`."""


def children(pid: int | None = None) -> set[int]:
    """The processes that a process has started, dead ones that were not waited for among them."""
    tasks = Path(f"/proc/{pid or os.getpid()}/task")
    return {int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()}


def alive(pid: int) -> bool:
    """Dead, though perhaps not waited for by whoever has to, is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def open_files() -> list[str]:
    """What the file descriptors of this process are open to."""
    return sorted(_targets())


def _targets() -> Iterator[str]:
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:  # the listing's own
            continue
        yield target.partition(":")[0]


def eventually(condition: object, seconds: float = 20.0) -> bool:
    """Whether it comes to hold."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())
