"""docs/performance.md and its charts, written from a file of results. The same file gives the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import jinja2
from rich.console import Console

from bench.money.costing import architecture_of
from bench.money.formulas import FORMULAS
from bench.money.months import Load
from bench.money.prices import Architecture, Prices, prices_of
from bench.pages.charts import CHARTS, all_charts
from bench.pages.drawing import Chart, number
from bench.pages.findings import cells_of, findings_of, scope_of
from bench.pages.rivals import break_even_rows, compare_platforms, volume_table
from bench.pages.tables import LEGEND, columns_of, experiments_of, markdown_table, refused_by_reason, rows
from bench.questions import Experiment
from bench.result import Cell, Result, read_result
from bench.rig.network import MB, MIB, PRESETS

DOCS: Final = Path("docs/performance.md")
REFUSED: Final = "[refused](#cells-that-could-not-be-measured)"


def run(results: Path, docs: Path = DOCS) -> None:
    """Write the document and print its name. Raises ResultError."""
    written = write(results, docs)
    size = sum(path.stat().st_size for path in written[1:])
    Console().print(f"{docs}, {len(written) - 1} charts of {size / 1000:.0f} kB", soft_wrap=True)


def write(results: Path, docs: Path = DOCS) -> list[Path]:
    """Write the document, and its charts into a folder of the same name. Returns the paths. Raises ResultError."""
    result, folder = read_result(results), docs.with_suffix("")
    drawn = list(all_charts(result, prices_of(result)))
    text = page(result, drawn, _link(results, docs), _link(folder, docs))
    folder.mkdir(parents=True, exist_ok=True)
    for name in CHARTS:
        (folder / f"{name}.png").unlink(missing_ok=True)  # drawn from an earlier file of results
    written = [folder / f"{chart.name}.png" for chart in drawn]
    for path, chart in zip(written, drawn, strict=True):
        path.write_bytes(chart.png())
    docs.write_text(text, encoding="utf-8")
    return [docs, *written]


def _link(target: Path, docs: Path) -> str:
    return Path(os.path.relpath(target, docs.parent)).as_posix()


def page(result: Result, drawn: Sequence[Chart], source: str, folder: str) -> str:
    """Return the document's text; `source` and `folder` link to the file of results and to the charts."""
    prices = prices_of(result)
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(  # noqa: S701 (Markdown)
        loader=loader, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["short"] = number
    template = environment.get_template("performance.md.j2")
    architectures: list[Architecture] = [architecture_of(cell) for cell in result.cells]
    text = template.render(
        result=result,
        prices=prices,
        source=source,
        source_name=source.removeprefix("../"),
        found=findings_of(result, prices),
        platforms=compare_platforms(result, prices),
        pictures={chart.name: f"![{chart.alt}]({folder}/{chart.name}.png)\n" for chart in drawn},
        gb_seconds_a_usd=1 / prices.gb_second(architectures[0] if architectures else "x86"),
        quick=scope_of(result).quick,
        distances={cell.key.latency: PRESETS[cell.key.latency] for cell in result.cells if cell.key.latency in PRESETS},
        mb=MB,
        mib=MIB,
        legend=LEGEND,
        experiments=list(_experiments(result)),
        volumes=volume_table(result, prices),
        evens=_break_even_table(result, prices),
        headroom=Load().headroom,
        formulas=FORMULAS,
        refused=refused_by_reason(result),
        price_table=_price_table(prices),
    )
    return tidy(text)


def tidy(text: str) -> str:
    """Remove spaces at line ends and repeated empty lines."""
    lines = [line.rstrip() for line in text.splitlines()]
    kept = [line for before, line in zip(["", *lines], lines, strict=False) if line or before]
    return "\n".join(kept).strip() + "\n"


def _experiments(result: Result) -> Iterator[dict[str, str]]:
    for experiment in experiments_of("all"):
        if cells := cells_of(result, experiment):
            table = _experiment_table(result, experiment, cells)
            yield {"name": experiment.name, "question": experiment.question, "table": table}


def _experiment_table(result: Result, experiment: Experiment, cells: Sequence[Cell]) -> str:
    """The terminal's table; a refused cell links to its reason."""
    header = [column.replace("-\n", "").replace("\n", " ") for column in columns_of(cells)]
    body = [
        [name, handler, REFUSED, *[""] * (len(header) - 3)] if numbers == ["refused"] else [name, handler, *numbers]
        for name, handler, *numbers in rows(result, experiment, cells)
    ]
    return markdown_table(header, body, left=2)


def _break_even_table(result: Result, prices: Prices) -> str:
    header = ["task", "pictures arrive", "tasks that always run", "first", "for good", "with a network of its own"]
    return markdown_table(header, break_even_rows(result, prices))


def _price_table(prices: Prices) -> str:
    header = ["price", "for a", "of", "source", "USD"]
    items = sorted(prices.items.items())
    body = [
        [f"`{name}`", price.unit, price.date.isoformat(), price.source, f"{price.usd:.4g}"] for name, price in items
    ]
    return markdown_table(header, body, left=4)
