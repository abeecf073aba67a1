"""The charts of a result: what each one shows, from which cells."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from bench.money.costing import MILLION, cell_cost
from bench.money.months import Comparison, compare_platforms, fargate_month, lambda_month
from bench.pages.drawing import Chart, Panel, Series, number
from bench.pages.selection import OURS, Slice, lines_of
from bench.result import Cell, Result
from thumbnailer.backfill.prices import Prices

CHARTS: Final = ("money", "tuning", "stages", "month")
"""Every chart, in the order of a page."""
MONTHS: Final = [10 ** (5 + 5 * step / 240) for step in range(241)]
"""Pictures a month, from a hundred thousand to ten thousand million."""


def all_charts(result: Result, prices: Prices) -> Iterator[Chart]:
    """Yield the charts that the result has cells for."""
    lines = lines_of(result)
    if mine := lines.get(OURS):
        note = str(Slice.of(mine[0]))
        series = [_median_line(name, cells, "images_per_gb_second") for name, cells in lines.items()]
        title = "Images that a GB-second of Lambda buys, by handler"
        yield Chart("money", title, note, [Panel("images per GB-second", series, bottom=0)])
        yield _tuning(mine, prices, note)
        if all(stages_of(cell) for cell in mine):
            yield _stages(mine, note)
    if found := compare_platforms(result, prices):
        yield _month(found, prices)


def _line(name: str, cells: Sequence[Cell], value: Callable[[Cell], float]) -> Series:
    return Series(name, [cell.key.memory_mb for cell in cells], [value(cell) for cell in cells])


def _median_line(name: str, cells: Sequence[Cell], metric: str) -> Series:
    return _line(name, cells, lambda cell: cell.median(metric) or 0.0)


def _tuning(cells: Sequence[Cell], prices: Prices, note: str) -> Chart:
    def usd(cell: Cell) -> float:
        cost = cell_cost(cell, prices)
        return cost.compute + cost.lambda_requests

    time, cost = _median_line(OURS, cells, "billed_ms_per_image"), _line(OURS, cells, usd)
    panels = [
        Panel("billed ms an image", [time], bottom=0, marks=[_lowest(time, "fastest")]),
        Panel("USD a million,\nLambda's part", [cost], bottom=0, marks=[_lowest(cost, "cheapest")]),
    ]
    return Chart("tuning", f"Time and cost against memory: {OURS}", note, panels)


def _lowest(series: Series, word: str) -> tuple[float, float, str]:
    y, x = min(zip(series.ys, series.xs, strict=True))
    return x, y, f"{word}: {x:,.0f} MB, {number(y)}"


def stages_of(cell: Cell) -> dict[str, float]:
    """Return milliseconds of a record by stage, without their sum: the mean of the repetitions."""
    names = dict.fromkeys(name for one in cell.repetitions for name in one.stages_ms if name != "total")
    count = len(cell.repetitions)
    return {name: sum(one.stages_ms.get(name, 0.0) for one in cell.repetitions) / count for name in names}


def _stages(cells: Sequence[Cell], note: str) -> Chart:
    stages = [stages_of(cell) for cell in cells]
    memories = [cell.key.memory_mb for cell in cells]
    names = dict.fromkeys(name for each in stages for name in each)
    series = [Series(name, memories, [each.get(name, 0.0) for each in stages]) for name in names]
    panel = Panel("ms of a record, waiting for its turn included", series, is_log=True)
    return Chart("stages", f"Stages of a record: {OURS}", note, [panel])


def _month(found: Comparison, prices: Prices) -> Chart:
    tasks = [rival.task for rival in found.rivals]
    shared = min(task.requests.cost(prices).total for task in tasks) / MILLION

    def line(name: str, usd: Callable[[float], float]) -> Series:
        return Series(name.replace(", ", "\n", 1), MONTHS, [usd(x) - shared * x for x in MONTHS])

    function = line(f"Lambda, {found.function.key.memory_mb:,} MB", partial(lambda_month, found.cost))
    lines = [line(task.title, partial(fargate_month, task, prices)) for task in tasks]
    points = [rival.even.pictures for rival in found.rivals]
    panel = Panel(
        f"USD a month, without the {1e6 * shared:.2f} a million\nthat all pay for requests",
        [function, *lines],
        "pictures a month",
        is_log=True,
        bottom=min(each.ys[0] for each in lines) / 10,
        marks=[(x, lambda_month(found.cost, x) - shared * x, number(x)) for x in points if x and x < MONTHS[-1]],
    )
    texts = ("never" if x is None else f"from {number(x)}" for x in points)
    note = ", ".join(f"{task.title.partition(',')[0]} {text}" for task, text in zip(tasks, texts, strict=True))
    return Chart("month", "USD a month against pictures a month", f"cheaper than Lambda for good: {note}", [panel])
