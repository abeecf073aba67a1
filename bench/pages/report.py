"""`python -m bench report`: files of results as one HTML page, each with the sections of docs/performance.md."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import jinja2
from markdown_it import MarkdownIt
from rich.console import Console

from bench.money.prices import Prices, load_prices, prices_of
from bench.pages.charts import all_charts
from bench.pages.performance import page
from bench.result import Result, read_result

FOLDER: Final = Path("build/bench-report")
STYLE: Final = Path(__file__).with_name("report.html.j2")


def run(paths: Sequence[Path], output: Path, prices: Path | None) -> None:
    """Write the page and its charts into a folder. Raises ResultError and PricesError."""
    results = {path: read_result(path) for path in paths}
    own = load_prices(prices) if prices else None
    output.mkdir(parents=True, exist_ok=True)
    sections = []
    for position, (path, result) in enumerate(results.items(), start=1):
        prefix = f"{position}-" if len(results) > 1 else ""
        sections.append(_section(path.name, result, own or prices_of(result), output, prefix))
    written = output / "index.html"
    html = jinja2.Template(STYLE.read_text(encoding="utf-8")).render(sections=sections)
    written.write_text(html, encoding="utf-8")
    Console().print(f"{written}, {html.count('<img ')} charts", soft_wrap=True)


def _section(name: str, result: Result, prices: Prices, output: Path, prefix: str) -> str:
    """Write the charts and return the HTML, which contains them."""
    links = {}
    for chart in all_charts(result, prices):
        png = chart.png()
        (output / f"{prefix}{chart.name}.png").write_bytes(png)
        links[chart] = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return _to_html(page(result, prices, links, name))


def _to_html(markdown: str) -> str:
    """The page stands alone, so links to other documents become plain text. HTML in `markdown` is escaped."""
    converter = MarkdownIt("commonmark", {"html": False}).enable("table")
    for rule in ("link_open", "link_close"):
        converter.add_render_rule(rule, lambda *_: "")
    return str(converter.render(markdown))
