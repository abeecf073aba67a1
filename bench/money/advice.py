"""From measured cells to a recommendation: the cells to measure, the best candidate, the confidence. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from bench.money.candidates import MEMORIES, MODEL_LIMIT, SURE, Candidate, candidates_from, function_candidates
from bench.money.costing import cell_task
from bench.money.measured import AdviceError, Known, Question, Sample, known_from
from bench.money.months import BreakEven, break_even
from bench.questions import TASKS, Options, ours
from bench.result import Cell, CellKey
from thumbnailer.backfill.prices import Prices
from thumbnailer.planning.tier import MB_PER_VCPU

MEASURED_MEMORIES: Final = (512, 1024)
"""Measured besides the largest size that the cores allow: three sizes separate waits from CPU time."""
MEASURED_BATCHES: Final = (1, 10)
TASK_BATCH: Final = 10
HIGH: Final = 0.10
FAIR: Final = 0.25
"""Widths of an interval to each side for high and fair confidence: a budget allows for a tenth; neighbours in the table
seldom differ by more than a quarter."""


@dataclass(frozen=True, slots=True)
class Advice:
    """`best` is None if no candidate meets the question. `next_platform` is the best of the other platform.

    `break_evens` compares each task with the cheapest function that is warm and has full batches.
    """

    known: Known
    candidates: tuple[Candidate, ...]
    best: Candidate | None
    next_best: Candidate | None
    next_platform: Candidate | None
    break_evens: Mapping[str, BreakEven]
    confidence: Literal["high", "fair", "low"]


def plan(cores: float, scope: Options) -> list[CellKey]:
    """Return functions of three memory sizes, with and without batches, and a task. Raises AdviceError."""
    possible = [memory for memory in MEMORIES if memory / MB_PER_VCPU <= cores]
    if not possible:
        raise AdviceError(f"{cores:g} cores are too few to measure: {MEMORIES[0] / MB_PER_VCPU:.2g} is the least")
    memories = sorted({min(memory, possible[-1]) for memory in MEASURED_MEMORIES} | {possible[-1]})
    functions = [replace(ours(scope, mb), batch_size=batch) for mb in memories for batch in MEASURED_BATCHES]
    tasks = [
        replace(ours(scope, mb), platform="fargate", vcpus=vcpus, batch_size=TASK_BATCH)
        for vcpus, mb in TASKS
        if vcpus <= min(1, cores)
    ]
    return functions + tasks[-1:]


def advise(cells: Sequence[Cell], prices: Prices, question: Question, sample: Sample) -> Advice:
    """Raises AdviceError if nothing was measured."""
    known = known_from(cells, prices, question, sample)
    candidates = candidates_from(known)
    offered = [each for each in candidates if not each.refused]
    best = _best(offered)
    others = sorted((each for each in offered if each is not best), key=lambda each: each.usd)
    next_best = next(iter(others), None)
    is_function = best is not None and best.platform == "lambda"
    next_platform = next((each for each in others if (each.platform == "lambda") != is_function), None)
    return Advice(known, candidates, best, next_best, next_platform, _break_evens(known), _confidence(best, known))


def _best(offered: Sequence[Candidate]) -> Candidate | None:
    """The cheapest; among those that do not differ from it a function before a task, then the lowest p95."""
    cheapest = min(offered, key=lambda each: each.usd, default=None)
    same = [each for each in offered if each is cheapest or (cheapest and not differ(each, cheapest))]
    return min(same, key=lambda each: (each.platform != "lambda", each.p95, each.usd, each.batch_size), default=None)


def differ(one: Candidate, other: Candidate) -> bool:
    """Return whether two prices differ by more than their errors."""
    errors = (each.own_error * each.cost.compute for each in (one, other) if each.cost)
    return abs(one.usd - other.usd) > SURE * math.hypot(*errors)


def _break_evens(known: Known) -> dict[str, BreakEven]:
    busy = replace(known, question=replace(known.question, rate=None))
    costs = [each.cost for each in function_candidates(busy) if each.cost and not each.refused]
    cost = min(costs, key=lambda each: each.total, default=None)
    tasks = [cell_task(cell, spot) for cell in known.tasks for spot in (False, True)]
    return {task.title: break_even(cost, task, known.prices) for task in tasks} if cost else {}


def _confidence(best: Candidate | None, known: Known) -> Literal["high", "fair", "low"]:
    if best is None or best.usd_per_million is None or (known.functions and known.model.left_out_error > MODEL_LIMIT):
        return "low"
    width = max(best.usd_per_million.share, best.p95_seconds.share if known.question.deadline is not None else 0)
    if width <= HIGH and best.basis != "extrapolated":
        return "high"
    return "fair" if width <= FAIR else "low"
