"""The peak memory of one render in a process of its own. `python -m tests.tools.peak` is the server that forks them.

The peak is resident memory (VmHWM of /proc) above the idle process: engine imported, warmed up by a tiny picture of the
same kind, freed memory returned. Mapped pages of a source count too, although a control group could reclaim them.
ru_maxrss does not work here: a child inherits its parent's.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

from thumbnailer.engine import Rendering, installed_engines, load_engine
from thumbnailer.errors import Rejected
from thumbnailer.execution.malloc import tame_heap
from thumbnailer.formats import hide_metadata, probe
from thumbnailer.model import EngineName, EventKind, ObjectEvent
from thumbnailer.planning.plan import Plan, make_plan
from thumbnailer.planning.tier import tier_for
from thumbnailer.settings import parse_settings
from thumbnailer.store.base import ObjectHeaders

HUGE: Final = tier_for(10_240).with_changes({"memory_budget": 1 << 50, "max_bytes": 1 << 50})
RESET_PEAK: Final = "5"  # proc(5), clear_refs


@dataclass(frozen=True, slots=True)
class Job:
    """One picture in one engine. `warm` is a tiny one of the same kind; `damaged` renders the readable part only."""

    path: str
    engine: str
    renditions: str = "128x128"
    warm: str | None = None
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes above the idle process, the estimate, and the end: "ok" or the reason code of a refusal."""

    measured: int
    estimate: int
    megapixels: float
    ended: str


def plan_for(path: str, engine: str, renditions: str) -> Plan:
    """The plan with only this engine installed and unlimited memory."""
    data = Path(path).read_bytes()
    settings = parse_settings({"THUMBNAILER_RENDITIONS": renditions})
    headers = ObjectHeaders(len(data), "e", None, None, None, None, None, {})
    event = ObjectEvent(EventKind.CREATED, "bench", "x")
    name = EngineName(engine)
    only = {other: capability for other, capability in installed_engines().items() if other is name}
    return make_plan(event, probe(data, len(data)), headers, settings, HUGE, only)


class PeakServer:
    """Forks a process per job from one that has imported the library and the engines."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.tools.peak"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def measure(self, job: Job) -> Peak:
        wishes, answers = self._pipes()
        wishes.write(json.dumps(asdict(job)) + "\n")
        wishes.flush()
        answer: dict[str, Any] = json.loads(answers.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return Peak(**answer)

    def close(self) -> None:
        for pipe in self._pipes():
            pipe.close()
        self._process.wait()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin
        assert self._process.stdout
        return self._process.stdin, self._process.stdout


@contextmanager
def peak_server() -> Iterator[PeakServer]:
    server = PeakServer()
    try:
        yield server
    finally:
        server.close()


# --- the server ---------------------------------------------------------------------------------------------------


def serve() -> None:
    tame_heap()
    for name in installed_engines():  # the import starts no thread, which a fork would lose
        load_engine(name)
    for line in sys.stdin:
        job = Job(**json.loads(line))
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            os.write(write, _answer(job).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as answer:
            text = answer.read()
        _, status = os.waitpid(child, 0)
        print(text or json.dumps({"error": f"the process ended with {status}"}), flush=True)


def _answer(job: Job) -> str:
    try:
        return json.dumps(asdict(_measured(job)))
    except BaseException:
        return json.dumps({"error": traceback.format_exc()})


def _measured(job: Job) -> Peak:
    render = _damaged if job.damaged else load_engine(EngineName(job.engine)).render
    try:
        plan = plan_for(job.path, job.engine, job.renditions)
    except Rejected as error:
        return Peak(0, 0, 0, error.reason)
    with (
        _without_hidden(job.path, plan) as path,
        ThreadPoolExecutor(1) as decoder,
    ):  # as in the pipeline: each thread has an allocation arena
        if job.warm:
            with suppress(Rejected):  # the compiled engine takes nothing that is not made smaller
                decoder.submit(_render, render, job.warm, plan_for(job.warm, job.engine, job.renditions)).result()
        before = _idle()
        ended = decoder.submit(_render, render, path, plan).result()
        peak = _status("VmHWM")
    megapixels = plan.info.pixels * plan.frames / 1e6
    estimate = plan.second_estimate if job.damaged else plan.memory_estimate
    return Peak(peak - before, estimate, megapixels, ended)


@contextmanager
def _without_hidden(path: str, plan: Plan) -> Iterator[str]:
    """The file as decoders see it: without the metadata that the pipeline hides."""
    data = bytearray(Path(path).read_bytes())
    patches = hide_metadata(bytes(data), plan.info.format)
    if not patches:
        yield path
        return
    for at, patch in patches:
        data[at : at + len(patch)] = patch
    with tempfile.NamedTemporaryFile() as patched:
        patched.write(data)
        patched.flush()
        yield patched.name


def _damaged(path: str, plan: Plan) -> Rendering:
    from thumbnailer.engine.pillow import render_damaged

    return render_damaged(path, plan)


def _render(render: Callable[[str, Plan], Rendering], path: str, plan: Plan) -> str:
    try:
        render(path, plan)
    except Rejected as error:
        return error.reason
    return "ok"


def _idle() -> int:
    """Resident bytes now; resets the high-water mark."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # otherwise memory freed by the warm-up hides part of the render
    Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    return _status("VmRSS")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


if __name__ == "__main__":
    serve()
