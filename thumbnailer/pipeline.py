"""The way of one record, and of a batch. It knows the store and the engines by their protocols alone."""

from __future__ import annotations

import asyncio
import mmap
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import IO, Final

from thumbnailer.costs import Capabilities
from thumbnailer.engine import Engine, Rendering, render_first, render_second
from thumbnailer.errors import (
    AccessDenied,
    Archived,
    BucketMissing,
    Corrupt,
    DestinationDenied,
    DestinationUnavailable,
    EngineCrash,
    Filtered,
    Gone,
    NeedMoreBytes,
    NoSpace,
    ObjectArchived,
    ObjectMissing,
    OutOfTime,
    RecordError,
    SourceUnavailable,
    StoreDenied,
    StoreError,
    StoreThrottled,
    Throttled,
)
from thumbnailer.heap import trim_heap
from thumbnailer.logs import LOGGER
from thumbnailer.model import EngineName, EventKind, Format, ImageInfo, ObjectEvent, Outcome, Output, Status
from thumbnailer.notes import note_body, note_headers, note_key
from thumbnailer.objects import ObjectBody, ObjectHeaders, ObjectStore
from thumbnailer.plan import Plan, Target, make_plan, refuse_event, refuse_headers, with_placeholder
from thumbnailer.probe import ending_defect, probe
from thumbnailer.renditions import possible_target_keys
from thumbnailer.settings import Settings
from thumbnailer.tier import Tier

MOST_HEADER_BYTES: Final = 8 * 1024 * 1024
HEADER_AT_THE_END: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF: its directory may follow the pixels
LEAST_SECONDS: Final = 0.25
"""A record is not begun with less time than this: not even a small one would be through."""


@dataclass(slots=True)
class Trace:
    """What was learnt of a record before it ended, however it ended: for its log line, never for a decision."""

    started: float = field(default_factory=perf_counter)
    timings: dict[str, float] = field(default_factory=dict)
    bytes_in: int = 0
    info: ImageInfo | None = None
    engine: EngineName | None = None
    defects: list[str] = field(default_factory=list)
    """what is wrong with a picture that can be shown all the same"""
    profile_ignored: bool = False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = perf_counter()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + perf_counter() - started

    def note_defects(self, *defects: str) -> None:
        self.defects += filter(None, defects)

    def outcome(self, event: ObjectEvent, status: Status, outputs: Sequence[Output] = ()) -> Outcome:
        return self._end(event, status, outputs, None, "; ".join(self.defects) or None)

    def ended_by(self, event: ObjectEvent, error: RecordError) -> Outcome:
        return self._end(event, error.status, (), error.reason, str(error))

    def _end(
        self, event: ObjectEvent, status: Status, outputs: Sequence[Output], reason: str | None, detail: str | None
    ) -> Outcome:
        return Outcome(
            event=event,
            status=status,
            reason=reason,
            detail=detail,
            outputs=tuple(outputs),
            bytes_in=self.bytes_in,
            info=self.info,
            engine=self.engine,
            damaged=status is Status.STORED and bool(self.defects),
            profile_ignored=self.profile_ignored,
            timings=(*self.timings.items(), ("total", perf_counter() - self.started)),
        )


