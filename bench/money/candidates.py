"""What can be recommended, and what each would cost and take: functions by a model of what was measured, tasks as
measured.

Pure. bench.money.invocation_model fills in sizes that were not measured; bench.money.costing prices them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

from bench.money import costing
from bench.money.costing import (
    Cost,
    LambdaCell,
    Load,
    Requests,
    Task,
    cell_requests,
    cell_task,
    fargate_cost,
    lambda_cost,
)
from bench.money.invocation_model import InvocationModel, Point, fit
from bench.money.prices import Architecture, Prices
from bench.result import Cell, Repetition, Spread, percentile
from bench.scale.model import INIT_SECONDS
from thumbnailer.errors import ThumbnailerError
from thumbnailer.planning.tier import MB_PER_VCPU, tier_for

MEMORIES: Final = (256, 512, 768, 1024, 1280, 1536, 1769, 2048, 3008)
"""MB that are compared. Where less would do, waiting for S3 is most of the time; above, one picture gains nothing."""
BATCHES: Final = (1, 5, 10)
"""10 is what SQS gives at once, and the default of a mapping."""
MEMORY_MARGIN: Final = 1.15
"""A sample seldom has the picture that takes most memory."""
FURTHEST: Final = 1.5
"""Times the largest measured memory: beyond that, nothing says what the model leaves out."""
LONGEST_WINDOW: Final = 20
"""Seconds that a batch is waited for where no deadline asks for less; SQS takes 0 to 300."""
KEPT_SECONDS: Final = 300.0
"""An idle environment is reckoned to be kept so long; AWS promises nothing, and keeps it longer as a rule."""
COLD_IN_P95: Final = 0.05
"""From this share of cold starts on, one is in the p95."""
SURE: Final = 1.645
"""Standard errors to each side for 90 %, as if errors were normal."""
UNKNOWN_NOISE: Final = 0.10
"""What a single repetition is taken to be off: nothing tells."""
FEWEST_REPETITIONS: Final = 3
QUARTILE_TO_ERROR: Final = 1.349
"""Standard deviations between the quartiles of a normal distribution."""
EXTRAPOLATED: Final = 2.0
"""Times the model's error where it goes beyond what was measured."""
MODEL_LIMIT: Final = 0.20
"""A model that is further off predicts nothing: doubling the memory changes the price by less than that at times."""
SAME_RECORDS: Final = 0.05
"""A batch that is this near to the measured one is the measured one."""
FILLED_MORE: Final = 1.1
"""Times the next smaller batch size that a batch has to hold, or that one does as well."""

COST_FORMULA: Final = """\
Lambda: USD a million = 1e6 / b x (MB / 1,024 x seconds x GB-second's price + request's price) + requests to S3 and SQS,
b pictures an invocation. At a rate r, b = min(batch size, 1 + r x window).
Fargate: n = ceil(r / (images/s x 0.8)) tasks run all the time; USD a million = 1e6 x n x task's hour / (3,600 x r) +
requests. Requests are those that were measured; SQS's are 1 + 2 / min(b, 10) a picture."""
P95_FORMULA: Final = """\
From when a picture's message is in the queue until its thumbnail is stored; S3 takes its own time to send the event.
Lambda: min(window, batch size / r) to fill the batch + the p95 of an invocation: the measured one's ratio to the mean,
times the model's mean. One poller is reckoned to fill batches; a mapping has several, and at low rates theirs may be
smaller and wait for all of the window. A cold start is added where more than 5 % start cold: exp(-r / b x 300 s).
Fargate: the measured p95 of a picture in a task that is full; at 80 % of its speed a task holds fewer, and the queue
stays short. A rate above what the tasks are for is not in it: further tasks take minutes to come."""


class AdviceError(ThumbnailerError):
    """There is nothing to go by."""


# --- what is asked ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """Pictures a second, on the average; seconds for the p95. None: not said."""

    rate: float | None = None
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """How well the measured pictures stand for all: `error` is one standard error of their mean, as a share."""

    pictures: int
    looked: int
    error: float
    complete: bool = True
    """whether all keys were listed"""
    largest_megapixels: float = 0.0


