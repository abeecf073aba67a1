"""From a source to encoded pictures: fetch, plan, render. Sends one GET and writes nothing to any bucket."""

import mmap
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from functools import partial
from time import perf_counter
from typing import Final, TypeVar

from thumbnailer import errors
from thumbnailer.engine import Load, Rendering
from thumbnailer.execution.budget import MemoryBudget
from thumbnailer.execution.decoder import Decoder
from thumbnailer.formats import ending_defect, hide_metadata, probe
from thumbnailer.formats.base import Budget, Patch
from thumbnailer.model import ObjectEvent
from thumbnailer.planning.capabilities import BOTH_ENGINES, NATIVE, Capabilities
from thumbnailer.planning.plan import Plan, make_plan, refuse_headers
from thumbnailer.planning.tier import Tier
from thumbnailer.scratch import Scratch
from thumbnailer.settings import Settings
from thumbnailer.store.base import ObjectBody, ObjectHeaders, ObjectStore, ObjectVersion, name_unsendable
from thumbnailer.trace import Trace
from thumbnailer.values import dataclass

MOST_HEADER_BYTES: Final = 16 * 1024 * 1024
QUICK_UNITS: Final = 1000
"""Work on a header that may happen on the event loop: a millisecond, which suffices for all but one of 260 pictures of
the corpus (docs/why.md)."""
HEADER_AT_THE_END: Final = re.compile(rb"II[*+]\0|MM\0[*+]|....ftyp", re.DOTALL)
"""The directory of a TIFF and the meta box of a HEIC or AVIF may follow the pixels."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rendered:
    """One encoded picture per target of the plan."""

    headers: ObjectHeaders
    """of the source"""
    plan: Plan
    rendering: Rendering

    @property
    def version(self) -> ObjectVersion:
        return self.headers.version


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no source, or it can have no thumbnail."""

    version: ObjectVersion | None
    """None: nothing was found"""
    error: errors.Skipped | errors.Rejected


