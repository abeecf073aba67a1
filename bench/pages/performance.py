"""docs/performance.md and its charts, written from a file of results. The same file gives the same bytes."""

import os
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import jinja2
from rich.console import Console

from bench.money.costing import architecture_of
from bench.money.months import FORMULAS, HEADROOM
from bench.money.prices import Prices, prices_of
from bench.pages.charts import CHARTS, all_charts
from bench.pages.drawing import Chart, number
from bench.pages.findings import findings_of
from bench.pages.rivals import compare_platforms, volume_rows
from bench.pages.tables import LEGEND, cells_of, columns_of, experiments_of, markdown_table, refused_by_reason, rows
from bench.questions import EXPERIMENTS, Experiment, Scope
from bench.result import Cell, Result, read_result
from bench.rig.network import MB, MIB, PRESETS

DOCS: Final = Path("docs/performance.md")
REFUSED: Final = "[refused](#cells-that-could-not-be-measured)"
OTHERS: Final = Experiment(
    "others", "Other cells", lambda _: (), ("platform", "memory", "engine", "client", "batch", "latency", "pictures")
)


def run(results: Path, docs: Path = DOCS) -> None:
    """Write the document and print its name. Raises ResultError."""
    written = write(results, docs)
    size = sum(path.stat().st_size for path in written[1:])
    Console().print(f"{docs}, {len(written) - 1} charts of {size / 1000:.0f} kB", soft_wrap=True)


def write(results: Path, docs: Path = DOCS) -> list[Path]:
    """Write the document, and its charts into a folder of the same name. Returns the paths. Raises ResultError."""
    result, folder = read_result(results), docs.with_suffix("")
    prices = prices_of(result)
    drawn = list(all_charts(result, prices))
    folder.mkdir(parents=True, exist_ok=True)
    for name in CHARTS:
        (folder / f"{name}.png").unlink(missing_ok=True)  # drawn from an earlier file of results
    written = [folder / f"{chart.name}.png" for chart in drawn]
    for path, chart in zip(written, drawn, strict=True):
        path.write_bytes(chart.png())
    images = [(chart, f"{folder.name}/{chart.name}.png") for chart in drawn]
    source = Path(os.path.relpath(results, docs.parent)).as_posix()
    docs.write_text(page(result, prices, images, source.removeprefix("../"), source), encoding="utf-8")
    return [docs, *written]


def page(result: Result, prices: Prices, images: Sequence[tuple[Chart, str]], name: str, source: str = "") -> str:
    """Return the text in Markdown. `images`: charts and links to them; `source`: a link to the file of that name."""
    environment = jinja2.Environment(  # noqa: S701 (Markdown)
        loader=jinja2.FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["short"] = lambda value: "never" if value is None else number(value)
    text = environment.get_template("performance.md.j2").render(
        result=result,
        prices=prices,
        name=name,
        source=source,
        found=findings_of(result, prices),
        platforms=compare_platforms(result, prices),
        pictures={chart.name: f"![{chart.alt}]({link})\n" for chart, link in images},
        gb_seconds_a_usd=1 / prices.gb_second(architecture_of(result.cells[0]) if result.cells else "x86"),
        quick=scope_of(result).quick,
        distances={cell.key.latency: PRESETS[cell.key.latency] for cell in result.cells if cell.key.latency in PRESETS},
        MB=MB,
        MIB=MIB,
        legend=LEGEND,
        experiments=list(_experiments(result)),
        volume_rows=volume_rows,
        headroom=HEADROOM,
        formulas=tomllib.loads(FORMULAS.read_text(encoding="utf-8")),
        refused=refused_by_reason(result),
        table=markdown_table,
    )
    return tidy(text)


def tidy(text: str) -> str:
    """Remove spaces at line ends and repeated empty lines."""
    lines = [line.rstrip() for line in text.splitlines()]
    kept = [line for before, line in zip(["", *lines], lines, strict=False) if line or before]
    return "\n".join(kept).strip() + "\n"


def scope_of(result: Result) -> Scope:
    """Return the scope of the run: with the file's own memory sizes if some cell is not in the default scope."""
    scope = Scope(result.settings.get("quick") == "true", result.settings.get("latency", "near"))
    known = set(EXPERIMENTS["all"].keys(scope))
    if all(cell.key in known for cell in result.cells):
        return scope
    memories = dict.fromkeys(cell.key.memory_mb for cell in result.cells if cell.key.platform == "lambda")
    return Scope(scope.quick, scope.latency, tuple(memories))


def _experiments(result: Result) -> Iterator[dict[str, str]]:
    """Each question with its table; cells of no question come last."""
    shown, scope = set(), scope_of(result)
    for experiment in experiments_of("all"):
        if cells := cells_of(result, experiment, scope):
            shown |= {cell.key for cell in cells}
            yield _with_table(result, experiment, cells)
    if others := [cell for cell in result.cells if cell.key not in shown]:
        yield _with_table(result, OTHERS, others)


def _with_table(result: Result, experiment: Experiment, cells: Sequence[Cell]) -> dict[str, str]:
    """The terminal's table; a refused cell links to its reason."""
    header = [column.replace("-\n", "").replace("\n", " ") for column in columns_of(cells)]
    body = [
        [name, handler, REFUSED, *[""] * (len(header) - 3)] if numbers == ["refused"] else [name, handler, *numbers]
        for name, handler, *numbers in rows(result, experiment, cells)
    ]
    table = markdown_table(header, body, left=2)
    return {"name": experiment.name, "question": experiment.question, "table": table}
