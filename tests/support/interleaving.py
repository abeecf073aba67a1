"""Tries every order in which the requests of concurrent records can reach the store.

Each request is a step. Uploads and removals of the source are steps too, and each starts the record of its event. A
client that asks for an offer is a step, and starts an on-demand record. One record may be killed before any of its
steps; killed and failed records of events are delivered again, on-demand records are not. Two orders that gave every
record the same answers and the buckets the same content continue alike, so only one of them is followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, ClassVar, Final

from handler.http.messages import HttpAnswer, HttpRequest
from handler.http.service import Service, make_site
from tests.support.pipelines import INSTALLED, rendering
from thumbnailer.app import App
from thumbnailer.engine import Rendering, load_engine
from thumbnailer.errors import ObjectMissing, StoreDenied
from thumbnailer.execution.decoder import Decoder
from thumbnailer.model import EventKind, ObjectEvent, Outcome
from thumbnailer.pipeline import Pipeline
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import SOURCE_ETAG
from thumbnailer.planning.tier import tier_for
from thumbnailer.rendering import Renderer
from thumbnailer.scratch import Scratch
from thumbnailer.settings import Settings
from thumbnailer.store.base import ObjectBody, ObjectStore, ObjectVersion, PutHeaders
from thumbnailer.store.memory import MemoryStore
from thumbnailer.trace import Trace

SOURCE: Final = "photos"
DESTINATION: Final = "photos-resized"
KEY: Final = "x"
TIER: Final = tier_for(1769)
ASKED: Final = HttpRequest("GET", f"/{KEY}", "name=offer")
TURNS: Final = 2
"""Turns of the loop in which the answer to a request reaches the record."""
MOST_TURNS: Final = 100

Change = bytes | None
"""An upload of these bytes as the source, or the source's removal."""


class Forged(bytes):
    """An upload that carries a thumbnail's mark."""


def upload_headers(change: bytes) -> PutHeaders:
    return PutHeaders("image/png", metadata={SOURCE_ETAG: "forged"} if isinstance(change, Forged) else None)


def put_now(store: MemoryStore, data: bytes) -> None:
    """Uploads the source without a turn of the loop."""
    with suppress(StopIteration):
        store.put(SOURCE, KEY, data, upload_headers(data)).send(None)


State = tuple[object, ...]


@dataclass(slots=True)
class Step:
    """A request that waits for its turn."""

    name: str
    go: asyncio.Future[None]


class World:
    """The buckets and every record in work; `steps` names what can happen next."""

    def __init__(
        self,
        settings: Settings,
        changes: Sequence[Change],
        *,
        kills: int = 0,
        lists: bool = True,
        asks: int = 0,
        there: bytes | None = None,
        killed: str = "",
    ) -> None:
        """`there` is the source before its first change. Only records whose names begin with `killed` are killed."""
        self.store = MemoryStore(SOURCE, DESTINATION)
        if there is not None:
            put_now(self.store, there)
        self.lists = lists
        self.settings = settings
        self._changes = list(changes)
        self._kills = kills
        self._killed = killed
        self._asks = asks
        self._records: list[Record] = []

    @property
    def steps(self) -> list[str]:
        found = ["change"] * bool(self._changes) + ["ask"] * bool(self._asks)
        for record in self._records:
            found += [step.name for step in record.waiting]
            may_be_killed = self._kills and record.waiting and record.name.startswith(self._killed)
            found += [f"kill {record.name}"] if may_be_killed else []
        return found

    async def take(self, name: str) -> None:
        if name == "change":
            await self._change(self._changes.pop(0))
        elif name == "ask":
            self._asks -= 1
            self._start(None, f"request {self._asks}")
        elif name.startswith("kill "):
            self._kills -= 1
            (record,) = (each for each in self._records if each.name == name.removeprefix("kill "))
            await record.kill()
            if record.event is not None:
                self._start(record.event, record.name + "'")
        else:
            self._let_through(name)
        await self._until_all_wait()

    def state(self) -> State:
        records = tuple((record.name, *record.history) for record in self._records)
        return (len(self._changes), self._kills, self._asks, records, str(self.content()))

    def content(self) -> tuple[str | None, dict[str, str]]:
        """The source's ETag, and by key the source ETag of each thumbnail."""
        source = self.store._objects[SOURCE].get(KEY)
        made = {key: body.headers.metadata[SOURCE_ETAG] for key, body in self.store._objects[DESTINATION].items()}
        return source and source.headers.etag, made

    async def _change(self, change: Change) -> None:
        kind = EventKind.REMOVED if change is None else EventKind.CREATED
        if change is None:
            await self.store.delete(SOURCE, KEY)
        else:
            await self.store.put(SOURCE, KEY, change, upload_headers(change))
        self._start(ObjectEvent(kind, SOURCE, KEY), f"record {len(self._changes)} {kind}")

    def _start(self, event: ObjectEvent | None, name: str) -> None:
        """An on-demand record if there is no event."""
        store = SteppedStore(self, name)
        self._records.append(record := Record(name, event, self.settings, store))
        store.record = record
        record.start()

    def _let_through(self, name: str) -> None:
        for record in self._records:
            for step in record.waiting:
                if step.name == name:
                    record.waiting.remove(step)
                    step.go.set_result(None)
                    return
        raise KeyError(name)

    async def _until_all_wait(self) -> None:
        """Runs the loop until every record has ended or waits for its next request."""
        for turn in range(MOST_TURNS):
            await asyncio.sleep(0)
            if turn >= TURNS and all(record.ended or record.waiting for record in self._records):
                break
        else:
            raise AssertionError("a record waits for something else than its requests")
        for record in list(self._records):
            if record.must_be_redelivered():
                self._start(record.event, record.name + "+")
                await self._until_all_wait()

    async def close(self) -> None:
        for record in self._records:
            await record.kill()


