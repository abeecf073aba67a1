"""The candidates of an advice, each with price and p95: functions by model or measurement, tasks as measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from bench.money.costing import (
    Cost,
    LambdaCell,
    Task,
    architecture_of,
    cell_requests,
    cell_task,
    fargate_cost,
    lambda_cost,
    sqs_requests,
)
from bench.money.invocation_model import InvocationModel
from bench.money.measured import Function, Known, Question, noise, p95_ms, p95_noise, same_records
from bench.money.months import Load
from bench.money.prices import Prices
from bench.result import Cell
from thumbnailer.planning.tier import MB_PER_VCPU, tier_for

MEMORIES: Final = (256, 512, 768, 1024, 1280, 1536, 1769, 2048, 3008)
"""MB to compare. Smaller functions mostly wait for S3; larger ones gain nothing for a single picture."""
BATCHES: Final = (1, 5, 10)
"""10 is the most that SQS gives at once, and a mapping's default."""
MEMORY_MARGIN: Final = 1.15
"""A sample seldom contains the picture that needs most memory."""
FURTHEST: Final = 1.5
"""Largest candidate memory, as a multiple of the largest measured one."""
LONGEST_WINDOW: Final = 20
"""Most seconds to fill a batch without a deadline; SQS allows 0 to 300."""
KEPT_SECONDS: Final = 300.0
"""Assumed life of an idle environment. AWS promises nothing and usually keeps it longer."""
COLD_IN_P95: Final = 0.05
"""Share of cold starts from which the p95 contains one."""
SURE: Final = 1.645
"""Standard errors to each side of a 90 % interval of a normal distribution."""
EXTRAPOLATED: Final = 2.0
"""Factor on the model's error outside the measured memory sizes."""
MODEL_LIMIT: Final = 0.20
"""Largest error of a usable model: doubling the memory can change the price by less than that."""
FILLED_MORE: Final = 1.1
"""A batch must hold this many times the next smaller batch size, or the smaller one does as well."""


@dataclass(frozen=True, slots=True)
class CostInterval:
    """A value and its 90 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, part: float, error: float, exact: float = 0.0) -> CostInterval:
        """Return the interval of `part`, whose standard error is the share `error`, plus `exact`."""
        width = SURE * error * part
        return cls(exact + part, exact + max(0.0, part - width), exact + part + width)

    @property
    def share(self) -> float:
        """Half the width, as a share of the value."""
        return (self.high - self.low) / 2 / self.value


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to run the pipeline. `refused`: why it is not offered, else "".

    `basis`: "measured", "fitted" (between measured sizes) or "extrapolated". `records`: pictures an invocation.
    `at_once`: mean busy environments, or tasks; None without a rate. `own_error`: standard error of the compute price
    without the sampling error of the pictures.
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
        """One standard error, USD a million."""
        return self.own_error * self.cost.compute if self.cost else math.inf

    @property
    def is_function(self) -> bool:
        return self.platform == "lambda"


def candidates_from(known: Known) -> tuple[Candidate, ...]:
    return (*function_candidates(known), *task_candidates(known))


# --- functions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Duration:
    """The time of an invocation, with errors that exclude the sampling error."""

    ms: float
    p95_ms: float
    error: float
    p95_error: float
    basis: str


def function_candidates(known: Known) -> Iterator[Candidate]:
    if known.functions:
        for memory in sorted({*MEMORIES, *known.memories}):
            for batch in _batches(known):
                yield _function_candidate(memory, batch, known)


def _batches(known: Known) -> list[int]:
    return sorted({*BATCHES, *(each.batch_size for each in known.functions)})


def _function_candidate(memory: int, batch: int, known: Known) -> Candidate:
    rate, sampling = known.question.rate, known.sample.error
    window = _window(batch, _duration(memory, batch, known).p95_ms / 1000, known.question)
    records = float(batch) if rate is None else min(float(batch), 1 + rate * window)
    took = _duration(memory, records, known)
    cold_ms, cold_share = known.cold_ms, 0.0 if rate is None else math.exp(-rate / records * KEPT_SECONDS)
    billed = took.ms + cold_share * cold_ms
    measured = known.functions[0].cell
    requests = replace(cell_requests(measured), sqs=sqs_requests(records))
    cost = lambda_cost(LambdaCell(memory, billed, records, requests, architecture_of(measured)), known.prices)
    fill = min(window, batch / rate) if rate else 0.0
    first = cold_ms / 1000 if cold_share > COLD_IN_P95 else 0.0
    found = Candidate(
        platform="lambda",
        memory_mb=memory,
        vcpus=memory / MB_PER_VCPU,
        batch_size=batch,
        window=window,
        records=records,
        basis=took.basis,
        at_once=rate / records * took.ms / 1000 if rate else None,
        cost=cost,
        usd_per_million=CostInterval.around(cost.compute, math.hypot(took.error, sampling), cost.total - cost.compute),
        p95_seconds=CostInterval.around(took.p95_ms / 1000, math.hypot(took.p95_error, sampling), fill + first),
        own_error=took.error,
    )
    return replace(found, refused=next(_function_refusals(found, known), ""))


def _window(batch: int, p95_seconds: float, question: Question) -> int:
    """Whole seconds to fill the batch, cut short by the deadline or by LONGEST_WINDOW."""
    if batch == 1 or question.rate is None:
        return 0
    fill = batch / question.rate
    if question.deadline is None:
        return min(LONGEST_WINDOW, math.ceil(fill))
    left = question.deadline - p95_seconds
    return min(LONGEST_WINDOW, math.ceil(fill) if fill <= left else max(0, math.floor(left)))


def _duration(memory: int, records: float, known: Known) -> _Duration:
    """As measured; else by the model, with the largest ratio of p95 to mean of the nearest batches."""
    for each in known.functions:
        if each.memory_mb == memory and same_records(each.records, records):
            return _Duration(each.ms, each.p95_ms, each.error, each.p95_error, "measured")
    model = known.model or InvocationModel(0, 0, 0, 0)
    ms = model.invocation_ms(memory / MB_PER_VCPU, records)
    beyond = not min(known.memories) <= memory <= max(known.memories)
    error = math.hypot(known.noise, known.model_error * (EXTRAPOLATED if beyond else 1.0))
    near = min(known.functions, key=lambda each: _distance(each, memory, records))
    basis = "extrapolated" if beyond else "fitted"
    return _Duration(ms, ms * near.p95_ms / near.ms, error, math.hypot(error, near.p95_error), basis)


def _distance(function: Function, memory: int, records: float) -> tuple[float, float]:
    """The memory counts first, then the batch size."""
    return abs(math.log(function.memory_mb / memory)), abs(math.log(function.records / records))


def _function_refusals(found: Candidate, known: Known) -> Iterator[str]:
    """Reasons against the candidate, the strongest first."""
    needed = _needed_mb(found.batch_size, known)
    if found.memory_mb < needed:
        yield f"needs {needed:.0f} MB"
    if _was_killed(found, known):
        yield "ran out of memory"
    if 1e6 * known.sample.largest_megapixels > tier_for(found.memory_mb).max_pixels:
        yield f"rejects a picture of {known.sample.largest_megapixels:.0f} MP"
    if found.memory_mb > FURTHEST * max(known.memories):
        yield "too far from the measured sizes"
    smaller = [each for each in _batches(known) if each < found.batch_size]
    if smaller and found.records <= FILLED_MORE * smaller[-1]:
        yield "seldom fills: a smaller batch does as well"
    if found.basis != "measured" and known.model_error > MODEL_LIMIT:
        yield "not measured, and the model does not fit"
    yield from _too_late(found, known.question)


def _needed_mb(batch: int, known: Known) -> float:
    """The least peak of the measured functions, with the margin: a function adapts to the memory it has."""
    as_large = [each for each in known.alive if each.batch_size >= batch] or known.alive
    smallest = min(each.batch_size for each in as_large)
    return MEMORY_MARGIN * min(each.peak_rss_mb for each in as_large if each.batch_size == smallest)


def _was_killed(found: Candidate, known: Known) -> bool:
    """Whether a function with as much memory was killed and none survived with as little and batches as large."""
    killed = any(each.killed and each.memory_mb >= found.memory_mb for each in known.functions)
    survivors = (each for each in known.functions if not each.killed and each.memory_mb <= found.memory_mb)
    return killed and not any(each.batch_size >= found.batch_size for each in survivors)


def _too_late(found: Candidate, question: Question) -> Iterator[str]:
    if question.deadline is not None and found.p95 > question.deadline:
        yield f"p95 above {question.deadline:g} s"


# --- tasks --------------------------------------------------------------------------------------------------------


def task_candidates(known: Known) -> Iterator[Candidate]:
    """Yield each measured task, and at Spot's price those that were not measured on Spot."""
    on_spot = {(cell.key.vcpus, cell.key.memory_mb) for cell in known.tasks if cell.key.platform == "fargate-spot"}
    for cell in known.tasks:
        yield _task_candidate(cell, cell.key.platform, known)
        if (cell.key.vcpus, cell.key.memory_mb) not in on_spot:
            yield _task_candidate(cell, "fargate-spot", known)


