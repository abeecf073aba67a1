"""A running function under the emulator of the bench, with what tests ask about it."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.rig import emulator
from bench.rig.emulator import Function, find_binary

STARTED: Final = re.compile(r"INIT START")


class Emulator(emulator.Emulator):
    def __init__(self, function: Function, binary: str, log: Path) -> None:
        super().__init__(function, binary, log)
        self._path = log

    @property
    def log(self) -> str:
        """The output of emulator and function."""
        return self._path.read_text(errors="replace")

    def lines(self) -> Iterator[dict[str, Any]]:
        """The function's own lines: JSON objects."""
        for line in self.log.splitlines():
            if line.startswith("{"):
                yield json.loads(line)

    @property
    def starts(self) -> int:
        """Number of runtime starts: more than one if a runtime was killed."""
        return len(STARTED.findall(self.log))

    def freeze(self) -> None:
        """Stops the function, as Lambda does between invocations."""
        for pid in self.runtime_pids():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self.runtime_pids():
            os.kill(pid, signal.SIGCONT)


@contextmanager
def running(function: Function, log: Path) -> Iterator[Emulator]:
    """A running function. Raises NotInstalled."""
    started = Emulator(function, find_binary(), log)
    try:
        yield started
    finally:
        started.close()
