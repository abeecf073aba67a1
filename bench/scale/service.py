"""A function and a fleet for the simulation, from measured cells: service times, spread, requests. Pure."""

import math
import statistics
from collections.abc import Sequence
from typing import Final

from bench.money.costing import MOST_MESSAGES_A_REQUEST, cell_requests, cell_task, invocation_ms, records_of
from bench.money.invocation_model import fit_cells
from bench.pages.selection import ours_alike
from bench.result import Cell, Result
from bench.scale.model import INIT_SECONDS, Fleet, Function, ScaleError, Service

P95: Final = statistics.NormalDist().inv_cdf(0.95)
ALLOWED_WAIT: Final = 60.0
"""Seconds of work that a task's backlog may hold."""
LEAST_SECONDS: Final = 1e-6
"""Least time of a further record: noise can make a larger batch look faster."""


def function_from(result: Result, memory_mb: int | None = None, batch_size: int | None = None) -> Function:
    """Return the function of that memory, else the one with the most images a GB-second. Raises ScaleError.

    Its batch size is the wanted one if that was measured, else the best one that SQS delivers in one request.
    """
    alike = ours_alike(result)
    cells = [cell for cell in alike if memory_mb in (None, cell.key.memory_mb)]
    if not cells:
        size, option = (f" of {memory_mb} MB", f" --memory {memory_mb}") if memory_mb else ("", "")
        raise ScaleError(f"no measured function{size} in the results: run `python -m bench tiers{option}`")
    wanted = [cell for cell in cells if cell.key.batch_size == batch_size]
    one_request = [cell for cell in cells if cell.key.batch_size <= MOST_MESSAGES_A_REQUEST]
    best = max(wanted or one_request or cells, key=lambda cell: cell.median("images_per_gb_second") or 0)
    cold = best.median("cold_start_ms")
    return Function(
        service_from(alike, best),
        memory_mb=best.key.memory_mb,
        batch_size=best.key.batch_size,
        init_seconds=INIT_SECONDS if cold is None else cold / 1000,
        architecture=best.key.architecture,
        requests=cell_requests(best),
    )


def service_from(cells: Sequence[Cell], best: Cell) -> Service:
    """Return a line through `best`'s invocation with the slope of the model, which gives other batch sizes.

    `cells` are comparable with `best`, of any memory and batch size. The model is that of `best`'s memory if that was
    measured with two batch sizes, else of all memories.
    """
    records, seconds = records_of(best), invocation_ms(best) / 1000
    same = [cell for cell in cells if cell.key.memory_mb == best.key.memory_mb]
    fitted = same if len({cell.key.batch_size for cell in same}) > 1 else cells
    model = fit_cells(fitted)
    other = 1 if records > 1 else MOST_MESSAGES_A_REQUEST
    share = model.invocation_ms(best.key.vcpus, other) / model.invocation_ms(best.key.vcpus, records)
    each = min(max(LEAST_SECONDS, seconds * (1 - share) / (records - other)), seconds / records)
    nearest = min(cells, key=lambda cell: (cell.key.batch_size, abs(cell.key.memory_mb - best.key.memory_mb)))
    spread = f"they vary as batches of {nearest.key.batch_size} at {nearest.key.memory_mb:,} MB"
    return Service(
        seconds - each * records, each, sigma_of(nearest), f"others by a model of {len(fitted)} measured; {spread}"
    )


def sigma_of(cell: Cell) -> float:
    """Return the sigma of the lognormal distribution with the cell's ratio of p95 to median."""
    median = cell.latency_ms(0.5) or 1.0
    return math.log(max(1.0, (cell.latency_ms(0.95) or median) / median)) / P95


def fleet_from(result: Result) -> Fleet:
    """Return a fleet of the task with the most images a second for each vCPU. Raises ScaleError.

    It scales out if a task's backlog holds more than ALLOWED_WAIT.
    """
    cells = ours_alike(result, "fargate")
    if not cells:
        raise ScaleError("no measured task in the results: run `python -m bench fargate`, or `all`")
    best = max(cells, key=lambda cell: (cell.median("images_per_second") or 0) / cell.key.vcpus)
    rate, latency_ms = best.median("images_per_second") or 0.0, best.latency_ms(0.5) or 0.0
    in_flight = max(1, round(rate * latency_ms / 1000))  # Little's law
    return Fleet(
        Service(0.0, in_flight / rate, sigma_of(best)),
        cell_task(best),
        in_flight,
        backlog_a_task=ALLOWED_WAIT * rate,
        alone_seconds=_alone_seconds(best),
    )


def _alone_seconds(cell: Cell) -> float:
    """The time of a picture that has a task to itself: its waits for S3, and its CPU time on one core."""
    waits = [one.stages_ms.get("open", 0.0) + one.stages_ms.get("upload", 0.0) for one in cell.repetitions]
    cpu = (cell.median("cpu_ms_per_image") or 0.0) / min(1.0, cell.key.vcpus)
    return (statistics.median(waits) + cpu) / 1000
