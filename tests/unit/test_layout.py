"""What a cold start must not pay for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("boto3", "botocore", "aiohttp", "aioboto3", "PIL", "pyvips", "prometheus_client", "rich", "typer")
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
    "thumbnailer.probe",
    "thumbnailer.exif",
    "thumbnailer.tier",
    "thumbnailer.costs",
    "thumbnailer.objects",
    "thumbnailer.plan",
    "thumbnailer.notes",
    "thumbnailer.settings",
    "thumbnailer.metrics",
    "thumbnailer.logs",
    "handler.envelope",
    "handler.partial",
)


def imported_alone(module: str) -> subprocess.CompletedProcess[str]:
    script = SCRIPT.format(module=module)
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["handler.aws_lambda", *PURE])
def test_importing_it_loads_nothing_that_is_not_used_at_every_start(module: str) -> None:
    ended = imported_alone(module)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, "", "")
