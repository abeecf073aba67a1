"""The report: one page that needs nothing else, with every number that a reader decides by, from made-up results."""

from __future__ import annotations

import io
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bench.commands import app
from bench.money.costing import cell_cost, cell_task
from bench.money.months import FORMULAS, Rival, break_even, compare_platforms, fargate_month, volume_rows
from bench.money.prices import prices_of
from bench.pages import charts as charts_
from bench.pages.charts import all_charts, stages_of
from bench.pages.drawing import LOOKS, number
from bench.pages.selection import lines_of
from bench.result import Cell, Result, write_result
from tests.bench.results import PRICES, result_of_all, synthetic_result

RESULT = synthetic_result()
CHARTS = set(charts_.CHARTS)
OF_TASKS = {"month"}


class Page(HTMLParser):
    """Counts elements, and collects what they point to and say."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.alts: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [str(found[name]) for name in ("src", "href") if name in found]
        self.alts += [str(found["alt"])] if "alt" in found else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_result(RESULT, folder / "run.json")
    ended = CliRunner().invoke(app, ["report", str(folder / "run.json"), "-o", str(folder / "out")])
    assert ended.exit_code == 0, ended.output
    return folder / "out"


def test_page_is_self_contained_with_text_alternatives(written: Path) -> None:
    page = Page((written / "index.html").read_text())
    assert page.open == []
    assert len(page.links) == len(CHARTS)
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert all(re.search(r"\d", alt) for alt in page.alts)
    assert "url(" not in (written / "index.html").read_text()


def test_page_has_machine_versions_pictures_prices_and_refusals(written: Path) -> None:
    text = Page((written / "index.html").read_text()).text
    wanted = [
        RESULT.machine.kernel,
        RESULT.software.commit,
        RESULT.software.simd,
        RESULT.picture_sets[0].hash,
        "this machine has 2 cores",
        "period_ms",
        "1.667e-05",
        *FORMULAS.read_text().partition('break-even = """\n')[2].partition('"""')[0].splitlines(),
    ]
    assert [each for each in wanted if each not in text] == []


def test_every_chart_is_a_picture_with_lines_on_it(written: Path) -> None:
    assert {path.stem for path in written.glob("*.png")} == CHARTS
    for path in written.glob("*.png"):
        with Image.open(path) as image:
            assert image.width >= 800  # the width at which README shows it
            grey = np.asarray(image.convert("L"))
        assert 0.005 < float((grey < 128).mean()) < 0.3


def test_lines_keep_their_colours(written: Path) -> None:
    """The palette of a chart is small, and has each line's own colour."""
    with Image.open(written / "month.png") as image:
        colours = np.asarray(image.convert("RGB"), int).reshape(-1, 3)
    for look in LOOKS[:3]:
        assert np.abs(colours - list(bytes.fromhex(look["color"].lstrip("#")))).sum(axis=1).min() < 10


def test_lines_differ_without_colour() -> None:
    assert len({look["marker"] for look in LOOKS}) == len(LOOKS) == 7
    assert all(one["linestyle"] != other["linestyle"] for one, other in itertools.pairwise(LOOKS))


def test_lines_are_by_handler_without_fixed_engines() -> None:
    lines = lines_of(RESULT)
    assert list(lines) == ["ours", "textbook", "floor"]
    assert [cell.key.memory_mb for cell in lines["ours"]] == [128, 256, 512, 1024, 1769, 3008]


OTHERS: list[dict[str, Any]] = [
    {"start": "cold"},
    {"in_flight": 2},
    {"latency": "published"},
    {"pictures": "rgb"},
    {"batch_size": 1},
]


def other_than(cell: Cell, change: dict[str, Any], cheaper: int = 1) -> Cell:
    """The same cell in another place, with less to pay for."""
    repetitions = tuple(replace(one, billed_ms=one.billed_ms / cheaper) for one in cell.repetitions)
    return replace(cell, key=replace(cell.key, **change), repetitions=repetitions)


def with_others(result: Result, *others: Cell) -> Result:
    return replace(result, cells=(*others, *result.cells))