class Renderer:
    """Renders sources of `store` within the memory and the decoders of `tier`. Make it inside the loop that runs it.

    `tmp` is the folder for sources in work; None: the system's.
    """

    def __init__(
        self,
        tier: Tier,
        store: ObjectStore,
        installed: Capabilities,
        load_engine: Load,
        tmp: str | None = None,
        always_isolated: bool = False,
    ) -> None:
        self.tier = tier
        self._store = store
        self._installed = installed
        self._without_native: Capabilities = {name: installed[name] for name in BOTH_ENGINES if name in installed}
        self._tmp = tmp
        self.memory = MemoryBudget(tier.memory_budget)
        self.decoder = Decoder(tier, self.memory, load_engine, always_isolated)

    async def render(
        self, event: ObjectEvent, settings: Settings, trace: Trace, isolated: bool = False
    ) -> Rendered | Refused:
        """Renders the source's current content, in the renditions of `settings`.

        `isolated` decodes in a child process. `trace` receives timings and findings. Raises Failed and Deferred; the
        caller limits the time with `asyncio.timeout_at`.
        """
        version: ObjectVersion | None = None
        try:
            with closing(Scratch(self._tmp, self.memory)) as file:
                async with self._open(event, trace) as body:
                    version = body.headers.version
                    refuse_headers(event, body.headers, self.tier)  # before any byte of the body
                    file.expect(body.headers.size)
                    with trace.stage("fetch"):
                        plan = await self._fetch(event, settings, body, file, trace)
                started = perf_counter()
                try:
                    rendering = await self.decoder.render(file.path, plan, isolated)
                except errors.Corrupt as error:
                    plan = self._plan_without_native(plan, settings, body.headers, trace, error)
                    rendering = await self.decoder.render(file.path, plan, isolated)
                trace.add_rendering(rendering, perf_counter() - started)
        except (errors.Skipped, errors.Rejected) as error:
            return Refused(version, error)
        return Rendered(body.headers, plan, rendering)

    @asynccontextmanager
    async def _open(self, event: ObjectEvent, trace: Trace) -> AsyncIterator[ObjectBody]:
        with errors.store_errors(errors.OF_SOURCE):
            async with AsyncExitStack() as stack:
                with trace.stage("open"):
                    body = await stack.enter_async_context(self._store.open(event.bucket, event.key))
                yield body

    async def _fetch(
        self, event: ObjectEvent, settings: Settings, body: ObjectBody, file: Scratch, trace: Trace
    ) -> Plan:
        """Writes the body to `file`. Plans once the header is complete: a refusal saves the rest of the download."""
        plan_now = partial(self._plan, event, settings, body.headers, file, trace)
        plan: Plan | None = None
        probe_at = 1
        async for chunk in body.chunks():
            file.write(chunk)
            trace.bytes_in += len(chunk)
            if plan is None and trace.bytes_in >= probe_at:
                plan = await plan_now()
                probe_at = _next_probe(trace.bytes_in)
        if plan is None or not plan.info.complete:  # data behind the pixels may change the plan
            plan = await plan_now()
        if plan is None:
            raise errors.Corrupt("the file ends within its header")
        info = plan.info
        defect = await self._read(file, lambda data, budget: ending_defect(data, info.format, budget))
        trace.add_defects(defect, info.defect)
        await self._read(file, lambda data, budget: _patch(data, hide_metadata(data, info.format, budget)))
        return plan

    async def _plan(
        self, event: ObjectEvent, settings: Settings, headers: ObjectHeaders, file: Scratch, trace: Trace
    ) -> Plan | None:
        """None while the header is incomplete."""
        try:
            info = await self._read(file, lambda data, budget: probe(data, headers.size, budget))
        except errors.NotAnImage as error:
            if headers.content_encoding:
                raise errors.NotAnImage(f"{error}, of Content-Encoding {headers.content_encoding!r}") from error
            raise
        except errors.NeedMoreBytes as error:
            _refuse_endless_header(file, trace.bytes_in, error)
            return None
        trace.info = info
        plan = make_plan(event, info, headers, settings, self.tier, self._installed)
        trace.engine, trace.still_because = plan.engine, plan.still_because
        trace.remark = name_unsendable(plan.targets[0].headers)
        return plan

    def _plan_without_native(
        self, plan: Plan, settings: Settings, headers: ObjectHeaders, trace: Trace, error: errors.Corrupt
    ) -> Plan:
        """What the compiled engine leaves is rendered as if it were not installed. Raises `error` of other engines."""
        if plan.engine is not NATIVE:
            raise error
        trace.engine, trace.engine_bug = None, str(error) if isinstance(error, errors.EngineBug) else ""
        plan = make_plan(plan.event, plan.info, headers, settings, self.tier, self._without_native)
        trace.engine = plan.engine
        return plan

    async def _read(self, file: Scratch, read: Callable[[mmap.mmap, Budget | None], T]) -> T:
        """What `read` returns for the file within a budget: in a thread if it needs many units.

        So no file holds up the event loop, and most files are spared the switch to a thread.
        """
        with suppress(errors.TooMuchWork), _memory_map(file) as data:
            return read(data, Budget(QUICK_UNITS, errors.TooMuchWork))
        return await self.decoder.read(partial(_read_all, _memory_map(file), read))


def _patch(data: mmap.mmap, patches: Iterable[Patch]) -> None:
    """A file may need 80,000 patches: too many for the event loop."""
    for at, patch in patches:
        data[at : at + len(patch)] = patch


def _read_all(data: mmap.mmap, read: Callable[[mmap.mmap, Budget | None], T]) -> T:
    """Closes `data`, because a record that was given up leaves its thread running."""
    with data:
        return read(data, None)


def _refuse_endless_header(file: Scratch, fetched: int, error: errors.NeedMoreBytes) -> None:
    """Raises errors.TooManyBytes if the header should have ended by now."""
    if fetched > MOST_HEADER_BYTES and not HEADER_AT_THE_END.match(os.pread(file.fileno(), 8, 0)):
        raise errors.TooManyBytes(f"no picture within the first {MOST_HEADER_BYTES >> 20} MB: {error}") from error


def _next_probe(fetched: int) -> int:
    """Twice the bytes, so that all probes together cost no more than the last; and once at the header's limit."""
    return 2 * fetched if fetched > MOST_HEADER_BYTES else min(2 * fetched, MOST_HEADER_BYTES + 1)


def _memory_map(file: Scratch) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0)  # shared: patches reach the file
