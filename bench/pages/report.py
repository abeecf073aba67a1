"""Results as one page to read: charts, tables, and the arithmetic of Lambda against Fargate.

A file of results has the cells of many questions. A chart has those of one slice: warm, of one set of pictures, one
distance to S3 and one batch size, so that its lines differ in memory and in who they are, and in nothing else.
"""

from __future__ import annotations

import base64
import datetime
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import jinja2
from matplotlib.axes import Axes
from rich.console import Console

from bench.money.costing import (
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
    own_network,
    request_lines,
)
from bench.money.prices import UNITS, Price, Prices, load_prices
from bench.pages import charts
from bench.pages.charts import NOTE, Bar, Chart, Mark, Series
from bench.pages.slices import OURS, Slice, measured, slice_of, usual, who
from bench.pages.tables import ratio_text
from bench.questions import FLOOR, TEXTBOOK
from bench.result import Cell, Result, Spread, read_result

PLATFORMS: Final = {"lambda": "Lambda", "fargate": "Fargate", "fargate-spot": "Fargate Spot"}
MONTHS: Final = [10 ** (5 + 5 * step / 240) for step in range(241)]
"""Pictures a month: a hundred thousand to ten thousand million."""
DUTIES: Final = (1.0, 0.5, 0.25, 0.1)
MOST_GROUPS: Final = 3
"""Memory sizes in a chart of bars."""
CHARTS: Final = ("money", "tuning", "engines", "stages", "memory", "floor", "peers", "month", "duty", "busy")
"""The names of all that there can be, in their order."""
FOLDER: Final = Path("build/bench-report")
SPOT_NOTE: Final = (
    "Fargate Spot was not measured: it is Fargate's tasks at Spot's prices. AWS may end a Spot task, two minutes after "
    "it has said so."
)


@dataclass(frozen=True, slots=True)
class Rival:
    """A task, and where it beats the function: in a network that is there or with an address, and in one of its own."""

    title: str
    task: Task
    even: BreakEven
    own_network: BreakEven

    @property
    def platform(self) -> str:
        return self.title.partition(",")[0]


# --- cells --------------------------------------------------------------------------------------------------------


def lines_of(result: Result) -> dict[str, list[Cell]]:
    """The slice's functions by who they are, a cell a memory; of several transports the one with most cells."""
    slice_ = slice_of(result)
    lines: dict[tuple[str, str], dict[int, Cell]] = {}
    for cell in usual(result):
        if Slice.of(cell) == slice_:
            lines.setdefault((who(cell), cell.key.transport), {}).setdefault(cell.key.memory_mb, cell)
    by_name: dict[str, list[Cell]] = {}
    for (name, _), cells in lines.items():
        by_name[name] = max(by_name.get(name, []), list(cells.values()), key=len)
    return {name: by_name[name] for name in sorted(by_name, key=_rank)}


def _rank(name: str) -> tuple[int, str]:
    """Ours, the textbook's, the others, ours by engine, the floor: so most have the same look in all charts."""
    by_engine = name.startswith(OURS) and name != OURS
    return {OURS: 0, TEXTBOOK: 1, FLOOR: 4}.get(name, 3 if by_engine else 2), name


def _mine(lines: dict[str, list[Cell]]) -> list[Cell]:
    """The line of ours that charts of one line are of."""
    return next((cells for name, cells in lines.items() if name.startswith(OURS)), [])


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
    """As the results were reckoned with; as it is shipped, with its source, what is the same or not named in them."""
    shipped = load_prices()
    day = datetime.date.fromisoformat(result.made[:10])
    own = {
        name: Price(usd, UNITS[name], day, "the results")
        for name, usd in result.prices.items()
        if name in UNITS and not math.isclose(usd, shipped[name])
    }
    return Prices(result.region, {**shipped.items, **own})


def cheapest(cells: Sequence[Cell], prices: Prices) -> Cell:
    return min(cells, key=lambda cell: cell_cost(cell, prices).total)