@pytest.mark.parametrize("change", OTHERS)
def test_cells_of_a_line_differ_in_memory_only(change: dict[str, Any]) -> None:
    assert lines_of(with_others(RESULT, *few_others(change))) == lines_of(RESULT)


def few_others(change: dict[str, Any]) -> list[Cell]:
    """Before those of the slice, and fewer."""
    return [other_than(cell, change, cheaper=3) for line in lines_of(RESULT).values() for cell in line[:5]]


def test_other_cells_do_not_change_charts_over_memory() -> None:
    mixed = with_others(RESULT, *(cell for change in OTHERS for cell in few_others(change)))
    of_memory = [
        {chart.name: chart.alt for chart in all_charts(result, PRICES) if chart.name not in OF_TASKS}
        for result in (mixed, RESULT)
    ]
    assert of_memory[0] == of_memory[1]


def test_chart_shows_and_names_the_slice_with_most_memory_sizes() -> None:
    most = [
        other_than(cell, {"memory_mb": cell.key.memory_mb + more, "batch_size": 5, "latency": "near"})
        for cell in lines_of(RESULT)["ours"]
        for more in (0, 1)
    ]
    charts = {chart.name: chart for chart in all_charts(with_others(RESULT, *most), PRICES)}
    assert "reference, batches of 5, S3 near" in charts["tuning"].note
    assert "129 MB" in charts["tuning"].alt


def test_line_has_the_deployed_client_only() -> None:
    ours = lines_of(RESULT)["ours"]
    mixed = with_others(RESULT, *(other_than(cell, {"transport": "aioboto3"}) for cell in ours[:2]))
    assert lines_of(mixed)["ours"] == ours


def test_stages_exclude_their_sum() -> None:
    cell = lines_of(RESULT)["ours"][0]
    assert set(stages_of(cell)) == {"get", "decode", "resize", "encode", "put"}
    assert stages_of(cell)["get"] == pytest.approx(9.0)


def test_money_chart_has_every_handler_once_and_is_small() -> None:
    chart = next(chart for chart in all_charts(result_of_all(), PRICES) if chart.name == "money")
    png = chart.png()
    assert len(png) <= 150_000
    with Image.open(io.BytesIO(png)) as image:
        assert np.asarray(image.convert("RGB"))[[0, -1]].min() == 255
        assert np.asarray(image.convert("RGBA"))[..., 3].min() == 255
    assert [series.name for series in chart.panels[0].series] == [*("ours", "textbook", "sharp", "tutorial", "floor")]


def test_cells_of_no_question_are_listed_too(written: Path) -> None:
    text = (written / "index.html").read_text().partition("<h2>Other cells</h2>")[2].partition("<h2>")[0]
    assert text.count("<tr>") == 1 + len(RESULT.cells)
    assert "lambda 0.289 vCPU, 512 MB, vips, obstore, batch 10, loopback, reference" in text


def rivals(result: Result) -> tuple[Rival, ...]:
    found = compare_platforms(result, PRICES)
    return found.rivals if found else ()


def test_month_has_a_row_for_each_number_of_pictures() -> None:
    found = compare_platforms(RESULT, PRICES)
    assert found is not None
    rows = list(volume_rows(found, PRICES))
    assert [row[0] for row in rows] == ["10 thousand", "1 million", "10 million", "100 million"]
    assert rows[1][1] == f"{cell_cost(found.function, PRICES).total:,.2f}"
    for rival, usd in zip(found.rivals, rows[2][2:], strict=True):
        assert usd == f"{fargate_month(rival.task, PRICES, 1e7):,.2f}"


def test_break_even_is_between_the_cheapest_of_each_kind() -> None:
    found = rivals(RESULT)
    function = min((cell_cost(cell, PRICES) for cell in lines_of(RESULT)["ours"]), key=lambda cost: cost.total)
    for rival, spot in zip(found, (False, True), strict=True):
        assert rival.even == break_even(function, rival.task, PRICES)
        assert rival.task in [cell_task(cell, spot) for cell in RESULT.cells if cell.key.platform == "fargate"]
        assert (rival.own_network.pictures or 0) > (rival.even.pictures or 0)
    assert found[1].task.hour(PRICES) < found[0].task.hour(PRICES)


