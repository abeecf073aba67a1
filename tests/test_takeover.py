"""THUMBNAILER_ISOLATION=always: a decoder that an attacker took over reaches nothing but its own picture."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.crashing import PYTHONPATH, children, takeover
from tests.support.jpeg_xl import HEIGHT, WIDTH, lossless
from tests.support.pipelines import built, created, reasons, run, store_with, until
from thumbnailer.execution import isolated
from thumbnailer.model import Outcome, Status
from thumbnailer.planning.memory import CHILD

PLATFORM = """
import json, sys
from thumbnailer.execution import sandbox
print(json.dumps(sandbox.enter([], "/tmp")))
"""


@pytest.fixture(scope="module")
def refused() -> list[str]:
    """The protections that this platform does not have."""
    done = subprocess.run([sys.executable, "-c", PLATFORM], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


@pytest.fixture(autouse=True)
def acting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Children have the engines of `tests.crashing`, this process has credentials. No child outlives a test."""
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    yield
    assert children() == set()


def outcomes(data: bytes, *keys: str) -> dict[str, Outcome]:
    """One record after the other, in one pipeline."""

    async def work() -> dict[str, Outcome]:
        app = built(await store_with(dict.fromkeys(keys, data)), ISOLATION="always")
        found = {key: await app.pipeline.process(created(key)) for key in keys}
        await app.pipeline.aclose()
        assert app.pipeline.renderer.memory.reserved == 0
        return found

    return run(work())


