"""The real pipeline over a folder of pictures, in a process with a memory limit: `python -m tests.budgets.limited`.

Prints a line of JSON for each outcome: key, status, reason.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from thumbnailer.app import build, new_event_loop
from thumbnailer.errors import ObjectMissing
from thumbnailer.machine import Machine
from thumbnailer.model import EventKind, ObjectEvent, Outcome
from thumbnailer.settings import parse_settings
from thumbnailer.store.base import ObjectBody, ObjectHeaders, ObjectVersion, PutHeaders

PIECE = 65_536


@dataclass(frozen=True, slots=True)
class _Body:
    path: Path

    @property
    def headers(self) -> ObjectHeaders:
        return ObjectHeaders(self.path.stat().st_size, "e", None, None, None, None, None, {})

    async def chunks(self) -> AsyncIterator[bytes]:
        with self.path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece


class FolderStore:
    """Gives the files of a folder and forgets what it is given: neither counts against the limit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[ObjectBody]:
        path = self._folder / key
        if not path.is_file():
            raise ObjectMissing(key)
        yield _Body(path)

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        path = self._folder / key
        return _Body(path).headers.version if path.is_file() else None

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None: ...

    async def delete(self, bucket: str, key: str) -> None: ...

    async def aclose(self) -> None: ...


async def work(folder: Path, memory_mb: int, renditions: str, keys: list[str], together: bool, isolation: str) -> None:
    isolated = isolation == "redelivered"
    env = {"MEMORY_MB": str(memory_mb), "RENDITIONS": renditions, "ISOLATION": isolation or "redelivered"}
    settings = parse_settings({f"THUMBNAILER_{name}": value for name, value in env.items()})
    pipeline = build(settings, Machine(memory_mb, None), {}, FolderStore(folder)).pipeline
    events = [ObjectEvent(EventKind.CREATED, "photos", key) for key in keys]
    if together:
        await pipeline.process_all(events, done=say, isolated=range(len(events)) if isolated else ())
    else:
        for event in events:
            say(await pipeline.process(event, isolated=isolated))
    await pipeline.aclose()


def say(outcome: Outcome) -> None:
    print(json.dumps([outcome.event.key, outcome.status, outcome.reason, outcome.detail]), flush=True)


def main(folder: str, memory_mb: str, renditions: str, seeds: str, isolation: str = "") -> None:
    """`seeds` is a comma list: of each number a shuffled mix, all in flight at once; 0: one by one.

    `isolation`: in child processes, as messages that come again (`redelivered`) or by the setting (`always`).
    """
    keys = sorted(path.name for path in Path(folder).iterdir() if path.is_file())
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        for seed in map(int, seeds.split(",")):
            order = random.Random(seed).sample(keys, len(keys)) if seed else keys
            runner.run(work(Path(folder), int(memory_mb), renditions, order, seed > 0, isolation))


if __name__ == "__main__":
    main(*sys.argv[1:])
