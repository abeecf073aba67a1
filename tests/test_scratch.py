"""Sources when /tmp has no room: a full disk, a folder that takes no file, and the limits of memory."""

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

from tests.support.pipelines import (
    CountingEngine,
    created,
    outcomes_in,
    pipeline,
    read,
    real_pipeline,
    run,
    store_with,
    until,
)
from thumbnailer.errors import NoSpace
from thumbnailer.execution.budget import SOURCES_SHARE, MemoryBudget
from thumbnailer.model import Outcome, Status
from thumbnailer.planning.tier import MB, tier_for
from thumbnailer.scratch import MOST_IN_MEMORY, Scratch

NOWHERE = "/nowhere/at/all"
"""Nobody can create a file there; root could write into a read-only folder."""


# --- no file at all -----------------------------------------------------------------------------------------------


@pytest.mark.matrix(43)
@pytest.mark.parametrize("engine", ["vips", "pillow"])
def test_sources_in_memory_give_the_same_thumbnails_as_sources_on_disk(samples: dict[str, bytes], engine: str) -> None:
    in_memory, there = outcomes_in(samples, NOWHERE, ENGINE=engine)
    on_disk, here = outcomes_in(samples, None, ENGINE=engine)
    assert {outcome.status for outcome in in_memory.values()} == {Status.STORED}
    assert {key: outcome.engine for key, outcome in in_memory.items()} == {
        key: outcome.engine for key, outcome in on_disk.items()
    }
    for key in samples:
        assert run(read(there, key)) == run(read(here, key))


@pytest.mark.matrix(43)
def test_a_source_too_large_for_memory_is_deferred_unread_with_the_reason(samples: dict[str, bytes]) -> None:
    large = samples["rocket.jpg"] + bytes(MOST_IN_MEMORY)
    outcomes, _ = outcomes_in({"large.jpg": large, "small.jpg": samples["rocket.jpg"]}, NOWHERE)
    outcome = outcomes["large.jpg"]
    assert (outcome.status, outcome.reason, outcome.bytes_in) == (Status.DEFERRED, "no-space", 0)
    assert outcome.detail == (
        f"{NOWHERE} takes no file of {len(large)} bytes: No such file or directory; memory takes up to 16 MB"
    )
    assert outcomes["small.jpg"].status is Status.STORED


def test_a_file_in_memory_can_be_opened_by_another_process() -> None:
    scratch = Scratch(NOWHERE, MemoryBudget(MB))
    scratch.expect(5)
    scratch.write(b"hello")
    code = f"print(open({scratch.path!r}).read(), end='')"
    read = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    scratch.close()
    assert read.stdout == "hello"


def test_a_child_process_decodes_a_source_in_memory(samples: dict[str, bytes]) -> None:
    async def work() -> Outcome:
        pipe = real_pipeline(await store_with({"x": samples["rocket.jpg"]}), NOWHERE)
        outcome = await pipe.process(created("x"), isolated=True)
        await pipe.aclose()
        return outcome

    outcome = run(work())
    assert outcome.status is Status.STORED, outcome


def test_memory_is_reserved_before_it_is_used_and_until_it_is_closed() -> None:
    budget = MemoryBudget(4 * SOURCES_SHARE)
    scratch = Scratch(NOWHERE, budget)
    with pytest.raises(NoSpace, match="sources take"):
        scratch.expect(5)
    assert budget.reserved == 0
    scratch.expect(4)
    assert budget.reserved == 4
    scratch.close()
    assert budget.reserved == 0


# --- a full disk --------------------------------------------------------------------------------------------------

ON_A_SMALL_DISK = """
import json, os, sys
from tests.support.pipelines import outcomes_in
from thumbnailer.execution.budget import MemoryBudget
from thumbnailer.scratch import Scratch
folder, picture = sys.argv[1:]
data = open(picture, "rb").read()
whole = bytes(range(256)) * 1024  # four times the disk
scratch = Scratch(folder, MemoryBudget(4 << 20))
scratch.expect(len(whole))
on_disk = os.readlink(scratch.path).startswith(folder)
for start in range(0, len(whole), 10_000):
    scratch.write(whole[start : start + 10_000])
same = open(scratch.path, "rb").read() == whole
scratch.close()
outcomes, store = outcomes_in({f"{n}.jpg": data for n in range(6)}, folder)
large, _ = outcomes_in({"large.jpg": data + bytes(17 << 20)}, folder)
print(json.dumps({
    "began on disk": on_disk, "same": same, "size": len(data),
    "ends": sorted({f"{o.status}:{o.reason}" for o in outcomes.values()}),
    "large": f"{large['large.jpg'].status}:{large['large.jpg'].reason}", "detail": large["large.jpg"].detail,
}))
"""


@pytest.mark.matrix(43)
@pytest.mark.skipif(shutil.which("unshare") is None, reason="there is no unshare")
def test_a_source_begun_on_a_full_disk_continues_in_memory(tmp_path: Path) -> None:
    """On a tmpfs of 64 KB that only the test's child sees."""
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


# --- the memory budget --------------------------------------------------------------------------------------------


@pytest.mark.matrix(43)
def test_sources_in_memory_take_at_most_their_share_of_the_budget(samples: dict[str, bytes]) -> None:
    """Sources beyond the share are deferred instead of waiting."""

    async def work() -> None:
        engine, keys = CountingEngine(), [str(number) for number in range(8)]
        data = samples["chelsea.png"].ljust(2 * MB, b"\0")
        tier = replace(tier_for(3008), workers=8, in_flight=8, memory_budget=3 * SOURCES_SHARE * len(data))
        pipe = pipeline(await store_with(dict.fromkeys(keys, data)), engine, tier, NOWHERE)
        processing = asyncio.create_task(pipe.process_all([created(key) for key in keys]))
        await until(lambda: engine.held >= 1)
        assert 3 * len(data) < pipe.renderer.memory.reserved <= tier.memory_budget
        engine.let_go.set()
        outcomes = await processing
        ends = sorted(f"{outcome.status}:{outcome.reason}" for outcome in outcomes)
        assert ends == ["deferred:no-space"] * 5 + ["stored:None"] * 3
        assert all("bytes in memory" in (outcome.detail or "") for outcome in outcomes if outcome.reason)
        assert pipe.renderer.memory.reserved == 0
        await pipe.aclose()

    run(work())


def test_a_decode_that_cannot_fit_beside_the_sources_in_memory_is_refused() -> None:
    """It would wait, first in the queue, for the memory of sources that wait behind it."""

    async def work() -> None:
        budget = MemoryBudget(100)
        await budget.reserve(50)
        large = asyncio.create_task(budget.reserve(90))
        await asyncio.sleep(0)
        budget.reserve_source(20)
        with pytest.raises(NoSpace, match="decoding needs"):
            await large
        behind = asyncio.create_task(budget.reserve(60))
        await asyncio.sleep(0)
        assert not behind.done()
        budget.release(50)
        await behind
        budget.release_source(20)
        budget.release(60)
        await budget.reserve(100)

    run(work())


def test_a_source_takes_no_memory_reserved_by_decodes() -> None:
    async def work() -> None:
        budget = MemoryBudget(100)
        with pytest.raises(NoSpace):
            budget.reserve_source(26)
        await budget.reserve(90)
        with pytest.raises(NoSpace):
            budget.reserve_source(11)
        budget.reserve_source(10)

    run(work())