class MemoryBudget:
    """Bytes that pictures in work may hold together; who comes first is let in first, so no large one starves."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._changed = asyncio.Condition()
        self._queue = asyncio.Lock()

    @property
    def taken(self) -> int:
        return self._total - self._free

    async def take(self, amount: int) -> None:
        async with self._queue, self._changed:
            await self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount

    async def give_back(self, amount: int) -> None:
        async with self._changed:
            self._free += amount
            self._changed.notify_all()

    @asynccontextmanager
    async def held(self, amount: int) -> AsyncIterator[None]:
        """For what is there already, whether or not there is room: those who come wait for it as well."""
        self._free -= amount
        try:
            yield
        finally:
            await self.give_back(amount)


class Pipeline:
    """Made inside the loop that runs it. `tmp` is where sources lie while they are worked on."""

    def __init__(
        self,
        settings: Settings,
        tier: Tier,
        store: ObjectStore,
        installed: Capabilities,
        load_engine: Callable[[EngineName], Engine],
        tmp: str | None = None,
    ) -> None:
        self._settings = settings
        self._tier = tier
        self._store = store
        self._installed = installed
        self._load_engine = load_engine
        self._tmp = tmp
        self._memory = MemoryBudget(tier.memory_budget)
        self._decoders = ThreadPoolExecutor(tier.workers, thread_name_prefix="decode")
        self._decoding: set[asyncio.Task[Rendering]] = set()

    @property
    def memory_reserved(self) -> int:
        """Bytes that the plans of the pictures in work reckon with."""
        return self._memory.taken

    async def process_all(
        self,
        events: Sequence[ObjectEvent],
        deadline: float | None = None,
        done: Callable[[Outcome], None] = lambda _: None,
    ) -> list[Outcome]:
        """All records at once, as far as the tier lets; one outcome each, in their order. `deadline`: see `process`."""
        outcomes: dict[int, Outcome] = {}
        waiting = iter(enumerate(events))

        async def work() -> None:
            for number, event in waiting:
                outcomes[number] = await self.process(event, deadline)
                done(outcomes[number])

        await asyncio.gather(*(work() for _ in range(min(self._tier.in_flight, len(events)))))
        return [outcomes[number] for number in range(len(events))]

    async def process(
        self,
        event: ObjectEvent,
        deadline: float | None = None,
        alone: bool = False,  # noqa: ARG002
    ) -> Outcome:
        """One record to its outcome; raises nothing. `deadline` is a time of the running loop, None: no limit."""
        trace = Trace()
        outcome = await self._ended(event, trace, deadline, lambda: self._work(event, trace))
        if outcome.status is Status.REJECTED and self._settings.failed_prefix:
            return await self._ended(event, trace, deadline, lambda: self._leave_note(outcome))
        return outcome

    async def _ended(
        self, event: ObjectEvent, trace: Trace, deadline: float | None, work: Callable[[], Awaitable[Outcome]]
    ) -> Outcome:
        """Does `work` and turns whatever stops it into an outcome."""
        try:
            if deadline is not None and deadline - asyncio.get_running_loop().time() < LEAST_SECONDS:
                raise OutOfTime("too little time was left to begin")
            async with asyncio.timeout_at(deadline):
                return await work()
        except TimeoutError:
            return trace.ended_by(event, OutOfTime("it was not through when the time had run out"))
        except RecordError as error:
            return trace.ended_by(event, error)
        except Exception as error:  # a bug of ours or an engine's: this record comes back, the others go on
            LOGGER.exception("unforeseen", extra={"line": {"bucket": event.bucket, "key": event.key}})
            return trace.ended_by(event, EngineCrash(f"unforeseen: {type(error).__name__}: {error}"[:300]))

    # --- the way of one record ------------------------------------------------------------------------------------

    async def _work(self, event: ObjectEvent, trace: Trace) -> Outcome:
        refuse_event(event, self._settings, self._tier)
        if event.kind is EventKind.REMOVED:
            return await self._removed(event, trace)
        return await self._created(event, trace)

    async def _created(self, event: ObjectEvent, trace: Trace) -> Outcome:
        with self._scratch() as file:
            plan = await self._fetch(event, file, trace)
            rendering = await self._render(file.name, plan, trace)
        async with self._memory.held(sum(map(len, rendering.pictures))):
            outputs = await self._upload(plan, rendering, trace)
        return trace.outcome(event, Status.STORED, outputs)

    async def _removed(self, event: ObjectEvent, trace: Trace) -> Outcome:
        """Deletes the thumbnails, unless the source is there after all: removals and creations come in any order."""
        if self._settings.on_delete == "keep":
            raise Filtered("the source was removed; THUMBNAILER_ON_DELETE=keep leaves its thumbnails")
        current = ObjectEvent(EventKind.CREATED, event.bucket, event.key)
        try:
            return await self._created(current, trace)
        except (Gone, AccessDenied):  # without s3:ListBucket, S3 answers 403 for what is not there
            await self._delete_thumbnails(event)
            return trace.outcome(event, Status.DELETED)

    async def _delete_thumbnails(self, event: ObjectEvent) -> None:
        bucket = self._settings.destination_bucket(event.bucket)
        keys = possible_target_keys(self._settings.key, event.key, self._settings.renditions)
        with destination_errors():
            await asyncio.gather(*(self._store.delete(bucket, key) for key in keys))

    # --- fetch ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _scratch(self) -> Iterator[IO[bytes]]:
        """A file whose name has nothing of the key; gone afterwards, whatever happens."""
        try:
            file = tempfile.NamedTemporaryFile(prefix="thumbnailer-", dir=self._tmp, buffering=0)
        except OSError as error:
            raise NoSpace(f"no file can be made in {tempfile.gettempdir()}: {error.strerror}") from error
        with file:
            yield file

    async def _fetch(self, event: ObjectEvent, file: IO[bytes], trace: Trace) -> Plan:
        """One GET into `file`. Hopeless objects are dropped once their header is known, before the rest is read."""
        with source_errors():
            async with AsyncExitStack() as stack:
                with trace.stage("open"):
                    opening = self._store.open(event.bucket, event.key, event.version_id)
                    body = await stack.enter_async_context(opening)
                refuse_headers(event, body.headers, self._settings, self._tier)
                with trace.stage("fetch"):
                    return await self._read(event, body, file, trace)

    async def _read(self, event: ObjectEvent, body: ObjectBody, file: IO[bytes], trace: Trace) -> Plan:
        plan: Plan | None = None
        probe_at = 1
        async for chunk in body.chunks():
            _write(file, chunk)
            trace.bytes_in += len(chunk)
            if plan is None and trace.bytes_in >= probe_at:
                plan = self._planned(event, file, body.headers, trace)
                probe_at = _next_probe(trace.bytes_in)
        if plan is None or not plan.info.complete:
            plan = self._planned(event, file, body.headers, trace)
        if plan is None:
            raise Corrupt("the file ends within its header")
        trace.note_defects(_ending_defect(file, plan.info.format))
        return plan

    def _planned(self, event: ObjectEvent, file: IO[bytes], source: ObjectHeaders, trace: Trace) -> Plan | None:
        """The plan, or None while the header goes on. Raises Corrupt where it goes on for ever."""
        try:
            trace.info = _probe_file(file, source.size)
        except NeedMoreBytes as error:
            if trace.bytes_in > MOST_HEADER_BYTES and _first_bytes(file) not in HEADER_AT_THE_END:
                raise Corrupt(f"no picture within the first {MOST_HEADER_BYTES >> 20} MB: {error}") from error
            return None
        plan = make_plan(event, trace.info, source, self._settings, self._tier, self._installed)
        trace.engine = plan.engine
        return plan

    # --- render ---------------------------------------------------------------------------------------------------

    async def _render(self, path: str, plan: Plan, trace: Trace) -> Rendering:
        """Admitted by memory, then by a free decoder; `wait` is all that passes before an engine has begun."""
        started = perf_counter()
        rendering = await self._tried(path, plan)
        busy = rendering.decode_seconds + rendering.encode_seconds
        trace.timings["wait"] = perf_counter() - started - busy
        trace.timings |= {"decode": rendering.decode_seconds, "encode": rendering.encode_seconds}
        trace.engine, trace.profile_ignored = rendering.engine, rendering.profile_ignored
        trace.note_defects(plan.info.defect, rendering.defect)
        return rendering

    async def _tried(self, path: str, plan: Plan) -> Rendering:
        """The second try is admitted anew: most pictures never need it, and it may take much more than the first."""
        try:
            return await self._admitted(plan.memory_estimate, partial(render_first, self._load_engine, path, plan))
        except Corrupt as error:
            if not plan.second_estimate:
                raise
            first = error
        return await self._admitted(plan.second_estimate, partial(render_second, self._load_engine, path, plan, first))

    async def _admitted(self, memory: int, work: Callable[[], Rendering]) -> Rendering:
        await self._memory.take(memory)
        decoding = asyncio.create_task(self._decode(memory, work))
        self._decoding.add(decoding)
        decoding.add_done_callback(self._decoding.discard)
        return await asyncio.shield(decoding)

    async def _decode(self, memory: int, work: Callable[[], Rendering]) -> Rendering:
        """A thread cannot be cancelled, so its memory is given back when it ends, not when nobody waits any more."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._decoders, self._tidily, work)
        finally:
            await self._memory.give_back(memory)

    def _tidily(self, work: Callable[[], Rendering]) -> Rendering:
        try:
            return work()
        finally:
            trim_heap(self._tier.most_kept_free)

    # --- upload ---------------------------------------------------------------------------------------------------

    async def _upload(self, plan: Plan, rendering: Rendering, trace: Trace) -> list[Output]:
        """All PUTs at once."""
        pairs = list(zip(_labelled(plan.targets, rendering.placeholders), rendering.pictures, strict=True))
        with trace.stage("upload"), destination_errors():
            await asyncio.gather(*(self._store.put(t.bucket, t.key, data, t.headers) for t, data in pairs))
        return [_output(target, data) for target, data in pairs]

    async def _leave_note(self, outcome: Outcome) -> Outcome:
        bucket = self._settings.destination_bucket(outcome.event.bucket)
        key = note_key(self._settings.failed_prefix, outcome.event.key)
        with destination_errors():
            await self._store.put(bucket, key, note_body(outcome), note_headers(outcome))
        return outcome

    async def aclose(self) -> None:
        await asyncio.gather(*self._decoding, return_exceptions=True)
        self._decoders.shutdown()
        await self._store.aclose()


