"""`python -m bench report`: files of results as one HTML page with every chart, table and formula."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import jinja2
from rich.console import Console

from bench.money.costing import cell_cost
from bench.money.formulas import FORMULAS
from bench.money.prices import Prices, load_prices, prices_of
from bench.pages.charts import all_charts
from bench.pages.drawing import Chart, number
from bench.pages.rivals import PLATFORMS, break_even_rows, compare_platforms
from bench.pages.selection import OURS, measured, who
from bench.pages.tables import ratio_texts, refused_by_reason
from bench.result import Cell, Result, read_result

FOLDER: Final = Path("build/bench-report")
COLUMNS: Final = {
    "images/s": "images_per_second",
    "CPU ms": "cpu_ms_per_image",
    "billed ms": "billed_ms_per_image",
    "images a GB-s": "images_per_gb_second",
    "peak MB": "peak_rss_mb",
    "cold start ms": "cold_start_ms",
}
LATENCIES: Final = {"p50 ms": 0.5, "p95 ms": 0.95, "p99 ms": 0.99}
HEADER: Final = ["", "who", "pictures", "S3", "batch", *COLUMNS, *LATENCIES, "USD a million", "x textbook", "x floor"]


def run(paths: Sequence[Path], output: Path, prices: Path | None) -> None:
    """Write the page and its charts into a folder. Raises ResultError and PricesError."""
    results = {path: read_result(path) for path in paths}
    own = load_prices(prices) if prices else None
    output.mkdir(parents=True, exist_ok=True)
    runs, count = [], 0
    for position, (path, result) in enumerate(results.items(), start=1):
        charts = [(chart, chart.png()) for chart in all_charts(result, own or prices_of(result))]
        for chart, png in charts:
            prefix = f"{position}-" if len(results) > 1 else ""
            (output / f"{prefix}{chart.name}.png").write_bytes(png)
        count += len(charts)
        runs.append(_run_of(path.stem, result, own or prices_of(result), charts))
    page = output / "index.html"
    page.write_text(_page(runs), encoding="utf-8")
    Console().print(f"{page}, {count} charts", soft_wrap=True)


def rows_of(result: Result, prices: Prices) -> Iterator[list[str]]:
    """Yield a row of text for each measured cell."""
    for platform, title in PLATFORMS.items():
        for cell in measured(result, platform):
            yield [*_place(cell, title), *_numbers(cell, prices), *ratio_texts(result, cell)]


def _place(cell: Cell, platform: str) -> list[str]:
    key = cell.key
    return [
        f"{platform} {key.memory_mb:,} MB{', cold' if key.start == 'cold' else ''}",
        f"{who(cell)}{', aioboto3' if (key.handler, key.transport) == (OURS, 'aioboto3') else ''}",
        key.pictures,
        key.latency,
        f"{key.batch_size}{f', {key.in_flight} at once' if key.in_flight else ''}",
    ]


def _numbers(cell: Cell, prices: Prices) -> Iterator[str]:
    values = [cell.median(metric) for metric in COLUMNS.values()]
    values += [cell.latency_ms(share) for share in LATENCIES.values()]
    yield from ("" if value is None else number(value) for value in values)
    yield f"{cell_cost(cell, prices).total:.2f}" if cell.usd_per_million else ""


def _run_of(name: str, result: Result, prices: Prices, charts: Sequence[tuple[Chart, bytes]]) -> dict[str, object]:
    return {
        "name": name,
        "result": result,
        "prices": prices,
        "charts": [(chart, base64.b64encode(png).decode()) for chart, png in charts],
        "rows": list(rows_of(result, prices)),
        "refused": refused_by_reason(result),
        "platforms": compare_platforms(result, prices),
        "evens": list(break_even_rows(result, prices)),
    }


def _page(runs: Sequence[dict[str, object]]) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["short"] = number
    return environment.get_template("report.html.j2").render(runs=runs, columns=HEADER, formulas=FORMULAS)