def _alike(result: Result, platform: str) -> list[Cell]:
    """Ours on a platform that the slice's pictures and distance make comparable, in batches of any size."""
    slice_ = slice_of(result)
    if slice_ is None:
        return []
    return [cell for cell in usual(result, platform) if cell.key.handler == OURS and slice_.any_batch(cell)]


def tasks_of(result: Result, platform: str) -> list[Cell]:
    """Spot's are Fargate's at other prices where none were measured."""
    found = _alike(result, platform)
    if found or platform != "fargate-spot":
        return found
    return [replace(cell, key=replace(cell.key, platform=platform)) for cell in _alike(result, "fargate")]


def is_spot_derived(result: Result) -> bool:
    return bool(tasks_of(result, "fargate-spot")) and not _alike(result, "fargate-spot")


def cheapest_function(result: Result, prices: Prices) -> Cell | None:
    functions = _alike(result, "lambda")
    return cheapest(functions, prices) if functions else None


def rivals(result: Result, prices: Prices, load: Load = Load(duty=1.0)) -> Iterator[Rival]:  # noqa: B008 (frozen)
    """The cheapest task of each kind, against the cheapest function."""
    function = cheapest_function(result, prices)
    for platform, title in list(PLATFORMS.items())[1:]:
        tasks = tasks_of(result, platform)
        if function and tasks:
            task = cell_task(cheapest(tasks, prices))
            cost = cell_cost(function, prices)
            even = break_even(cost, task, prices, load)
            alone, with_network = own_network(task, load, prices)
            apart = break_even(cost, alone, prices, with_network)
            yield Rival(f"{title}, {task.vcpus:g} vCPU, {task.memory_gb:g} GB", task, even, apart)


def taken(result: Result, prices: Prices) -> Iterator[str]:
    """Which cells Lambda and Fargate are compared by, in words."""
    function = cheapest_function(result, prices)
    found = list(rivals(result, prices))
    if function is None or not found:
        return
    cost = cell_cost(function, prices)
    yield (
        f"Lambda is the cheapest function of those measured with these pictures and this distance to S3, warm: "
        f"{function.key.title}; {cost.total:.2f} USD a million pictures, {cost.compute:.2f} of it for compute."
    )
    for rival in found:
        yield (
            f"{rival.title}: the cheapest task of its kind, {charts.number(rival.task.images_per_second)} images/s, "
            f"{rival.task.hour(prices):.4f} USD an hour with its public address."
        )
    if is_spot_derived(result):
        yield SPOT_NOTE


# --- charts -------------------------------------------------------------------------------------------------------


def all_charts(result: Result, prices: Prices) -> Iterator[Chart]:
    """Those for which there are cells."""
    lines = lines_of(result)
    mine = _mine(lines)
    if mine:
        note = f"{NOTE}{Slice.of(mine[0])}"
        yield _money(_without_engines(lines), note)
        yield _tuning(mine, prices, note)
        yield _engines({name: cells for name, cells in lines.items() if name.startswith(OURS)}, note)
        if all(stages_of(cell) for cell in mine):
            yield _stages(mine, note)
        yield _rss({name: cells for name, cells in lines.items() if name != FLOOR}, note)
        if FLOOR in lines:
            yield _floor(lines, note)
        if len(lines) > 1:
            yield _peers(_without_engines(lines), note)
    function, found = cheapest_function(result, prices), list(rivals(result, prices))
    if function and found:
        yield _month(function, found, prices)
        yield _duty(result, prices)
        yield _busy(function, found, prices)


def _without_engines(lines: dict[str, list[Cell]]) -> dict[str, list[Cell]]:
    """Ours once, and the others."""
    mine = _mine(lines)
    return {name: cells for name, cells in lines.items() if not name.startswith(OURS) or cells is mine}


