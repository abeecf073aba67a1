"""Lambda against Fargate: the cheapest function and the cheapest task, from the cells of a result.

Spot is not measured: it is Fargate's task at Spot's price.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from bench.money.costing import Cost, Task, cell_cost, cell_task, fargate_cost
from bench.money.months import BreakEven, break_even, fargate_month, lambda_month, network_month
from bench.money.prices import Prices
from bench.pages.selection import ours_alike
from bench.result import Cell, Result

VOLUMES: Final = {"10 thousand": 1e4, "1 million": 1e6, "10 million": 1e7, "100 million": 1e8}


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
    own_network = break_even(cost, replace(task, public_ipv4=False), prices, network_month(prices))
    return Rival(task, break_even(cost, task, prices), own_network)


def volume_rows(found: Comparison, prices: Prices) -> Iterator[list[str]]:
    """Yield USD a month by pictures a month, all requests included: of the function, then of each task."""
    for name, pictures in VOLUMES.items():
        tasks = (fargate_month(rival.task, prices, pictures) for rival in found.rivals)
        yield [name, *(f"{usd:,.2f}" for usd in (lambda_month(found.cost, pictures), *tasks))]
