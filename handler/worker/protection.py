"""ECS scale-in protection: neither a scale-in nor a deployment stops the task while the worker has work.

AWS, "Amazon ECS task scale-in protection endpoint": PUT {ECS_AGENT_URI}/task-protection/v1/state.
"""

import asyncio
import json
from typing import Final

import aiohttp

from thumbnailer.reporting.logs import LOGGER

PATH: Final = "/task-protection/v1/state"
MINUTES: Final = 10
"""The protection of a killed worker expires after this time."""
IDLE_SECONDS: Final = 30.0
"""The worker keeps its protection for this long without work: each change is a call of the ECS API."""
LONGEST_SECONDS, PAUSE_SECONDS = 3600.0, 120.0
"""With a queue that is never empty, protection pauses once an hour, so that a deployment need not wait for ever. After
SIGTERM the worker gives back its messages anyway.
"""
TIMEOUT: Final = aiohttp.ClientTimeout(total=10)


class Protection:
    """`busy` may be called at any time. `run` never ends and sends the latest state to the endpoint."""

    def __init__(self, agent_uri: str) -> None:
        self._url = agent_uri + PATH
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def busy(self, busy: bool) -> None:
        (self._work.set if busy else self._work.clear)()
        (self._idle.clear if busy else self._idle.set)()

    async def run(self) -> None:
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            while True:
                await self._work.wait()
                until = asyncio.get_running_loop().time() + LONGEST_SECONDS
                await self._protect(session, True)
                while not (idle := await self._becomes_idle()) and asyncio.get_running_loop().time() < until:
                    await self._protect(session, True)  # before it expires
                await self._protect(session, False)
                if not idle:
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _becomes_idle(self) -> bool:
        """Returns True after IDLE_SECONDS without work, False if half of the protection is over first."""
        try:
            async with asyncio.timeout(MINUTES * 60 / 2):
                while True:
                    await self._idle.wait()
                    try:
                        await asyncio.wait_for(self._work.wait(), IDLE_SECONDS)
                    except TimeoutError:
                        return True
        except TimeoutError:
            return False

    async def _protect(self, session: aiohttp.ClientSession, on: bool) -> None:
        wanted = {"ProtectionEnabled": on, "ExpiresInMinutes": MINUTES} if on else {"ProtectionEnabled": False}
        try:
            async with session.put(self._url, json=wanted) as answer:
                detail = await answer.text()
                failed = answer.status >= 400 or "failure" in json.loads(detail)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            failed, detail = True, f"{type(error).__name__}: {error}"
        if failed:
            LOGGER.warning("task-protection-failed", extra={"line": {"detail": detail[:500]}})
