"""docs/performance.md from a file of results, and a page in HTML from several; the same files give the same bytes."""

import base64
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import jinja2
from markdown_it import MarkdownIt
from rich.console import Console

from bench.money.months import FORMULAS, HEADROOM, compare_platforms, volume_rows
from bench.money.prices import prices_of
from bench.pages.charts import CHARTS, all_charts
from bench.pages.drawing import Chart, number
from bench.pages.findings import findings_of
from bench.pages.selection import lines_of
from bench.pages.tables import LEGEND, cells_of, columns_of, experiments_of, markdown_table, refused_by_reason, rows
from bench.questions import EXPERIMENTS, Experiment, Options
from bench.result import Cell, Result, read_result
from bench.rig.network import MB, MIB, PRESETS
from thumbnailer.backfill.prices import Prices, load_prices

TEXT: Final = Path(__file__).with_name("performance.md.j2")
HTML: Final = Path(__file__).with_name("report.html.j2")
FOLDER: Final = Path("build/bench-report")
DOCS: Final = Path("docs/performance.md")
REFUSED: Final = "[refused](#cells-that-could-not-be-measured)"
OTHERS: Final = Experiment(
    "others", "Other cells", lambda _: (), ("platform", "memory", "engine", "client", "batch", "latency", "pictures")
)


def run(results: Path, docs: Path = DOCS) -> None:
    """Write the document, and its charts into a folder of the same name; print both. Raises ResultError."""
    result, folder = read_result(results), docs.with_suffix("")
    prices = prices_of(result)
    drawn = {chart: chart.png() for chart in all_charts(result, prices)}
    folder.mkdir(parents=True, exist_ok=True)
    for name in CHARTS:
        (folder / f"{name}.png").unlink(missing_ok=True)  # drawn from an earlier file of results
    for chart, png in drawn.items():
        (folder / f"{chart.name}.png").write_bytes(png)
    links = {chart: f"{folder.name}/{chart.name}.png" for chart in drawn}
    source = Path(os.path.relpath(results, docs.parent)).as_posix()
    docs.write_text(page(result, prices, links, source.removeprefix("../"), source), encoding="utf-8")
    Console().print(f"{docs}, {len(drawn)} charts of {sum(map(len, drawn.values())) / 1000:.0f} kB", soft_wrap=True)


def run_report(paths: Sequence[Path], output: Path, prices: Path | None) -> None:
    """Write the page and its charts into a folder. Raises ResultError and PricesError."""
    results = {path: read_result(path) for path in paths}
    own = load_prices(prices) if prices else None
    output.mkdir(parents=True, exist_ok=True)
    sections = []
    for position, (path, result) in enumerate(results.items(), start=1):
        prefix = f"{position}-" if len(results) > 1 else ""
        sections.append(_section(path.name, result, own or prices_of(result), output, prefix))
    written = output / "index.html"
    html = jinja2.Template(HTML.read_text(encoding="utf-8")).render(sections=sections)
    written.write_text(html, encoding="utf-8")
    Console().print(f"{written}, {html.count('<img ')} charts", soft_wrap=True)


def _section(name: str, result: Result, prices: Prices, output: Path, prefix: str) -> str:
    """Write the charts and return the HTML, which contains them. Links to other documents become plain text."""
    links = {}
    for chart in all_charts(result, prices):
        png = chart.png()
        (output / f"{prefix}{chart.name}.png").write_bytes(png)
        links[chart] = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    converter = MarkdownIt("commonmark", {"html": False}).enable("table")
    for rule in ("link_open", "link_close"):
        converter.add_render_rule(rule, lambda *_: "")
    return str(converter.render(page(result, prices, links, name)))


def page(result: Result, prices: Prices, links: Mapping[Chart, str], name: str, source: str = "") -> str:
    """Return the text in Markdown. `links`: charts and links to them; `source`: a link to the file of that name."""
    text = jinja2.Template(TEXT.read_text(encoding="utf-8"), trim_blocks=True, lstrip_blocks=True).render(
        result=result,
        short=lambda value: "never" if value is None else number(value),
        prices=prices,
        name=name,
        source=source,
        found=findings_of(result, prices),
        platforms=compare_platforms(result, prices),
        pictures={chart.name: f"![{chart.alt}]({link})\n" for chart, link in links.items()},
        gb_seconds_a_usd=1 / prices.gb_second(result.cells[0].key.architecture if result.cells else "x86"),
        quick=scope_of(result).quick,
        distances={cell.key.latency: PRESETS[cell.key.latency] for cell in result.cells if cell.key.latency in PRESETS},
        MB=MB,
        MIB=MIB,
        legend=LEGEND,
        experiments=list(_experiments(result)),
        volume_rows=volume_rows,
        lines=lines_of(result),
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


def scope_of(result: Result) -> Options:
    """Return the scope of the run: with the file's own memory sizes if some cell is not in the default scope."""
    scope = Options(result.settings.get("quick") == "true", result.settings.get("latency", "near"))
    known = set(EXPERIMENTS["all"].keys(scope))
    if all(cell.key in known for cell in result.cells):
        return scope
    memories = dict.fromkeys(cell.key.memory_mb for cell in result.cells if cell.key.platform == "lambda")
    return Options(scope.quick, scope.latency, tuple(memories))


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
    table = markdown_table(header, rows(result, experiment, cells), left=2).replace("| refused |", f"| {REFUSED} |")
    return {"name": experiment.name, "question": experiment.question, "table": table}
