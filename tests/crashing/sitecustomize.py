"""Engines that do what a picture's key says, in every process that has this folder on its PYTHONPATH.

Python imports a module of this name when it starts; nothing in the product knows of it.
"""

from __future__ import annotations

import ctypes
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from thumbnailer import engine
from thumbnailer.engine import Engine, Rendering
from thumbnailer.model import EngineName
from thumbnailer.planning.plan import Plan

WAITING = "waiting"
_real = engine.load_engine


def crash() -> None:
    """As a decoder that writes where it must not."""
    ctypes.string_at(0)


def abort() -> None:
    """As glibc when it finds its heap destroyed."""
    os.write(2, b"malloc(): corrupted top size\n")
    os.abort()


def leave() -> None:
    """As libjpeg's own way with errors."""
    ctypes.CDLL(None).exit(1)


def loop() -> None:
    """For ever, in C, and nobody else gets the GIL."""
    re.match(r"(a+)+$", "a" * 64 + "b")


def wait() -> None:
    """For ever, with the GIL given up. The process is renamed, so that it can be seen to wait."""
    Path("/proc/self/comm").write_text(WAITING)
    time.sleep(3600)


def hog() -> None:
    """All the memory there is."""
    held = []
    while True:
        held.append(b"x" * (1 << 20))


def chat() -> None:
    """As a library that prints what it thinks of a file."""
    os.write(1, b"Warning, something\n")


def stumble() -> None:
    """A bug in Python code."""
    raise KeyError("unknown")


DEEDS: dict[str, Callable[[], None]] = {
    deed.__name__: deed for deed in (crash, abort, leave, loop, wait, hog, chat, stumble)
}


@dataclass(frozen=True, slots=True)
class Acting:
    """The real engine, after what the key says: of `hog-1.jpg` it is `hog`."""

    engine: Engine

    def render(self, path: str, plan: Plan) -> Rendering:
        deed = DEEDS.get(plan.event.key.partition(".")[0].partition("-")[0])
        if deed:
            deed()
        return self.engine.render(path, plan)


def load_engine(name: EngineName) -> Engine:
    return Acting(_real(name))


engine.load_engine = load_engine
