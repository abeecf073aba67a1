"""From measured cells to a recommendation: the cells to measure, the best candidate, the confidence. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from bench.money.candidates import MEMORIES, MODEL_LIMIT, SURE, Candidate, candidates_from, function_candidates
from bench.money.costing import FARGATE_MEMORY_GB, MB_PER_GB, Cost, cell_task
from bench.money.invocation_model import InvocationModel
from bench.money.measured import AdviceError, Known, Question, Sample, known_from
from bench.money.months import BreakEven, break_even
from bench.money.prices import Prices
from bench.result import Cell
from thumbnailer.planning.tier import MB_PER_VCPU

MEASURED_MEMORIES: Final = (512, 1024)
"""Measured besides the largest size that the cores allow: three sizes separate waits from CPU time."""
MEASURED_BATCHES: Final = (1, 10)
TASK_BATCH: Final = 10
HIGH: Final = 0.10
FAIR: Final = 0.25
"""Widths of an interval to each side for high and fair confidence: a budget allows for a tenth; neighbours in the table
seldom differ by more than a quarter."""
Word = Literal["high", "fair", "low"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A cell to measure."""

    platform: str
    memory_mb: int
    vcpus: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class Next:
    """Another candidate; `dearer` than the best by this share, below 0 if the best won for another reason."""

    candidate: Candidate
    dearer: float
    told_apart: bool


@dataclass(frozen=True, slots=True)
class Advice:
    """`best` is None if no candidate meets the question. `next_platform` is the best of the other platform.

    `break_evens` compares each task with the cheapest function that is warm and has full batches.
    """

    question: Question
    sample: Sample
    best: Candidate | None
    next_best: Next | None
    next_platform: Next | None
    candidates: tuple[Candidate, ...]
    break_evens: Mapping[str, BreakEven]
    confidence: Word
    model: InvocationModel | None
    measured_functions: int
    failed_share: float
    not_measured: tuple[str, ...]

    @property
    def offered(self) -> list[Candidate]:
        """The candidates that are not refused, the cheapest first."""
        return sorted((each for each in self.candidates if not each.refused), key=lambda each: each.usd)


def plan(cores_available: float) -> tuple[Wanted, ...]:
    """Return functions of three memory sizes, with and without batches, and a task. Raises AdviceError.

    Of two or more cores, one is left for S3 and the bench.
    """
    cores = cores_available - 1 if cores_available >= 2 else cores_available
    possible = [memory for memory in MEMORIES if memory / MB_PER_VCPU <= cores]
    if not possible:
        raise AdviceError(
            f"{cores_available:g} cores are too few to measure: {MEMORIES[0] / MB_PER_VCPU:.2g} is the least"
        )
    memories = sorted({min(memory, possible[-1]) for memory in MEASURED_MEMORIES} | {possible[-1]})
    functions = (Wanted("lambda", mb, mb / MB_PER_VCPU, batch) for mb in memories for batch in MEASURED_BATCHES)
    vcpus = max((each for each in FARGATE_MEMORY_GB if each <= min(1, cores)), default=None)
    return (*functions, *([] if vcpus is None else [_task(vcpus)]))


def _task(vcpus: float) -> Wanted:
    memory_gb = max(min(FARGATE_MEMORY_GB[vcpus]), 2 * vcpus)
    return Wanted("fargate", round(memory_gb * MB_PER_GB), vcpus, TASK_BATCH)


def advise(cells: Sequence[Cell], prices: Prices, question: Question, sample: Sample) -> Advice:
    """Raises AdviceError if nothing was measured."""
    known = known_from(cells, prices, question, sample)
    candidates = candidates_from(known)
    best = _best(candidates)
    others = [each for each in candidates if not each.refused and each is not best]
    elsewhere = [each for each in others if best and each.is_function != best.is_function]
    return Advice(
        question=question,
        sample=sample,
        best=best,
        next_best=_next(best, others),
        next_platform=_next(best, elsewhere),
        candidates=candidates,
        break_evens=_break_evens(known),
        confidence=_confidence(best, known),
        model=known.model,
        measured_functions=len(known.functions),
        failed_share=_failed_share(cells),
        not_measured=tuple(sorted({cell.refused for cell in cells if cell.refused})),
    )


def _best(candidates: Sequence[Candidate]) -> Candidate | None:
    """The cheapest; among those that do not differ from it a function before a task, then the lowest p95."""
    possible = [each for each in candidates if not each.refused]
    cheapest = min(possible, key=lambda each: each.usd, default=None)
    same = [each for each in possible if each is cheapest or (cheapest and not _differ(each, cheapest))]
    return min(same, key=lambda each: (not each.is_function, each.p95, each.usd, each.batch_size), default=None)


def _differ(one: Candidate, other: Candidate) -> bool:
    return abs(one.usd - other.usd) > SURE * math.hypot(one.compute_error, other.compute_error)


def _next(best: Candidate | None, others: Sequence[Candidate]) -> Next | None:
    if best is None or not others:
        return None
    other = min(others, key=lambda each: each.usd)
    return Next(other, other.usd / best.usd - 1, _differ(other, best))


def _break_evens(known: Known) -> dict[str, BreakEven]:
    busy = replace(known, question=replace(known.question, rate=None))
    functions = [each for each in function_candidates(busy) if not each.refused]
    if not functions:
        return {}
    cost = min(functions, key=lambda each: each.usd).cost or Cost()
    found: dict[str, BreakEven] = {}
    for task in map(cell_task, known.tasks):
        for spot in (True,) if task.spot else (False, True):
            name = f"Fargate{' Spot' if spot else ''} of {task.vcpus:g} vCPU {task.memory_gb:g} GB"
            found[name] = break_even(cost, replace(task, spot=spot), known.prices)
    return found


def _confidence(best: Candidate | None, known: Known) -> Word:
    if best is None or best.usd_per_million is None or best.p95_seconds is None:
        return "low"
    if known.functions and known.model_error > MODEL_LIMIT:
        return "low"
    width = max(best.usd_per_million.share, best.p95_seconds.share if known.question.deadline is not None else 0)
    if width <= HIGH and known.sample.complete and best.basis != "extrapolated":
        return "high"
    return "fair" if width <= FAIR else "low"


def _failed_share(cells: Sequence[Cell]) -> float:
    repetitions = [one for cell in cells for one in cell.repetitions]
    total = sum(sum(one.outcomes.values()) for one in repetitions)
    return 1 - sum(one.outcomes.get("stored", 0) for one in repetitions) / total if total else 0.0
