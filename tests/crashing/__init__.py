"""Engines that crash, hang or eat memory, for child processes and for whole ones."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PYTHONPATH = os.pathsep.join((str(FOLDER), str(ROOT)))
"""A Python started with this PYTHONPATH uses the engines of `sitecustomize`."""


def children(pid: int | None = None) -> set[int]:
    """Child processes with a session of their own, like decoding children; zombies included.

    Servers and pools of other tests share the session of their parent.
    """
    found: set[int] = set()
    for task in Path(f"/proc/{pid or os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # threads may end during the loop
            found |= set(map(int, (task / "children").read_text().split()))
    return {child for child in found if _session(child) == child}


def _session(pid: int) -> int | None:
    """Session of a process, dead or alive (proc(5), stat, field 6); None without a process."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])
    return None


def alive(pid: int) -> bool:
    """A zombie is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def waits(pid: int) -> bool:
    """Whether the process is in `sitecustomize.wait`."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text() == "waiting\n"
    return False


def open_pipes() -> int:
    """Ends of pipes and local sockets: uvloop uses sockets as pipes."""
    return sum(target.startswith(("pipe:", "socket:")) for target in _open_to())


def _open_to() -> Iterator[str]:
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of the listing itself
            yield os.readlink(link)


def eventually(condition: object, seconds: float = 20.0) -> bool:
    """Whether the condition becomes true within `seconds`."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())
