"""The way of one record, and of a batch. It knows the store and the engines by their protocols alone."""

from __future__ import annotations

import asyncio
import mmap
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Any, Final

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
    Reason,
    RecordError,
    Rejected,
    Skipped,
    SourceUnavailable,
    StoreDenied,
    StoreError,
    StoreThrottled,
    Throttled,
)
from thumbnailer.execution.malloc import trim_heap
from thumbnailer.execution.threads import Decoders
from thumbnailer.formats import ending_defect, probe
from thumbnailer.model import EngineName, EventKind, Format, ImageInfo, ObjectEvent, Outcome, Output, Status
from thumbnailer.planning.capabilities import Capabilities
from thumbnailer.planning.memory import CHILD
from thumbnailer.planning.plan import Plan, make_plan, refuse_event, refuse_headers
from thumbnailer.planning.targets import Target, with_placeholder
from thumbnailer.planning.tier import Tier
from thumbnailer.renditions import possible_target_keys
from thumbnailer.reporting.logs import LOGGER
from thumbnailer.reporting.notes import note_body, note_headers, note_key
from thumbnailer.scratch import Scratch
from thumbnailer.settings import Settings
from thumbnailer.store.base import ObjectBody, ObjectHeaders, ObjectStore, ObjectVersion

MOST_HEADER_BYTES: Final = 8 * 1024 * 1024
HEADER_AT_THE_END: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF: its directory may follow the pixels
MOST_ROUNDS: Final = 5
"""How often a record is done again because its source has changed meanwhile; then it comes back."""
MEMORY_FOR_SOURCES: Final = 4
"""One part in so many of the memory budget is the most that sources for which /tmp has no room may take together."""
LEAST_SECONDS: Final = 0.25
"""A record is not begun with less time than this: not even a small one would be through."""
CLOSING_SECONDS: Final = 3.0
"""How long the end waits for what is still being decoded when no record waits for it any more; it may never end."""


@dataclass(slots=True)
class Trace:
    """How a record is worked, and what was learnt of it before it ended: for its log line, never for a decision."""

    alone: bool = False
    """whether it is decoded in a child process"""
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

    def begin_again(self) -> None:
        """Another round, for another content of the source: times add up, all else is that one's alone."""
        self.bytes_in, self.info, self.engine, self.defects, self.profile_ignored = 0, None, None, [], False

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
            timings=self._timings(),
        )

    def at_the_end(self, outcome: Outcome) -> Outcome:
        """The same, with the times of what was done since it was made: the look after the writes."""
        return replace(outcome, timings=self._timings())

    def _timings(self) -> tuple[tuple[str, float], ...]:
        return (*self.timings.items(), ("total", perf_counter() - self.started))


@dataclass(slots=True)
class Seen:
    """What one round found at the source's key; None: nothing, as far as we may know."""

    version: ObjectVersion | None = None