def _money(lines: dict[str, list[Cell]], note: str) -> Chart:
    title = "What a GB-second of Lambda buys: ours, the others, and the floor" + note
    all_ = [series(name, cells, "images_per_gb_second") for name, cells in lines.items()]
    return Chart("money", title, _in_words(all_), charts.lines_chart(title, "images per GB-second", all_))


def _tuning(cells: Sequence[Cell], prices: Prices, note: str) -> Chart:
    costs = [cell_cost(cell, prices) for cell in cells]
    usd = [cost.compute + cost.lambda_requests for cost in costs]
    time = series("billed ms an image", cells, "billed_ms_per_image")
    cost = Series("USD a million, Lambda's part", time.xs, usd)
    title = f"Time and cost against memory: {who(cells[0])}{note}"
    words = "; ".join(
        f"{memory:,.0f} MB: {charts.number(ms)} ms, {price:.2f} USD"
        for memory, ms, price in zip(time.xs, time.ys, usd, strict=True)
    )
    return Chart("tuning", title, words, charts.tuning(title, time, cost))


def _engines(lines: dict[str, list[Cell]], note: str) -> Chart:
    title = "Images per GB-second, by engine" + note
    all_ = [series(name, cells, "images_per_gb_second") for name, cells in lines.items()]
    return Chart("engines", title, _in_words(all_), charts.lines_chart(title, "images per GB-second", all_))


def stages_of(cell: Cell) -> dict[str, float]:
    """Milliseconds of a record by stage: the mean of the repetitions. Their sum is left out."""
    names = dict.fromkeys(name for one in cell.repetitions for name in one.stages_ms if name != "total")
    return {
        name: sum(one.stages_ms.get(name, 0.0) for one in cell.repetitions) / len(cell.repetitions) for name in names
    }


def _stages(cells: Sequence[Cell], note: str) -> Chart:
    title = f"Where a record's time goes: {who(cells[0])}{note}; numbers are ms"
    by_cell = [stages_of(cell) for cell in cells]
    names = dict.fromkeys(name for stages in by_cell for name in stages)
    parts = {name: [stages.get(name, 0.0) for stages in by_cell] for name in names}
    rows = [f"{cell.key.memory_mb:,} MB" for cell in cells]
    words = "; ".join(
        f"{name}: {', '.join(charts.number(value) for value in values)}" for name, values in parts.items()
    )
    words = f"ms a record at {', '.join(rows)}: {words}"
    xlabel = "share of a record's time, waiting for its turn included"
    return Chart("stages", title, words, charts.stacked(title, xlabel, rows, parts))


def _rss(lines: dict[str, list[Cell]], note: str) -> Chart:
    title = "Peak of resident memory against the limit" + note
    all_ = [series(name, cells, "peak_rss_mb") for name, cells in lines.items()]
    return Chart("memory", title, _in_words(all_), charts.against_limit(title, all_))


def _floor(lines: dict[str, list[Cell]], note: str) -> Chart:
    title = "CPU time of an image, in multiples of the floor's" + note
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


def _peers(lines: dict[str, list[Cell]], note: str) -> Chart:
    """At the memory sizes at which most of them were measured."""
    title = "Billed ms of an image, ours and the others" + note + "; whiskers: quartiles"
    counts: dict[int, int] = {}
    for cells in lines.values():
        for cell in cells:
            counts[cell.key.memory_mb] = counts.get(cell.key.memory_mb, 0) + 1
    at = [memory for memory, count in counts.items() if count == max(counts.values())]
    bars = []
    for name, cells in lines.items():
        for cell in cells:
            if cell.key.memory_mb in at[:MOST_GROUPS]:
                spread = Spread.of(cell.values("billed_ms_per_image"))
                bars.append(Bar(name, f"{cell.key.memory_mb:,} MB", spread.median, spread.lower, spread.upper))
    words = "; ".join(f"{bar.name} at {bar.group}: {charts.number(bar.value)} ms" for bar in bars)
    xlabel = f"billed ms of an image{'' if len(at) > 1 else f', {at[0]:,} MB'}"
    return Chart("peers", title, words, charts.bars(title, xlabel, bars))


