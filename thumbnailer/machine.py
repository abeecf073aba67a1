"""The size of the machine, of the container or of the Lambda environment that this process runs in."""

import os
from pathlib import Path

from thumbnailer.values import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """Memory and processors that this process may use. `cpus` is None on Lambda: its share follows from the memory."""

    memory_mb: int
    cpus: float | None


def machine(root: Path = Path("/")) -> Machine:
    """Lambda's memory size, else the control group's limits (v2 or v1), else the machine's own size."""
    configured = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    if configured.isdecimal():
        return Machine(int(configured), None)
    groups = root / "sys/fs/cgroup"
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read(groups / "memory.max") or _read(groups / "memory/memory.limit_in_bytes")
    memory = min(physical, int(limit) if limit.isdecimal() and int(limit) else physical)
    cores = float(len(os.sched_getaffinity(0)))
    return Machine(memory // (1024 * 1024), min(cores, _cpu_limit(groups) or cores))


def _cpu_limit(groups: Path) -> float | None:
    quota, _, period = _read(groups / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(groups / "cpu/cpu.cfs_quota_us"), _read(groups / "cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def _read(path: Path) -> str:
    """The file's text; empty if it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