def _task_candidate(cell: Cell, platform: str, known: Known) -> Candidate:
    rate, sampling = known.question.rate, known.sample.error
    task = replace(cell_task(cell), spot=platform == "fargate-spot")
    own_error = noise(cell.values("images_per_second"))
    cost = _task_cost(task, rate, known.prices) if rate else Cost()
    exact = cost.total - cost.compute
    found = Candidate(
        platform=platform,
        memory_mb=cell.key.memory_mb,
        vcpus=cell.key.vcpus,
        batch_size=cell.key.batch_size,
        window=0,
        records=1.0,
        basis="measured",
        at_once=float(_task_count(task, rate)) if rate else None,
        cost=cost if rate else None,
        usd_per_million=CostInterval.around(cost.compute, math.hypot(own_error, sampling), exact) if rate else None,
        p95_seconds=CostInterval.around(p95_ms(cell) / 1000, math.hypot(p95_noise(cell), sampling)),
        own_error=own_error,
    )
    return replace(found, refused=next(_task_refusals(found, cell, known), ""))


def _task_count(task: Task, rate: float) -> int:
    return math.ceil(rate / (task.images_per_second * Load().headroom))


def _task_cost(task: Task, rate: float, prices: Prices) -> Cost:
    """The cost of the tasks for this rate, which run all the time."""
    return fargate_cost(task, prices, rate / (task.images_per_second * _task_count(task, rate)))


def _task_refusals(found: Candidate, cell: Cell, known: Known) -> Iterator[str]:
    needed = MEMORY_MARGIN * max(cell.values("peak_rss_mb"))
    if found.memory_mb < needed:
        yield f"needs {needed:.0f} MB"
    if any(one.oom_kills for one in cell.repetitions):
        yield "ran out of memory"
    if known.question.rate is None:
        yield "its price depends on the rate: --rate"
    if found.platform == "fargate-spot" and known.question.deadline is not None:
        yield "AWS may stop a Spot task: no deadline holds"
    yield from _too_late(found, known.question)
