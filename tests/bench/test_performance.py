"""docs/performance.md follows from a file of results: all of it, and the same again from the same file."""

from __future__ import annotations

import itertools
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from bench.money.months import FORMULAS, compare_platforms
from bench.money.prices import prices_of
from bench.pages.charts import CHARTS, all_charts
from bench.pages.findings import findings_of
from bench.pages.performance import page, run, scope_of, tidy
from bench.pages.selection import lines_of
from bench.pages.tables import cells_of, experiments_of, markdown_table
from bench.questions import EXPERIMENTS, Options
from bench.result import Result, read_result, write_result
from tests.bench.results import PRICES, result_of_all

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "performance.md"
SOURCE = re.compile(r"`python -m bench performance (\S+)`")
LINK = re.compile(r"\]\(([^)#]+)\)")
RESULT = result_of_all()


def written(folder: Path, result: Result = RESULT) -> Path:
    """The document of a file of results that lies where the repository has its own."""
    (folder / "results").mkdir(parents=True, exist_ok=True)
    (folder / "docs").mkdir(exist_ok=True)
    write_result(result, folder / "results" / "run.json")
    run(folder / "results" / "run.json", folder / "docs" / "performance.md")
    return folder / "docs" / "performance.md"


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("performance"))


def tables_of(text: str) -> list[list[str]]:
    """Each table's lines."""
    return [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]


def test_same_file_gives_the_same_bytes(document: Path, tmp_path: Path) -> None:
    again = written(tmp_path)
    assert again.read_bytes() == document.read_bytes()
    charts = {path.name: path.read_bytes() for path in document.with_suffix("").iterdir()}
    assert {path.name: path.read_bytes() for path in again.with_suffix("").iterdir()} == charts


def test_every_link_leads_to_a_file_and_every_chart_is_shown(document: Path) -> None:
    links = [link for link in LINK.findall(document.read_text()) if link != "why.md"]
    assert all((document.parent / link).is_file() for link in links)
    shown = {Path(link).stem for link in links if link.endswith(".png")}
    assert shown == set(CHARTS) == {path.stem for path in document.with_suffix("").iterdir()}
    assert "../results/run.json" in links


def test_charts_are_small(document: Path) -> None:
    assert sum(path.stat().st_size for path in document.with_suffix("").iterdir()) < 600_000


def test_every_question_has_a_table_with_a_row_a_cell(document: Path) -> None:
    text = document.read_text()
    for experiment in experiments_of("all"):
        cells = cells_of(RESULT, experiment, Options(quick=True))
        section = text.partition(f"## {experiment.question}\n")[2].partition("\n## ")[0]
        (table,) = tables_of(section)
        assert len(table) == 2 + len(cells) == 2 + len(experiment.keys(Options(quick=True)))


def test_every_row_of_a_table_has_all_columns(document: Path) -> None:
    for table in tables_of(document.read_text()):
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {table[0].count("|")}


def test_no_line_ends_with_a_space_and_sections_are_apart(document: Path) -> None:
    lines = document.read_text().splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert [line for before, line in itertools.pairwise(lines) if line.startswith("## ") and before] == []


def test_document_has_machine_versions_pictures_and_dated_prices(document: Path) -> None:
    text = document.read_text()
    wanted = [
        RESULT.machine.cpu,
        RESULT.machine.limits,
        RESULT.machine.kernel,
        RESULT.software.commit,
        "pillow 0.0.0",
        RESULT.picture_sets[0].hash,
        "| repetitions of each cell | 5 |",
        "first byte of a GET after 20 ms, answer to a PUT after 30 ms; 85 MB/s a connection, 75 MiB/s in total",
        f"| `lambda_x86_gb_second` | GB-second | {PRICES.items['lambda_x86_gb_second'].date} |",
        *(tomllib.loads(FORMULAS.read_text())[name].strip() for name in ("break-even", "busy")),
        "Spot is not measured",
    ]
    assert [each for each in wanted if each not in text] == []


def test_refused_cells_link_to_their_reason(tmp_path: Path) -> None:
    text = written(tmp_path, result_of_all(Options())).read_text()
    assert "[refused](#cells-that-could-not-be-measured)" in text
    below = text.partition("## Cells that could not be measured\n")[2]
    assert "5.8 vCPUs cannot be given: this machine has 2 cores: ours (auto), lambda 10,240 MB" in below


def test_document_says_if_no_cell_was_refused(document: Path) -> None:
    assert "None: every cell has its numbers." in document.read_text()
    assert "refused](" not in document.read_text()


