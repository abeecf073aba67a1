"""Tries many inputs in processes that may die. A crash or hang is the verdict on one input only."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from multiprocessing import get_context
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from tests.fuzz import worker
from tests.fuzz.last_words import HANG_SECONDS
from tests.fuzz.mutate import source_of
from tests.fuzz.verdict import Problem, Verdict

Start = Callable[[Path], None]
Check = Callable[[int, int], Verdict]


def verdicts(
    seed: int,
    numbers: Sequence[int],
    workers: int = 2,
    start: Start = worker.start,
    check: Check = worker.check,
    seconds: float = HANG_SECONDS,
) -> Iterator[Verdict]:
    """One verdict per number, in the order of completion. Leaving early stops the workers.

    `start` and `check` run in the workers. A new worker replaces a dead one.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        (folder / "stacks").mkdir()
        pool = ProcessPool(workers, initializer=start, initargs=(folder,), context=get_context("spawn"))
        try:
            futures: dict[Future[Verdict], int] = {
                pool.schedule(check, (seed, number), timeout=seconds): number for number in numbers
            }
            for future in as_completed(futures):
                yield _verdict(future, seed, futures[future], folder)
        finally:
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()


def _verdict(future: Future[Verdict], seed: int, number: int, folder: Path) -> Verdict:
    try:
        return future.result()
    except TimeoutError:
        problem = Problem("hang", _last_words(folder, number))
    except ProcessExpired as error:
        problem = Problem(f"crash: {_death(error.exitcode)}", _last_words(folder, number))
    except Exception as error:
        problem = Problem(f"escaped: {type(error).__name__}", str(error))
    source = source_of(seed, number)
    return Verdict(number, source.name, source.kind, problem.kind, problems=(problem,))


def _death(code: int) -> str:
    return signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"


def _last_words(folder: Path, number: int) -> str:
    path = folder / "stacks" / str(number)
    return path.read_text(errors="replace").strip() if path.exists() else ""