# --- what is compared ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CostInterval:
    """A value, and what it lies between with a probability of 90 %."""

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, part: float, error: float, exact: float = 0.0) -> CostInterval:
        """`part` may be off by a share of it, `exact` is not."""
        width = SURE * error * part
        return cls(exact + part, exact + max(0.0, part - width), exact + part + width)

    @property
    def share(self) -> float:
        """Half its width, of the value."""
        return (self.high - self.low) / 2 / self.value


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to run it. `refused` says why it is not to be had; "" where it is.

    `basis` is "measured", "fitted" (between measured ones) or "extrapolated". `records` is pictures an invocation;
    `at_once` is environments that are busy on the average, or tasks; None without a rate. `own_error` is the standard
    error of its compute, without that of the pictures.
    """

    platform: str
    memory_mb: int
    vcpus: float
    batch_size: int
    window: int
    records: float
    basis: str
    at_once: float | None = None
    cost: Cost | None = None
    usd_per_million: CostInterval | None = None
    p95_seconds: CostInterval | None = None
    own_error: float = 0.0
    refused: str = ""

    @property
    def usd(self) -> float:
        return self.usd_per_million.value if self.usd_per_million else math.inf

    @property
    def p95(self) -> float:
        return self.p95_seconds.value if self.p95_seconds else math.inf

    @property
    def compute_error(self) -> float:
        """USD a million, one standard error."""
        return self.own_error * self.cost.compute if self.cost else math.inf


# --- what was measured --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Function:
    """Medians of a measured function, in steady state: `ms` of an invocation of `records`, `p95_ms` of a record."""

    memory_mb: int
    vcpus: float
    batch_size: int
    records: float
    ms: float
    p95_ms: float
    error: float
    p95_error: float
    peak_rss_mb: float
    killed: bool
    cold_ms: float | None
    requests: Requests
    architecture: Architecture


def _function(cell: Cell) -> _Function:
    key = cell.key
    return _Function(
        memory_mb=key.memory_mb,
        vcpus=key.vcpus,
        batch_size=key.batch_size,
        records=median(one.records / max(1, one.invocations) for one in cell.repetitions),
        ms=median(_invocation_ms(one) for one in cell.repetitions),
        p95_ms=_p95_ms(cell),
        error=_noise([_invocation_ms(one) / one.records * max(1, one.invocations) for one in cell.repetitions]),
        p95_error=_noise([percentile(one.latencies_ms, 0.95) for one in cell.repetitions]),
        peak_rss_mb=max(cell.values("peak_rss_mb")),
        killed=any(one.oom_kills for one in cell.repetitions),
        cold_ms=cell.median("cold_start_ms"),
        requests=cell_requests(cell),
        architecture="arm64" if key.architecture == "arm64" else "x86",
    )


def _invocation_ms(one: Repetition) -> float:
    """A warm cell's, whose init is not billed."""
    return one.billed_ms / max(1, one.invocations)


def _p95_ms(cell: Cell) -> float:
    """Of its records; the slowest, where there are too few to tell."""
    return cell.latency_ms(0.95) or max(ms for one in cell.repetitions for ms in one.latencies_ms)


def _noise(values: Sequence[float]) -> float:
    """The standard deviation by the quartiles, as a share; not less for there being more of them: repetitions of one
    run have in common what differs from one run to the next."""
    if len(values) < FEWEST_REPETITIONS:
        return UNKNOWN_NOISE
    spread = Spread.of(values)
    return (spread.upper - spread.lower) / QUARTILE_TO_ERROR / spread.median if spread.median else 0.0


@dataclass(frozen=True, slots=True)
class Known:
    """All that candidates are reckoned from."""

    functions: tuple[_Function, ...]
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


def known_from(cells: Sequence[Cell], prices: Prices, question: Question, sample: Sample) -> Known:
    ours = [cell for cell in cells if cell.repetitions and cell.key.handler == "ours"]
    functions = tuple(_function(cell) for cell in ours if cell.key.platform == "lambda")
    tasks = tuple(cell for cell in ours if cell.key.platform != "lambda")
    if not functions and not tasks:
        refused = "; ".join(sorted({cell.refused for cell in cells if cell.refused}))
        raise AdviceError(f"nothing was measured{': ' + refused if refused else ''}")
    points = [Point(each.vcpus, each.records, each.ms) for each in _alive(functions)]
    return Known(functions, tasks, fit(points) if points else None, prices, question, sample)


def _alive(functions: Sequence[_Function]) -> Sequence[_Function]:
    """Those whose time and memory were not cut short; all, if there are no others."""
    return [each for each in functions if not each.killed] or functions


# --- functions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Duration:
    """Of an invocation; `error` and `p95_error` without that of the pictures."""

    ms: float
    p95_ms: float
    error: float
    p95_error: float
    basis: str


def function_candidates(known: Known) -> Iterator[Candidate]:
    if not known.functions:
        return
    memories = sorted({*MEMORIES, *known.memories})
    for memory in memories:
        for batch in _batches(known):
            yield _candidate(memory, batch, known)


