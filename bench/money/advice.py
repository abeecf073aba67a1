"""From a few measured cells to a recommendation: memory, batch size, platform, what it costs, and how sure that is.

Pure. bench.money.sampling picks the sample, the caller measures the cells, bench.money.candidates prices each choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from bench.money import costing
from bench.money.candidates import (
    COST_FORMULA,
    MEMORIES,
    MODEL_LIMIT,
    P95_FORMULA,
    SURE,
    AdviceError,
    Candidate,
    Known,
    Question,
    Sample,
    function_candidates,
    known_from,
    task_candidates,
)
from bench.money.costing import FARGATE_MEMORY_GB, MB_PER_GB, BreakEven, Cost, break_even, cell_task
from bench.money.invocation_model import FORMULA as MODEL_FORMULA
from bench.money.invocation_model import InvocationModel
from bench.money.prices import Prices
from bench.result import Cell
from thumbnailer.planning.tier import MB_PER_VCPU

MEASURED_MEMORIES: Final = (512, 1024)
"""Beside the largest that the cores allow: three sizes tell what waits from what computes."""
MEASURED_BATCHES: Final = (1, 10)
TASK_BATCH: Final = 10
ENVIRONMENTS: Final = 1000
"""The concurrency of an account, unless more was asked for."""
HIGH: Final = 0.10
FAIR: Final = 0.25
"""The width to each side up to which confidence is high, and fair: within a tenth money can be planned; a quarter is
more than most neighbours in the table differ by."""
CONFIDENCE_FORMULA: Final = """\
Intervals are 1.645 standard errors to each side (90 %): the root of the squares' sum of the repetitions' spread
(quartile distance / 1.349), the model's error on cells left out (twice that beyond what was measured), and the sampling
error of the pictures' megapixels. Of Fargate's price the ends are those of as many whole tasks as it then takes.
Two are told apart where their compute differs by more than that; the pictures are the same for both, and are left out
of it. Of those that cannot be told apart from the cheapest, Lambda comes before Fargate (nothing has to be scaled),
then the smaller p95. Confidence is high up to 10 % to each side, fair up to 25 %, no more than fair beyond what was
measured or where not all keys were listed, and low where the model does not fit."""


# --- what is measured ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """A cell to measure."""

    platform: str
    memory_mb: int
    vcpus: float
    batch_size: int


def plan(cores_available: float) -> tuple[Wanted, ...]:
    """Functions of three memory sizes with single pictures and with batches, and a task. Raises AdviceError.

    One core is left to what stands beside the function, where there are two.
    """
    cores = cores_available - 1 if cores_available >= 2 else cores_available
    possible = [memory for memory in MEMORIES if memory / MB_PER_VCPU <= cores]
    if not possible:
        raise AdviceError(f"{cores_available:g} cores are too few to measure with: a seventh of one is the least")
    largest = possible[-1]
    memories = sorted({min(memory, largest) for memory in MEASURED_MEMORIES} | {largest})
    functions = (
        Wanted("lambda", memory, memory / MB_PER_VCPU, batch) for memory in memories for batch in MEASURED_BATCHES
    )
    vcpus = max((each for each in FARGATE_MEMORY_GB if each <= min(1, cores)), default=None)
    tasks = [] if vcpus is None else [Wanted("fargate", _task_memory(vcpus), vcpus, TASK_BATCH)]
    return (*functions, *tasks)


def _task_memory(vcpus: float) -> int:
    """2 GB for a vCPU, as much as there is for one at least."""
    return round(max(min(FARGATE_MEMORY_GB[vcpus]), 2 * vcpus) * MB_PER_GB)


# --- what is answered ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Next:
    """Another one, and by which share it is dearer than the best; below 0 where the best was preferred all the same."""

    candidate: Candidate
    dearer: float
    told_apart: bool


@dataclass(frozen=True, slots=True)
class Confidence:
    """ "high", "fair" or "low", and the reasons."""

    word: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """`best` is None where nothing meets what was asked. `next_platform` is the best of the other platform.

    `break_evens` is by task: from how many pictures a month it is cheaper than the cheapest function, which is reckoned
    warm and with full batches.
    """

    question: Question
    best: Candidate | None
    next_best: Next | None
    next_platform: Next | None
    candidates: tuple[Candidate, ...]
    break_evens: Mapping[str, BreakEven]
    confidence: Confidence
    notes: tuple[str, ...]
    model: InvocationModel | None
    formulas: Mapping[str, str] = field(default_factory=lambda: dict(FORMULAS))


FORMULAS: Final[Mapping[str, str]] = {
    "model": MODEL_FORMULA,
    "cost": COST_FORMULA,
    "p95": P95_FORMULA,
    "confidence": CONFIDENCE_FORMULA,
    "break-even": costing.FORMULA,
}
"""What is printed with an advice."""


# --- which is best ------------------------------------------------------------------------------------------------


def advise(cells: Sequence[Cell], prices: Prices, question: Question, sample: Sample) -> Advice:
    """Raises AdviceError where nothing was measured."""
    known = known_from(cells, prices, question, sample)
    candidates = (*function_candidates(known), *task_candidates(known))
    best = _best(candidates)
    others = [each for each in candidates if not each.refused and each is not best]
    elsewhere = [each for each in others if best and _is_function(each) != _is_function(best)]
    return Advice(
        question=question,
        best=best,
        next_best=_next(best, others),
        next_platform=_next(best, elsewhere),
        candidates=candidates,
        break_evens=_break_evens(known),
        confidence=_confidence(best, known),
        notes=tuple(_notes(best, candidates, cells, known)),
        model=known.model,
    )


def _is_function(candidate: Candidate) -> bool:
    return candidate.platform == "lambda"


def _best(candidates: Sequence[Candidate]) -> Candidate | None:
    """The cheapest; of those that cannot be told apart from it, the simpler, then the quicker."""
    possible = [each for each in candidates if not each.refused]
    if not possible:
        return None
    cheapest = min(possible, key=lambda each: each.usd)
    same = [each for each in possible if each is cheapest or not _told_apart(each, cheapest)]
    return min(same, key=lambda each: (not _is_function(each), each.p95, each.usd, each.batch_size))


def _told_apart(one: Candidate, other: Candidate) -> bool:
    return abs(one.usd - other.usd) > SURE * math.hypot(one.compute_error, other.compute_error)


def _next(best: Candidate | None, others: Sequence[Candidate]) -> Next | None:
    if best is None or not others:
        return None
    other = min(others, key=lambda each: each.usd)
    return Next(other, other.usd / best.usd - 1, _told_apart(other, best))


def _break_evens(known: Known) -> dict[str, BreakEven]:
    """Against the cheapest function that meets the deadline at any rate: warm, its batches full."""
    busy = replace(known, question=replace(known.question, rate=None))
    functions = [each for each in function_candidates(busy) if not each.refused]
    if not functions:
        return {}
    cost = min(functions, key=lambda each: each.usd).cost or Cost()
    found: dict[str, BreakEven] = {}
    for cell in known.tasks:
        task = cell_task(cell)
        for spot in (True,) if task.spot else (False, True):
            name = "fargate-spot" if spot else "fargate"
            found[f"{name} {task.vcpus:g} vCPU {task.memory_gb:g} GB"] = break_even(
                cost, replace(task, spot=spot), known.prices
            )
    return found


# --- how sure -----------------------------------------------------------------------------------------------------


def _confidence(best: Candidate | None, known: Known) -> Confidence:
    if best is None or best.usd_per_million is None or best.p95_seconds is None:
        return Confidence("low", ("nothing meets what was asked",))
    asked = [best.usd_per_million.share] + ([best.p95_seconds.share] if known.question.deadline is not None else [])
    word = "high" if max(asked) <= HIGH else "fair" if max(asked) <= FAIR else "low"
    if word == "high" and (not known.sample.complete or best.basis == "extrapolated"):
        word = "fair"
    if known.functions and known.model_error > MODEL_LIMIT:
        word = "low"
    return Confidence(word, tuple(_reasons(best, known)))


def _reasons(best: Candidate, known: Known) -> Iterator[str]:
    sample = known.sample
    yield (
        f"{sample.pictures} pictures stand for the {sample.looked} that were looked at: "
        f"{_percent(sample.error)} standard error of their megapixels"
    )
    if not sample.complete:
        yield "only the first keys by name were listed, and the others may differ"
    if best.basis == "measured":
        yield f"what was measured of it differs from one repetition to the next by {_percent(best.own_error)}"
    else:
        yield f"it was not measured itself ({best.basis}): its compute may be off by {_percent(best.own_error)}"
    if known.model and math.isinf(known.model_error):
        yield f"{len(known.functions)} measured functions are too few to check a model: only measured ones are advised"
    elif known.model and known.model_error > MODEL_LIMIT:
        yield (
            f"the model is off by {_percent(known.model_error)} on cells left out, more than {_percent(MODEL_LIMIT)}: "
            "only measured ones are advised"
        )
    elif known.model:
        yield (
            f"the model is off by {_percent(known.model_error)} on cells left out, "
            f"by {_percent(known.model.worst_error)} at most on those it was fitted to"
        )


def _notes(
    best: Candidate | None, candidates: Sequence[Candidate], cells: Sequence[Cell], known: Known
) -> Iterator[str]:
    question = known.question
    if question.rate is None:
        yield "Without --rate every batch is reckoned full, as in a long queue, and no time is counted to fill it."
    if best is None:
        yield _nothing_found(candidates)
    elif question.deadline is not None and best.p95_seconds and best.p95_seconds.high > question.deadline:
        yield f"The deadline lies within what the p95 may be: up to {best.p95_seconds.high:.2f} s."
    if best and _is_function(best) and (best.at_once or 0) > ENVIRONMENTS:
        yield f"It takes {best.at_once:,.0f} environments at once; an account has {ENVIRONMENTS:,} unless asked for."
    if failed := _failed_share(cells):
        yield f"{_percent(failed)} of the measured pictures made no thumbnail: their time and cost are in the numbers."
    yield from sorted({f"Not measured: {cell.refused}" for cell in cells if cell.refused})


def _nothing_found(candidates: Sequence[Candidate]) -> str:
    late = [each for each in candidates if each.refused.startswith("p95")]
    if not late:
        return "Nothing is to be had: the table has the reasons."
    fastest = min(late, key=lambda each: each.p95)
    return (
        f"Nothing is fast enough: the quickest has a p95 of {fastest.p95:.2f} s. Allow more, or make smaller pictures."
    )


def _failed_share(cells: Sequence[Cell]) -> float:
    repetitions = [one for cell in cells for one in cell.repetitions]
    every = sum(sum(one.outcomes.values()) for one in repetitions)
    return 1 - sum(one.outcomes.get("stored", 0) for one in repetitions) / every if every else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
