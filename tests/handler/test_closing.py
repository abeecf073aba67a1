"""Closing the worker's resources within the stop timeout."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from handler.worker.service import _close


def test_resource_that_never_closes_blocks_neither_the_others_nor_the_worker() -> None:
    closed: list[str] = []

    async def never() -> None:
        await asyncio.Event().wait()

    async def close() -> None:
        async with AsyncExitStack() as stack:
            stack.callback(closed.append, "what was opened first")
            stack.push_async_callback(never)
            await _close(stack, asyncio.get_running_loop().time() + 0.01)

    asyncio.run(asyncio.wait_for(close(), 20))
    assert closed == ["what was opened first"]