def _candidate(memory: int, batch: int, known: Known) -> Candidate:
    question = known.question
    window = _window(batch, _duration(memory, batch, known).p95_ms / 1000, question)
    records = _records(batch, window, question.rate)
    took = _duration(memory, records, known)
    cold, cold_ms = _cold_share(records, question.rate), _cold_ms(memory, known)
    cost = _function_cost(memory, took.ms + cold * cold_ms, records, known)
    fill = min(window, batch / question.rate) if question.rate else 0.0
    first = cold_ms / 1000 if cold > COLD_IN_P95 else 0.0
    found = Candidate(
        platform="lambda",
        memory_mb=memory,
        vcpus=memory / MB_PER_VCPU,
        batch_size=batch,
        window=window,
        records=records,
        basis=took.basis,
        at_once=question.rate / records * took.ms / 1000 if question.rate else None,
        cost=cost,
        usd_per_million=CostInterval.around(
            cost.compute, math.hypot(took.error, known.sample.error), cost.total - cost.compute
        ),
        p95_seconds=CostInterval.around(
            took.p95_ms / 1000, math.hypot(took.p95_error, known.sample.error), fill + first
        ),
        own_error=took.error,
    )
    return replace(found, refused=next(_against_function(found, known), ""))


def _window(batch: int, p95_seconds: float, question: Question) -> int:
    """Whole seconds, as SQS takes them: enough to fill the batch, unless the deadline or patience ends before."""
    if batch == 1 or question.rate is None:
        return 0
    fill = batch / question.rate
    if question.deadline is None:
        return min(LONGEST_WINDOW, math.ceil(fill))
    left = question.deadline - p95_seconds
    return min(LONGEST_WINDOW, math.ceil(fill) if fill <= left else max(0, math.floor(left)))


def _records(batch: int, window: int, rate: float | None) -> float:
    """In a batch; without a rate it is as full as a long queue makes it."""
    return float(batch) if rate is None else min(float(batch), 1 + rate * window)


def _cold_share(records: float, rate: float | None) -> float:
    return 0.0 if rate is None else math.exp(-rate / records * KEPT_SECONDS)


def _cold_ms(memory: int, known: Known) -> float:
    """Of the nearest measured memory."""
    measured = [each for each in known.functions if each.cold_ms is not None]
    nearest = min(measured, key=lambda each: abs(each.memory_mb - memory), default=None)
    return 1000 * INIT_SECONDS if nearest is None or nearest.cold_ms is None else nearest.cold_ms


def _function_cost(memory: int, billed_ms: float, records: float, known: Known) -> Cost:
    requests = [each.requests for each in known.functions]
    kinds = {kind: median(getattr(each, kind) for each in requests) for kind in ("get", "head", "put", "log_bytes")}
    each = Requests(**kinds, sqs=1 + 2 / min(records, costing.MOST_MESSAGES_A_REQUEST))
    return lambda_cost(LambdaCell(memory, billed_ms, records, each, known.functions[0].architecture), known.prices)


def _duration(memory: int, records: float, known: Known) -> _Duration:
    """As measured, or else by the model, with the nearest batches' ratio of the p95 to the mean."""
    same = [each for each in known.functions if each.memory_mb == memory and _alike(each.records, records)]
    if same:
        return _Duration(same[0].ms, same[0].p95_ms, same[0].error, same[0].p95_error, "measured")
    model = known.model or InvocationModel(0, 0, 0, 0)
    ms = model.invocation_ms(memory / MB_PER_VCPU, records)
    beyond = not min(known.memories) <= memory <= max(known.memories)
    error = math.hypot(known.noise, known.model_error * (EXTRAPOLATED if beyond else 1.0))
    near = _nearest_batches(memory, records, known)
    ratio = max(each.p95_ms / each.ms for each in near)
    p95_error = math.hypot(error, max(each.p95_error for each in near))
    return _Duration(ms, ms * ratio, error, p95_error, "extrapolated" if beyond else "fitted")


def _alike(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SAME_RECORDS)


def _nearest_batches(memory: int, records: float, known: Known) -> list[_Function]:
    """At the nearest memory, the next smaller batch and the next larger one."""
    nearest = min(known.memories, key=lambda each: abs(math.log(each / memory)))
    there = [each for each in known.functions if each.memory_mb == nearest]
    below = [each for each in there if each.records <= records or _alike(each.records, records)]
    above = [each for each in there if each.records >= records or _alike(each.records, records)]
    return [
        *([max(below, key=lambda each: each.records)] if below else []),
        *([min(above, key=lambda each: each.records)] if above else []),
    ]


def _against_function(found: Candidate, known: Known) -> Iterator[str]:
    """Reasons, the most telling first."""
    needed = _needed_mb(found.batch_size, known)
    if found.memory_mb < needed:
        yield f"needs {needed:.0f} MB"
    if _was_killed(found, known):
        yield "ran out of memory"
    largest = known.sample.largest_megapixels
    if 1e6 * largest > tier_for(found.memory_mb).max_pixels:
        yield f"takes no picture of {largest:.0f} MP"
    if found.memory_mb > FURTHEST * max(known.memories):
        yield "too far from what was measured"
    if not _fills(found, known):
        yield "seldom fills: a smaller batch does as well"
    if found.basis != "measured" and known.model_error > MODEL_LIMIT:
        yield "not measured, and the model does not fit"
    yield from _too_late(found, known.question)


