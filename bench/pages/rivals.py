"""Lambda against Fargate: the cheapest function and the cheapest task of each kind, from the cells of a result."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from bench.money.costing import Cost, Task, cell_cost, cell_task
from bench.money.months import BreakEven, Load, break_even, fargate_month, lambda_month, with_dedicated_network
from bench.money.prices import Prices
from bench.pages.drawing import number
from bench.pages.selection import ours_any_engine
from bench.result import Cell, Result

PLATFORMS: Final = {"lambda": "Lambda", "fargate": "Fargate", "fargate-spot": "Fargate Spot"}
DUTIES: Final = (1.0, 0.5, 0.25, 0.1)
VOLUMES: Final = {"10 thousand": 1e4, "1 million": 1e6, "10 million": 1e7, "100 million": 1e8}
ALL_MONTH: Final = Load()


@dataclass(frozen=True, slots=True)
class Rival:
    """A task, and where it is cheaper than the function; `own_network` with a network made for the task."""

    platform: str
    task: Task
    even: BreakEven
    own_network: BreakEven

    @property
    def title(self) -> str:
        return f"{self.platform}, {self.task.vcpus:g} vCPU, {self.task.memory_gb:g} GB"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The cheapest function and its rivals, with the prices of the comparison."""

    function: Cell
    cost: Cost
    rivals: tuple[Rival, ...]
    is_spot_derived: bool
    """Spot was not measured: it is Fargate's task at Spot's price."""


def compare_platforms(result: Result, prices: Prices, load: Load = ALL_MONTH) -> Comparison | None:
    """Return None unless a function and a task were measured."""
    function = cheapest_function(result, prices)
    if function is None:
        return None
    cost = cell_cost(function, prices)
    found = {platform: tasks_of(result, platform) for platform in ("fargate", "fargate-spot")}
    rivals = (_rival(platform, tasks, cost, prices, load) for platform, tasks in found.items() if tasks)
    derived = bool(found["fargate-spot"]) and not ours_any_engine(result, "fargate-spot")
    return Comparison(function, cost, tuple(rivals), derived) if any(found.values()) else None


def cheapest_function(result: Result, prices: Prices) -> Cell | None:
    functions = ours_any_engine(result, "lambda")
    return min(functions, key=lambda cell: cell_cost(cell, prices).total, default=None)


def tasks_of(result: Result, platform: str) -> list[Cell]:
    """Return our tasks of a platform. Spot's are Fargate's at Spot's price if Spot was not measured."""
    found = ours_any_engine(result, platform)
    if found or platform != "fargate-spot":
        return found
    return [replace(cell, key=replace(cell.key, platform=platform)) for cell in ours_any_engine(result, "fargate")]


def _rival(platform: str, tasks: list[Cell], cost: Cost, prices: Prices, load: Load) -> Rival:
    task = cell_task(min(tasks, key=lambda cell: cell_cost(cell, prices).total))
    own_task, own_load = with_dedicated_network(task, load, prices)
    even, own = break_even(cost, task, prices, load), break_even(cost, own_task, prices, own_load)
    return Rival(PLATFORMS[platform], task, even, own)


def break_even_rows(result: Result, prices: Prices) -> Iterator[list[str]]:
    """Yield the break-even points by duty cycle: with one task that always runs, then with none."""
    for least in (1, 0):
        for duty in DUTIES:
            found = compare_platforms(result, prices, Load(duty, least))
            for rival in found.rivals if found else ():
                points = (rival.even.first, rival.even.for_good, rival.own_network.for_good)
                texts = ("never" if point is None else number(point) for point in points)
                yield [rival.title, f"{duty:.0%}", f"{least}", *texts]


def volume_rows(found: Comparison, prices: Prices) -> Iterator[list[str]]:
    """Yield USD a month by pictures a month, all requests included: of the function, then of each task."""
    for name, pictures in VOLUMES.items():
        tasks = (fargate_month(rival.task, prices, ALL_MONTH, pictures) for rival in found.rivals)
        yield [name, *(f"{usd:,.2f}" for usd in (lambda_month(found.cost, pictures), *tasks))]
