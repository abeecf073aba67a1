"""A function and a fleet for the simulation, from measured cells: service times, spread, requests. Pure.

Other batch sizes come from measured cells, else from bench.money.invocation_model, else from proportion.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench.money.costing import MB_PER_GB, MOST_MESSAGES_A_REQUEST, architecture_of, cell_requests
from bench.money.invocation_model import FEWEST, Point, fit
from bench.pages.selection import OURS, ours_alike, usual, who
from bench.result import Cell, Result
from bench.scale.model import INIT_SECONDS, Fleet, Function, Service
from thumbnailer.errors import ThumbnailerError

P95: Final = statistics.NormalDist().inv_cdf(0.95)
ALLOWED_WAIT: Final = 60.0
"""Seconds of work that a task's backlog may hold."""
LEAST_SECONDS: Final = 1e-6
"""Least time of a further record: noise can make a larger batch look faster."""


class NotMeasured(ThumbnailerError):
    """The results have no cell for the function."""


def function_from(result: Result, memory_mb: int | None = None, batch_size: int | None = None) -> Function:
    """Return the function of that memory, else the one with the most images a GB-second. Raises NotMeasured.

    Its batch size is the wanted one if that was measured, else the best one that SQS delivers in one request.
    """
    alike = ours_alike(result)
    cells = [cell for cell in alike if memory_mb in (None, cell.key.memory_mb)]
    if not cells:
        size, option = (f" of {memory_mb} MB", f" --memory {memory_mb}") if memory_mb else ("", "")
        raise NotMeasured(f"no measured function{size} in the results: run `python -m bench tiers{option}`")
    wanted = [cell for cell in cells if cell.key.batch_size == batch_size]
    one_request = [cell for cell in cells if cell.key.batch_size <= MOST_MESSAGES_A_REQUEST]
    best = max(wanted or one_request or cells, key=lambda cell: cell.median("images_per_gb_second") or 0)
    cold = best.median("cold_start_ms")
    return Function(
        service_from(alike, best),
        memory_mb=best.key.memory_mb,
        batch_size=best.key.batch_size,
        init_seconds=INIT_SECONDS if cold is None else cold / 1000,
        architecture=architecture_of(best),
        requests=cell_requests(best),
    )


@dataclass(frozen=True, slots=True)
class _Invocation:
    records: float
    seconds: float
    source: str = ""


def service_from(cells: Sequence[Cell], best: Cell) -> Service:
    """Return a line through `best`'s invocation and a second one of its memory: measured, modelled, or 0 for 0.

    `cells` are comparable with `best`, of any memory and batch size.
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
    """The smallest batch of the same memory, which a light load gives; the largest if `best` is the smallest."""
    same = [_invocation(cell) for cell in cells if cell.key.memory_mb == best.key.memory_mb]
    sizes = sorted(same, key=lambda one: one.records)
    own = _invocation(best).records
    other = sizes[0] if sizes[0].records < own else sizes[-1]
    if other.records == own:
        return None
    return replace(other, source=f"others by batches of {other.records:g}, measured too")


def _modelled(cells: Sequence[Cell], best: Cell) -> _Invocation | None:
    """The model's share of `best`'s time. None with too few cells, or with a single batch size."""
    invocations = [(cell.key.vcpus, _invocation(cell)) for cell in cells]
    if len(invocations) < FEWEST or len({one.records for _, one in invocations}) < 2:
        return None
    model = fit([Point(vcpus, one.records, 1000 * one.seconds) for vcpus, one in invocations])
    own = _invocation(best)
    records = 1 if own.records > 1 else MOST_MESSAGES_A_REQUEST
    share = model.invocation_ms(best.key.vcpus, records) / model.invocation_ms(best.key.vcpus, own.records)
    return _Invocation(records, share * own.seconds, "others by the model of an invocation")


def _spread(cells: Sequence[Cell], best: Cell) -> tuple[float, str]:
    """The sigma of single pictures at the nearest memory, else of the smallest batches, and its source in words."""
    nearest = min(cells, key=lambda cell: (cell.key.batch_size, abs(cell.key.memory_mb - best.key.memory_mb)))
    size, memory = nearest.key.batch_size, nearest.key.memory_mb
    if size == 1:
        return sigma_of(nearest), f"they vary as single pictures at {memory:,} MB"
    return sigma_of(nearest), f"they vary as batches of {size} at {memory:,} MB, as no single pictures were measured"


def sigma_of(cell: Cell) -> float:
    """Return the sigma of the lognormal distribution with the cell's ratio of p95 to median."""
    median = cell.latency_ms(0.5) or 1.0
    return math.log(max(1.0, (cell.latency_ms(0.95) or median) / median)) / P95


def fleet_from(result: Result, spot: bool = False) -> Fleet | None:
    """Return the task with the most images a second for each vCPU; None if no task was measured."""
    any_slice = [cell for cell in usual(result, "fargate") if who(cell) == OURS]
    cells = ours_alike(result, "fargate-spot" if spot else "fargate") or ours_alike(result, "fargate") or any_slice
    if not cells:
        return None
    best = max(cells, key=lambda cell: (cell.median("images_per_second") or 0) / cell.key.vcpus)
    rate, latency_ms = best.median("images_per_second") or 0.0, best.latency_ms(0.5) or 0.0
    in_flight = max(1, round(rate * latency_ms / 1000))  # Little's law
    service = Service(0.0, in_flight / rate, sigma_of(best))
    fleet = fleet_for(service, best.key.vcpus, best.key.memory_mb / MB_PER_GB, in_flight, spot)
    alone = alone_seconds(best)
    return replace(fleet, alone_seconds=alone, architecture=architecture_of(best), requests=cell_requests(best))


def fleet_for(service: Service, vcpus: float, memory_gb: float, in_flight: int, spot: bool = False) -> Fleet:
    """Return a fleet that scales out if a task's backlog holds more than ALLOWED_WAIT."""
    backlog = ALLOWED_WAIT * in_flight / service.seconds(1)
    return Fleet(service, vcpus, memory_gb, in_flight, backlog_a_task=backlog, spot=spot)


def alone_seconds(cell: Cell) -> float:
    """Return the time of a picture that has a task to itself: its waits for S3, and its CPU time on one core."""
    waits = [one.stages_ms.get("open", 0.0) + one.stages_ms.get("upload", 0.0) for one in cell.repetitions]
    cpu = (cell.median("cpu_ms_per_image") or 0.0) / min(1.0, cell.key.vcpus)
    return (statistics.median(waits) + cpu) / 1000
