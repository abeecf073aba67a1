"""The input of an advice: the question, the sample, and the times and noise of the measured cells."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.money.costing import invocation_ms, records_of
from bench.money.invocation_model import InvocationModel, fit_cells
from bench.result import Cell, Spread, percentile
from bench.scale.model import INIT_SECONDS
from thumbnailer.backfill.prices import Prices
from thumbnailer.errors import ThumbnailerError
from thumbnailer.planning.tier import MB_PER_VCPU

UNKNOWN_NOISE: Final = 0.10
"""Assumed error of a cell with too few repetitions to tell."""
FEWEST_REPETITIONS: Final = 3
QUARTILE_TO_ERROR: Final = 1.349
"""Standard deviations between the quartiles of a normal distribution."""
SAME_RECORDS: Final = 0.05
"""Batches whose sizes differ by no more than this share are the same."""
EXTRAPOLATED: Final = 2.0
"""Factor on the model's error outside the measured memory sizes."""


class AdviceError(ThumbnailerError):
    """The question cannot be parsed, or there are no measurements to advise from."""


@dataclass(frozen=True, slots=True)
class Question:
    """Mean pictures a second, and seconds for the p95. None: not given."""

    rate: float | None = None
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """How well the measured pictures represent all: `error` is one standard error of their mean, as a share."""

    pictures: int
    looked: int
    error: float
    largest_megapixels: float = 0.0


@dataclass(frozen=True, slots=True)
class Timing:
    """`ms` of an invocation or of a task's time, `p95_ms` of a picture, and their standard errors as shares.

    `basis`: "measured", "fitted" (between measured sizes) or "extrapolated".
    """

    ms: float
    p95_ms: float
    error: float
    p95_error: float
    basis: str = "measured"


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that candidates are calculated from: measured warm functions and tasks, the model, the question."""

    functions: tuple[Cell, ...]
    tasks: tuple[Cell, ...]
    model: InvocationModel
    prices: Prices
    question: Question
    sample: Sample

    @property
    def memories(self) -> list[int]:
        return [cell.key.memory_mb for cell in self.functions]

    @property
    def cold_ms(self) -> float:
        """The median of the measured inits."""
        inits = [ms for cell in self.functions if (ms := cell.median("cold_start_ms")) is not None]
        return median(inits) if inits else 1000 * INIT_SECONDS

    def timing(self, memory: int, records: float) -> Timing:
        """As measured; else by the model, with the ratio of p95 to mean of the nearest function."""
        for cell in self.functions:
            if cell.key.memory_mb == memory and math.isclose(records_of(cell), records, rel_tol=SAME_RECORDS):
                return timing_of(cell)
        beyond = not min(self.memories) <= memory <= max(self.memories)
        noise = median(timing_of(cell).error for cell in self.functions)
        error = math.hypot(noise, self.model.left_out_error * (EXTRAPOLATED if beyond else 1.0))
        near = timing_of(min(self.functions, key=lambda cell: _distance(cell, memory, records)))
        ms = self.model.invocation_ms(memory / MB_PER_VCPU, records)
        basis = "extrapolated" if beyond else "fitted"
        return Timing(ms, ms * near.p95_ms / near.ms, error, math.hypot(error, near.p95_error), basis)


def _distance(cell: Cell, memory: int, records: float) -> tuple[float, float]:
    """The memory counts first, then the batch size."""
    return abs(math.log(cell.key.memory_mb / memory)), abs(math.log(records_of(cell) / records))


def known_from(cells: Sequence[Cell], prices: Prices, question: Question, sample: Sample) -> Known:
    """Raises AdviceError if nothing was measured."""
    ours = [cell for cell in cells if cell.repetitions and cell.key.handler == "ours"]
    if not ours:
        refused = "; ".join(sorted({cell.refused for cell in cells if cell.refused}))
        raise AdviceError(f"nothing was measured{': ' + refused if refused else ''}")
    functions = tuple(cell for cell in ours if cell.key.platform == "lambda")
    tasks = tuple(cell for cell in ours if cell.key.platform != "lambda")
    model = fit_cells(alive(functions)) if functions else InvocationModel(0, 0, 0, 0)
    return Known(functions, tasks, model, prices, question, sample)


def alive(cells: Sequence[Cell]) -> Sequence[Cell]:
    """Return the cells that were not killed for lack of memory; all if every one was."""
    return [cell for cell in cells if not was_killed(cell)] or cells


def was_killed(cell: Cell) -> bool:
    return any(one.oom_kills for one in cell.repetitions)


def timing_of(cell: Cell) -> Timing:
    """Return the medians; for the p95 the slowest record if they are too few."""
    p95 = cell.latency_ms(0.95) or max(ms for one in cell.repetitions for ms in one.latencies_ms)
    p95_error = _noise([percentile(one.latencies_ms, 0.95) for one in cell.repetitions])
    return Timing(invocation_ms(cell), p95, _noise(cell.values("billed_ms_per_image")), p95_error)


def _noise(values: Sequence[float]) -> float:
    """Return the standard deviation from the quartiles, as a share of the median.

    More repetitions do not make it smaller: those of one run share what differs from run to run.
    """
    if len(values) < FEWEST_REPETITIONS:
        return UNKNOWN_NOISE
    spread = Spread.of(values)
    return (spread.upper - spread.lower) / QUARTILE_TO_ERROR / spread.median if spread.median else 0.0
