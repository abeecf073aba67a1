"""Stand-ins for the pipeline: inputs that crash or hang a worker, for tests of its supervision."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from tests.fuzz.last_words import last_words
from tests.fuzz.verdict import Verdict

CRASHING, HANGING, EXITING, RAISING = 2, 5, 7, 11
MISBEHAVING: Final = frozenset({CRASHING, HANGING, EXITING, RAISING})

_stacks = Path()


def start(folder: Path) -> None:
    global _stacks  # noqa: PLW0603
    _stacks = folder / "stacks"


def check(seed: int, number: int) -> Verdict:
    with last_words(_stacks / str(number)):
        match number:
            case _ if number == CRASHING:
                os.write(2, b"free(): invalid pointer\n")
                signal.raise_signal(signal.SIGSEGV)
            case _ if number == HANGING:
                threading.Event().wait()
            case _ if number == EXITING:
                os._exit(3)
            case _ if number == RAISING:
                sys.stderr.write("about to raise")
                raise ZeroDivisionError("by zero")
    return Verdict(number, "a", "png", "stored")