@dataclass(slots=True)
class Record:
    """One delivery of an event, or one request: the answers in `history` decide everything it does next."""

    name: str
    event: ObjectEvent | None
    settings: Settings
    store: ObjectStore
    waiting: list[Step] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    task: asyncio.Task[Outcome] | asyncio.Task[HttpAnswer] | None = None
    checked: bool = False
    dead: bool = False

    def start(self) -> None:
        pipeline = stepped_pipeline(self.settings, self.store)
        if self.event is not None:
            self.task = asyncio.create_task(pipeline.process(self.event))
        else:
            app = App(self.settings, TIER, pipeline, self.store)
            service = Service(app, make_site(self.settings), lambda _: None)
            self.task = asyncio.create_task(service.answer(ASKED))

    @property
    def ended(self) -> bool:
        return self.task is not None and self.task.done()

    def must_be_redelivered(self) -> bool:
        """True once, if the record failed."""
        if not self.ended or self.checked:
            return False
        self.checked = True
        assert self.task is not None
        result = self.task.result()
        self.history.append(f"{result.status} {getattr(result, 'reason', '')}")
        return isinstance(result, Outcome) and result.status.comes_back

    async def kill(self) -> None:
        """Like SIGKILL: requests that were let through are done, others never happen."""
        assert self.task is not None
        self.waiting.clear()
        self.checked = self.dead = True
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class SteppedStore(MemoryStore):
    """The world's buckets for one record: every request waits for its turn, then happens at once."""

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
        if self.record.dead:
            raise asyncio.CancelledError
        step = Step(f"{self._name}: {what}", asyncio.get_running_loop().create_future())
        self.record.waiting.append(step)
        await step.go

    def _answered(self, answer: str) -> None:
        self.record.history.append(answer)


class InstantDecoder(Decoder):
    """Decodes nothing: a thread would be a step of its own."""

    async def render(self, path: str, plan: Plan, isolated: bool = False) -> Rendering:
        return rendering(plan)


class InstantRenderer(Renderer):
    """Plans each content once, because the explorer repeats it thousands of times."""

    _plans: ClassVar[dict[tuple[str | None, Settings], Plan]] = {}

    async def _fetch(
        self, event: ObjectEvent, settings: Settings, body: ObjectBody, file: Scratch, trace: Trace
    ) -> Plan:
        content = (body.headers.etag, settings)
        if content not in self._plans:
            self._plans[content] = await super()._fetch(event, settings, body, file, trace)
        return self._plans[content]


def stepped_pipeline(settings: Settings, store: ObjectStore) -> Pipeline:
    """A pipeline that waits for nothing but its requests to `store`."""
    renderer = InstantRenderer(TIER, store, INSTALLED, load_engine)
    renderer.decoder = InstantDecoder(TIER, renderer.memory, load_engine)
    return Pipeline(settings, store, renderer)


@dataclass(frozen=True, slots=True)
class Found:
    """`orders` counts all orders; `wrong` is one with a wrong end, or empty."""

    orders: int
    states: int
    wrong: tuple[str, ...]


async def explore(settings: Settings, changes: Sequence[Change], **options: Any) -> Found:
    """Follows every order until one ends with thumbnails that are not those of the final source."""

    new_world = partial(World, settings, changes, **options)
    after: dict[State, list[State]] = {new_world().state(): []}
    wrong: tuple[str, ...] = ()
    todo: list[tuple[str, ...]] = [(name,) for name in new_world().steps]
    while todo and not wrong:
        *prefix, last = todo.pop()
        world = new_world()
        for name in prefix:
            await world.take(name)
        taken, before = [*prefix], world.state()
        while last:
            taken.append(last)
            await world.take(last)
            after[before].append(state := world.state())
            if state in after:
                break
            after[state], before = [], state
            last, *others = world.steps or ("",)
            todo += [(*taken, other) for other in others]
            if not last and not _right(world):
                wrong = tuple(taken)
        await world.close()
    return Found(_orders(after), len(after), wrong)


def _orders(after: Mapping[State, Sequence[State]]) -> int:
    """Paths from the first state to an end."""

    @cache
    def ways(state: State) -> int:
        return sum(map(ways, after[state])) or 1

    return ways(next(iter(after)))


def _right(world: World) -> bool:
    """Whether every rendition is of the source, or nothing is there without a source or with a forged one.

    An offer may be there or not.
    """
    source, made = world.content()
    kept = [etag for key, etag in made.items() if key.startswith(world.settings.any_prefix)]
    renditions = len(world.settings.renditions)
    newest = world.store._objects[SOURCE].get(KEY)
    shown = newest is not None and SOURCE_ETAG not in newest.headers.metadata
    return list(made.values()) == ([source] * (renditions + len(kept)) if shown else [])
