"""The load on a server of pictures, and the rows of `python -m bench serve`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

import pytest
from aiohttp import web

from bench.serving.command import _at_least, _at_most, _is_proper
from bench.serving.load import at_once, at_rate, saturate, tag_of
from bench.serving.servers import _use_any_python


@asynccontextmanager
async def answering() -> AsyncIterator[tuple[str, list[int]]]:
    """A server that answers 304 for a known tag, 503 at /busy, 200 elsewhere, and how many requests it had at once."""
    busy = [0, 0]

    async def answer(request: web.BaseRequest) -> web.Response:
        busy[0] += 1
        busy[1] = max(busy)
        await asyncio.sleep(0.01)
        busy[0] -= 1
        known = request.headers.get("If-None-Match") == '"x"'
        return web.Response(status=304 if known else 503 if request.path == "/busy" else 200, headers={"ETag": '"x"'})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", busy
    finally:
        await runner.cleanup()


def test_connections_ask_again_as_soon_as_they_have_an_answer() -> None:
    async def work() -> None:
        async with answering() as (url, busy):
            answers = await saturate([f"{url}/a", f"{url}/busy"], connections=3, seconds=0.3)
        assert busy[1] <= 3
        assert answers.statuses[200] > 3
        answers.cpu = 0.5
        assert answers.rate == 2 * answers.statuses[200]
        assert len(answers.seconds) == answers.statuses.total()

    asyncio.run(work())


def test_a_rate_is_kept_while_answers_are_late() -> None:
    async def work() -> None:
        async with answering() as (url, _):
            answers = await at_rate(cycle([url]), rate=500, seconds=0.2)
        assert answers.statuses[200] == 100
        assert answers.p99 >= 0.01

    asyncio.run(work())


def test_a_known_tag_and_a_broken_connection_are_counted() -> None:
    async def work() -> None:
        async with answering() as (url, _):
            known = await saturate([url], 1, 0.1, {"If-None-Match": await tag_of(url)})
        gone = await at_once([url])
        assert (set(known.statuses), gone.statuses) == ({304}, {0: 1})

    asyncio.run(work())


def test_a_row_tells_whether_its_goal_is_reached() -> None:
    assert [_at_least("x", mine, 10, 2).reached for mine in (19, 20)] == [False, True]
    assert [_at_most("x", value, 0.5).reached for value in (0.5, 0.51)] == [True, False]
    assert [status for status in (0, 200, 404, 500, 502, 503) if _is_proper(status)] == [200, 404, 503]


@pytest.mark.parametrize("first", ["#!/somewhere/bin/python3.11\n", "#!/bin/sh\n"])
def test_scripts_of_a_moved_environment_find_their_python(first: str, tmp_path: Path) -> None:
    script = tmp_path / "thumbor"
    script.write_text(f"{first}print('text')\n")
    _use_any_python(script)
    assert script.read_text().startswith("#!/bin/sh\n")
    assert ("dirname" in script.read_text()) == ("python" in first)
    assert script.read_text().endswith("print('text')\n")
