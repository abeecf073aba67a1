"""Results as one page to read: charts, tables, and the arithmetic of Lambda against Fargate."""

from __future__ import annotations

import base64
import datetime
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jinja2
from matplotlib.axes import Axes
from rich.console import Console

from bench import charts
from bench.charts import Chart, Mark, Series
from bench.costing import (
    BUSY_FORMULA,
    FORMULA,
    MILLION,
    BreakEven,
    Load,
    Task,
    break_even,
    cell_cost,
    cell_task,
    fargate_month,
    lambda_month,
    request_lines,
)
from bench.prices import UNITS, Price, Prices, load_prices
from bench.result import Cell, Result, Spread, read_result

PLATFORMS: Final = {"lambda": "Lambda", "fargate": "Fargate", "fargate-spot": "Fargate Spot"}
MONTHS: Final = [10 ** (5 + 5 * step / 240) for step in range(241)]
"""Pictures a month: a hundred thousand to ten thousand million."""
DUTIES: Final = (1.0, 0.5, 0.25, 0.1)
FLOOR: Final = "floor"
FOLDER: Final = Path("build/bench-report")


@dataclass(frozen=True, slots=True)
class Rival:
    """A task, and where it beats the function."""

    title: str
    task: Task
    even: BreakEven


# --- cells --------------------------------------------------------------------------------------------------------


def measured(result: Result, platform: str = "lambda") -> list[Cell]:
    found = [cell for cell in result.cells if cell.repetitions and cell.key.platform == platform]
    return sorted(found, key=lambda cell: cell.key.memory_mb)


def who(cell: Cell) -> str:
    """Ours by its engine, the others by their names."""
    return cell.key.engine if cell.key.handler == "ours" else cell.key.handler


def lines_of(result: Result) -> dict[str, list[Cell]]:
    """Cells of functions that differ in memory alone, by who they are; of several such lines that with most cells."""
    lines: dict[tuple[object, ...], list[Cell]] = {}
    for cell in measured(result):
        key = cell.key
        kind = (who(cell), key.transport, key.pictures, key.batch_size, key.architecture, key.latency)
        lines.setdefault(kind, []).append(cell)
    by_name: dict[str, list[Cell]] = {}
    for (name, *_), cells in lines.items():
        by_name[str(name)] = max(by_name.get(str(name), []), cells, key=len)
    return by_name


def series(name: str, cells: Sequence[Cell], metric: str) -> Series:
    spreads = [(cell.key.memory_mb, Spread.of(values)) for cell in cells if (values := cell.values(metric))]
    return Series(
        name,
        [memory for memory, _ in spreads],
        [spread.median for _, spread in spreads],
        [spread.lower for _, spread in spreads],
        [spread.upper for _, spread in spreads],
    )


def prices_of(result: Result) -> Prices:
    """As the results were reckoned with; what they do not name as it is shipped."""
    shipped = load_prices()
    day = datetime.date.fromisoformat(result.made[:10])
    own = {name: Price(usd, UNITS[name], day, "the results") for name, usd in result.prices.items() if name in UNITS}
    return Prices(shipped.region, {**shipped.items, **own})


def cheapest(cells: Sequence[Cell], prices: Prices) -> Cell:
    return min(cells, key=lambda cell: cell_cost(cell, prices).total)


def _ours(result: Result, platform: str) -> list[Cell]:
    return [cell for cell in measured(result, platform) if cell.key.handler == "ours"]


def rivals(result: Result, prices: Prices, load: Load = Load(duty=1.0)) -> Iterator[Rival]:  # noqa: B008 (frozen)
    """The cheapest task of each kind, against the cheapest function."""
    functions = _ours(result, "lambda")
    for platform, title in list(PLATFORMS.items())[1:]:
        tasks = _ours(result, platform)
        if functions and tasks:
            best = cheapest(tasks, prices)
            task = cell_task(best)
            even = break_even(cell_cost(cheapest(functions, prices), prices), task, prices, load)
            yield Rival(f"{title}, {task.vcpus:g} vCPU, {task.memory_gb:g} GB", task, even)


# --- charts -------------------------------------------------------------------------------------------------------


def all_charts(result: Result, prices: Prices) -> Iterator[Chart]:
    """Those for which there are cells."""
    lines = lines_of(result)
    ours = lines.get("auto") or next((cells for cells in lines.values() if cells[0].key.handler == "ours"), [])
    if ours:
        yield _tuning(ours, prices)
        yield _engines({name: cells for name, cells in lines.items() if name != FLOOR})
        if all(cell.repetitions[0].stages_ms for cell in ours):
            yield _stages(ours)
        yield _rss({name: cells for name, cells in lines.items() if name != FLOOR})
        if FLOOR in lines:
            yield _floor(lines)
    found = list(rivals(result, prices))
    if found:
        function = cheapest(_ours(result, "lambda"), prices)
        yield _month(function, found, prices)
        yield _busy(function, found, prices)


