"""Where sources lie when /tmp has no room: one that really is full, one that takes no file, and memory's limits."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.test_pipeline import INSTALLED, CountingEngine, filled, run, until
from thumbnailer.app import build
from thumbnailer.errors import NoSpace
from thumbnailer.machine import Machine
from thumbnailer.model import EventKind, ObjectEvent, Outcome, Status
from thumbnailer.pipeline import MEMORY_FOR_SOURCES, MemoryBudget, Pipeline
from thumbnailer.planning.tier import MB, tier_for
from thumbnailer.scratch import MOST_IN_MEMORY, Scratch
from thumbnailer.settings import parse_settings
from thumbnailer.store.base import PutHeaders
from thumbnailer.store.memory import MemoryStore

NOWHERE = "/nowhere/at/all"
"""No file can be made there, whoever tries: root may write into what is read-only for others."""


class Reserve:
    """Takes whatever it is told of, and knows how much."""

    def __init__(self, room: int = 10**9) -> None:
        self.room = room

    def __call__(self, size: int) -> None:
        if size > self.room:
            raise NoSpace("no room")
        self.room -= size


def outcomes_of(pictures: dict[str, bytes], tmp: str | None, **env: str) -> tuple[dict[str, Outcome], MemoryStore]:
    """What becomes of each picture with real engines."""

    async def work() -> tuple[dict[str, Outcome], MemoryStore]:
        store = MemoryStore("photos", "photos-resized")
        for key, data in pictures.items():
            await store.put("photos", key, data, PutHeaders("image/jpeg"))
        settings = parse_settings({f"THUMBNAILER_{name}": value for name, value in env.items()})
        pipe = build(settings, Machine(3008, None), {}, store).pipeline
        pipe._tmp = tmp
        events = [ObjectEvent(EventKind.CREATED, "photos", key) for key in pictures]
        outcomes = await pipe.process_all(events)
        await pipe.aclose()
        assert (pipe._memory._set_aside, pipe._memory._free) == (0, pipe._memory._total)
        return {outcome.event.key: outcome for outcome in outcomes}, store

    return run(work())


async def thumbnail(store: MemoryStore, key: str) -> bytes:
    async with store.open("photos-resized", key) as body:
        return b"".join([chunk async for chunk in body.chunks()])


# --- no file at all -----------------------------------------------------------------------------------------------


@pytest.mark.matrix(43)
@pytest.mark.parametrize("engine", ["vips", "pillow"])
def test_where_no_file_can_be_made_pictures_go_on_in_memory_and_come_out_the_same(
    samples: dict[str, bytes], engine: str
) -> None:
    in_memory, there = outcomes_of(samples, NOWHERE, ENGINE=engine)
    on_disk, here = outcomes_of(samples, None, ENGINE=engine)
    assert {outcome.status for outcome in in_memory.values()} == {Status.STORED}
    assert {key: outcome.engine for key, outcome in in_memory.items()} == {
        key: outcome.engine for key, outcome in on_disk.items()
    }
    for key in samples:
        assert asyncio.run(thumbnail(there, key)) == asyncio.run(thumbnail(here, key))


@pytest.mark.matrix(43)
def test_where_no_file_can_be_made_a_large_source_is_deferred_unread_with_the_reason(samples: dict[str, bytes]) -> None:
    large = samples["rocket.jpg"] + bytes(MOST_IN_MEMORY)
    outcomes, _ = outcomes_of({"large.jpg": large, "small.jpg": samples["rocket.jpg"]}, NOWHERE)
    outcome = outcomes["large.jpg"]
    assert (outcome.status, outcome.reason, outcome.bytes_in) == (Status.DEFERRED, "no-space", 0)
    assert outcome.detail == (
        f"{NOWHERE} takes no file of {len(large)} bytes: No such file or directory; only up to 16 MB go on in memory"
    )
    assert outcomes["small.jpg"].status is Status.STORED


@pytest.mark.matrix(43)
def test_without_files_in_memory_what_has_no_room_is_deferred(
    samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.memfd_create")
    outcomes, _ = outcomes_of({"x": samples["rocket.jpg"]}, NOWHERE)
    assert (outcomes["x"].status, outcomes["x"].reason) == (Status.DEFERRED, "no-space")


def test_a_file_in_memory_can_be_opened_by_another_process() -> None:
    scratch = Scratch(NOWHERE, Reserve())
    scratch.expect(5)
    scratch.write(b"hello")
    code = f"print(open({scratch.path!r}).read(), end='')"
    read = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    scratch.close()
    assert read.stdout == "hello"


def test_a_picture_in_memory_is_decoded_by_a_child_process_too(samples: dict[str, bytes]) -> None:
    """As it is when its message comes a second time."""

    async def work() -> Outcome:
        store = MemoryStore("photos", "photos-resized")
        await store.put("photos", "x", samples["rocket.jpg"], PutHeaders("image/jpeg"))
        pipe = build(parse_settings({}), Machine(3008, None), {}, store).pipeline
        pipe._tmp = NOWHERE
        outcome = await pipe.process(ObjectEvent(EventKind.CREATED, "photos", "x"), alone=True)
        await pipe.aclose()
        return outcome

    outcome = run(work())
    assert outcome.status is Status.STORED, outcome


def test_memory_is_set_aside_before_any_of_it_is_taken() -> None:
    scratch = Scratch(NOWHERE, Reserve(room=4))
    with pytest.raises(NoSpace, match="no room"):
        scratch.expect(5)
    assert scratch.in_memory == 0
    scratch.close()


# --- a disk that is full ------------------------------------------------------------------------------------------

ON_A_SMALL_DISK = """
import json, os, sys
from tests.test_scratch import Reserve, Scratch, outcomes_of
from thumbnailer.errors import NoSpace
folder, picture = sys.argv[1:]
data = open(picture, "rb").read()
whole = bytes(range(256)) * 1024  # four times the disk
scratch = Scratch(folder, Reserve())
scratch.expect(len(whole))
on_disk = os.readlink(scratch.path).startswith(folder)
for start in range(0, len(whole), 10_000):
    scratch.write(whole[start : start + 10_000])