class MemoryBudget:
    """Bytes that pictures in work may hold together; who comes first is let in first, so no large one starves.

    Sources that lie in memory wait here for their decoding while they hold memory. That can be no deadlock: what does
    not fit beside all of them is refused, so whoever waits is let in when those that decode have ended.
    """

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._set_aside = 0
        self._changed = asyncio.Event()  # for the one that is first in the queue
        self._queue = asyncio.Lock()

    @property
    def taken(self) -> int:
        return self._total - self._free

    async def take(self, amount: int) -> None:
        """Raises NoSpace where it does not fit beside the sources that lie in memory."""
        async with self._queue:
            while self._free < amount:
                self._refuse_what_never_fits(amount)
                self._changed.clear()
                await self._changed.wait()
            self._free -= amount

    def _refuse_what_never_fits(self, amount: int) -> None:
        if amount > self._total - self._set_aside:
            needed, total, taken = amount >> 20, self._total >> 20, self._set_aside >> 20
            raise NoSpace(f"decoding needs {needed} of {total} MB; sources that /tmp has no room for lie in {taken}")

    def set_aside(self, amount: int) -> None:
        """For a source in memory, at once or not at all: raises NoSpace."""
        share = self._total // MEMORY_FOR_SOURCES
        if amount > min(self._free, share - self._set_aside):
            raise NoSpace(f"{self._set_aside} of {share} bytes of memory for sources are taken, {self._free} free")
        self._free -= amount
        self._set_aside += amount
        self._changed.set()

    async def bring_back(self, amount: int) -> None:
        """What was set aside."""
        self._set_aside -= amount
        await self.give_back(amount)

    async def give_back(self, amount: int) -> None:
        self._free += amount
        self._changed.set()

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
        self._decoders: Decoders[Rendering] = Decoders(tier.workers)
        self._children = asyncio.Semaphore(tier.workers)
        self._decoding: set[asyncio.Task[Rendering]] = set()

    @property
    def stuck(self) -> int:
        """Decodes that run on long after their records were given up. From `workers` on, a new process is better."""
        return self._decoders.stuck

    @property
    def memory_reserved(self) -> int:
        """Bytes that the plans of the pictures in work reckon with."""
        return self._memory.taken

    async def process_all(
        self,
        events: Sequence[ObjectEvent],
        deadline: float | None = None,
        done: Callable[[Outcome], None] = lambda _: None,
        alone: Container[int] = (),
    ) -> list[Outcome]:
        """All records at once, as far as the tier lets; one outcome each, in their order.

        `deadline`: see `process`; `alone`: the places in `events` of those for which `process` is told so.
        """
        outcomes: dict[int, Outcome] = {}
        waiting = iter(enumerate(events))

        async def work() -> None:
            for number, event in waiting:
                outcomes[number] = await self.process(event, deadline, number in alone)
                done(outcomes[number])

        await asyncio.gather(*(work() for _ in range(min(self._tier.in_flight, len(events)))))
        return [outcomes[number] for number in range(len(events))]

    async def process(self, event: ObjectEvent, deadline: float | None = None, alone: bool = False) -> Outcome:
        """One record to its outcome; raises nothing. `deadline` is a time of the running loop, None: no limit.

        `alone`: the picture is decoded in a child process, because it may have killed the last process it was in.
        """
        trace = Trace(alone=alone)
        outcome = await self._ended(event, trace, deadline, lambda: self._work(event, trace))
        if self._deserves_note(outcome):
            return await self._ended(event, trace, deadline, lambda: self._leave_note(outcome))
        return outcome

    def _deserves_note(self, outcome: Outcome) -> bool:
        unwanted = outcome.reason == Reason.BUCKET_NOT_ALLOWED
        return outcome.status is Status.REJECTED and bool(self._settings.failed_prefix) and not unwanted

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
        refuse_event(event, self._settings)
        if event.kind is not EventKind.REMOVED:
            return await self._newest(event, trace, removed=False)
        if self._settings.on_delete == "keep":
            raise Filtered("the source was removed; THUMBNAILER_ON_DELETE=keep leaves its thumbnails")
        current = ObjectEvent(EventKind.CREATED, event.bucket, event.key)
        return replace(await self._newest(current, trace, removed=True), event=event)

    async def _newest(self, event: ObjectEvent, trace: Trace, removed: bool) -> Outcome:
        """Makes the destination what the source is, in rounds until a look after a write finds what it was made of.

        Events come in any order and their records run beside each other. Take the last write of all to a thumbnail:
        its record looked at the source after it, and found what the write was made of, or it would have written again.
        If the source changed later, that has an event whose record reads it later and writes later still: so this was
        not the last write. S3 is strongly consistent, so each look sees all that was written before it.
        """
        wrote = removed
        made = False
        for _ in range(MOST_ROUNDS):
            seen = Seen()
            ended_by: RecordError | None = None
            try:
                outcome = await self._created(event, trace, seen)
                made = True
            except (Skipped, Rejected) as error:
                if not self._withdraws(error, wrote, seen):
                    raise
                outcome, ended_by = await self._withdrawn(event, trace), error
            wrote = True
            if await self._is_still(event, seen, trace):
                return trace.at_the_end(_settled(outcome, ended_by, removed, made))
            trace.begin_again()
        raise SourceUnavailable(f"it changed again and again while its thumbnails were made, {MOST_ROUNDS} times")

    def _withdraws(self, error: RecordError, wrote: bool, seen: Seen) -> bool:
        """Whether thumbnails of what the key held before must go.

        Where nothing is there, always: an earlier try of this record may have ended between its write and its look.
        And where what is there can have no thumbnail: an older version's must not stand for it.
        """
        refused = isinstance(error, Rejected) and seen.version is not None
        return self._settings.on_delete == "delete" and (wrote or refused or isinstance(error, Gone))

    async def _created(self, event: ObjectEvent, trace: Trace, seen: Seen) -> Outcome:
        async with self._scratch() as file:
            plan = await self._fetch(event, file, trace, seen)
            rendering = await self._render(file.path, plan, trace)
        async with self._memory.held(sum(map(len, rendering.pictures))):
            outputs = await self._upload(plan, rendering, trace)
        return trace.outcome(event, Status.STORED, outputs)

    async def _withdrawn(self, event: ObjectEvent, trace: Trace) -> Outcome:
        bucket = self._settings.destination_bucket(event.bucket)
        keys = possible_target_keys(self._settings.key, event.key, self._settings.renditions)
        with trace.stage("upload"), destination_errors(), suppress(BucketMissing):
            await _all(self._store.delete(bucket, key) for key in keys)
        return trace.outcome(event, Status.DELETED)

    async def _is_still(self, event: ObjectEvent, seen: Seen, trace: Trace) -> bool:
        """One look, after all writes. A 403 is S3's answer for what is not there, too, without s3:ListBucket."""
        with trace.stage("upload"), source_errors():
            try:
                return await self._store.head(event.bucket, event.key) == seen.version
            except StoreDenied:
                return seen.version is None

    # --- fetch ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _scratch(self) -> AsyncIterator[Scratch]:
        """Gone afterwards, whatever happens."""
        scratch = Scratch(self._tmp, self._memory.set_aside)
        try:
            yield scratch
        finally:
            scratch.close()
            if scratch.in_memory:
                await self._memory.bring_back(scratch.in_memory)

    async def _fetch(self, event: ObjectEvent, file: Scratch, trace: Trace, seen: Seen) -> Plan:
        """One GET into `file`. Hopeless objects are dropped once their header is known, before the rest is read."""
        with source_errors():
            async with AsyncExitStack() as stack:
                with trace.stage("open"):
                    body = await stack.enter_async_context(self._store.open(event.bucket, event.key))
                seen.version = body.headers.version
                refuse_headers(event, body.headers, self._tier)
                file.expect(body.headers.size)
                with trace.stage("fetch"):
                    return await self._read(event, body, file, trace)

    async def _read(self, event: ObjectEvent, body: ObjectBody, file: Scratch, trace: Trace) -> Plan:
        plan: Plan | None = None
        probe_at = 1
        async for chunk in body.chunks():
            file.write(chunk)
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

    def _planned(self, event: ObjectEvent, file: Scratch, source: ObjectHeaders, trace: Trace) -> Plan | None:
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
        rendering = await self._tried(path, plan, trace.alone)
        busy = rendering.decode_seconds + rendering.encode_seconds
        trace.timings["wait"] = perf_counter() - started - busy
        trace.timings |= {"decode": rendering.decode_seconds, "encode": rendering.encode_seconds}
        trace.engine, trace.profile_ignored = rendering.engine, rendering.profile_ignored
        trace.note_defects(plan.info.defect, rendering.defect)
        return rendering

    async def _tried(self, path: str, plan: Plan, alone: bool) -> Rendering:
        """The second try is admitted anew: most pictures never need it, and it may take much more than the first."""
        try:
            if self._isolates(plan.memory_estimate, alone):
                return await self._in_child(plan.memory_estimate, partial(_render_alone, path, plan))
            return await self._admitted(plan.memory_estimate, partial(render_first, self._load_engine, path, plan))
        except Corrupt as error:
            if not plan.second_estimate:
                raise
            first = error
        if self._isolates(plan.second_estimate, alone):
            return await self._in_child(plan.second_estimate, partial(_render_alone, path, plan, first))
        return await self._admitted(plan.second_estimate, partial(render_second, self._load_engine, path, plan, first))

    def _isolates(self, memory: int, alone: bool) -> bool:
        """Not where there is no room for a child beside the picture: that would be killed, however good it is."""
        return alone and memory + CHILD <= self._tier.memory_budget

    async def _in_child(self, memory: int, work: Callable[[], Awaitable[Rendering]]) -> Rendering:
        """Unlike a thread, a child ends when its record does, and this returns when it has."""
        async with self._children:
            await self._memory.take(memory + CHILD)
            decoding = self._remembered(self._then_given_back(memory + CHILD, work()))
            try:
                return await asyncio.shield(decoding)
            except asyncio.CancelledError:
                decoding.cancel()
                await asyncio.wait({decoding})
                raise

    async def _admitted(self, memory: int, work: Callable[[], Rendering]) -> Rendering:
        await self._memory.take(memory)
        thread = self._decoders.submit(partial(self._tidily, work))
        decoding = self._remembered(self._then_given_back(memory, asyncio.wrap_future(thread)))
        try:
            return await asyncio.shield(decoding)
        except asyncio.CancelledError:
            self._decoders.give_up(thread)
            raise

    async def _then_given_back(self, memory: int, work: Awaitable[Rendering]) -> Rendering:
        """A thread cannot be cancelled, so its memory is given back when it ends, not when nobody waits any more."""
        try:
            return await work
        finally:
            await self._memory.give_back(memory)

    def _remembered(self, work: Coroutine[Any, Any, Rendering]) -> asyncio.Task[Rendering]:
        decoding = asyncio.create_task(work)
        self._decoding.add(decoding)
        decoding.add_done_callback(self._decoding.discard)
        return decoding

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
            await _all(self._store.put(t.bucket, t.key, data, t.headers) for t, data in pairs)
        return [_output(target, data) for target, data in pairs]

    async def _leave_note(self, outcome: Outcome) -> Outcome:
        bucket = self._settings.destination_bucket(outcome.event.bucket)
        key = note_key(self._settings.failed_prefix, outcome.event.key)
        with destination_errors():
            await self._store.put(bucket, key, note_body(outcome), note_headers(outcome))
        return outcome

    async def aclose(self) -> None:
        """What is still being decoded is waited for, but not for ever."""
        if self._decoding:
            await asyncio.wait(self._decoding, timeout=0 if self.stuck else CLOSING_SECONDS)
        self._decoders.close()
        await self._store.aclose()


