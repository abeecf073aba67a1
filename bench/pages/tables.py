"""The tables of an experiment: a row a cell, with its ratios to the textbook handler and to the floor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from bench.questions import EXPERIMENTS, FLOOR, ONE_VCPU_MB, TEXTBOOK, Experiment, Scope
from bench.result import Cell, CellKey, Result

NAMES: Final[Mapping[str, Callable[[CellKey], str]]] = {
    "memory": lambda key: f"{key.memory_mb:,} MB",
    "other memory": lambda key: "" if key.memory_mb == ONE_VCPU_MB else f"{key.memory_mb:,} MB",
    "engine": lambda key: key.engine,
    "client": lambda key: "" if key.transport in ("auto", "none") else key.transport,
    "batch": lambda key: f"batch {key.batch_size}",
    "in flight": lambda key: f"{key.in_flight} at once" if key.in_flight else "",
    "latency": lambda key: key.latency,
    "platform": lambda key: f"{key.platform} {key.vcpus:.3g} vCPU",
    "pictures": lambda key: {"rgb": "PNG", "lossy": "WebP", "baseline": "JPEG", "progressive": "JPEG progressive"}[
        key.pictures
    ],
}
COLUMNS: Final = (
    "",
    "handler",
    "images/s",
    "billed\nms",
    "CPU\nms",
    "images\n/GB-s",
    "peak\nMB",
    "p95\nms",
    "USD per\nmillion",
    "of it\ncompute",
    "x text-\nbook",
    "x floor",
)
COLD_NAMES: Final = {"p95\nms": "to first\nanswer", "images\n/GB-s": "init\nms"}
"""What columns are called where cells are cold, which have other numbers there."""
WIDTH: Final = 126
"""Columns of text that a table takes; a narrower terminal is no reason to break numbers."""
LEGEND: Final = """\
Medians of the repetitions, ± half the span between their quartiles; ms are of one image; p95: of 100 images 95 have
their thumbnail that soon after the invocation begins (in the worker: after it takes them up). x textbook: how many
times fewer billed ms; x floor: how many times the CPU of libjpeg-turbo's bare scaled decode of the same files.
~: compared with the Lambda whose CPU is the nearest."""


def tables(result: Result, experiments: Sequence[Experiment], scope: Scope) -> Iterator[Table]:
    """One an experiment, of those of its cells that the result has."""
    found = {cell.key: cell for cell in result.cells}
    for experiment in experiments:
        cells = [found[key] for key in experiment.keys(scope) if key in found]
        if cells:
            yield _table(result, experiment, cells)


def experiments_of(name: str) -> list[Experiment]:
    """Of `all`, each."""
    return [one for one in EXPERIMENTS.values() if one.name != "all"] if name == "all" else [EXPERIMENTS[name]]


def columns_of(cells: Sequence[Cell]) -> list[str]:
    """What the columns are called above these cells."""
    cold = any(cell.key.start == "cold" for cell in cells)
    return [COLD_NAMES.get(name, name) if cold else name for name in COLUMNS]


def _table(result: Result, experiment: Experiment, cells: Sequence[Cell]) -> Table:
    table = Table(
        *columns_of(cells),
        title=experiment.question,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 0, 0, 1),
    )
    for column in table.columns:
        column.no_wrap = True
        column.justify = "left" if column is table.columns[0] or column is table.columns[1] else "right"
    for row in rows(result, experiment, cells):
        table.add_row(*row)
    return table


def rows(result: Result, experiment: Experiment, cells: Sequence[Cell]) -> Iterator[list[str]]:
    """As many texts as there are columns; of a cell that was refused, that it was: the reasons are below the table."""
    for cell in cells:
        name = ", ".join(filter(None, (NAMES[part](cell.key) for part in experiment.by)))
        if cell.refused:
            yield [name, cell.key.handler, "refused"]
        else:
            yield [name, cell.key.handler, *_numbers(result, cell)]


def _numbers(result: Result, cell: Cell) -> Iterator[str]:
    yield with_spread(cell, "images_per_second")
    for metric in ("billed_ms_per_image", "cpu_ms_per_image"):
        yield number_text(cell.median(metric) or 0, 1)
    cold = cell.key.start == "cold"
    yield number_text(cell.median("cold_start_ms" if cold else "images_per_gb_second") or 0, 0 if cold else 1)
    yield f"{cell.median('peak_rss_mb') or 0:.0f}"
    latency = cell.latency_ms(0.5 if cold else 0.95)
    yield "-" if latency is None else f"{latency:.0f}"
    total = sum(cell.usd_per_million.values())
    yield number_text(total, 2) if total else "-"
    yield number_text(cell.usd_per_million["compute"], 2) if total else "-"
    yield ratio_text(result, cell, TEXTBOOK, "billed_ms_per_image", inverse=True)
    yield ratio_text(result, cell, FLOOR, "cpu_ms_per_image")


def number_text(value: float, decimals: int) -> str:
    """So many digits behind the point, where there are no more than three before it: a column is narrow."""
    return f"{value:.{decimals if value < 1000 else 0}f}"


def with_spread(cell: Cell, metric: str) -> str:
    spread = cell.summary()[metric]
    return f"{spread.median:.3g} ±{50 * (spread.upper - spread.lower) / spread.median:.0f}%"


def ratio_text(result: Result, cell: Cell, handler: str, metric: str, inverse: bool = False) -> str:
    """Of this cell's median to that handler's; "-" where there is none, or where it is that handler's own."""
    other = beside(result, cell, handler)
    mine, theirs = cell.median(metric), other.median(metric) if other else None
    if other is None or not mine or not theirs or cell.key.handler == handler:
        return "-"
    near = "" if other.key.place() == cell.key.place() else "~"
    return near + number_text(theirs / mine if inverse else mine / theirs, 2)


def beside(result: Result, cell: Cell, handler: str) -> Cell | None:
    """That handler's cell in the same place; else of the same pictures, on the warm Lambda with the nearest CPU."""
    others = [one for one in result.cells if one.key.handler == handler and one.repetitions]
    same = [one for one in others if one.key.place() == cell.key.place()]
    if same:
        return same[0]
    alike = [
        one
        for one in others
        if (one.key.pictures, one.key.latency, one.key.start) == (cell.key.pictures, cell.key.latency, cell.key.start)
    ]
    return min(alike, key=lambda one: abs(one.key.vcpus - cell.key.vcpus), default=None)


def refusals(result: Result) -> Iterator[str]:
    """Each reason with the cells that it is of."""

    reasons: dict[str, list[str]] = {}
    for cell in result.cells:
        if cell.refused:
            reasons.setdefault(cell.refused, []).append(cell.key.title)
    for reason, cells in reasons.items():
        yield f"refused: {reason}: {'; '.join(cells)}"
