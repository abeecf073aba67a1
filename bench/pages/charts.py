"""The charts of a result: what each one shows, from which cells, in words and numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from bench.money.costing import MILLION, cell_cost, fargate_cost
from bench.money.months import fargate_month, lambda_month
from bench.money.prices import Prices
from bench.pages.drawing import Chart, Mark, Panel, Series, number
from bench.pages.rivals import ALL_MONTH, Comparison, Rival, compare_platforms
from bench.pages.selection import OURS, Slice, lines_of, who
from bench.result import Cell, Result, Spread

CHARTS: Final = ("money", "tuning", "stages", "month", "busy")
"""Every chart, in the order of a page."""
MONTHS: Final = [10 ** (5 + 5 * step / 240) for step in range(241)]
"""Pictures a month, from a hundred thousand to ten thousand million."""
SHARES: Final = [step / 100 for step in range(5, 101)]


def all_charts(result: Result, prices: Prices) -> Iterator[Chart]:
    """Yield the charts that the result has cells for."""
    lines = lines_of(result)
    mine = ours_of(lines)
    if mine:
        note = str(Slice.of(mine[0]))
        handlers = {name: cells for name, cells in lines.items() if not name.startswith(OURS) or cells is mine}
        series = [series_of(name, cells, "images_per_gb_second") for name, cells in handlers.items()]
        title = "Images that a GB-second of Lambda buys, by handler"
        yield Chart("money", title, note, [Panel("images per GB-second", series, bottom=0)])
        yield _tuning(mine, prices, note)
        if all(stages_of(cell) for cell in mine):
            yield _stages(mine, note)
    if found := compare_platforms(result, prices):
        yield _month(found, prices)
        yield _busy(found, prices)


def ours_of(lines: Mapping[str, Sequence[Cell]]) -> Sequence[Cell]:
    """Return our line: with the engine `auto`, else the first engine's."""
    return next((cells for name, cells in lines.items() if name.startswith(OURS)), [])


def series_of(name: str, cells: Sequence[Cell], metric: str) -> Series:
    spreads = [(cell.key.memory_mb, Spread.of(values)) for cell in cells if (values := cell.values(metric))]
    columns = [(x, spread.median, spread.lower, spread.upper) for x, spread in spreads]
    return Series(name, *zip(*columns, strict=True))


def _calculate(name: str, cells: Sequence[Cell], value: Callable[[Cell], float]) -> Series:
    return Series(name, [cell.key.memory_mb for cell in cells], [value(cell) for cell in cells])


def _tuning(cells: Sequence[Cell], prices: Prices, note: str) -> Chart:
    def usd(cell: Cell) -> float:
        cost = cell_cost(cell, prices)
        return cost.compute + cost.lambda_requests

    name = who(cells[0])
    time, cost = series_of(name, cells, "billed_ms_per_image"), _calculate(name, cells, usd)
    panels = [
        Panel("billed ms an image", [time], bottom=0, marks=[_lowest(time, "fastest")]),
        Panel("USD a million,\nLambda's part", [cost], bottom=0, marks=[_lowest(cost, "cheapest")]),
    ]
    return Chart("tuning", f"Time and cost against memory: {name}", note, panels)


def _lowest(series: Series, word: str) -> Mark:
    x, y = min(zip(series.xs, series.ys, strict=True), key=lambda point: point[1])
    return Mark(x, y, f"{word}: {x:,.0f} MB, {number(y)}", "right" if x == max(series.xs) else "left")


def stages_of(cell: Cell) -> dict[str, float]:
    """Return milliseconds of a record by stage, without their sum: the mean of the repetitions."""
    names = dict.fromkeys(name for one in cell.repetitions for name in one.stages_ms if name != "total")
    count = len(cell.repetitions)
    return {name: sum(one.stages_ms.get(name, 0.0) for one in cell.repetitions) / count for name in names}


def _stage_ms(name: str, cell: Cell) -> float:
    return stages_of(cell).get(name, 0.0)


def _stages(cells: Sequence[Cell], note: str) -> Chart:
    names = dict.fromkeys(name for cell in cells for name in stages_of(cell))
    series = [_calculate(name, cells, partial(_stage_ms, name)) for name in names]
    panel = Panel("ms of a record, waiting for its turn included", series, is_log=True)
    return Chart("stages", f"Stages of a record: {who(cells[0])}", note, [panel])


# --- Lambda against Fargate ---------------------------------------------------------------------------------------


def _month(found: Comparison, prices: Prices) -> Chart:
    shared = _shared_requests(found, prices) / MILLION

    def on_lambda(pictures: float) -> float:
        return lambda_month(found.cost, pictures) - shared * pictures

    def on_fargate(rival: Rival, pictures: float) -> float:
        return fargate_month(rival.task, prices, ALL_MONTH, pictures) - shared * pictures

    points = {rival.platform: rival.even.for_good for rival in found.rivals}
    notes = [f"{name} {'never' if x is None else f'from {number(x)}'}" for name, x in points.items()]
    lines = _lines(found, MONTHS, on_lambda, on_fargate)
    panel = Panel(
        f"USD a month, without the {1e6 * shared:.2f} a million\nthat all pay for requests",
        lines,
        "pictures a month",
        "log",
        is_log=True,
        bottom=min(each.ys[0] for each in lines[1:]) / 10,
        marks=[Mark(x, on_lambda(x), number(x), "right") for x in points.values() if x and MONTHS[0] < x < MONTHS[-1]],
    )
    note = f"cheaper than Lambda for good: {', '.join(notes)}"
    return Chart("month", "USD a month against pictures a month", note, [panel])


def _busy(found: Comparison, prices: Prices) -> Chart:
    """The price of a task that always runs, by the share of its time in which it has work."""
    shared = _shared_requests(found, prices)
    on_lambda = found.cost.total - shared

    def on_fargate(rival: Rival, share: float) -> float:
        return fargate_cost(rival.task, prices, share).total - shared

    points = {rival.platform: rival.even.busy_share for rival in found.rivals}
    notes = [f"{platform} {f'above {x:.0%}' if x < 1 else 'never'}" for platform, x in points.items()]
    panel = Panel(
        f"USD a million, without the {shared:.2f}\nthat all pay for requests",
        _lines(found, SHARES, lambda _: on_lambda, on_fargate),
        "share of its time in which a task has work",
        "percent",
        bottom=0,
        top=4 * on_lambda,
        marks=[Mark(x, on_lambda, f"{x:.0%}") for x in points.values() if SHARES[0] <= x < 1],
    )
    note = f"cheaper than Lambda: {', '.join(notes)}"
    return Chart("busy", "USD a million pictures against how busy a task is", note, [panel])


def _shared_requests(found: Comparison, prices: Prices) -> float:
    """USD a million pictures that every platform pays for requests."""
    return min(rival.task.requests.cost(prices).total for rival in found.rivals)


def _lines(
    found: Comparison,
    xs: Sequence[float],
    on_lambda: Callable[[float], float],
    on_fargate: Callable[[Rival, float], float],
) -> list[Series]:
    function = Series(f"Lambda\n{found.function.key.memory_mb:,} MB", xs, [on_lambda(x) for x in xs])
    tasks = (
        Series(rival.title.replace(", ", "\n", 1), xs, [on_fargate(rival, x) for x in xs]) for rival in found.rivals
    )
    return [function, *tasks]
