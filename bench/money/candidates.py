"""The candidates of an advice, each with price and p95: functions by model or measurement, tasks as measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from bench.money.costing import Cost, cell_requests, cell_task, fargate_cost, lambda_cost, place_title, sqs_requests
from bench.money.measured import Known, Question, Timing, alive, timing_of, was_killed
from bench.money.months import HEADROOM
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
    """A way to run the pipeline. `refused`: why it is not offered, else "". `cost` is None without a price.

    `records`: pictures an invocation. `at_once`: mean busy environments, or tasks; None without a rate. `own_error`:
    standard error of the compute price without the sampling error of the pictures.
    """

    platform: str
    memory_mb: int
    vcpus: float
    batch_size: int
    basis: str
    cost: Cost | None
    usd_per_million: CostInterval | None
    p95_seconds: CostInterval
    own_error: float
    window: int = 0
    records: float = 1.0
    at_once: float | None = None
    refused: str = ""

    @property
    def title(self) -> str:
        return place_title(self.platform, self.memory_mb, self.vcpus)

    @property
    def usd(self) -> float:
        return self.usd_per_million.value if self.usd_per_million else math.inf

    @property
    def p95(self) -> float:
        return self.p95_seconds.value


def candidates_from(known: Known) -> tuple[Candidate, ...]:
    """Functions, and each measured task at Fargate's and at Spot's price."""
    tasks = (_task_candidate(cell, platform, known) for cell in known.tasks for platform in ("fargate", "fargate-spot"))
    return (*function_candidates(known), *tasks)


def _candidate(
    place: tuple[str, int, float, int], timing: Timing, cost: Cost | None, wait: float, known: Known
) -> Candidate:
    """A candidate at platform, memory, vCPUs and batch size; `wait`: seconds before its work begins."""
    sampling = known.sample.error
    usd_error, p95_error = math.hypot(timing.error, sampling), math.hypot(timing.p95_error, sampling)
    usd = CostInterval.around(cost.compute, usd_error, cost.total - cost.compute) if cost else None
    p95 = CostInterval.around(timing.p95_ms / 1000, p95_error, wait)
    return Candidate(*place, timing.basis, cost, usd, p95, timing.error)


def _refused(found: Candidate, reasons: Mapping[str, bool], question: Question) -> Candidate:
    """The candidate with the first reason that holds."""
    late = {f"p95 above {question.deadline:g} s": found.p95 > question.deadline} if question.deadline else {}
    return replace(found, refused=next((reason for reason, holds in {**reasons, **late}.items() if holds), ""))


def function_candidates(known: Known) -> Iterator[Candidate]:
    if known.functions:
        for memory in sorted({*MEMORIES, *known.memories}):
            for batch in _batches(known):
                yield _function_candidate(memory, batch, known)


def _batches(known: Known) -> list[int]:
    return sorted({*BATCHES, *(cell.key.batch_size for cell in known.functions)})


def _function_candidate(memory: int, batch: int, known: Known) -> Candidate:
    rate = known.question.rate
    window = _window(batch, known.timing(memory, batch).p95_ms / 1000, known.question)
    records = float(batch) if rate is None else min(float(batch), 1 + rate * window)
    timing = known.timing(memory, records)
    cold_ms, cold_share = known.cold_ms, 0.0 if rate is None else math.exp(-rate / records * KEPT_SECONDS)
    measured = known.functions[0]
    requests = replace(cell_requests(measured), sqs=sqs_requests(records))
    billed = timing.ms + cold_share * cold_ms
    cost = lambda_cost(known.prices, memory, billed, records, requests, measured.key.architecture)
    fill = min(window, batch / rate) if rate else 0.0
    wait = fill + (cold_ms / 1000 if cold_share > COLD_IN_P95 else 0.0)
    found = _candidate(("lambda", memory, memory / MB_PER_VCPU, batch), timing, cost, wait, known)
    busy = rate / records * timing.ms / 1000 if rate else None
    found = replace(found, window=window, records=records, at_once=busy)
    return _refused(found, _function_refusals(found, known), known.question)


def _window(batch: int, p95_seconds: float, question: Question) -> int:
    """Whole seconds to fill the batch, cut short by the deadline or by LONGEST_WINDOW."""
    if batch == 1 or question.rate is None:
        return 0
    fill = batch / question.rate
    if question.deadline is None:
        return min(LONGEST_WINDOW, math.ceil(fill))
    left = question.deadline - p95_seconds
    return min(LONGEST_WINDOW, math.ceil(fill) if fill <= left else max(0, math.floor(left)))


def _function_refusals(found: Candidate, known: Known) -> dict[str, bool]:
    """Reasons against the candidate, the strongest first."""
    needed, largest = _needed_mb(found.batch_size, known), known.sample.largest_megapixels
    smaller = max((each for each in _batches(known) if each < found.batch_size), default=0)
    is_modelled = found.basis != "measured"
    return {
        f"needs {needed:.0f} MB": found.memory_mb < needed,
        "ran out of memory": _runs_out_of_memory(found, known),
        f"rejects a picture of {largest:.0f} MP": 1e6 * largest > tier_for(found.memory_mb).max_pixels,
        "too far from the measured sizes": found.memory_mb > FURTHEST * max(known.memories),
        "seldom fills: a smaller batch does as well": found.records <= FILLED_MORE * smaller,
        "not measured, and the model does not fit": is_modelled and known.model.left_out_error > MODEL_LIMIT,
    }


def _needed_mb(batch: int, known: Known) -> float:
    """The least peak of the measured functions, with the margin: a function adapts to the memory it has."""
    living = alive(known.functions)
    as_large = [cell for cell in living if cell.key.batch_size >= batch] or living
    smallest = min(cell.key.batch_size for cell in as_large)
    return MEMORY_MARGIN * min(_peak_mb(cell) for cell in as_large if cell.key.batch_size == smallest)


def _peak_mb(cell: Cell) -> float:
    return max(cell.values("peak_rss_mb"))


def _runs_out_of_memory(found: Candidate, known: Known) -> bool:
    """Whether a function with as much memory was killed and none survived with as little and batches as large."""
    enough = [cell for cell in known.functions if cell.key.memory_mb <= found.memory_mb and not was_killed(cell)]
    survived = any(cell.key.batch_size >= found.batch_size for cell in enough)
    return not survived and any(was_killed(one) and one.key.memory_mb >= found.memory_mb for one in known.functions)


def _task_candidate(cell: Cell, platform: str, known: Known) -> Candidate:
    """A task in a fleet for the rate that runs all the time."""
    rate, task, key = known.question.rate, cell_task(cell, platform == "fargate-spot"), cell.key
    count = math.ceil(rate / (task.images_per_second * HEADROOM)) if rate else None
    cost = fargate_cost(task, known.prices, rate / (task.images_per_second * count)) if rate and count else None
    place = (platform, key.memory_mb, key.vcpus, key.batch_size)
    found = replace(_candidate(place, timing_of(cell), cost, 0.0, known), at_once=count)
    return _refused(found, _task_refusals(found, cell, known.question), known.question)


def _task_refusals(found: Candidate, cell: Cell, question: Question) -> dict[str, bool]:
    needed, is_spot = MEMORY_MARGIN * _peak_mb(cell), found.platform == "fargate-spot"
    return {
        f"needs {needed:.0f} MB": found.memory_mb < needed,
        "ran out of memory": was_killed(cell),
        "its price depends on the rate: --rate": question.rate is None,
        "AWS may stop a Spot task: no deadline holds": is_spot and question.deadline is not None,
    }
