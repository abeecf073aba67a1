"""Pictures that are worked in a child process: the same thumbnails, and an end for those that crash or hang it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from PIL import features

from bench.rig.limits import NoLimits, limited
from tests.conftest import scratch_files
from tests.crashing import PYTHONPATH, alive, children, eventually, open_pipes, waits
from tests.support.processing import stored_objects
from thumbnailer.app import App, build, new_event_loop
from thumbnailer.execution import isolated as alone
from thumbnailer.model import EventKind, ObjectEvent, Outcome, Status
from thumbnailer.pipeline import Pipeline
from thumbnailer.planning.memory import CHILD, MB
from thumbnailer.settings import Machine, parse_settings
from thumbnailer.store.base import PutHeaders
from thumbnailer.store.memory import MemoryStore

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(asyncio.wait_for(work, 60))


def created(key: str) -> ObjectEvent:
    return ObjectEvent(EventKind.CREATED, "photos", key)


async def filled(objects: dict[str, bytes]) -> MemoryStore:
    store = MemoryStore("photos", "photos-resized")
    for key, data in objects.items():
        await store.put("photos", key, data, PutHeaders("image/jpeg"))
    return store


def built(store: MemoryStore, memory_mb: int = 3008, **env: str) -> App:
    settings = parse_settings({f"THUMBNAILER_{name}": value for name, value in env.items()})
    return build(settings, Machine(memory_mb, None), {}, store)


async def stored(store: MemoryStore, key: str) -> bytes:
    async with store.open("photos-resized", key) as body:
        return b"".join([bytes(chunk) async for chunk in body.chunks()])


def ends(outcomes: Sequence[Outcome]) -> dict[str, str]:
    return {o.event.key: f"{o.status}:{o.reason}" if o.reason else str(o.status) for o in outcomes}


@pytest.fixture
def acting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children have the engines of `tests.crashing`; this process has the real ones."""
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)


@pytest.fixture(scope="module")
def _first_child() -> None:
    """For the first child of its life a process makes what it keeps: libuv a pipe for signals."""

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


# --- a good picture -----------------------------------------------------------------------------------------------

RENDITIONS = "128x128,s=300x200:cover:webp,a=64x64:smart:avif"


AVIF = features.check("avif") is True
"""Pillow-SIMD has none; then what Pillow alone reads, HEIC and what is damaged, cannot be made AVIF."""


