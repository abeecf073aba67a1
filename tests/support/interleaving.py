"""Every order in which records can run beside each other: each request to the store is a step, all orders are tried.

What happens to the source (uploads, removals) are steps too, and each starts the record of its event. A record may be
killed once before any of its steps; it is then delivered again, and so is one that fails. Two orders that led every
record to the same answers and the buckets to the same content go on alike, so only one of them is followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from tests.test_pipeline import INSTALLED
from thumbnailer.engine import Engine, Rendering
from thumbnailer.errors import ObjectMissing, StoreDenied
from thumbnailer.model import EngineName, EventKind, ObjectEvent, Outcome
from thumbnailer.pipeline import Pipeline, Trace
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import SOURCE_ETAG
from thumbnailer.planning.tier import tier_for
from thumbnailer.settings import Settings
from thumbnailer.store.base import ObjectBody, ObjectVersion, PutHeaders
from thumbnailer.store.memory import MemoryStore

SOURCE: Final = "photos"
DESTINATION: Final = "photos-resized"
KEY: Final = "x"
TURNS: Final = 15
"""Of the loop, after which every record has come to its next request: nothing in here waits for anything else."""

Change = bytes | None
"""of the source: an upload of these bytes, or its removal"""
State = tuple[object, ...]


@dataclass(slots=True)
class Step:
    """A request that waits to be let through."""

    name: str
    go: asyncio.Future[None]


class World:
    """The buckets, and every record under way; `steps` are what can happen next, by name."""

    def __init__(self, make: Callable[[SteppedStore], Pipeline], changes: Sequence[Change], *, kills: int, lists: bool):
        self.store = MemoryStore(SOURCE, DESTINATION)
        self.lists = lists
        self._make = make
        self._changes = list(changes)
        self._kills = kills
        self._records: list[Record] = []

    @property
    def steps(self) -> list[str]:
        found = ["change"] if self._changes else []
        for record in self._records:
            found += [step.name for step in record.waiting]
            found += [f"kill {record.name}"] if self._kills and record.waiting else []
        return found

    async def take(self, name: str) -> None:
        if name == "change":
            await self._change(self._changes.pop(0))
        elif name.startswith("kill "):
            self._kills -= 1
            (record,) = (each for each in self._records if each.name == name.removeprefix("kill "))
            await record.kill()
            self._deliver(record.event, record.name + "'")
        else:
            self._let_go(name)
        await self._until_all_wait()

    def state(self) -> State:
        records = tuple((record.name, *record.history) for record in self._records)
        return (len(self._changes), self._kills, records, str(self.content()))

    def content(self) -> tuple[str | None, dict[str, str]]:
        """The source's ETag, and that each thumbnail was made from."""
        source = self.store._newest(SOURCE, KEY)
        made = {
            key: body.headers.metadata[SOURCE_ETAG]
            for key in self.store._objects[DESTINATION]
            if (body := self.store._newest(DESTINATION, key))
        }
        return source and source.headers.etag, made

    async def _change(self, change: Change) -> None:
        kind = EventKind.REMOVED if change is None else EventKind.CREATED
        if change is None:
            await self.store.delete(SOURCE, KEY)
        else:
            await self.store.put(SOURCE, KEY, change, PutHeaders("image/png"))
        self._deliver(ObjectEvent(kind, SOURCE, KEY), f"record {len(self._changes)} {kind}")

    def _deliver(self, event: ObjectEvent, name: str) -> None:
        store = SteppedStore(self, name)
        self._records.append(record := Record(name, event, self._make(store)))
        store.record = record
        record.start()

    def _let_go(self, name: str) -> None:
        for record in self._records:
            for step in record.waiting:
                if step.name == name:
                    record.waiting.remove(step)
                    step.go.set_result(None)
                    return
        raise KeyError(name)

    async def _until_all_wait(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)
        for record in list(self._records):
            if record.came_back():
                self._deliver(record.event, record.name + "+")
                await self._until_all_wait()
            assert record.ended or record.waiting

    async def close(self) -> None:
        for record in self._records:
            await record.kill()


