"""The process that tries inputs: the real pipeline with a store in memory, observed from within.

It may die of an input. What it was doing then is in `stacks/{number}`, which faulthandler writes.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import resource
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.fuzz.judge import Key, ending, too_much, wrong_ending, wrong_objects
from tests.fuzz.last_words import last_words
from tests.fuzz.mutate import broken_file
from tests.fuzz.sources import Source, made
from tests.fuzz.verdict import Problem, Verdict
from tests.support.reading import too_slow
from thumbnailer.app import new_event_loop
from thumbnailer.engine import Engine, Rendering, installed_engines, load_engine
from thumbnailer.execution.malloc import tame_heap
from thumbnailer.model import EngineName, EventKind, ObjectEvent, Outcome
from thumbnailer.pipeline import Pipeline
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.tier import MB, tier_for
from thumbnailer.rendering import Renderer
from thumbnailer.reporting.logs import LOGGER
from thumbnailer.settings import Settings, parse_settings
from thumbnailer.store.base import PutHeaders
from thumbnailer.store.memory import MemoryStore

TIER: Final = tier_for(512)
UNPLANNED: Final = 8 * MB
"""Allowed memory growth of an input without a decoded picture."""
HEADROOM: Final = 64 * MB
"""Stacks of threads, 8 MB each, and reserves of malloc: allocated and never touched."""
BUCKET: Final = "photos"
ENGINES: Final = tuple(EngineName)
RENDITIONS: Final = (
    "128x128",
    "a=64x64:cover:jpeg,b=24x24:webp",
    "a=100x100:png,b=16x40:cover:gif",
    "a=200x:webp,b=x50:jpeg:q95:progressive,c=16x16:gif",
    "a=12x12:smart:jpeg,b=48x48:avif",
)


def settings_of(number: int) -> Settings:
    """Settings that alternate between the engines and cycle through all combinations."""
    engine = ENGINES[number % len(ENGINES)]
    renditions = RENDITIONS[number // len(ENGINES) % len(RENDITIONS)]
    chosen = {"ENGINE": engine, "RENDITIONS": renditions, "SVG": "on", "THUMBHASH": "on" if has_thumbhash() else "off"}
    return parse_settings({f"THUMBNAILER_{name}": value for name, value in chosen.items()})


@cache
def has_thumbhash() -> bool:
    return find_spec("thumbhash") is not None


# --- what the pool calls ------------------------------------------------------------------------------------------

_rig: Rig | None = None


def start(folder: Path) -> None:
    """Loads every lazy module once per process, then limits the memory."""
    global _rig  # noqa: PLW0603 (process-wide state of a pool worker)
    _rig = Rig(folder)


def check(seed: int, number: int) -> Verdict:
    assert _rig is not None
    source, data = broken_file(seed, number)
    return _rig.run(number, source, data)


# --- the rig ------------------------------------------------------------------------------------------------------


class Rig:
    def __init__(self, folder: Path) -> None:
        self._stacks = folder / "stacks"
        self._scratch = folder / f"tmp-{os.getpid()}"
        self._scratch.mkdir()
        tempfile.tempdir = os.environ["TMPDIR"] = str(self._scratch)  # libvips reads the variable
        tame_heap()  # as every door does
        self._log = LastError()
        LOGGER.handlers, LOGGER.propagate = [self._log], False
        self._runner = asyncio.Runner(loop_factory=new_event_loop)
        for number, source in enumerate(made()):
            for engine in range(len(ENGINES)):
                self._process(len(ENGINES) * number + engine, source.data)
        gc.collect()
        gc.freeze()
        _limit_memory(TIER.memory_budget + HEADROOM)

    def run(self, number: int, source: Source, data: bytes) -> Verdict:
        """Processes one input and returns its verdict."""
        self._log.last = None
        with last_words(self._stacks / str(number)):
            files, before = _open_files(), _start_watching()
            cpu = time.process_time()
            outcome, written, plans = self._process(number, data)
            cpu, grown = time.process_time() - cpu, _status("VmHWM") - before
        allowed = max((max(plan.memory_estimate, plan.second_estimate) for plan in plans), default=UNPLANNED)
        problems = (
            *self._with_place(wrong_ending(outcome)),
            *wrong_objects(outcome, written),
            *too_much(cpu, grown, allowed),
            *(Problem("slow reader", text) for text in too_slow(data)),
            *self._left_behind(files),
        )
        engine = str(outcome.engine or "")
        ended = ending(outcome)
        return Verdict(number, source.name, source.kind, ended, engine, cpu, grown, allowed, before, problems)

    def _process(self, number: int, data: bytes) -> tuple[Outcome, dict[Key, bytes], list[Plan]]:
        return self._runner.run(processed(settings_of(number), data))

    def _with_place(self, problems: Iterator[Problem]) -> Iterator[Problem]:
        """The detail, with the traceback of an unexpected error."""
        for problem in problems:
            yield replace(problem, text=f"{problem.text} [{self._log.last}]") if self._log.last else problem

    def _left_behind(self, files: int) -> Iterator[Problem]:
        if left := os.listdir(self._scratch):
            yield Problem("files left", ", ".join(left))
            for name in left:
                (self._scratch / name).unlink()
        gc.collect()
        if _open_files() > files:
            yield Problem("open files left", f"{files} before, {_open_files()} after")


async def processed(settings: Settings, data: bytes) -> tuple[Outcome, dict[Key, bytes], list[Plan]]:
    """The outcome of an object, the written objects, and the plans passed to engines."""
    plans: list[Plan] = []
    store = MemoryStore(BUCKET, f"{BUCKET}-resized")
    await store.put(BUCKET, "x", data, PutHeaders("image/jpeg"))
    renderer = Renderer(TIER, store, installed_engines(), lambda name: Watched(load_engine(name), plans))
    pipeline = Pipeline(settings, store, renderer)
    try:
        outcome = await pipeline.process(ObjectEvent(EventKind.CREATED, BUCKET, "x"))
    finally:
        await pipeline.aclose()
    written = {(bucket, key): await _content(store, bucket, key) for bucket, key in store.puts if bucket != BUCKET}
    return outcome, written, plans


async def _content(store: MemoryStore, bucket: str, key: str) -> bytes:
    async with store.open(bucket, key) as body:
        return b"".join([chunk async for chunk in body.chunks()])


class Watched:
    """An engine that records its plans."""

    def __init__(self, engine: Engine, plans: list[Plan]) -> None:
        self._engine = engine
        self._plans = plans

    def render(self, path: str, plan: Plan) -> Rendering:
        self._plans.append(plan)
        return self._engine.render(path, plan)


class LastError(logging.Handler):
    """Keeps the origin of the last logged exception."""

    last: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[2]:
            frame = traceback.extract_tb(record.exc_info[2])[-1]
            self.last = f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno} {frame.name}"


# --- the process's own state --------------------------------------------------------------------------------------


def _limit_memory(more: int) -> None:
    """No allocation goes further. RLIMIT_DATA counts what is private and writable; RLIMIT_AS would count libraries,
    mapped files and the 64 MB of addresses that malloc reserves for every thread as well."""
    most = _status("VmData") + more
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _start_watching() -> int:
    """Trims the heap, resets the peak (VmHWM) and returns the resident bytes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set size
    return _status("VmRSS")


def _status(name: str) -> int:
    """One of the sizes in /proc/self/status, in bytes."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
