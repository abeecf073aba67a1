"""Pictures decoded in a child process: the same thumbnails, and an outcome for those that crash or hang it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import features

from bench.rig.limits import NoLimits, limited
from tests.conftest import scratch_files
from tests.crashing import PYTHONPATH, alive, children, eventually, open_pipes, waits
from tests.support.pipelines import built, created, read, real_pipeline, reasons, run, store_with, until
from tests.support.processing import stored_objects
from thumbnailer.execution import isolated
from thumbnailer.model import Outcome, Status
from thumbnailer.planning.memory import CHILD, MB
from thumbnailer.planning.tier import tier_for


@pytest.fixture
def acting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children have the engines of `tests.crashing`; this process has the real ones."""
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)


@pytest.fixture(scope="module")
def _first_child() -> None:
    """Starts the first child of this process, for which libuv opens a signal pipe that stays open."""

    async def work() -> None:
        await (await asyncio.create_subprocess_exec("true")).wait()

    run(work())


@pytest.fixture(autouse=True)
def nothing_is_left(_first_child: None) -> Iterator[None]:
    """No process, living or dead, no pipe, no scratch file."""
    pipes = open_pipes()
    before = children()
    yield
    assert children() <= before
    assert open_pipes() <= pipes
    assert scratch_files() == set()


def processed(data: bytes, key: str, seconds: float | None = None, is_isolated: bool = True) -> Outcome:
    async def work() -> Outcome:
        pipeline = built(await store_with({key: data})).pipeline
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        outcome = await pipeline.process(created(key), deadline, is_isolated)
        await pipeline.aclose()
        return outcome

    return run(work())


# --- good pictures ------------------------------------------------------------------------------------------------

RENDITIONS = "128x128,s=300x200:cover:webp,a=64x64:smart:avif"


AVIF = features.check("avif") is True
"""False with Pillow-SIMD: then the formats that only Pillow reads cannot become AVIF."""


@pytest.mark.parametrize("engine", ["vips", "pillow"])
def test_a_child_makes_the_same_bytes_as_a_thread(samples: dict[str, bytes], engine: str) -> None:
    half = samples["rocket.jpg"][: len(samples["rocket.jpg"]) * 3 // 4]
    objects = {key: samples[key] for key in ("chelsea.png", "china.webp", "retina.heic")} | {"half.jpg": half}
    if not AVIF:
        objects = {key: data for key, data in objects.items() if key not in ("retina.heic", "half.jpg")}

    async def work(is_isolated: bool) -> tuple[list[Outcome], dict[str, bytes]]:
        store = await store_with(objects)
        pipeline = built(store, RENDITIONS=RENDITIONS, ENGINE=engine, THUMBHASH="on").pipeline
        indexes = range(len(objects)) if is_isolated else ()
        outcomes = await pipeline.process_all([created(key) for key in objects], isolated=indexes)
        await pipeline.aclose()
        return outcomes, await stored_objects(store, outcomes)

    (in_threads, expected), (in_children, found) = run(work(False)), run(work(True))
    assert {outcome.status for outcome in in_threads} == {Status.STORED}
    assert found == expected
    assert len(found) == 3 * len(objects)
    for thread, child in zip(in_threads, in_children, strict=True):
        assert replace(child, timings=()) == replace(thread, timings=())


@pytest.mark.usefixtures("acting")
def test_output_of_a_library_does_not_corrupt_the_answer(samples: dict[str, bytes]) -> None:
    assert processed(samples["rocket.jpg"], "chat.jpg").status is Status.STORED


def test_an_unreadable_picture_is_rejected_as_in_a_thread(samples: dict[str, bytes]) -> None:
    broken = samples["rocket.jpg"][:2000]
    child, thread = (processed(broken, "x.jpg", is_isolated=value) for value in (True, False))
    assert (child.status, child.reason, child.detail) == (thread.status, thread.reason, thread.detail)
    assert (child.status, child.reason) == (Status.REJECTED, "corrupt")


# --- pictures that kill their child -------------------------------------------------------------------------------


DEADLY = {
    "crash.jpg": "SIGSEGV",
    "abort.jpg": "SIGABRT; malloc(): corrupted top size",
    "leave.jpg": "exit code 1",
    "loop.jpg": "more than 2 s of CPU time",
}


@pytest.fixture
def limited_to_2_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "cpu_seconds", lambda plan: 2)


