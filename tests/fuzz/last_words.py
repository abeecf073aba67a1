"""Records the stacks of a process that dies or hangs."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HANG_SECONDS: Final = 30.0
"""Wall time after which a worker is killed: 10 s of a CPU shared by three."""


@contextmanager
def last_words(path: Path) -> Iterator[None]:
    """A file that gets what native code says on standard error, and every thread's stack if the process dies here
    or takes nearly as long as a hang. Of what ends well nothing is kept."""
    with path.open("w") as file, _standard_error_to(file.fileno()):
        faulthandler.enable(file)
        faulthandler.dump_traceback_later(HANG_SECONDS - 3, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            faulthandler.disable()
    path.unlink()


@contextmanager
def _standard_error_to(file: int) -> Iterator[None]:
    kept = os.dup(2)
    os.dup2(file, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
