"""A memory control group of a test's own: version 1 or 2, whichever the machine has and lets us make groups in."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

V1 = Path("/sys/fs/cgroup/memory")
V2 = Path("/sys/fs/cgroup")
_numbers = count()


class NoControlGroups(Exception):
    """No group can be made here; the message says why."""


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """`procs` is the file that a process writes its id to in order to join."""

    path: Path
    version: int

    @property
    def procs(self) -> Path:
        return self.path / "cgroup.procs"

    @property
    def kills(self) -> int:
        """Processes that were killed because the group had no memory left."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        fields = dict(line.split() for line in (self.path / name).read_text().splitlines())
        return int(fields["oom_kill"])

    @property
    def peak(self) -> int | None:
        """The most bytes the group ever held, pages of files among them; None where the kernel does not say."""
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        with suppress(OSError):
            return int((self.path / name).read_text())
        return None


@contextmanager
def memory_group(limit: int) -> Iterator[MemoryGroup]:
    """A group of at most `limit` bytes, with no swap to go to. Raises NoControlGroups where none can be made."""
    group = _made()
    try:
        _limit(group, limit)
        yield group
    finally:
        _remove(group.path)


def _made() -> MemoryGroup:
    root, version = _root()
    path = root / f"thumbnailer-{os.getpid()}-{next(_numbers)}"
    try:
        path.mkdir()
    except OSError as error:
        raise NoControlGroups(f"no group can be made in {root}: {error.strerror}") from error
    return MemoryGroup(path, version)


def _root() -> tuple[Path, int]:
    if (V1 / "memory.limit_in_bytes").exists():
        return V1, 1
    controllers = V2 / "cgroup.subtree_control"
    if controllers.exists() and "memory" in controllers.read_text().split():
        return V2, 2
    raise NoControlGroups("neither version 1's memory controller nor version 2's is here")


def _limit(group: MemoryGroup, limit: int) -> None:
    try:
        if group.version == 1:
            (group.path / "memory.limit_in_bytes").write_text(str(limit))
            together = group.path / "memory.memsw.limit_in_bytes"  # memory and swap; only where swap is accounted for
            if together.exists():
                together.write_text(str(limit))
        else:
            (group.path / "memory.max").write_text(str(limit))
            (group.path / "memory.swap.max").write_text("0")
    except OSError as error:
        raise NoControlGroups(f"no limit can be set in {group.path}: {error.strerror}") from error


def _remove(path: Path) -> None:
    """A group is busy for a moment after its last process has ended."""
    for _ in range(100):
        with suppress(OSError):
            path.rmdir()
            return
        time.sleep(0.05)
    path.rmdir()
