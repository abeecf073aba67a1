"""The bill of a month on Lambda and on Fargate, and the number of pictures from which Fargate is cheaper.

Pictures arrive evenly. One task always runs; further tasks follow the load at once. Spot is not measured: it is
Fargate's task at Spot's price.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.money.costing import MILLION, Cost, Task, cell_cost, cell_task, fargate_cost
from bench.pages.selection import ours_alike
from bench.result import Cell, Result
from thumbnailer.backfill.prices import Prices

FORMULAS: Final = Path(__file__).with_name("formulas.toml")
"""The formulas of an advice and of the pages, in words."""
HOURS_A_MONTH: Final = 730.0
HEADROOM: Final = 0.8
"""Used share of a task's speed, so that the queue does not grow."""
VOLUMES: Final = {"10 thousand": 1e4, "1 million": 1e6, "10 million": 1e7, "100 million": 1e8}
ENDPOINTS: Final = 8
"""Interface endpoints that deploy/fargate.yaml makes: SQS, two of ECR and logs, in two zones. S3's gateway is free."""


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Pictures a month from which Fargate is cheaper for good; None: never.

    `busy_share`: break-even share of busy time of a task that always runs; above 1 the task never pays off.
    """

    pictures: float | None
    busy_share: float


def lambda_month(cost: Cost, pictures: float) -> float:
    """Return USD a month."""
    return pictures / MILLION * cost.total


def fargate_month(task: Task, prices: Prices, pictures: float) -> float:
    """Return USD a month."""
    tasks = max(1, math.ceil(pictures / pictures_per_task(task)))
    return task.hour(prices) * HOURS_A_MONTH * tasks + pictures * task.requests.cost(prices).total / MILLION


def pictures_per_task(task: Task) -> float:
    """Return the pictures that one task makes in a month."""
    return HOURS_A_MONTH * 3600 * task.images_per_second * HEADROOM


def break_even(function: Cost, task: Task, prices: Prices, fixed: float = 0.0) -> BreakEven:
    """Return the break-even in closed form, as in formulas.toml; `fixed`: USD a month besides the tasks."""
    saved = (function.total - task.requests.cost(prices).total) / MILLION
    hour = task.hour(prices)
    busy_share = hour / (3600 * task.images_per_second * saved) if saved > 0 else math.inf
    month, saved_by_a_task = HOURS_A_MONTH * hour, saved * pictures_per_task(task)
    if saved_by_a_task <= month:
        return BreakEven(None, busy_share)
    tasks = max(1, math.ceil((fixed + saved_by_a_task) / (saved_by_a_task - month)) - 1)
    return BreakEven((fixed + month * tasks) / saved, busy_share)


@dataclass(frozen=True, slots=True)
class Rival:
    """A task, and where it is cheaper than the function; `own_network` with a network made for the task."""

    task: Task
    even: BreakEven
    own_network: BreakEven


@dataclass(frozen=True, slots=True)
class Comparison:
    """The cheapest function, and the cheapest task on Fargate and on Spot."""

    function: Cell
    cost: Cost
    rivals: tuple[Rival, ...]


def compare_platforms(result: Result, prices: Prices) -> Comparison | None:
    """Return None unless a function and a task were measured."""
    functions, tasks = ours_alike(result, "lambda"), ours_alike(result, "fargate")
    if not functions or not tasks:
        return None
    function = min(functions, key=lambda cell: cell_cost(cell, prices).total)
    cost = cell_cost(function, prices)
    kinds = ([cell_task(cell, spot) for cell in tasks] for spot in (False, True))
    cheapest = (min(kind, key=lambda task: fargate_cost(task, prices).total) for kind in kinds)
    return Comparison(function, cost, tuple(_rival(task, cost, prices) for task in cheapest))


def _rival(task: Task, cost: Cost, prices: Prices) -> Rival:
    network = ENDPOINTS * HOURS_A_MONTH * prices["endpoint_hour"]
    in_network = replace(task, public_ipv4=False)
    return Rival(task, break_even(cost, task, prices), break_even(cost, in_network, prices, network))


def volume_rows(found: Comparison, prices: Prices) -> Iterator[list[str]]:
    """Yield USD a month by pictures a month, all requests included: of the function, then of each task."""
    for name, pictures in VOLUMES.items():
        tasks = (fargate_month(rival.task, prices, pictures) for rival in found.rivals)
        yield [name, *(f"{usd:,.2f}" for usd in (lambda_month(found.cost, pictures), *tasks))]