def _tuning(cells: Sequence[Cell], prices: Prices) -> Chart:
    costs = [cell_cost(cell, prices) for cell in cells]
    usd = [cost.compute + cost.lambda_requests for cost in costs]
    time = series("billed ms a picture", cells, "billed_ms_per_image")
    cost = Series("USD a million, Lambda's part", time.xs, usd)
    title = f"Time and cost against memory ({who(cells[0])}, batches of {cells[0].key.batch_size})"
    words = "; ".join(
        f"{memory:,.0f} MB: {charts.number(ms)} ms, {price:.2f} USD"
        for memory, ms, price in zip(time.xs, time.ys, usd, strict=True)
    )
    return Chart("tuning", title, words, charts.tuning(title, time, cost))


def _engines(lines: dict[str, list[Cell]]) -> Chart:
    title = "Pictures for a GB-second: what the money buys"
    all_ = [series(name, cells, "images_per_gb_second") for name, cells in lines.items()]
    return Chart("engines", title, _in_words(all_), charts.lines_chart(title, "images per GB-second", all_))


def _stages(cells: Sequence[Cell]) -> Chart:
    title = "Where a record's time goes"
    names = list(cells[0].repetitions[0].stages_ms)
    means = {
        name: [sum(one.stages_ms.get(name, 0.0) for one in cell.repetitions) / len(cell.repetitions) for cell in cells]
        for name in names
    }
    rows = [f"{cell.key.memory_mb:,} MB" for cell in cells]
    words = "; ".join(
        f"{name}: {', '.join(charts.number(value) for value in values)}" for name, values in means.items()
    )
    words = f"ms a record at {', '.join(rows)}: {words}"
    return Chart("stages", title, words, charts.stacked(title, "ms a record, waiting included", rows, means))


def _rss(lines: dict[str, list[Cell]]) -> Chart:
    title = "Peak of memory against its limit"
    all_ = [series(name, cells, "peak_rss_mb") for name, cells in lines.items()]
    return Chart("memory", title, _in_words(all_), charts.against_limit(title, all_))


def _floor(lines: dict[str, list[Cell]]) -> Chart:
    title = "CPU time a picture, in multiples of the floor"
    floors = {cell.key.memory_mb: cell.median("cpu_ms_per_image") or math.nan for cell in lines[FLOOR]}
    all_ = []
    for name, cells in lines.items():
        points = [
            (cell.key.memory_mb, (cell.median("cpu_ms_per_image") or math.nan) / floors[cell.key.memory_mb])
            for cell in cells
            if cell.key.memory_mb in floors and name != FLOOR
        ]
        if points:
            all_.append(Series(name, [x for x, _ in points], [y for _, y in points]))

    def finish(axes: Axes) -> None:
        axes.axhline(1, color=charts.SOFT, linewidth=1.2)
        axes.text(
            axes.get_xlim()[0], 1, " the floor: a bare scaled decode", va="bottom", color=charts.SOFT, fontsize=9.5
        )

    return Chart("floor", title, _in_words(all_), charts.lines_chart(title, "times the floor's CPU", all_, finish))


def _in_words(all_: Sequence[Series]) -> str:
    return "; ".join(
        f"{each.name}: "
        + ", ".join(f"{charts.number(y)} at {x:,.0f} MB" for x, y in zip(each.xs, each.ys, strict=True))
        for each in all_
    )


def _month(function: Cell, found: Sequence[Rival], prices: Prices) -> Chart:
    cost = cell_cost(function, prices)
    alike = min(sum(request_lines(rival.task.requests, prices).values()) for rival in found) / MILLION
    load = Load()
    all_ = [Series(_title(function), MONTHS, [lambda_month(cost, month) - alike * month for month in MONTHS])]
    marks: list[Mark] = []
    for rival in found:
        usd = [fargate_month(rival.task, prices, load, month) - alike * month for month in MONTHS]
        all_.append(Series(rival.title.replace(", ", "\n", 1), MONTHS, usd))
        if rival.even.for_good is not None and MONTHS[0] < rival.even.for_good < MONTHS[-1]:
            point = rival.even.for_good
            text = f"{rival.title.partition(',')[0]} is cheaper for good\nfrom {charts.number(point)} a month"
            usd_there = lambda_month(cost, point) - alike * point
            marks.append(Mark(point, usd_there, text, *((18, -40) if marks else (-18, 34))))
    cheapest_task = min(each.ys[0] for each in all_[1:])

    def finish(axes: Axes) -> None:
        charts.logarithmic(axes, cheapest_task / 10)

    title = "USD a month against pictures a month"
    ylabel = f"USD a month, without the {1e6 * alike:.2f} a million\nthat all pay for requests"
    words = "; ".join(
        f"{each.name}: "
        + ", ".join(f"{each.ys[step]:,.2f} for {charts.number(MONTHS[step])}" for step in range(0, 241, 40))
        for each in all_
    )
    return Chart("month", title, words, charts.crossing(title, "pictures a month", ylabel, all_, marks, finish))