def child_runs_first(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    python, option, start = isolated.command()
    monkeypatch.setattr(isolated, "command", lambda: (python, option, start.replace(";", f"; {code};", 1)))


WITHOUT = """
from thumbnailer.execution import sandbox
def refuse(*_): raise OSError(1, "forbidden")
sandbox.{step} = refuse
"""


@pytest.mark.matrix(59)
@pytest.mark.parametrize("missing", ["nothing", "Landlock", "seccomp"])
def test_a_decoder_that_is_taken_over_reaches_nothing(
    samples: dict[str, bytes], refused: list[str], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Also where the platform refuses Landlock or seccomp, except for what only these two protect."""
    step = {"Landlock": "_restrict_files", "seccomp": "_restrict_calls"}.get(missing)
    if step:
        child_runs_first(monkeypatch, f"exec({WITHOUT.format(step=step)!r})")
    (outcome,) = outcomes(samples["rocket.jpg"], "escape.jpg").values()
    unprotected: set[str] = set()
    gone = []
    for protection, attempts in {"seccomp": takeover.BY_SECCOMP, "Landlock": takeover.BY_LANDLOCK}.items():
        if protection == missing or any(line.startswith(protection) for line in refused):
            print(f"not available here: {protection}")
            gone.append(protection)
            unprotected |= attempts.keys()
    unprotected |= takeover.BY_EITHER.keys() if len(gone) > 1 else set()
    assert outcome.reason == "unsupported-format"
    reached = (outcome.detail or "").removeprefix("reached: ").split(", ")
    assert set(filter(None, reached)) <= unprotected


def test_a_child_cannot_become_another_program(samples: dict[str, bytes], refused: list[str]) -> None:
    if any("seccomp" in line for line in refused) and any("Landlock" in line for line in refused):
        pytest.skip("this platform has neither seccomp nor Landlock")
    assert reasons(outcomes(samples["rocket.jpg"], "replace.jpg").values()) == {"replace.jpg": "stored"}


def test_every_attempt_succeeds_without_isolation(tmp_path: Path) -> None:
    """Else the test above would show nothing."""
    code = """
from tests.crashing import takeover
attempts = takeover.BY_SECCOMP | takeover.BY_LANDLOCK | takeover.BY_EITHER | takeover.ALWAYS
for name in ("a program", "a debugger", "io_uring"):
    del attempts[name]
for name, attempt in attempts.items():
    attempt()
"""
    source = tmp_path / "source"
    source.write_bytes(b"x")
    with source.open("rb"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("key", ["forge.jpg", "pickle.jpg"])
def test_a_forged_answer_rejects_its_picture_and_runs_nothing(samples: dict[str, bytes], key: str) -> None:
    found = outcomes(samples["rocket.jpg"], key, "good.jpg")
    assert reasons(found.values()) == {key: "rejected:engine-crash", "good.jpg": "stored"}
    assert "unreadable answer" in (found[key].detail or "")
    assert not Path("/tmp/taken-over").exists()


def test_one_child_decodes_many_pictures_and_a_dead_one_is_replaced(samples: dict[str, bytes]) -> None:
    async def work() -> None:
        keys = ["good-1.jpg", "good-2.jpg", "crash.jpg", "good-3.jpg", "good-4.jpg"]
        app = built(await store_with(dict.fromkeys(keys, samples["rocket.jpg"])), ISOLATION="always")
        found, seen = [], []
        for key in keys:
            found.append(await app.pipeline.process(created(key)))
            seen.append(children())
        first, second, crashed, third, fourth = seen
        assert first == second
        assert crashed == set()
        assert third == fourth != first
        os.kill(third.pop(), signal.SIGKILL)  # an idle one
        await until(lambda: not children())
        found.append(await app.pipeline.process(created("good-1.jpg")))
        assert [outcome.status for outcome in found].count(Status.STORED) == 5
        await app.pipeline.aclose()

    run(work())


def test_a_child_is_replaced_after_its_last_picture(samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "MOST_PICTURES", 2)

    async def work() -> None:
        app = built(await store_with({"x.jpg": samples["rocket.jpg"]}), ISOLATION="always")
        seen = []
        for _ in range(3):
            await app.pipeline.process(created("x.jpg"))
            seen.append(len(children()))
        assert seen == [1, 0, 1]
        await app.pipeline.aclose()

    run(work())


def test_limits_are_renewed_for_each_picture(samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times 1.2 s of CPU time under a limit of 2 s."""
    monkeypatch.setattr(isolated, "cpu_seconds", lambda plan: 2)
    found = outcomes(samples["rocket.jpg"], "busy-1.jpg", "busy-2.jpg", "busy-3.jpg", "loop.jpg")
    assert [outcome.status for outcome in found.values()] == [Status.STORED] * 3 + [Status.REJECTED]
    assert "more than 2 s of CPU time" in (found["loop.jpg"].detail or "")


def test_a_decoder_that_takes_memory_without_end_is_stopped(samples: dict[str, bytes]) -> None:
    found = outcomes(samples["rocket.jpg"], "hog.jpg", "good.jpg")
    assert reasons(found.values()) == {"hog.jpg": "rejected:engine-crash", "good.jpg": "stored"}
    assert "several times its estimated memory" in (found["hog.jpg"].detail or "")


def test_libraries_that_are_loaded_late_find_addresses() -> None:
    """JPEG XL needs numpy, a smart crop libvips: together 200 MB of addresses for a picture of 64 x 40."""
    pytest.importorskip("pylibjxl")
    data = lossless(np.zeros((HEIGHT, WIDTH, 3), np.uint8))

    async def work() -> Outcome:
        app = built(await store_with({"x.jxl": data}), ISOLATION="always", RENDITIONS="16x16:smart:webp")
        outcome = await app.pipeline.process(created("x.jxl"))
        await app.pipeline.aclose()
        return outcome

    assert run(work()).status is Status.STORED


def test_always_leaves_room_for_the_children(samples: dict[str, bytes]) -> None:
    async def budgets() -> list[int]:
        store = await store_with({})
        return [built(store, 3008, ISOLATION=value).tier.memory_budget for value in ("redelivered", "always")]

    usual, smaller = run(budgets())
    assert usual - smaller == 2 * CHILD


def test_missing_protections_are_logged_once(
    samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    child_runs_first(
        monkeypatch, "from thumbnailer.execution import sandbox; sandbox.enter = lambda *_: ['seccomp: forbidden']"
    )
    isolated._warn.cache_clear()
    with caplog.at_level(logging.WARNING):
        found = outcomes(samples["rocket.jpg"], "good-1.jpg", "crash.jpg", "good-2.jpg")
    assert reasons(found.values()) == {
        "good-1.jpg": "stored", "crash.jpg": "rejected:engine-crash", "good-2.jpg": "stored"
    }  # fmt: skip
    (record,) = [record for record in caplog.records if record.getMessage() == "isolation-limited"]
    assert record.__dict__["line"] == {"detail": "this platform refuses seccomp: forbidden"}


def test_a_cancelled_record_ends_its_child(samples: dict[str, bytes]) -> None:
    async def work() -> None:
        app = built(await store_with({"wait.jpg": samples["rocket.jpg"]}), ISOLATION="always")
        deadline = asyncio.get_running_loop().time() + 1.5
        outcome = await app.pipeline.process(created("wait.jpg"), deadline)
        assert (outcome.status, children()) == (Status.DEFERRED, set())
        await app.pipeline.aclose()

    run(work())
