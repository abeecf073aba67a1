"""The bill of a month on Lambda and on Fargate, and the number of pictures from which Fargate is cheaper."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.money.costing import MILLION, Cost, Task
from bench.money.prices import Prices

FORMULAS: Final = Path(__file__).with_name("formulas.toml")
"""The formulas of an advice and of the pages, in words."""
HOURS_A_MONTH: Final = 730.0
SECONDS_A_MONTH: Final = HOURS_A_MONTH * 3600
ENDPOINTS: Final = 8
"""Interface endpoints that deploy/fargate.yaml makes: SQS, two of ECR and logs, in two zones. S3's gateway is free."""


@dataclass(frozen=True, slots=True)
class Load:
    """When a month's pictures arrive, and how many tasks wait for them.

    `duty`: share of the month in which pictures arrive evenly. `least_tasks` run all month; further tasks follow the
    load at once. `headroom`: used share of a task's speed, so that the queue does not grow. `network_month`: fixed
    USD a month for the tasks' network.
    """

    duty: float = 1.0
    least_tasks: int = 1
    headroom: float = 0.8
    network_month: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.duty <= 1 or not 0 < self.headroom <= 1 or self.least_tasks < 0:
            raise ValueError(f"duty and headroom must be above 0 and at most 1, tasks at least 0: {self}")

    @property
    def fewest_busy(self) -> int:
        """Least number of tasks while pictures arrive."""
        return max(1, self.least_tasks)


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Pictures a month from which Fargate is cheaper: for the first time, and for good. None: never.

    `busy_share`: break-even share of busy time of a task that always runs; above 1 the task never pays off.
    """

    first: float | None
    for_good: float | None
    busy_share: float


def with_dedicated_network(task: Task, load: Load, prices: Prices) -> tuple[Task, Load]:
    """Return the same task without a public address, and the load with endpoints paid all month."""
    month = ENDPOINTS * HOURS_A_MONTH * prices["endpoint_hour"]
    return replace(task, public_ipv4=False), replace(load, network_month=month)


def pictures_per_task(task: Task, load: Load) -> float:
    """Return the pictures that one task makes in the busy part of a month."""
    return load.duty * SECONDS_A_MONTH * task.images_per_second * load.headroom


def tasks_for(task: Task, load: Load, pictures: float) -> int:
    """Return the number of tasks while pictures arrive."""
    return max(load.fewest_busy, math.ceil(pictures / pictures_per_task(task, load)))


def lambda_month(cost: Cost, pictures: float) -> float:
    """Return USD a month."""
    return pictures / MILLION * cost.total


def fargate_month(task: Task, prices: Prices, load: Load, pictures: float) -> float:
    """Return USD a month."""
    tasks = load.duty * tasks_for(task, load, pictures) + (1 - load.duty) * load.least_tasks
    return load.network_month + task.hour(prices) * HOURS_A_MONTH * tasks + pictures * _requests_a_picture(task, prices)


def _requests_a_picture(task: Task, prices: Prices) -> float:
    return task.requests.cost(prices).total / MILLION


def break_even(function: Cost, task: Task, prices: Prices, load: Load = Load()) -> BreakEven:
    """Return the break-even in closed form: "break-even" and "busy" in formulas.toml."""
    saved = function.total / MILLION - _requests_a_picture(task, prices)
    hour = task.hour(prices)
    busy_share = hour / (3600 * task.images_per_second * saved) if saved > 0 else math.inf
    always = load.network_month + HOURS_A_MONTH * hour * (1 - load.duty) * load.least_tasks
    a_task = HOURS_A_MONTH * hour * load.duty
    saved_by_a_task = saved * pictures_per_task(task, load)
    gain = saved_by_a_task - a_task
    if gain <= 0:
        return BreakEven(None, None, busy_share)
    first = max(load.fewest_busy, math.ceil(always / gain))
    for_good = max(load.fewest_busy, math.ceil((always + saved_by_a_task) / gain) - 1)
    return BreakEven((always + a_task * first) / saved, (always + a_task * for_good) / saved, busy_share)