@pytest.mark.matrix(21)
@pytest.mark.usefixtures("acting", "limited_to_2_seconds")
def test_a_picture_that_kills_its_child_is_rejected_with_a_note_and_the_others_are_stored(
    samples: dict[str, bytes],
) -> None:
    """Good pictures are decoded at the same time in threads and in children."""
    good = {f"good-{number}.jpg": samples["rocket.jpg"] for number in range(6)}
    objects = dict.fromkeys(DEADLY, samples["rocket.jpg"]) | good

    async def work() -> tuple[list[Outcome], dict[str, Any]]:
        store = await store_with(objects)
        pipeline = built(store).pipeline
        outcomes = await pipeline.process_all([created(key) for key in objects], isolated=range(len(DEADLY) + 3))
        await pipeline.aclose()
        return outcomes, {key: json.loads(await read(store, f"_failed/{key}.json")) for key in DEADLY}

    outcomes, notes = run(work())
    assert reasons(outcomes) == dict.fromkeys(DEADLY, "rejected:engine-crash") | dict.fromkeys(good, "stored")
    for outcome in outcomes[: len(DEADLY)]:
        assert DEADLY[outcome.event.key] in (outcome.detail or "")
        note = notes[outcome.event.key]
        assert (note["reason"], note["detail"]) == ("engine-crash", outcome.detail)


@pytest.mark.matrix(21)
@pytest.mark.usefixtures("acting", "limited_to_2_seconds")
def test_a_picture_whose_decoder_blocks_is_rejected(samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "WALL_PER_CPU", 2)
    outcome = processed(samples["rocket.jpg"], "wait.jpg")
    assert (outcome.status, outcome.reason) == (Status.REJECTED, "engine-crash")
    assert "not finished after 4 s" in (outcome.detail or "")


@pytest.mark.usefixtures("acting")
def test_a_bug_in_an_engine_is_retried_as_in_a_thread(samples: dict[str, bytes]) -> None:
    outcome = processed(samples["rocket.jpg"], "stumble.jpg")
    assert (outcome.status, outcome.reason) == (Status.FAILED, "engine-crash")
    assert outcome.detail == "internal error: KeyError: 'unknown'"