def _in_words(all_: Sequence[Series]) -> str:
    return "; ".join(
        f"{each.name}: "
        + ", ".join(f"{charts.number(y)} at {x:,.0f} MB" for x, y in zip(each.xs, each.ys, strict=True))
        for each in all_
    )


def _month(function: Cell, found: Sequence[Rival], prices: Prices) -> Chart:
    cost, alike = cell_cost(function, prices), _alike_requests(found, prices)
    load = Load()
    all_ = [Series(_title(function), MONTHS, [lambda_month(cost, month) - alike * month for month in MONTHS])]
    marks, notes = [], []
    for rival in found:
        usd = [fargate_month(rival.task, prices, load, month) - alike * month for month in MONTHS]
        all_.append(Series(_in_two_lines(rival.title), MONTHS, usd))
        point = rival.even.for_good
        notes.append(f"{rival.platform} {'never' if point is None else f'from {charts.number(point)}'}")
        if point is not None and MONTHS[0] < point < MONTHS[-1]:
            marks.append(Mark(point, lambda_month(cost, point) - alike * point, charts.number(point), "left"))
    cheapest_task = min(each.ys[0] for each in all_[1:])

    def finish(axes: Axes) -> None:
        charts.logarithmic(axes, cheapest_task / 10)

    title = f"USD a month against pictures a month{NOTE}cheaper than Lambda for good: {', '.join(notes)}"
    ylabel = f"USD a month, without the {1e6 * alike:.2f} a million\nthat all pay for requests"
    words = "; ".join(
        f"{each.name}: "
        + ", ".join(f"{each.ys[step]:,.2f} for {charts.number(MONTHS[step])}" for step in range(0, 241, 40))
        for each in all_
    )
    return Chart("month", title, words, charts.crossing(title, "pictures a month", ylabel, all_, marks, finish))


def _alike_requests(found: Sequence[Rival], prices: Prices) -> float:
    """USD a picture that is paid for requests wherever it is made."""
    return min(sum(request_lines(rival.task.requests, prices).values()) for rival in found) / MILLION


def _in_two_lines(title: str) -> str:
    return title.replace(", ", "\n", 1)


def _duty(result: Result, prices: Prices) -> Chart:
    """How the break-even moves with the share of the month in which pictures come."""
    shares = [step / 50 for step in range(1, 51)]
    lines: dict[str, list[tuple[float, float]]] = {}
    for least, words in ((1, "one always runs"), (0, "none when idle")):
        for share in shares:
            for rival in rivals(result, prices, Load(share, least)):
                if rival.even.for_good is not None:
                    lines.setdefault(f"{rival.platform}\n{words}", []).append((share, rival.even.for_good))
    all_ = [Series(name, [x for x, _ in points], [y for _, y in points]) for name, points in lines.items()]

    def finish(axes: Axes) -> None:
        charts.plain_log(axes)
        axes.xaxis.set_major_formatter(charts.PERCENT)

    title = f"From how many pictures a month a task is cheaper for good{NOTE}by the time in which the pictures come"
    said = "; ".join(
        f"{each.name.replace(chr(10), ', ')}: {charts.number(each.ys[0])} at {each.xs[0]:.0%}, "
        f"{charts.number(each.ys[-1])} at {each.xs[-1]:.0%}"
        for each in all_
    )
    xlabel = "share of the month in which pictures come, evenly"
    return Chart("duty", title, said, charts.crossing(title, xlabel, "pictures a month", all_, [], finish))


