"""CPU and memory of the pipeline for one hostile object, measured in a child process.

A fork server with every module imported starts the children, so all start from the same state. A picture can crash or
hang its child without harm to the test process.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path

import pyvips  # noqa: F401  # preloaded by the fork server
from PIL import Image

from thumbnailer.app import build, new_event_loop
from thumbnailer.machine import Machine
from thumbnailer.model import EventKind, ObjectEvent, Outcome
from thumbnailer.settings import parse_settings
from thumbnailer.store.base import PutHeaders
from thumbnailer.store.memory import MemoryStore

MB = 1 << 20
HANG_SECONDS = 60.0
"""Ends a hang. A limit in wall time must allow for a busy machine; the tests limit the CPU seconds."""
STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Cost:
    """The outcome, the CPU seconds of all threads, and the peak in bytes above the idle process."""

    outcome: Outcome
    cpu: float
    growth: int
    thumbnails: tuple[bytes, ...]

    @property
    def report(self) -> str:
        """The message of a failing assertion."""
        outcome = self.outcome.reason or self.outcome.status
        return f"{outcome} ({self.outcome.detail}), {self.cpu:.2f} s of CPU, {self.growth / MB:.1f} MB"


def measured(data: bytes, memory_mb: int = 512, env: Mapping[str, str] | None = None) -> Cost:
    """Returns the cost of an object on a Lambda of that size. Raises TimeoutError or ChildProcessError."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.measured"])
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(theirs, data, memory_mb, dict(env or {})))
    child.start()
    theirs.close()
    try:
        if not ours.poll(HANG_SECONDS + 5):
            raise TimeoutError(f"no answer within {HANG_SECONDS + 5} s")
        cost: Cost = ours.recv()
    except EOFError:
        child.join(5)
        raise ChildProcessError(f"the child exited with {child.exitcode}") from None
    finally:
        child.kill()
        child.join()
        ours.close()
    return cost


def _measure(answers: Connection, data: bytes, memory_mb: int, env: Mapping[str, str]) -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        answers.send(runner.run(_cost(data, memory_mb, env)))


async def _cost(data: bytes, memory_mb: int, env: Mapping[str, str]) -> Cost:
    store = MemoryStore("photos", "photos-resized")
    pipeline = build(parse_settings(env), Machine(memory_mb, None), {}, store).pipeline
    for kind in ("JPEG", "PNG", "GIF"):
        await store.put("photos", f"tiny {kind}", _tiny(kind), PutHeaders("image/jpeg"))
        assert (await pipeline.process(ObjectEvent(EventKind.CREATED, "photos", f"tiny {kind}"))).status == "stored"
    await store.put("photos", "x", data, PutHeaders("image/jpeg"))
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    idle, started = _kilobytes("VmRSS"), time.process_time()
    async with asyncio.timeout(HANG_SECONDS):
        outcome = await pipeline.process(ObjectEvent(EventKind.CREATED, "photos", "x"))
    cpu, growth = time.process_time() - started, (_kilobytes("VmHWM") - idle) * 1024
    await pipeline.aclose()
    return Cost(outcome, cpu, growth, tuple([await _stored(store, out.key) for out in outcome.outputs]))


async def _stored(store: MemoryStore, key: str) -> bytes:
    async with store.open("photos-resized", key) as body:
        return b"".join([chunk async for chunk in body.chunks()])


def _tiny(kind: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


def _kilobytes(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    assert found
    return int(found[1])