def test_page_has_the_break_even_of_each_task(written: Path) -> None:
    text = Page((written / "index.html").read_text()).text
    for rival in rivals(RESULT):
        points = [number(even.pictures or 0) for even in (rival.even, rival.own_network)]
        assert re.search(rf"{rival.task.title}\s+{points[0]}\s+{points[1]}\s+{rival.even.busy_share:.0%}\s", text)


@pytest.mark.parametrize("change", [change for change in OTHERS if "batch_size" not in change])
def test_cells_of_other_conditions_are_not_compared_with_tasks(change: dict[str, Any]) -> None:
    cheap = other_than(lines_of(RESULT)["ours"][0], change, cheaper=100)
    assert compare_platforms(with_others(RESULT, cheap), PRICES) == compare_platforms(RESULT, PRICES)
    tasks = [other_than(cell, change) for cell in RESULT.cells if cell.key.platform != "lambda"]
    fast = [replace(cell, repetitions=tuple(replace(r, wall_seconds=1e-3) for r in cell.repetitions)) for cell in tasks]
    assert rivals(with_others(RESULT, *fast)) == rivals(RESULT)


def test_function_of_any_batch_size_is_compared_with_tasks() -> None:
    cheap = other_than(lines_of(RESULT)["ours"][0], {"batch_size": 20}, cheaper=100)
    found = compare_platforms(with_others(RESULT, cheap), PRICES)
    assert found is not None
    assert found.function == cheap


def test_results_prices_apply_unless_others_are_given(tmp_path: Path) -> None:
    dear = replace(RESULT, prices=dict(RESULT.prices) | {"s3_put": 0.001})
    assert prices_of(dear)["s3_put"] == 0.001
    assert prices_of(dear).items["s3_put"].date.isoformat() == "2026-01-02"
    assert prices_of(dear).items["s3_get"] == PRICES.items["s3_get"]
    own = tmp_path / "own.toml"
    own.write_text('[s3_put]\nusd = 0.5\nunit = "request"\ndate = "2026-11-02"\nsource = "a test"\n')
    write_result(dear, tmp_path / "run.json")
    ended = CliRunner().invoke(app, ["report", str(tmp_path / "run.json"), "-o", str(tmp_path), "--prices", str(own)])
    assert ended.exit_code == 0, ended.output
    text = Page((tmp_path / "index.html").read_text()).text
    assert re.search(r"s3_put\s+request\s+2026-11-02\s+a test\s+0.5\s", text)


def only(keep: str) -> Result:
    return replace(RESULT, cells=tuple(cell for cell in RESULT.cells if cell.key.platform == keep))


@pytest.mark.parametrize(
    ("result", "charts"),
    [
        (only("fargate"), set()),
        (only("lambda"), CHARTS - OF_TASKS),
        (replace(RESULT, cells=tuple(c for c in RESULT.cells if c.key.handler == "textbook")), set()),
        (synthetic_result((512,)), CHARTS),
        (replace(RESULT, cells=()), set()),
    ],
)
def test_charts_need_their_cells(result: Result, charts: set[str]) -> None:
    assert {chart.name for chart in all_charts(result, PRICES)} == charts


def test_several_results_share_a_page(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_result(synthetic_result((512, 1024)), tmp_path / f"{name}.json")
    files = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    ended = CliRunner().invoke(app, ["report", *files, "-o", str(tmp_path / "out")])
    assert ended.exit_code == 0, ended.output
    assert len(list((tmp_path / "out").glob("*.png"))) == 2 * len(CHARTS)
    assert len(Page((tmp_path / "out" / "index.html").read_text()).links) == 2 * len(CHARTS)


def test_invalid_result_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    ended = CliRunner().invoke(app, ["report", str(tmp_path / "x.json"), "-o", str(tmp_path / "out")])
    assert ended.exit_code == 2
    assert "is not a file of results" in " ".join(ended.output.split())
    assert not (tmp_path / "out").exists()
