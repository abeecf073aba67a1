"""The bill of a month on Lambda and on Fargate, and the number of pictures from which Fargate is cheaper.

Pictures arrive evenly. One task always runs; further tasks follow the load at once.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.money.costing import MILLION, Cost, Task
from bench.money.prices import Prices

FORMULAS: Final = Path(__file__).with_name("formulas.toml")
"""The formulas of an advice and of the pages, in words."""
HOURS_A_MONTH: Final = 730.0
HEADROOM: Final = 0.8
"""Used share of a task's speed, so that the queue does not grow."""
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
    return task.hour(prices) * HOURS_A_MONTH * tasks + pictures * _requests_a_picture(task, prices)


def pictures_per_task(task: Task) -> float:
    """Return the pictures that one task makes in a month."""
    return HOURS_A_MONTH * 3600 * task.images_per_second * HEADROOM


def network_month(prices: Prices) -> float:
    """Return USD a month for the endpoints of a network made for the tasks."""
    return ENDPOINTS * HOURS_A_MONTH * prices["endpoint_hour"]


def break_even(function: Cost, task: Task, prices: Prices, fixed: float = 0.0) -> BreakEven:
    """Return the break-even in closed form, as in formulas.toml; `fixed`: USD a month besides the tasks."""
    saved = function.total / MILLION - _requests_a_picture(task, prices)
    hour = task.hour(prices)
    busy_share = hour / (3600 * task.images_per_second * saved) if saved > 0 else math.inf
    month, saved_by_a_task = HOURS_A_MONTH * hour, saved * pictures_per_task(task)
    if saved_by_a_task <= month:
        return BreakEven(None, busy_share)
    tasks = max(1, math.ceil((fixed + saved_by_a_task) / (saved_by_a_task - month)) - 1)
    return BreakEven((fixed + month * tasks) / saved, busy_share)


def _requests_a_picture(task: Task, prices: Prices) -> float:
    return task.requests.cost(prices).total / MILLION
