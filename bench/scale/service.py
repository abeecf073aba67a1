"""A function and a fleet of tasks as they were measured, for the simulation: service times, spread, requests.

Values in, values out. What was measured comes first; then bench.money.invocation_model; then proportion.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.money.costing import MB_PER_GB, MOST_MESSAGES_A_REQUEST, cell_requests
from bench.money.invocation_model import FEWEST, Point, fit
from bench.money.prices import Architecture
from bench.pages.selection import OURS, ours_alike, usual, who
from bench.result import Cell, Result
from bench.scale.model import INIT_SECONDS, Fleet, Function, Service
from thumbnailer.errors import ThumbnailerError

P95: Final = 1.6448536269514722
"""Standard deviations above the median, of a normal distribution."""
ALLOWED_WAIT: Final = 60.0
"""Seconds of work that a task's backlog may be."""
LEAST_SECONDS: Final = 1e-6
"""A further record takes this at least: noise can make a larger batch look the faster."""


class NotMeasured(ThumbnailerError):
    """The results have no cell to go by."""


# --- Lambda -------------------------------------------------------------------------------------------------------


def function_from(result: Result, memory_mb: int | None = None, batch_size: int | None = None) -> Function:
    """The function as it was measured: of that memory, or of the one with most images a GB-second. Raises NotMeasured.

    Of several batch sizes it has the one that is asked for, where it was measured; else the best of those that SQS
    gives at once.
    """
    alike = ours_alike(result)
    cells = [cell for cell in alike if memory_mb in (None, cell.key.memory_mb)]
    if not cells:
        of_memory, option = (f" of {memory_mb} MB", f" --memory {memory_mb}") if memory_mb else ("", "")
        raise NotMeasured(
            f"no measured function{of_memory} in the results: measure one with `python -m bench tiers{option}`"
        )
    asked_for = [cell for cell in cells if cell.key.batch_size == batch_size]
    at_once = [cell for cell in cells if cell.key.batch_size <= MOST_MESSAGES_A_REQUEST]
    best = max(asked_for or at_once or cells, key=lambda cell: cell.median("images_per_gb_second") or 0)
    cold = best.median("cold_start_ms")
    return Function(
        service_from(alike, best),
        memory_mb=best.key.memory_mb,
        batch_size=best.key.batch_size,
        init_seconds=INIT_SECONDS if cold is None else cold / 1000,
        architecture=_architecture(best),
        requests=cell_requests(best),
    )


@dataclass(frozen=True, slots=True)
class _Invocation:
    """What one of so many records takes, and how that is known."""

    records: float
    seconds: float
    source: str = ""


def service_from(cells: Sequence[Cell], best: Cell) -> Service:
    """`best`'s invocation takes what was measured; what other batches take follows from a second one of its memory.

    That is a measured one, else one of the model of an invocation, else none at all, which takes no time. `cells` are
    those that can stand beside `best`, of any memory and batch size.
    """
    measured = _invocation(best)
    other = _measured(cells, best) or _modelled(cells, best) or _Invocation(0, 0.0, "others in proportion")
    slope = (measured.seconds - other.seconds) / (measured.records - other.records)
    each = min(max(LEAST_SECONDS, slope), measured.seconds / measured.records)
    sigma, spread = _spread(cells, best)
    return Service(measured.seconds - each * measured.records, each, sigma, f"{other.source}; {spread}")


def _invocation(cell: Cell) -> _Invocation:
    return _Invocation(
        statistics.median(one.records / max(1, one.invocations) for one in cell.repetitions),
        statistics.median(one.billed_ms / max(1, one.invocations) for one in cell.repetitions) / 1000,
    )


def _measured(cells: Sequence[Cell], best: Cell) -> _Invocation | None:
    """Of the same memory, the smallest batch, as that is what a light load gives; or the largest, if `best` is it."""
    same = [_invocation(cell) for cell in cells if cell.key.memory_mb == best.key.memory_mb]
    sizes = sorted(same, key=lambda one: one.records)
    own = _invocation(best).records
    smallest, largest = sizes[0], sizes[-1]
    other = smallest if smallest.records < own else largest
    if other.records == own:
        return None
    return replace(other, source=f"others by batches of {other.records:g}, measured too")