@dataclass(slots=True)
class Record:
    """One delivery of an event: its answers so far decide all it does next."""

    name: str
    event: ObjectEvent
    pipeline: Pipeline
    waiting: list[Step] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    task: asyncio.Task[Outcome] | None = None
    seen_to_end: bool = False

    def start(self) -> None:
        self.task = asyncio.create_task(self.pipeline.process(self.event))

    @property
    def ended(self) -> bool:
        return self.task is not None and self.task.done()

    def came_back(self) -> bool:
        """True once, where it is to be delivered again."""
        if not self.ended or self.seen_to_end:
            return False
        self.seen_to_end = True
        assert self.task is not None
        outcome = self.task.result()
        self.history.append(f"{outcome.status} {outcome.reason}")
        return outcome.status.comes_back

    async def kill(self) -> None:
        """As a SIGKILL leaves it: what was asked of the store before is done, the rest is not."""
        assert self.task is not None
        self.waiting.clear()
        self.seen_to_end = True
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class SteppedStore(MemoryStore):
    """The world's buckets as one record sees them: every request waits its turn, then happens at once."""

    record: Record

    def __init__(self, world: World, name: str) -> None:
        super().__init__()
        self._world = world
        self._name = name

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[ObjectBody]:
        await self._turn(f"GET {key}")
        try:
            async with self._world.store.open(bucket, key) as body:
                self._answered(str(body.headers.etag))
                yield body
        except ObjectMissing:
            self._answered("missing")
            if self._world.lists:
                raise
            raise StoreDenied("403") from None

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        await self._turn(f"HEAD {key}")
        found = await self._world.store.head(bucket, key)
        self._answered(str(found))
        if found is None and not self._world.lists:
            raise StoreDenied("403")
        return found

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        await self._turn(f"PUT {key}")
        await self._world.store.put(bucket, key, data, headers)
        self._answered(f"PUT {key}")

    async def delete(self, bucket: str, key: str) -> None:
        await self._turn(f"DELETE {key}")
        await self._world.store.delete(bucket, key)
        self._answered(f"DELETE {key}")

    async def _turn(self, what: str) -> None:
        step = Step(f"{self._name}: {what}", asyncio.get_running_loop().create_future())
        self.record.waiting.append(step)
        await step.go

    def _answered(self, answer: str) -> None:
        self.record.history.append(answer)


class Stepped(Pipeline):
    """A pipeline without decoders: what is rendered is of no interest here, and a thread would be a step of its own."""

    async def _render(self, path: str, plan: Plan, trace: Trace) -> Rendering:
        return Rendering(EngineName.VIPS, tuple(b"thumbnail" for _ in plan.targets), "", 0.0, 0.0)


def no_engine(_: EngineName) -> Engine:
    raise AssertionError


@dataclass(frozen=True, slots=True)
class Found:
    """`orders`: how many there are in all; `wrong`: one that ended otherwise than it must."""

    orders: int
    states: int
    wrong: tuple[str, ...]


async def explore(
    settings: Settings,
    changes: Sequence[Change],
    *,
    kills: int = 0,
    lists: bool = True,
    kind: type[Pipeline] = Stepped,
) -> Found:
    """Follows every order; the content at the end is wrong where thumbnails are not of the source as it is then."""
    tier = tier_for(1769)

    def make(store: SteppedStore) -> Pipeline:
        return kind(settings, tier, store, INSTALLED, no_engine)

    after: dict[State, list[State]] = {World(make, changes, kills=kills, lists=lists).state(): []}
    wrong: tuple[str, ...] = ()
    todo: list[tuple[str, ...]] = [("change",)]
    while todo and not wrong:
        *prefix, last = todo.pop()
        world = World(make, changes, kills=kills, lists=lists)
        for name in prefix:
            await world.take(name)
        taken = [*prefix]
        while last:
            before = world.state()
            taken.append(last)
            await world.take(last)
            after[before].append(state := world.state())
            if state in after:
                break
            after[state] = []
            last, *others = world.steps or ("",)
            todo += [(*taken, other) for other in others]
            if not last and not _right(world, settings):
                wrong = tuple(taken)
        await world.close()
    return Found(_orders(after), len(after), wrong)


def _orders(after: Mapping[State, Sequence[State]]) -> int:
    """The ways from the first state to an end."""

    @cache
    def ways(state: State) -> int:
        return sum(map(ways, after[state])) or 1

    return ways(next(iter(after)))


def _right(world: World, settings: Settings) -> bool:
    source, made = world.content()
    return set(made.values()) == ({source} if source else set()) and len(made) == (
        len(settings.renditions) if source else 0
    )