same = open(scratch.path, "rb").read() == whole
scratch.close()
outcomes, store = outcomes_of({f"{n}.jpg": data for n in range(6)}, folder)
large, _ = outcomes_of({"large.jpg": data + bytes(17 << 20)}, folder)
print(json.dumps({
    "began on disk": on_disk, "same": same, "size": len(data),
    "ends": sorted({f"{o.status}:{o.reason}" for o in outcomes.values()}),
    "large": f"{large['large.jpg'].status}:{large['large.jpg'].reason}", "detail": large["large.jpg"].detail,
}))
"""


@pytest.mark.matrix(43)
@pytest.mark.skipif(shutil.which("unshare") is None, reason="there is no unshare")
def test_on_a_full_disk_what_was_begun_on_it_goes_on_in_memory(tmp_path: Path) -> None:
    """A tmpfs of 64 KB, mounted where none but this test's child sees it."""
    picture = Path(__file__).parents[1] / "handler/demo/samples/rocket.jpg"
    mount = 'mount -t tmpfs -o size=64k none "$1" && exec "$2" -c "$3" "$1" "$4"'
    command = ["unshare", "-Urm", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, ON_A_SMALL_DISK, str(picture)]
    try:
        subprocess.run(["unshare", "-Urm", "mount", "-t", "tmpfs", "none", str(tmp_path)], check=True)
    except subprocess.CalledProcessError:
        pytest.skip("no file system may be mounted here")
    child = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert child.returncode == 0, child.stderr
    said: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    assert said.pop("size") > 64 * 1024
    assert said.pop("detail").startswith(f"{tmp_path} takes no file of ")
    assert said == {"began on disk": True, "same": True, "ends": ["stored:None"], "large": "deferred:no-space"}


# --- the memory it takes ------------------------------------------------------------------------------------------


@pytest.mark.matrix(43)
def test_sources_in_memory_count_in_the_budget_and_take_a_part_of_it_at_most(samples: dict[str, bytes]) -> None:
    """As many as fit are worked on, the others are deferred: nothing waits for what will not come."""

    async def work() -> None:
        store, engine = MemoryStore("photos", "photos-resized"), CountingEngine()
        data = samples["chelsea.png"].ljust(2 * MB, b"\0")
        tier = replace(tier_for(3008), workers=8, in_flight=8, memory_budget=3 * MEMORY_FOR_SOURCES * len(data))
        pipe = Pipeline(parse_settings({}), tier, store, INSTALLED, lambda _: engine, NOWHERE)
        processing = asyncio.create_task(pipe.process_all(await filled(store, data, 8)))
        await until(lambda: engine.held >= 1)
        assert pipe._memory._set_aside == 3 * len(data)
        assert pipe._memory._free <= tier.memory_budget - 3 * len(data)
        engine.let_go.set()
        outcomes = await processing
        ends = sorted(f"{outcome.status}:{outcome.reason}" for outcome in outcomes)
        assert ends == ["deferred:no-space"] * 5 + ["stored:None"] * 3
        assert all("bytes of memory for sources are taken" in (o.detail or "") for o in outcomes if o.reason)
        assert (pipe._memory._set_aside, pipe._memory._free) == (0, tier.memory_budget)
        await pipe.aclose()

    run(work())


def test_what_does_not_fit_beside_sources_in_memory_is_refused_and_waits_for_none() -> None:
    """Else it would wait, first in the queue, for memory of one that waits behind it."""

    async def work() -> None:
        budget = MemoryBudget(100)
        await budget.take(50)
        large = asyncio.create_task(budget.take(90))
        await asyncio.sleep(0)
        budget.set_aside(20)
        with pytest.raises(NoSpace, match="decoding needs"):
            await large
        behind = asyncio.create_task(budget.take(60))
        await asyncio.sleep(0)
        assert not behind.done()
        await budget.give_back(50)
        await behind
        await budget.bring_back(20)
        await budget.give_back(60)
        await budget.take(100)

    run(work())


def test_no_source_takes_memory_that_decoding_has() -> None:
    async def work() -> None:
        budget = MemoryBudget(100)
        with pytest.raises(NoSpace):
            budget.set_aside(26)
        await budget.take(90)
        with pytest.raises(NoSpace):
            budget.set_aside(11)
        budget.set_aside(10)

    run(work())
