"""The table of a question: a row a cell, with ratios to the textbook handler and to the floor; and Markdown tables."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.money.costing import cell_cost
from bench.money.prices import prices_of
from bench.questions import EXPERIMENTS, FLOOR, ONE_VCPU_MB, TEXTBOOK, Experiment, Options
from bench.result import Cell, CellKey, Result
from thumbnailer.backfill.prices import Prices

FORMATS: Final = {"rgb": "PNG", "lossy": "WebP", "baseline": "JPEG", "progressive": "JPEG progressive"}
NAMES: Final[Mapping[str, Callable[[CellKey], str]]] = {
    "memory": lambda key: f"{key.memory_mb:,} MB",
    "other memory": lambda key: "" if key.memory_mb == ONE_VCPU_MB else f"{key.memory_mb:,} MB",
    "engine": lambda key: key.engine,
    "client": lambda key: "" if key.transport in ("auto", "none") else key.transport,
    "batch": lambda key: f"batch {key.batch_size}",
    "in flight": lambda key: f"{key.in_flight} at once" if key.in_flight else "",
    "latency": lambda key: key.latency,
    "platform": lambda key: f"{key.platform} {key.vcpus:.3g} vCPU",
    "pictures": lambda key: FORMATS.get(key.pictures, key.pictures),
}
"""The parts of a row's name, by the words in `Experiment.by`."""
COLUMNS: Final = (
    *("", "handler", "images/s", "billed\nms", "CPU\nms", "images\n/GB-s", "peak\nMB", "p95\nms"),
    *("USD per\nmillion", "of it\ncompute", "x text-\nbook", "x floor"),
)
COLD_NAMES: Final = {"p95\nms": "to first\nanswer", "images\n/GB-s": "init\nms"}
"""Columns of a table of cold cells that hold other numbers."""
WIDTH: Final = 126
"""Columns of text of a table, even on a narrower terminal: a broken number cannot be read."""
LEGEND: Final = """\
Medians of the repetitions, ± half the distance between their quartiles; ms are per image. p95: 95 of 100 images have
their thumbnail within this time after the invocation starts (worker: after it takes the picture). x textbook: billed
ms of the textbook handler divided by these. x floor: CPU divided by that of libjpeg-turbo's bare scaled decode of the
same files. ~: compared with the Lambda whose CPU is nearest."""


def plain_table(header: Sequence[str], body: Iterable[Sequence[str]], left: int = 1, **style: Any) -> Table:
    """Return a table for the terminal whose first `left` columns are aligned left, the others right."""
    table = Table(show_edge=False, **style)
    for number, name in enumerate(header):
        table.add_column(name, no_wrap=True, justify="left" if number < left else "right")
    for row in body:
        table.add_row(*row)
    return table


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print literally: names of files and error messages are not markup."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def tables(result: Result, experiments: Sequence[Experiment], scope: Options) -> Iterator[Table]:
    """Yield a table for each question that has cells in the result."""
    style = {"title_justify": "left", "title_style": "bold", "box": SIMPLE_HEAD, "padding": (0, 0, 0, 1)}
    for experiment in experiments:
        if cells := cells_of(result, experiment, scope):
            body = rows(result, experiment, cells)
            yield plain_table(columns_of(cells), body, left=2, title=experiment.question, **style)


def cells_of(result: Result, experiment: Experiment, scope: Options) -> list[Cell]:
    """Return the cells of a question that the result has, in the question's order."""
    found = {cell.key: cell for cell in result.cells}
    return [found[key] for key in experiment.keys(scope) if key in found]


def experiments_of(name: str) -> list[Experiment]:
    """Return the named question, or every question for `all`."""
    return [one for one in EXPERIMENTS.values() if one.name != "all"] if name == "all" else [EXPERIMENTS[name]]