def _labelled(targets: Sequence[Target], placeholders: Sequence[str]) -> list[Target]:
    """The targets with their placeholders in their headers, where there are any."""
    if not placeholders:
        return list(targets)
    labelled = zip(targets, placeholders, strict=True)
    return [replace(target, headers=with_placeholder(target.headers, text)) for target, text in labelled]


def _output(target: Target, data: bytes) -> Output:
    return Output(target.bucket, target.key, target.name, target.width, target.height, target.format, len(data))


def _write(file: IO[bytes], chunk: bytes) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise NoSpace(f"the source does not fit into {os.path.dirname(file.name)}: {error.strerror}") from error


def _next_probe(size: int) -> int:
    """At twice the bytes, so that all probes together cost no more than the last; and once at the header's limit."""
    return 2 * size if size > MOST_HEADER_BYTES else min(2 * size, MOST_HEADER_BYTES + 1)


def _probe_file(file: IO[bytes], total: int) -> ImageInfo:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return probe(data, total)


def _ending_defect(file: IO[bytes], format_: Format) -> str:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return ending_defect(data, format_)


def _first_bytes(file: IO[bytes]) -> bytes:
    return os.pread(file.fileno(), 4, 0)


@contextmanager
def source_errors() -> Iterator[None]:
    """What a store's errors mean on the way in."""
    try:
        yield
    except (ObjectMissing, BucketMissing) as error:
        raise Gone(str(error)) from error
    except StoreDenied as error:
        raise AccessDenied(str(error)) from error
    except ObjectArchived as error:
        raise Archived(str(error)) from error
    except StoreThrottled as error:
        raise Throttled(str(error)) from error
    except StoreError as error:
        raise SourceUnavailable(str(error)) from error


@contextmanager
def destination_errors() -> Iterator[None]:
    """What a store's errors mean on the way out: all of them are ours to mend, so all come back."""
    try:
        yield
    except StoreDenied as error:
        raise DestinationDenied(str(error)) from error
    except StoreThrottled as error:
        raise Throttled(str(error)) from error
    except StoreError as error:
        raise DestinationUnavailable(str(error)) from error