def _busy(function: Cell, found: Sequence[Rival], prices: Prices) -> Chart:
    """A task that always runs, by how much of its time it has work."""
    cost = cell_cost(function, prices)
    shares = [step / 100 for step in range(5, 101)]
    all_ = [Series(_title(function), shares, [cost.compute + cost.lambda_requests] * len(shares))]
    marks = []
    for rival in found:
        full = MILLION * rival.task.hour(prices) / (3600 * rival.task.images_per_second)
        all_.append(Series(rival.title.replace(", ", "\n", 1), shares, [full / share for share in shares]))
        if rival.even.busy_share < 1:
            text = f"{rival.title.partition(',')[0]} pays\nabove {rival.even.busy_share:.0%}"
            at = full / rival.even.busy_share
            if rival.even.busy_share >= shares[0]:
                marks.append(Mark(rival.even.busy_share, at, text, 18, 34))

    def finish(axes: Axes) -> None:
        charts.in_percent(axes, 4 * all_[0].ys[0])

    title = "USD a million pictures against how busy a task is"
    words = "; ".join(f"{each.name}: {each.ys[0]:.2f} at 5 %, {each.ys[-1]:.2f} always busy" for each in all_)
    picture = charts.crossing(
        title, "share of its time in which a task has work", "USD a million, compute", all_, marks, finish
    )
    return Chart("busy", title, words, picture)


def _title(function: Cell) -> str:
    return f"Lambda\n{function.key.memory_mb:,} MB"


# --- tables -------------------------------------------------------------------------------------------------------

COLUMNS: Final = (
    ("images/s", "images_per_second"),
    ("CPU ms", "cpu_ms_per_image"),
    ("billed ms", "billed_ms_per_image"),
    ("images a GB-s", "images_per_gb_second"),
    ("peak MB", "peak_rss_mb"),
    ("cold start ms", "cold_start_ms"),
    ("p50 ms", "p50_ms"),
    ("p95 ms", "p95_ms"),
    ("p99 ms", "p99_ms"),
)


def rows_of(result: Result, prices: Prices) -> Iterator[list[str]]:
    """A row of text for each measured cell."""
    floors = {cell.key.place(): cell.median("cpu_ms_per_image") for cell in result.cells if cell.key.handler == FLOOR}
    for platform in PLATFORMS:
        for cell in measured(result, platform):
            key = cell.key
            numbers = [
                charts.number(value) if (value := cell.median(metric)) is not None else "" for _, metric in COLUMNS
            ]
            cost = f"{cell_cost(cell, prices).total:.2f}" if cell.usd_per_million else ""
            ratio = result.ratios(cell).get("images_per_gb_second")
            cpu, floor = cell.median("cpu_ms_per_image"), floors.get(key.place())
            above = f"{cpu / floor:.1f}" if cpu and floor else ""
            beside = f"{ratio:.2f}" if ratio else ""
            yield [
                f"{PLATFORMS[platform]} {key.memory_mb:,} MB",
                who(cell),
                f"{key.batch_size}",
                *numbers,
                cost,
                beside,
                above,
            ]


def evens_of(result: Result, prices: Prices) -> Iterator[list[str]]:
    """Break-even points by duty cycle: with a task that always runs, and with none."""
    for least in (1, 0):
        for duty in DUTIES:
            for rival in rivals(result, prices, Load(duty, least)):
                first, for_good = (
                    "never" if point is None else charts.number(point)
                    for point in (rival.even.first, rival.even.for_good)
                )
                yield [rival.title, f"{duty:.0%}", f"{least}", first, for_good]


# --- the page -----------------------------------------------------------------------------------------------------


def run(paths: Sequence[Path], output: Path, prices: Path | None) -> None:
    """Writes the page and its charts into a folder. Raises as reading results and prices does."""
    results = [(path, read_result(path)) for path in paths]
    own = load_prices(prices) if prices else None
    output.mkdir(parents=True, exist_ok=True)
    runs = []
    count = 0
    for position, (path, result) in enumerate(results):
        charged = own or prices_of(result)
        drawn = list(all_charts(result, charged))
        for chart in drawn:
            prefix = f"{position + 1}-" if len(results) > 1 else ""
            (output / f"{prefix}{chart.name}.png").write_bytes(chart.png)
        count += len(drawn)
        runs.append(_run_of(path, result, charged, drawn))
    page = output / "index.html"
    page.write_text(_page(runs), encoding="utf-8")
    Console().print(f"{page}, {count} charts", soft_wrap=True)


def _run_of(path: Path, result: Result, prices: Prices, drawn: Sequence[Chart]) -> dict[str, object]:
    return {
        "name": path.stem,
        "result": result,
        "prices": prices,
        "charts": [(chart, base64.b64encode(chart.png).decode()) for chart in drawn],
        "rows": list(rows_of(result, prices)),
        "refused": [cell for cell in result.cells if cell.refused],
        "evens": list(evens_of(result, prices)),
        "baseline": result.baseline,
    }


def _page(runs: Sequence[dict[str, object]]) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    columns = ["", "who", "batch", *(title for title, _ in COLUMNS), "USD a million"]
    return environment.get_template("report.html.j2").render(
        runs=runs, columns=columns, platforms=PLATFORMS, formula=FORMULA, busy_formula=BUSY_FORMULA
    )