def _was_killed(found: Candidate, known: Known) -> bool:
    """A function with as much memory was, and none lived with as little and batches as large."""
    killed = any(each.killed and each.memory_mb >= found.memory_mb for each in known.functions)
    lived = (each for each in known.functions if not each.killed and each.memory_mb <= found.memory_mb)
    return killed and not any(each.batch_size >= found.batch_size for each in lived)


def _fills(found: Candidate, known: Known) -> bool:
    smaller = [each for each in _batches(known) if each < found.batch_size]
    return not smaller or found.records > FILLED_MORE * smaller[-1]


def _batches(known: Known) -> list[int]:
    return sorted({*BATCHES, *(each.batch_size for each in known.functions)})


def _needed_mb(batch: int, known: Known) -> float:
    """With the margin. Work is fitted to the memory there is: the leanest that was seen is what is needed."""
    alive = _alive(known.functions)
    as_large = [each for each in alive if each.batch_size >= batch] or alive
    smallest = min(each.batch_size for each in as_large)
    return MEMORY_MARGIN * min(each.peak_rss_mb for each in as_large if each.batch_size == smallest)


def _too_late(found: Candidate, question: Question) -> Iterator[str]:
    if question.deadline is not None and found.p95 > question.deadline:
        yield f"p95 above {question.deadline:g} s"


# --- tasks --------------------------------------------------------------------------------------------------------


def task_candidates(known: Known) -> Iterator[Candidate]:
    """Each measured task, and at Spot's price what was measured without."""
    spots = {(cell.key.vcpus, cell.key.memory_mb) for cell in known.tasks if cell.key.platform == "fargate-spot"}
    for cell in known.tasks:
        yield _task_candidate(cell, cell.key.platform, known)
        if cell.key.platform == "fargate" and (cell.key.vcpus, cell.key.memory_mb) not in spots:
            yield _task_candidate(cell, "fargate-spot", known)


def _task_candidate(cell: Cell, platform: str, known: Known) -> Candidate:
    rate = known.question.rate
    task = replace(cell_task(cell), spot=platform == "fargate-spot")
    own_error = _noise(cell.values("images_per_second"))
    p95_error = math.hypot(_noise([percentile(one.latencies_ms, 0.95) for one in cell.repetitions]), known.sample.error)
    found = Candidate(
        platform=platform,
        memory_mb=cell.key.memory_mb,
        vcpus=cell.key.vcpus,
        batch_size=cell.key.batch_size,
        window=0,
        records=1.0,
        basis="measured",
        p95_seconds=CostInterval.around(_p95_ms(cell) / 1000, p95_error),
        own_error=own_error,
    )
    if rate is not None:
        cost = _task_cost(task, rate, known.prices)
        found = replace(
            found,
            cost=cost,
            at_once=float(_task_count(task, rate)),
            usd_per_million=_task_interval(task, rate, known.prices, math.hypot(own_error, known.sample.error)),
        )
    return replace(found, refused=next(_against_task(found, cell, known), ""))


def _task_interval(task: Task, rate: float, prices: Prices, error: float) -> CostInterval:
    """Its ends are with other numbers of tasks, not the same that are paid for more or less."""
    speeds = (task.images_per_second * factor for factor in (1, 1 + SURE * error, 1 / (1 + SURE * error)))
    value, *ends = (_task_cost(replace(task, images_per_second=speed), rate, prices).total for speed in speeds)
    return CostInterval(value, min(value, *ends), max(value, *ends))


def _task_count(task: Task, rate: float) -> int:
    return math.ceil(rate / (task.images_per_second * Load().headroom))


def _task_cost(task: Task, rate: float, prices: Prices) -> Cost:
    """Of so many tasks that always run, for the pictures that come."""
    return fargate_cost(task, prices, rate / (task.images_per_second * _task_count(task, rate)))


def _against_task(found: Candidate, cell: Cell, known: Known) -> Iterator[str]:
    needed = MEMORY_MARGIN * max(cell.values("peak_rss_mb"))
    if found.memory_mb < needed:
        yield f"needs {needed:.0f} MB"
    if any(one.oom_kills for one in cell.repetitions):
        yield "ran out of memory"
    if known.question.rate is None:
        yield "its price depends on the rate: --rate"
    if found.platform == "fargate-spot" and known.question.deadline is not None:
        yield "may be withdrawn: no deadline holds"
    yield from _too_late(found, known.question)