def test_charts_of_an_earlier_file_are_deleted(tmp_path: Path) -> None:
    charts = written(tmp_path).with_suffix("")
    (charts / "mine.png").write_bytes(b"not the bench's")
    written(tmp_path, replace(RESULT, cells=tuple(c for c in RESULT.cells if c.key.platform == "lambda")))
    assert {path.stem for path in charts.iterdir()} == set(CHARTS) - {"month"} | {"mine"}


@pytest.mark.parametrize(
    "scope", [Options(quick=True), Options(), Options(memories=(256, 640)), Options(latency="published")]
)
def test_scope_is_recovered_from_the_file(scope: Options) -> None:
    result = result_of_all(scope)
    assert scope_of(result).quick == scope.quick
    own = scope_of(result)
    found = {cell.key for experiment in experiments_of("all") for cell in cells_of(result, experiment, own)}
    assert found >= set(EXPERIMENTS["tiers"].keys(scope)) | set(EXPERIMENTS["peers"].keys(scope))
    assert {cell.key for cell in result.cells} == found


def test_finding_has_the_ratio_of_medians_at_the_same_memory(document: Path) -> None:
    lines = lines_of(RESULT)
    (mine,) = [cell for cell in lines["ours"] if cell.key.memory_mb == 1769]
    (theirs,) = lines["sharp"]
    ratio = (theirs.median("billed_ms_per_image") or 0) / (mine.median("billed_ms_per_image") or 1)
    (longer,) = [longer for name, longer, _ in findings_of(RESULT, PRICES)["peers"] if name == "sharp"]
    assert longer == f"{ratio:.2f}"
    assert f"An image of `sharp` is billed {ratio:.2f} times as long" in document.read_text()


def test_findings_leave_out_cells_that_were_not_measured(tmp_path: Path) -> None:
    without = result_of_all(without="sharp")
    peers = [name for name, *_ in findings_of(RESULT, PRICES)["peers"]]
    assert [name for name, *_ in findings_of(without, PRICES)["peers"]] == [name for name in peers if name != "sharp"]
    assert "An image of `sharp`" not in written(tmp_path, without).read_text()
    assert findings_of(replace(RESULT, cells=()), PRICES) == {}


def test_result_without_cells_gives_a_document_without_findings(tmp_path: Path) -> None:
    text = written(tmp_path, replace(RESULT, cells=())).read_text()
    assert "\n- " not in text.partition("## In short")[2].partition("## What these numbers mean")[0]
    assert "Lambda, Fargate or" not in text


def test_only_measured_distances_are_explained(document: Path, tmp_path: Path) -> None:
    assert re.findall(r"^  - `(\S+)`:", document.read_text(), re.MULTILINE) == ["near", "loopback"]
    assert "  - `" not in written(tmp_path, replace(RESULT, cells=())).read_text()


def test_pipes_in_tables_are_escaped() -> None:
    assert markdown_table(["a", "b"], [["1|2", "3"]], left=2) == "| a | b |\n| --- | --- |\n| 1\\|2 | 3 |\n"


def test_tidy_keeps_words_and_one_empty_line() -> None:
    assert tidy("\n\na  \n\n\n\nb\n\n") == "a\n\nb\n"


def test_command_prints_the_written_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_result(RESULT, tmp_path / "run.json")
    run(tmp_path / "run.json", tmp_path / "performance.md")
    assert re.search(r"performance\.md, 4 charts of \d+ kB", capsys.readouterr().out)


def test_the_repositorys_document_follows_from_its_results() -> None:
    if not list((ROOT / "bench" / "results").glob("*.json")):
        pytest.skip("there is no file of results in bench/results")
    text = DOCUMENT.read_text(encoding="utf-8")
    source = SOURCE.search(text)
    assert source is not None, "docs/performance.md does not say which file it was made from"
    result = read_result(ROOT / source[1])
    prices = prices_of(result)
    links = {chart: f"performance/{chart.name}.png" for chart in all_charts(result, prices)}
    again = f"python -m bench performance {source[1]}"
    assert page(result, prices, links, source[1], f"../{source[1]}") == text, f"write it again: {again}"
    there = {path.stem for path in DOCUMENT.with_suffix("").glob("*.png")}
    assert there == {chart.name for chart in links}, f"write the charts again: {again}"


def test_fargate_guide_has_the_measured_break_even() -> None:
    result = read_result(ROOT / "bench" / "results" / "reference.json")
    found = compare_platforms(result, prices_of(result))
    assert found is not None
    guide = " ".join((ROOT / "deploy" / "fargate.md").read_text(encoding="utf-8").split())
    for rival, words in zip(found.rivals, ("busy for more than", "on Spot for more than"), strict=True):
        assert f"{words} {100 * rival.even.busy_share:.0f} %" in guide