@pytest.mark.parametrize("python", ["/nowhere/python", "/bin/false"], ids=["not started", "dies before it begins"])
def test_a_child_that_dies_before_it_begins_does_not_reject_its_picture(
    samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    outcome = processed(samples["rocket.jpg"], "x.jpg")
    assert (outcome.status, outcome.reason) == (Status.FAILED, "engine-crash")


WITHOUT_PROC = """
from pathlib import Path
def refuse(*_):
    raise PermissionError("/proc is read-only")
Path.write_text = refuse
"""


def test_a_child_works_where_proc_is_read_only(samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    python, option, code = isolated.command()
    monkeypatch.setattr(isolated, "command", lambda: (python, option, WITHOUT_PROC + code))
    assert processed(samples["rocket.jpg"], "x.jpg").status is Status.STORED


@pytest.mark.usefixtures("acting")
def test_a_child_stopped_by_a_signal_does_not_reject_its_picture(samples: dict[str, bytes]) -> None:
    async def work() -> Outcome:
        pipeline = built(await store_with({"wait.jpg": samples["rocket.jpg"]})).pipeline
        before = children()
        task = asyncio.create_task(pipeline.process(created("wait.jpg"), isolated=True))
        child = await waiting_child(before)
        os.kill(child, signal.SIGTERM)
        outcome = await task
        await pipeline.aclose()
        return outcome

    assert run(work()).status is Status.FAILED


# --- deadlines and leaks ------------------------------------------------------------------------------------------


async def waiting_child(before: set[int]) -> int:
    """The new child, once it decodes its picture."""
    while not (found := [child for child in children() - before if waits(child)]):
        await asyncio.sleep(0.01)
    return found[0]


@pytest.mark.matrix(47)
@pytest.mark.usefixtures("acting")
@pytest.mark.parametrize("key", ["wait.jpg", "loop.jpg"])
def test_at_its_deadline_a_child_is_killed_and_its_record_deferred(samples: dict[str, bytes], key: str) -> None:
    outcome = processed(samples["rocket.jpg"], key, seconds=1.2)
    assert (outcome.status, outcome.reason) == (Status.DEFERRED, "out-of-time")
    assert children() == set()


@pytest.mark.usefixtures("acting")
def test_a_record_cancelled_at_any_moment_leaves_nothing(samples: dict[str, bytes]) -> None:
    """From before the child starts until it decodes."""

    async def work() -> None:
        app = built(await store_with({"wait.jpg": samples["rocket.jpg"]}))
        for step in range(16):
            task = asyncio.create_task(app.pipeline.process(created("wait.jpg"), isolated=True))
            await asyncio.sleep(step * 0.02)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await asyncio.sleep(0)
        await until(lambda: not children())
        assert app.pipeline.renderer.memory.reserved == 0
        await app.pipeline.aclose()

    run(work())


PARENT = """
import asyncio, sys
from tests.support.pipelines import built, created, run, store_with
async def work():
    data = open(sys.argv[1], "rb").read()
    pipeline = built(await store_with({"wait.jpg": data})).pipeline
    await pipeline.process(created("wait.jpg"), isolated=True)
run(work())
"""


@pytest.mark.usefixtures("acting")
def test_a_child_dies_with_its_parent(samples: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(samples["rocket.jpg"])
    env = os.environ | {"TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "x.jpg")], env=env)
    try:
        assert eventually(lambda: children(parent.pid))
        (child,) = children(parent.pid)
        assert eventually(lambda: waits(child))
        assert alive(child)
    finally:
        parent.kill()
        parent.wait()
    assert eventually(lambda: not alive(child))


# --- memory -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("acting")
@pytest.mark.parametrize(
    ("workers", "budget", "expected"), [(3, None, 3), (3, 2 * CHILD + 2 * 5 * MB, 2), (1, None, 1)]
)
def test_children_are_limited_by_workers_and_memory(
    samples: dict[str, bytes], tmp_path: Path, workers: int, budget: int | None, expected: int
) -> None:
    keys = [f"wait-{number}.jpg" for number in range(4)]

    async def work() -> None:
        tier = tier_for(workers * 1769)
        assert tier.workers == workers
        tier = replace(tier, memory_budget=budget or tier.memory_budget)
        pipeline = real_pipeline(await store_with(dict.fromkeys(keys, samples["rocket.jpg"])), str(tmp_path), tier)
        task = asyncio.create_task(pipeline.process_all([created(key) for key in keys], isolated=range(len(keys))))
        await until(lambda: sum(map(waits, children())) == expected)
        await asyncio.sleep(0.2)  # a child too many would start now
        assert len(children()) == expected
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await pipeline.aclose()

    run(work())


def test_a_thread_decodes_if_a_child_does_not_fit_beside_its_picture(
    samples: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel would kill the child for its memory, however good the picture is."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    async def work(memory_budget: int) -> Status:
        tier = replace(tier_for(3008), memory_budget=memory_budget)
        pipeline = real_pipeline(await store_with({"x.jpg": samples["rocket.jpg"]}), str(tmp_path), tier)
        outcome = await pipeline.process(created("x.jpg"), isolated=True)
        await pipeline.aclose()
        return outcome.status

    assert run(work(CHILD)) is Status.STORED
    assert run(work(CHILD + 100 * MB)) is Status.FAILED


IN_GROUP = """
ballast = b"x" * (120 << 20)
import asyncio, json, sys
from pathlib import Path
from tests.support.pipelines import built, created, reasons, run, store_with
async def work():
    keys = ["hog-1.jpg", "good-1.jpg", "hog-2.jpg", "good-2.jpg"]
    pipeline = built(await store_with(dict.fromkeys(keys, Path(sys.argv[1]).read_bytes())), 256).pipeline
    outcomes = await pipeline.process_all([created(key) for key in keys], isolated=(0, 1, 2))
    await pipeline.aclose()
    print(json.dumps([reasons(outcomes), outcomes[0].detail]))
run(work())
"""


@pytest.mark.matrix(38)
@pytest.mark.usefixtures("acting")
def test_a_decoder_that_takes_all_memory_is_killed_but_not_its_parent(
    samples: dict[str, bytes], tmp_path: Path
) -> None:
    """The parent is larger than the child, so by size the kernel would kill the parent."""
    (tmp_path / "x.jpg").write_bytes(samples["rocket.jpg"])
    env = os.environ | {"TMPDIR": str(tmp_path)}
    try:
        with limited(256 * MB) as group:
            command = group.command([sys.executable, "-c", IN_GROUP, str(tmp_path / "x.jpg")])
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)
            kills = group.kills
    except NoLimits as reason:
        pytest.skip(f"no memory limit can be set: {reason}")
    assert (done.returncode, done.stderr, kills) == (0, "", 2)
    outcomes, detail = json.loads(done.stdout)
    bad, good = "rejected:engine-crash", "stored"
    assert outcomes == {"hog-1.jpg": bad, "good-1.jpg": good, "hog-2.jpg": bad, "good-2.jpg": good}
    assert "SIGKILL" in detail
    assert [path.name for path in tmp_path.iterdir()] == ["x.jpg"]