def _modelled(cells: Sequence[Cell], best: Cell) -> _Invocation | None:
    """As the model has it beside `best`. None where it has too few cells, or only one batch size."""
    invocations = [(cell.key.vcpus, _invocation(cell)) for cell in cells]
    if len(invocations) < FEWEST or len({one.records for _, one in invocations}) < 2:
        return None
    model = fit([Point(vcpus, one.records, 1000 * one.seconds) for vcpus, one in invocations])
    own = _invocation(best)
    records = 1 if own.records > 1 else MOST_MESSAGES_A_REQUEST
    share = model.invocation_ms(best.key.vcpus, records) / model.invocation_ms(best.key.vcpus, own.records)
    return _Invocation(records, share * own.seconds, "others by the model of an invocation")


def _spread(cells: Sequence[Cell], best: Cell) -> tuple[float, str]:
    """A sigma and whose it is: single pictures' of the nearest memory, else that of the smallest batches there are."""
    nearest = min(cells, key=lambda cell: (cell.key.batch_size, abs(cell.key.memory_mb - best.key.memory_mb)))
    size, memory = nearest.key.batch_size, nearest.key.memory_mb
    if size == 1:
        return sigma_of(nearest), f"they vary as single pictures at {memory:,} MB"
    return sigma_of(nearest), f"they vary as batches of {size} at {memory:,} MB, as no single pictures were measured"


def sigma_of(cell: Cell) -> float:
    """Of the lognormal whose p95 is as far above its median as that of the cell's pictures."""
    median = cell.latency_ms(0.5) or 1.0
    p95 = cell.latency_ms(0.95) or median
    return math.log(max(1.0, p95 / median)) / P95


def _architecture(cell: Cell) -> Architecture:
    return "arm64" if cell.key.architecture == "arm64" else "x86"


# --- Fargate ------------------------------------------------------------------------------------------------------


def fleet_from(result: Result, spot: bool = False) -> Fleet | None:
    """The task with most images a second for its price's larger part, its vCPUs; None where none was measured."""
    cells = ours_alike(result, "fargate-spot" if spot else "fargate") or _tasks(result)
    if not cells:
        return None
    best = max(cells, key=lambda cell: (cell.median("images_per_second") or 0) / cell.key.vcpus)
    rate, latency_ms = best.median("images_per_second") or 0.0, best.latency_ms(0.5) or 0.0
    in_flight = max(1, round(rate * latency_ms / 1000))  # Little's law
    service = Service(0.0, in_flight / rate, sigma_of(best))
    fleet = fleet_for(service, best.key.vcpus, best.key.memory_mb / MB_PER_GB, in_flight, spot)
    return replace(
        fleet, alone_seconds=alone_seconds(best), architecture=_architecture(best), requests=cell_requests(best)
    )


def fleet_for(service: Service, vcpus: float, memory_gb: float, in_flight: int, spot: bool = False) -> Fleet:
    """Tasks whose backlog may be a minute's work."""
    backlog = ALLOWED_WAIT * in_flight / service.seconds(1)
    return Fleet(service, vcpus, memory_gb, in_flight, backlog_a_task=backlog, spot=spot)


def alone_seconds(cell: Cell) -> float:
    """What a picture takes in a task that has no other: its waits for S3, and its CPU time on one core at most."""
    waits = [one.stages_ms.get("open", 0.0) + one.stages_ms.get("upload", 0.0) for one in cell.repetitions]
    cpu = (cell.median("cpu_ms_per_image") or 0.0) / min(1.0, cell.key.vcpus)
    return (statistics.median(waits) + cpu) / 1000


def _tasks(result: Result) -> list[Cell]:
    """Where there is no function to say which pictures and distance: all."""
    return ours_alike(result, "fargate") or [cell for cell in usual(result, "fargate") if who(cell) == OURS]
