"""The memory of a child process is within the reserve that the pipeline sets aside for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.rig.limits import Group, NoLimits, limited
from tests.support.pictures import SAMPLES
from tests.support.pipelines import run
from tests.tools.peak import plan_for
from thumbnailer.errors import Rejected
from thumbnailer.execution import isolated
from thumbnailer.execution.attempt import Attempt
from thumbnailer.model import EngineName
from thumbnailer.planning.memory import CHILD, MB

pytestmark = pytest.mark.lab


def peak_of(group: Group) -> int | None:
    """The most bytes that the group ever held, page cache included; None if the kernel does not say."""
    path = group.memory / ("memory.peak" if group.version == 2 else "memory.max_usage_in_bytes")
    return int(path.read_text()) if path.exists() else None


@pytest.mark.parametrize("bytecode", [True, False], ids=["bytecode", "no-bytecode"])
@pytest.mark.parametrize("picture", SAMPLES, ids=lambda path: path.name)
def test_a_child_stays_within_its_reserve(
    picture: Path, engine: EngineName, bytecode: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel counts the memory of the process and the file pages that it is the first to read."""
    path = str(picture)
    try:
        plan = plan_for(path, engine, "128x128")
    except Rejected:
        pytest.skip(f"{engine} does not read this format")
    environment = {} if bytecode else {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    start = isolated.command()
    try:
        with limited(512 * MB) as group:
            monkeypatch.setattr(isolated, "command", lambda: group.command(start))
            run(isolated.Children(keep=False).render(Attempt(path, plan)))
            peak = peak_of(group)
    except NoLimits as reason:
        pytest.skip(f"no memory limit can be set: {reason}")
    if peak is None:
        pytest.skip("this kernel does not report the peak")
    print(f"{picture.name} in {engine}: {peak / MB:.1f} MB, estimate {plan.memory_estimate / MB:.1f} MB")
    assert peak <= CHILD + plan.memory_estimate