@pytest.mark.parametrize("engine", ["auto", "vips", "pillow"])
def test_a_child_makes_the_same_bytes_as_a_thread(samples: dict[str, bytes], engine: str) -> None:
    objects = samples | {"half.jpg": samples["rocket.jpg"][: len(samples["rocket.jpg"]) * 3 // 4]}
    if not AVIF:
        objects = {key: data for key, data in objects.items() if key not in ("retina.heic", "half.jpg")}

    async def work(isolated: bool) -> tuple[list[Outcome], dict[str, bytes]]:
        store = await filled(objects)
        pipeline = built(store, RENDITIONS=RENDITIONS, ENGINE=engine, THUMBHASH="on").pipeline
        places = range(len(objects)) if isolated else ()
        outcomes = await pipeline.process_all([created(key) for key in objects], alone=places)
        await pipeline.aclose()
        return outcomes, await stored_objects(store, outcomes)

    (in_threads, expected), (in_children, found) = run(work(False)), run(work(True))
    assert {outcome.status for outcome in in_threads} == {Status.STORED}
    assert found == expected
    assert len(found) == 3 * len(objects)
    learnt = [
        [(o.event.key, o.engine, o.damaged, o.detail, o.outputs) for o in some] for some in (in_threads, in_children)
    ]
    assert learnt[0] == learnt[1]


@pytest.mark.usefixtures("acting")
def test_what_a_library_prints_is_no_part_of_the_answer(samples: dict[str, bytes]) -> None:
    async def work() -> Outcome:
        pipeline = built(await filled({"chat.jpg": samples["rocket.jpg"]})).pipeline
        outcome = await pipeline.process(created("chat.jpg"), alone=True)
        await pipeline.aclose()
        return outcome

    assert run(work()).status is Status.STORED


def test_what_cannot_be_read_is_rejected_as_in_a_thread(samples: dict[str, bytes]) -> None:
    broken = samples["rocket.jpg"][:2000]

    async def work(isolated: bool) -> Outcome:
        pipeline = built(await filled({"x.jpg": broken})).pipeline
        outcome = await pipeline.process(created("x.jpg"), alone=isolated)
        await pipeline.aclose()
        return outcome

    thread, child = run(work(False)), run(work(True))
    assert (child.status, child.reason, child.detail) == (thread.status, thread.reason, thread.detail)
    assert (child.status, child.reason) == (Status.REJECTED, "corrupt")


# --- one that ends its process ------------------------------------------------------------------------------------


DEADLY = {
    "crash.jpg": "SIGSEGV",
    "abort.jpg": "SIGABRT; malloc(): corrupted top size",
    "leave.jpg": "exit code 1",
    "loop.jpg": "more than 2 s of CPU time",
}


@pytest.fixture
def limited_to_2_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "cpu_seconds", lambda plan: 2)


@pytest.mark.matrix(21)
@pytest.mark.usefixtures("acting", "limited_to_2_seconds")
def test_a_picture_that_ends_its_decoder_is_rejected_with_a_note_and_the_others_are_done(
    samples: dict[str, bytes],
) -> None:
    """The good ones are worked in threads and in children beside it."""
    good = {f"good-{number}.jpg": samples["rocket.jpg"] for number in range(6)}
    objects = dict.fromkeys(DEADLY, samples["rocket.jpg"]) | good
    places = range(len(DEADLY) + 3)

    async def work() -> tuple[list[Outcome], dict[str, Any]]:
        store = await filled(objects)
        pipeline = built(store).pipeline
        outcomes = await pipeline.process_all([created(key) for key in objects], alone=places)
        await pipeline.aclose()
        return outcomes, {key: json.loads(await stored(store, f"_failed/{key}.json")) for key in DEADLY}

    outcomes, notes = run(work())
    assert ends(outcomes) == dict.fromkeys(DEADLY, "rejected:engine-crash") | dict.fromkeys(good, "stored")
    for outcome in outcomes[: len(DEADLY)]:
        assert DEADLY[outcome.event.key] in (outcome.detail or "")
        note = notes[outcome.event.key]
        assert (note["reason"], note["detail"]) == ("engine-crash", outcome.detail)


def processed_alone(data: bytes, key: str, seconds: float | None = None) -> Outcome:
    async def work() -> Outcome:
        pipeline = built(await filled({key: data})).pipeline
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        outcome = await pipeline.process(created(key), deadline, alone=True)
        await pipeline.aclose()
        return outcome

    return run(work())


@pytest.mark.matrix(21)
@pytest.mark.usefixtures("acting", "limited_to_2_seconds")
def test_a_decoder_that_waits_for_ever_is_rejected_too(
    samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alone, "WALL_PER_CPU", 2)
    outcome = processed_alone(samples["rocket.jpg"], "wait.jpg")
    assert (outcome.status, outcome.reason) == (Status.REJECTED, "engine-crash")
    assert "it was not through after 4 s" in (outcome.detail or "")


@pytest.mark.usefixtures("acting")
def test_a_bug_in_python_code_comes_back_as_in_a_thread(samples: dict[str, bytes]) -> None:
    outcome = processed_alone(samples["rocket.jpg"], "stumble.jpg")
    assert (outcome.status, outcome.reason) == (Status.FAILED, "engine-crash")
    assert outcome.detail == "unforeseen: KeyError: 'unknown'"


@pytest.mark.parametrize("python", ["/nowhere/python", "/bin/false"], ids=["not started", "ends before it begins"])
def test_a_child_that_does_not_come_to_begin_is_not_the_pictures_fault(
    samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    outcome = processed_alone(samples["rocket.jpg"], "x.jpg")
    assert (outcome.status, outcome.reason) == (Status.FAILED, "engine-crash")


WITHOUT_PROC = """
from pathlib import Path
def refuse(*_):
    raise PermissionError("/proc is not for writing")
Path.write_text = refuse
"""


def test_where_the_kernel_cannot_be_told_whom_to_kill_first_a_child_works_all_the_same(
    samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    python, option, code = alone.command()
    monkeypatch.setattr(alone, "command", lambda: (python, option, WITHOUT_PROC + code))
    assert processed_alone(samples["rocket.jpg"], "x.jpg").status is Status.STORED


@pytest.mark.usefixtures("acting")
def test_one_that_people_stop_is_not_the_pictures_fault(samples: dict[str, bytes]) -> None:
    async def work() -> Outcome:
        pipeline = built(await filled({"wait.jpg": samples["rocket.jpg"]})).pipeline
        before = children()
        task = asyncio.create_task(pipeline.process(created("wait.jpg"), alone=True))
        child = await waiting_child(before)
        os.kill(child, signal.SIGTERM)
        outcome = await task
        await pipeline.aclose()
        return outcome

    assert run(work()).status is Status.FAILED


# --- time, and what is left ---------------------------------------------------------------------------------------


async def waiting_child(before: set[int]) -> int:
    """The one new child, once it is at its picture."""
    while not (found := [child for child in children() - before if waits(child)]):
        await asyncio.sleep(0.01)
    return found[0]


@pytest.mark.matrix(47)
@pytest.mark.usefixtures("acting")
@pytest.mark.parametrize("key", ["wait.jpg", "loop.jpg"])
def test_at_its_deadline_a_child_is_killed_and_its_record_deferred(samples: dict[str, bytes], key: str) -> None:
    outcome = processed_alone(samples["rocket.jpg"], key, seconds=2)
    assert (outcome.status, outcome.reason) == (Status.DEFERRED, "out-of-time")
    assert children() == set()


@pytest.mark.usefixtures("acting")
def test_a_record_that_is_cancelled_leaves_nothing_whenever_that_is(samples: dict[str, bytes]) -> None:
    async def work() -> None:
        app = built(await filled({"wait.jpg": samples["rocket.jpg"]}))
        free = free_memory(app.pipeline)
        for step in range(30):
            task = asyncio.create_task(app.pipeline.process(created("wait.jpg"), alone=True))
            await asyncio.sleep(step * 0.01)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await asyncio.sleep(0)
        while children():
            await asyncio.sleep(0.01)
        assert free_memory(app.pipeline) == free
        await app.pipeline.aclose()

    run(work())


PARENT = """
import asyncio, sys
from tests.test_alone import built, created, filled
from thumbnailer.app import new_event_loop
async def work():
    data = open(sys.argv[1], "rb").read()
    pipeline = built(await filled({"wait.jpg": data})).pipeline
    await pipeline.process(created("wait.jpg"), alone=True)
with asyncio.Runner(loop_factory=new_event_loop) as runner:
    runner.run(work())
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


def free_memory(pipeline: Pipeline) -> int:
    return pipeline._memory._free


@pytest.mark.usefixtures("acting")
def test_a_child_takes_its_share_of_the_memory_and_no_more_run_than_there_are_workers(
    samples: dict[str, bytes],
) -> None:
    objects = {f"wait-{number}.jpg": samples["rocket.jpg"] for number in range(4)}

    async def most_at_once(memory_mb: int, budget: int | None = None) -> int:
        app = built(await filled(objects), memory_mb)
        if budget:
            app.pipeline._memory._free = budget
        deadline = asyncio.get_running_loop().time() + 3
        task = asyncio.create_task(
            app.pipeline.process_all([created(key) for key in objects], deadline, alone=range(len(objects)))
        )
        most = 0
        while not task.done():
            most = max(most, len(children()))
            await asyncio.sleep(0.02)
        assert {outcome.status for outcome in await task} == {Status.DEFERRED}
        await app.pipeline.aclose()
        return most

    assert run(most_at_once(3 * 1769)) == 3
    assert run(most_at_once(3 * 1769, budget=2 * CHILD + 2 * 5 * MB)) < 3
    assert run(most_at_once(1769)) == 1


def test_where_there_is_no_room_for_a_child_beside_the_picture_a_thread_works_it(
    samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be killed for want of memory, however good the picture is."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    async def work(memory_budget: int) -> Status:
        app = built(await filled({"x.jpg": samples["rocket.jpg"]}))
        tier = replace(app.tier, memory_budget=memory_budget)
        pipeline = app.pipeline
        pipeline._tier = tier
        outcome = await pipeline.process(created("x.jpg"), alone=True)
        await pipeline.aclose()
        return outcome.status

    assert run(work(CHILD)) is Status.STORED
    assert run(work(CHILD + 100 * MB)) is Status.FAILED


IN_GROUP = """
ballast = b"x" * (120 << 20)
import asyncio, json, sys
from pathlib import Path
from tests.test_alone import built, created, ends, filled
from thumbnailer.app import new_event_loop
async def work():
    keys = ["hog-1.jpg", "good-1.jpg", "hog-2.jpg", "good-2.jpg"]
    pipeline = built(await filled(dict.fromkeys(keys, Path(sys.argv[1]).read_bytes())), 256).pipeline
    outcomes = await pipeline.process_all([created(key) for key in keys], alone=(0, 1, 2))
    await pipeline.aclose()
    print(json.dumps([ends(outcomes), outcomes[0].detail]))
with asyncio.Runner(loop_factory=new_event_loop) as runner:
    runner.run(work())
"""


@pytest.mark.matrix(38)
@pytest.mark.usefixtures("acting")
def test_a_decoder_that_takes_all_memory_is_killed_and_not_its_parent(
    samples: dict[str, bytes], tmp_path: Path
) -> None:
    """The parent is larger than what is left for the child, so by size alone the parent would be killed."""
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
