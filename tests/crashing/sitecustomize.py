"""Engines that misbehave as the key of a picture says, in every process with this folder on its PYTHONPATH.

Python imports a module of this name when it starts; the product does not know it.
"""

from __future__ import annotations

import ctypes
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.crashing import takeover
from thumbnailer import engine
from thumbnailer.engine import Engine, Rendering
from thumbnailer.model import EngineName
from thumbnailer.planning.plan import Plan

WAITING = "waiting"
PR_SET_NAME = 15
_real = engine.load_engine


def crash() -> None:
    """Like a decoder with a wild pointer."""
    ctypes.string_at(0)


def abort() -> None:
    """Like glibc on a corrupted heap."""
    os.write(2, b"malloc(): corrupted top size\n")
    os.abort()


def leave() -> None:
    """Like libjpeg's default error handler."""
    ctypes.CDLL(None).exit(1)


def loop() -> None:
    """Loops forever in C and holds the GIL."""
    re.match(r"(a+)+$", "a" * 64 + "b")


def wait() -> None:
    """Blocks forever without the GIL. Renames the process, so that a test can see it."""
    try:
        Path("/proc/self/comm").write_text(WAITING)
    except PermissionError:  # Landlock; a child decodes in its first thread
        ctypes.CDLL(None).prctl(PR_SET_NAME, WAITING.encode(), 0, 0, 0)
    time.sleep(3600)


def hog() -> None:
    """Takes all memory."""
    held = []
    while True:
        held.append(b"x" * (1 << 20))


def chat() -> None:
    """Like a library that prints warnings."""
    os.write(1, b"Warning, something\n")


def busy() -> None:
    """Uses more than a second of CPU time and then goes on."""
    until = time.process_time() + 1.2
    while time.process_time() < until:
        pass


def stumble() -> None:
    """A bug in Python code."""
    raise KeyError("unknown")


DEEDS: dict[str, Callable[[], None]] = {
    deed.__name__: deed
    for deed in (
        crash,
        abort,
        leave,
        loop,
        wait,
        hog,
        chat,
        stumble,
        busy,
        takeover.escape,
        takeover.replace,
        takeover.forge,
        takeover.pickle,
    )
}


@dataclass(frozen=True, slots=True)
class Acting:
    """The real engine, after the deed in the key: `hog` for `hog-1.jpg`."""

    engine: Engine

    def render(self, path: str, plan: Plan) -> Rendering:
        deed = DEEDS.get(plan.event.key.partition(".")[0].partition("-")[0])
        if deed:
            deed()
        return self.engine.render(path, plan)


def load_engine(name: EngineName) -> Engine:
    return Acting(_real(name))


engine.load_engine = load_engine
