"""The input of an advice: the question, the sample, and the medians and noise of the measured cells."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.money.costing import invocation_ms, records_of
from bench.money.invocation_model import InvocationModel, fit_cells
from bench.money.prices import Prices
from bench.result import Cell, Spread, percentile
from bench.scale.model import INIT_SECONDS
from thumbnailer.errors import ThumbnailerError

UNKNOWN_NOISE: Final = 0.10
"""Assumed error of a cell with too few repetitions to tell."""
FEWEST_REPETITIONS: Final = 3
QUARTILE_TO_ERROR: Final = 1.349
"""Standard deviations between the quartiles of a normal distribution."""
SAME_RECORDS: Final = 0.05
"""Batches whose sizes differ by no more than this share are the same."""


class AdviceError(ThumbnailerError):
    """There are no measurements to advise from."""


@dataclass(frozen=True, slots=True)
class Question:
    """Mean pictures a second, and seconds for the p95. None: not given."""

    rate: float | None = None
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """How well the measured pictures represent all: `error` is one standard error of their mean, as a share.

    `complete`: every key was listed.
    """

    pictures: int
    looked: int
    error: float
    complete: bool = True
    largest_megapixels: float = 0.0


@dataclass(frozen=True, slots=True)
class Function:
    """Medians of a measured warm function: `ms` of an invocation of `records` pictures, `p95_ms` of a picture.

    `error` and `p95_error` are standard errors, as shares. `cold_ms`: the init, if one was measured.
    """

    cell: Cell
    memory_mb: int
    batch_size: int
    records: float
    ms: float
    p95_ms: float
    error: float
    p95_error: float
    peak_rss_mb: float
    killed: bool
    cold_ms: float | None


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that candidates are calculated from. `alive`: functions that were not killed, all if every one was."""

    functions: tuple[Function, ...]
    alive: tuple[Function, ...]
    tasks: tuple[Cell, ...]
    model: InvocationModel | None
    prices: Prices
    question: Question
    sample: Sample

    @property
    def model_error(self) -> float:
        return self.model.left_out_error if self.model else math.inf

    @property
    def noise(self) -> float:
        return median(each.error for each in self.functions)

    @property
    def memories(self) -> list[int]:
        return [each.memory_mb for each in self.functions]

    @property
    def cold_ms(self) -> float:
        """The median of the measured inits."""
        inits = [each.cold_ms for each in self.functions if each.cold_ms is not None]
        return median(inits) if inits else 1000 * INIT_SECONDS


def known_from(cells: Sequence[Cell], prices: Prices, question: Question, sample: Sample) -> Known:
    """Raises AdviceError if nothing was measured."""
    ours = [cell for cell in cells if cell.repetitions and cell.key.handler == "ours"]
    functions = tuple(_function(cell) for cell in ours if cell.key.platform == "lambda")
    tasks = tuple(cell for cell in ours if cell.key.platform != "lambda")
    if not functions and not tasks:
        refused = "; ".join(sorted({cell.refused for cell in cells if cell.refused}))
        raise AdviceError(f"nothing was measured{': ' + refused if refused else ''}")
    alive = tuple(each for each in functions if not each.killed) or functions
    model = fit_cells(each.cell for each in alive) if alive else None
    return Known(functions, alive, tasks, model, prices, question, sample)


def _function(cell: Cell) -> Function:
    return Function(
        cell=cell,
        memory_mb=cell.key.memory_mb,
        batch_size=cell.key.batch_size,
        records=records_of(cell),
        ms=invocation_ms(cell),
        p95_ms=p95_ms(cell),
        error=noise(cell.values("billed_ms_per_image")),
        p95_error=p95_noise(cell),
        peak_rss_mb=max(cell.values("peak_rss_mb")),
        killed=any(one.oom_kills for one in cell.repetitions),
        cold_ms=cell.median("cold_start_ms"),
    )


def p95_ms(cell: Cell) -> float:
    """Return the p95 of the records; the slowest if they are too few."""
    return cell.latency_ms(0.95) or max(ms for one in cell.repetitions for ms in one.latencies_ms)


def p95_noise(cell: Cell) -> float:
    return noise([percentile(one.latencies_ms, 0.95) for one in cell.repetitions])


def noise(values: Sequence[float]) -> float:
    """Return the standard deviation from the quartiles, as a share of the median.

    More repetitions do not make it smaller: those of one run share what differs from run to run.
    """
    if len(values) < FEWEST_REPETITIONS:
        return UNKNOWN_NOISE
    spread = Spread.of(values)
    return (spread.upper - spread.lower) / QUARTILE_TO_ERROR / spread.median if spread.median else 0.0


def same_records(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SAME_RECORDS)
