"""Modules and memory of a cold start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from thumbnailer.planning.tier import IDLE_MB

ROOT = Path(__file__).parents[2]
HEAVY = (
    "thumbnailer_jpeg",
    "boto3",
    "botocore",
    "aiohttp",
    "aioboto3",
    "PIL",
    "pyvips",
    "prometheus_client",
    "rich",
    "typer",
)
SCRIPT = f"""
import sys
import {{module}}
loaded = sorted(name for name in sys.modules if name.partition(".")[0] in {HEAVY!r})
print(*loaded)
sys.exit(1 if loaded else 0)
"""
PURE = (
    "thumbnailer.model",
    "thumbnailer.errors",
    "thumbnailer.renditions",
    "thumbnailer.events",
    "thumbnailer.formats",
    "thumbnailer.formats.exif",
    "thumbnailer.planning.tier",
    "thumbnailer.planning.capabilities",
    "thumbnailer.store.base",
    "thumbnailer.planning.plan",
    "thumbnailer.reporting.notes",
    "thumbnailer.machine",
    "thumbnailer.settings",
    "thumbnailer.reporting.metrics",
    "thumbnailer.reporting.logs",
    "handler.envelope",
)


def imported_alone(module: str) -> subprocess.CompletedProcess[str]:
    script = SCRIPT.format(module=module)
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["handler.aws_lambda", *PURE])
def test_a_module_imports_nothing_that_only_some_starts_need(module: str) -> None:
    ended = imported_alone(module)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, "", "")


IDLE = r"""
import re
import handler.aws_lambda, pillow_heif, thumbnailer.store.obstore_
from PIL import Image
from thumbnailer.engine import load_engine
from thumbnailer.engine import installed_engines
for name in installed_engines():
    load_engine(name)
Image.init()
print(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
"""


def test_a_process_with_everything_loaded_fits_into_the_tier_s_reserve() -> None:
    """In KiB, of this process only: `ru_maxrss` would include its parent before the exec."""
    child = subprocess.run([sys.executable, "-c", IDLE], capture_output=True, text=True, timeout=60, check=False)
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) // 1024 <= IDLE_MB