def _busy(function: Cell, found: Sequence[Rival], prices: Prices) -> Chart:
    """A task that always runs, by how much of its time it has work."""
    cost, alike = cell_cost(function, prices), _alike_requests(found, prices)
    shares = [step / 100 for step in range(5, 101)]
    all_ = [Series(_title(function), shares, [cost.total - MILLION * alike] * len(shares))]
    marks, notes = [], []
    for rival in found:
        full = MILLION * rival.task.hour(prices) / (3600 * rival.task.images_per_second)
        own = sum(request_lines(rival.task.requests, prices).values()) - MILLION * alike
        all_.append(Series(_in_two_lines(rival.title), shares, [full / share + own for share in shares]))
        share = rival.even.busy_share
        notes.append(f"{rival.platform} {f'above {share:.0%}' if share < 1 else 'never'}")
        if shares[0] <= share < 1:
            marks.append(Mark(share, full / share + own, f"{share:.0%}", "right"))

    def finish(axes: Axes) -> None:
        charts.in_percent(axes, 4 * all_[0].ys[0])

    title = f"USD a million pictures against how busy a task is{NOTE}cheaper than Lambda: {', '.join(notes)}"
    words = "; ".join(f"{each.name}: {each.ys[0]:.2f} at 5 %, {each.ys[-1]:.2f} always busy" for each in all_)
    ylabel = f"USD a million, without the {1e6 * alike:.2f}\nthat all pay for requests"
    xlabel = "share of its time in which a task has work"
    return Chart("busy", title, words, charts.crossing(title, xlabel, ylabel, all_, marks, finish))


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
)
LATENCIES: Final = (("p50 ms", 0.5), ("p95 ms", 0.95), ("p99 ms", 0.99))


def rows_of(result: Result, prices: Prices) -> Iterator[list[str]]:
    """A row of text for each measured cell."""
    for platform in PLATFORMS:
        for cell in measured(result, platform):
            key = cell.key
            values = [cell.median(metric) for _, metric in COLUMNS]
            values += [cell.latency_ms(share) for _, share in LATENCIES]
            numbers = ["" if value is None else charts.number(value) for value in values]
            cost = f"{cell_cost(cell, prices).total:.2f}" if cell.usd_per_million else ""
            yield [
                f"{PLATFORMS[platform]} {key.memory_mb:,} MB{', cold' if key.start == 'cold' else ''}",
                f"{who(cell)}{', aioboto3' if (key.handler, key.transport) == (OURS, 'aioboto3') else ''}",
                key.pictures,
                key.latency,
                f"{key.batch_size}{f', {key.in_flight} at once' if key.in_flight else ''}",
                *numbers,
                cost,
                ratio_text(result, cell, TEXTBOOK, "billed_ms_per_image", inverse=True),
                ratio_text(result, cell, FLOOR, "cpu_ms_per_image"),
            ]


def evens_of(result: Result, prices: Prices) -> Iterator[list[str]]:
    """Break-even points by duty cycle: with a task that always runs, and with none."""
    for least in (1, 0):
        for duty in DUTIES:
            for rival in rivals(result, prices, Load(duty, least)):
                points = (rival.even.first, rival.even.for_good, rival.own_network.for_good)
                said = ("never" if point is None else charts.number(point) for point in points)
                yield [rival.title, f"{duty:.0%}", f"{least}", *said]


def refused_of(result: Result) -> dict[str, list[str]]:
    """The cells that could not be measured, by the reason."""
    reasons: dict[str, list[str]] = {}
    for cell in result.cells:
        if cell.refused:
            reasons.setdefault(" ".join(cell.refused.split()), []).append(cell.key.title)
    return reasons


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
        "refused": refused_of(result),
        "taken": list(taken(result, prices)),
        "evens": list(evens_of(result, prices)),
        "baseline": result.baseline,
    }


def _page(runs: Sequence[dict[str, object]]) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    columns = ["", "who", "pictures", "S3", "batch", *(title for title, _ in (*COLUMNS, *LATENCIES)), "USD a million"]
    return environment.get_template("report.html.j2").render(
        runs=runs, columns=columns, formula=FORMULA, busy_formula=BUSY_FORMULA
    )