async def _render_alone(path: str, plan: Plan, first: Corrupt | None = None) -> Rendering:
    from thumbnailer.execution.isolated import (
        render_alone,  # not for a cold start: most records are never delivered again
    )

    return await render_alone(path, plan, first)


def _labelled(targets: Sequence[Target], placeholders: Sequence[str]) -> list[Target]:
    """The targets with their placeholders in their headers, where there are any."""
    if not placeholders:
        return list(targets)
    labelled = zip(targets, placeholders, strict=True)
    return [replace(target, headers=with_placeholder(target.headers, text)) for target, text in labelled]


def _output(target: Target, data: bytes) -> Output:
    return Output(target.bucket, target.key, target.name, target.width, target.height, target.format, len(data))


async def _all(writes: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All at once, and none is under way any more when this ends, even if one fails: none comes after a look."""
    ends = await asyncio.gather(*writes, return_exceptions=True)
    for end in ends:
        if end is not None:
            raise end


def _settled(outcome: Outcome, ended_by: RecordError | None, removed: bool, made: bool) -> Outcome:
    """How a record ends whose thumbnails are, or are not, there as they must. Raises the RecordError that ended it."""
    if ended_by is None:
        return outcome
    missing = isinstance(ended_by, Gone | AccessDenied)
    if removed and missing and not made:
        return outcome
    if made and isinstance(ended_by, AccessDenied):  # gone, or a permission was taken away: the retry finds out
        raise SourceUnavailable(f"it could be read, and then no more: {ended_by}") from ended_by
    raise ended_by


def _next_probe(size: int) -> int:
    """At twice the bytes, so that all probes together cost no more than the last; and once at the header's limit."""
    return 2 * size if size > MOST_HEADER_BYTES else min(2 * size, MOST_HEADER_BYTES + 1)


def _probe_file(file: Scratch, total: int) -> ImageInfo:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return probe(data, total)


def _ending_defect(file: Scratch, format_: Format) -> str:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return ending_defect(data, format_)


def _first_bytes(file: Scratch) -> bytes:
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
