"""What a child process takes beside its picture, against what the pipeline sets aside for it."""

from __future__ import annotations

import os
import pickle
import subprocess
from pathlib import Path

import pytest

from bench.rig.limits import NoLimits, limited
from tests.tools.peak import plan_for
from thumbnailer.errors import Rejected
from thumbnailer.execution.attempt import Attempt
from thumbnailer.execution.child import BEGUN, Request
from thumbnailer.execution.isolated import command, cpu_seconds
from thumbnailer.model import EngineName
from thumbnailer.planning.memory import CHILD, MB

SAMPLES = Path(__file__).parents[2] / "handler" / "demo" / "samples"
PICTURES = sorted(path.name for path in SAMPLES.iterdir() if path.suffix != ".md")


@pytest.mark.parametrize("bytecode", [True, False], ids=["bytecode", "no-bytecode"])
@pytest.mark.parametrize("engine", list(EngineName))
@pytest.mark.parametrize("name", PICTURES)
def test_a_child_with_its_picture_takes_no_more_than_is_set_aside_for_both(
    name: str, engine: EngineName, bytecode: bool, tmp_path: Path
) -> None:
    """By the kernel's own count: what the process holds for itself, and the pages of files that it is first to read."""
    path = str(SAMPLES / name)
    try:
        plan = plan_for(path, engine, "128x128")
    except Rejected:
        pytest.skip(f"{engine} does not read it")
    environment = os.environ | (
        {} if bytecode else {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    )
    request = pickle.dumps(Request(Attempt(path, plan), cpu_seconds(plan), os.getpid()))
    try:
        with limited(512 * MB) as group:
            done = subprocess.run(
                group.joining(command()), input=request, env=environment, capture_output=True, check=False, timeout=60
            )
            peak = group.peak
    except NoLimits as reason:
        pytest.skip(f"no memory can be counted: {reason}")
    if peak is None:
        pytest.skip("this kernel does not say how much it was")
    assert (done.returncode, done.stdout[:1], done.stderr) == (0, BEGUN, b"")
    print(f"{name} in {engine}: {peak / MB:.1f} MB, of the picture at most {plan.memory_estimate / MB:.1f}")
    assert peak <= CHILD + plan.memory_estimate