def columns_of(cells: Sequence[Cell]) -> list[str]:
    """Return the column names above these cells."""
    cold = any(cell.key.start == "cold" for cell in cells)
    return [COLD_NAMES.get(name, name) if cold else name for name in COLUMNS]


def rows(result: Result, experiment: Experiment, cells: Sequence[Cell]) -> Iterator[list[str]]:
    """Yield a text for each column."""
    prices = prices_of(result)
    for cell in cells:
        name = ", ".join(filter(None, (NAMES[part](cell.key) for part in experiment.by)))
        numbers = ["refused", *[""] * (len(COLUMNS) - 3)] if cell.refused else _numbers(result, cell, prices)
        yield [name, cell.key.handler, *numbers]


def _numbers(result: Result, cell: Cell, prices: Prices) -> Iterator[str]:
    yield with_spread(cell, "images_per_second")
    for metric in ("billed_ms_per_image", "cpu_ms_per_image"):
        yield number_text(cell.median(metric) or 0, 1)
    cold = cell.key.start == "cold"
    yield number_text(cell.median("cold_start_ms" if cold else "images_per_gb_second") or 0, 0 if cold else 1)
    yield f"{cell.median('peak_rss_mb') or 0:.0f}"
    latency = cell.latency_ms(0.5 if cold else 0.95)
    yield "-" if latency is None else f"{latency:.0f}"
    cost = cell_cost(cell, prices)
    for usd in (cost.total, cost.compute):
        yield "-" if cell.key.handler == FLOOR else number_text(usd, 2)
    yield ratio_text(result, cell, TEXTBOOK, "billed_ms_per_image", inverse=True)
    yield ratio_text(result, cell, FLOOR, "cpu_ms_per_image")


def number_text(value: float, decimals: int) -> str:
    """Return the number with these decimals, or with none from 1,000 on: columns are narrow."""
    return f"{value:.{decimals if value < 1000 else 0}f}"


def with_spread(cell: Cell, metric: str) -> str:
    spread = cell.spread(metric)
    return f"{spread.median:.3g} ±{50 * (spread.upper - spread.lower) / spread.median:.0f}%"


def ratio_text(result: Result, cell: Cell, handler: str, metric: str, inverse: bool = False) -> str:
    """Return the ratio of this cell's median to the handler's; "-" if the handler has none or is this cell's own."""
    other = reference_cell(result, cell, handler)
    mine, theirs = cell.median(metric), other.median(metric) if other else None
    if other is None or not mine or not theirs or cell.key.handler == handler:
        return "-"
    near = "" if other.key.place() == cell.key.place() else "~"
    return near + number_text(theirs / mine if inverse else mine / theirs, 2)


def reference_cell(result: Result, cell: Cell, handler: str) -> Cell | None:
    """Return the handler's cell in the same place, else with the same pictures and start and the nearest CPU."""
    theirs = (one for one in result.cells if one.key.handler == handler and one.repetitions)
    alike = [one for one in theirs if _conditions(one.key) == _conditions(cell.key)]
    nearest = min(alike, key=lambda one: abs(one.key.vcpus - cell.key.vcpus), default=None)
    return next((one for one in alike if one.key.place() == cell.key.place()), nearest)


def _conditions(key: CellKey) -> tuple[str, str, str]:
    return key.pictures, key.latency, key.start


def refused_by_reason(result: Result) -> dict[str, list[str]]:
    """Return the names of the refused cells by reason."""
    reasons: dict[str, list[str]] = {}
    for cell in result.cells:
        if cell.refused:
            reasons.setdefault(" ".join(cell.refused.split()), []).append(cell.key.title)
    return reasons


def markdown_table(header: Sequence[str], body: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a table whose first `left` columns are aligned left, the others right."""
    rule = [*["---"] * left, *["---:"] * (len(header) - left)]
    lines = (" | ".join(text.replace("|", "\\|") for text in row) for row in (header, rule, *body))
    return "\n".join(f"| {line} |" for line in lines) + "\n"
