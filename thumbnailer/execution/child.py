"""One picture in a process of its own: a request comes on standard input, its answer goes to standard output.

`thumbnailer.execution.isolated` starts it. Requests and answers are pickles between two processes of one program: this
protects the parent from a crash, not from an attacker.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thumbnailer import engine
from thumbnailer.engine import Rendering
from thumbnailer.errors import Corrupt, EngineCrash, RecordError
from thumbnailer.execution.malloc import tame_heap
from thumbnailer.model import EngineName
from thumbnailer.planning.plan import Plan

BEGUN: Final = b"B"
"""Stands before the answer, written before the picture is touched: what ends the child earlier is not its doing."""
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Request:
    """The first try, or the second, after `first` was raised."""

    path: str
    plan: Plan
    first: Corrupt | None
    cpu_seconds: int
    parent: int


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a decoder prints is no answer
    request: Request = pickle.load(sys.stdin.buffer)  # noqa: S301 (our own parent's)
    _restrain(request)
    engine.load_engine(request.plan.engine if request.first is None else request.plan.fallback or EngineName.PILLOW)
    answers.write(BEGUN)
    answers.flush()
    answers.write(pickle.dumps(_answer(request)))
    answers.flush()
    os._exit(0)  # the answer is whole: no destructor of a damaged library may make a crash of it


def _answer(request: Request) -> Rendering | RecordError:
    try:
        if request.first is None:
            return engine.render_first(engine.load_engine, request.path, request.plan)
        return engine.render_second(engine.load_engine, request.path, request.plan, request.first)
    except RecordError as error:
        return error
    except Exception as error:
        return EngineCrash(f"unforeseen: {type(error).__name__}: {error}"[:300])


def _restrain(request: Request) -> None:
    """It ends with its parent, and before it where memory runs out; it has so much CPU time, and leaves no core."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != request.parent:
        os._exit(1)  # too late for that signal
    with suppress(OSError):  # where /proc cannot be written, the kernel chooses whom it kills
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (request.cpu_seconds, request.cpu_seconds + 1))
    tame_heap()
