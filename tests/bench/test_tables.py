"""The tables: what is compared with what, and that every number can be read."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from bench.money.costing import cell_cost
from bench.money.prices import prices_of
from bench.pages.tables import (
    COLUMNS,
    LEGEND,
    WIDTH,
    experiments_of,
    ratio_text,
    reference_cell,
    refused_by_reason,
    rows,
    tables,
    with_spread,
)
from bench.questions import EXPERIMENTS, FLOOR, TEXTBOOK, Options, ours, peer
from bench.result import Cell, CellKey, Repetition, Result
from tests.bench.results import lambda_cell, synthetic_result

SCOPE = Options()
PLACE = ours(SCOPE, 512)
NUMBERS = lambda_cell(512, "auto").repetitions[1]


def cell(key: CellKey, billed_ms: float = 10.0, cpu_ms: float = 5.0, count: int = 3, **more: object) -> Cell:
    """So many ms an image, no noise."""
    one = replace(
        NUMBERS,
        records=100,
        billed_ms=100 * billed_ms,
        wall_seconds=billed_ms / 10,
        cpu_seconds=cpu_ms / 10,
        cold_start_ms=billed_ms if key.start == "cold" else None,
    )
    return Cell(key, (one,) * count, **more)  # type: ignore[arg-type]


def result(*cells: Cell) -> Result:
    return replace(synthetic_result((512,)), cells=cells)


def drawn(found: Result, name: str, scope: Options = SCOPE) -> str:
    """As a terminal of the least width shows it."""
    out = StringIO()
    console = Console(file=out, width=WIDTH)
    for table in tables(found, experiments_of(name), scope):
        console.print(table)
    return out.getvalue()


# --- ratios -------------------------------------------------------------------------------------------------------


def test_ratios_use_textbook_time_and_floor_cpu() -> None:
    mine, textbook, floor = (
        cell(PLACE, 10, 5),
        cell(peer(TEXTBOOK, PLACE), 40, 20),
        cell(peer(FLOOR, PLACE), 4, 2),
    )
    elsewhere = ours(SCOPE, 1769)
    others = cell(peer(TEXTBOOK, elsewhere), 1, 1), cell(peer(FLOOR, elsewhere), 1, 1)
    found = result(*others, mine, textbook, floor)
    assert ratio_text(found, mine, TEXTBOOK, "billed_ms_per_image", inverse=True) == "4.00"
    assert ratio_text(found, mine, FLOOR, "cpu_ms_per_image") == "2.50"
    assert ratio_text(found, textbook, FLOOR, "cpu_ms_per_image") == "10.00"


def test_missing_and_own_ratios_are_dashes() -> None:
    textbook = cell(peer(TEXTBOOK, PLACE))
    refused = Cell(peer(FLOOR, PLACE), refused="no")
    found = result(textbook, refused)
    assert ratio_text(found, textbook, TEXTBOOK, "billed_ms_per_image") == "-"
    assert ratio_text(found, textbook, FLOOR, "cpu_ms_per_image") == "-"


def test_task_is_compared_with_the_nearest_cpu_and_marked() -> None:
    task = cell(replace(PLACE, platform="fargate", vcpus=1.0, memory_mb=2048), 10, 5)
    near, far = (cell(peer(TEXTBOOK, ours(SCOPE, memory)), ms) for memory, ms in ((1769, 30.0), (128, 900.0)))
    other_pictures = cell(replace(near.key, pictures="baseline", vcpus=1.0), 50)
    found = result(far, other_pictures, near, task)
    assert reference_cell(found, task, TEXTBOOK) == near
    assert ratio_text(found, task, TEXTBOOK, "billed_ms_per_image", inverse=True) == "~3.00"
    assert reference_cell(result(task, other_pictures), task, TEXTBOOK) is None


# --- rows ---------------------------------------------------------------------------------------------------------


def test_row_has_a_text_for_every_column() -> None:
    mine = cell(PLACE)
    cost = cell_cost(mine, prices_of(result(mine)))
    made = list(rows(result(mine), EXPERIMENTS["tiers"], [mine]))
    assert [len(row) for row in made] == [len(COLUMNS)]
    assert made[0][:2] == ["512 MB", "ours"]
    assert made[0][8:10] == [f"{cost.total:.2f}", f"{cost.compute:.2f}"]


def test_spread_is_half_of_what_lies_between_the_quartiles() -> None:
    speeds = (98.0, 99.0, 100.0, 102.0, 110.0)
    made = tuple(replace(NUMBERS, records=100, wall_seconds=100 / speed) for speed in speeds)
    assert with_spread(Cell(PLACE, made), "images_per_second") == "100 ±2%"


def test_row_names_follow_the_question() -> None:
    assert "10 at once" not in drawn(result(cell(PLACE)), "tiers")
    found = result(
        cell(replace(ours(SCOPE), in_flight=4)),
        cell(replace(ours(SCOPE), batch_size=20)),
        cell(replace(ours(SCOPE), latency="published")),
        cell(replace(ours(SCOPE), pictures="lossy", batch_size=1)),
        cell(replace(ours(SCOPE, 1024), platform="fargate", vcpus=0.5)),
    )
    assert "batch 10, 4 at once" in drawn(found, "batch")
    assert "batch 20 " in drawn(found, "batch")
    assert "published" in drawn(found, "latency")
    assert "WebP" in drawn(found, "formats")
    assert "fargate 0.5 vCPU, 1,024 MB" in drawn(found, "fargate")


def test_cold_table_has_init_and_first_answer() -> None:
    key = replace(PLACE, batch_size=1, start="cold")
    said = drawn(result(cell(key, 777)), "coldstart")
    assert "init" in said
    assert "answer" in said
    assert "777" in said
    assert "/GB-s" not in said


def test_refused_rows_share_one_reason_below() -> None:
    reason = "1.7 vCPUs cannot be given [really]"
    refused = [Cell(key, refused=reason) for key in (ours(SCOPE, 3008), peer(TEXTBOOK, ours(SCOPE, 3008)))]
    found = result(cell(PLACE), *refused)
    said = drawn(found, "tiers")
    assert [line.split() for line in said.splitlines() if "3,008" in line] == [
        ["3,008", "MB", "ours", "refused"],
        ["3,008", "MB", "textbook", "refused"],
    ]
    place = "lambda 3,008 MB, photos x 10, near"
    assert refused_by_reason(found) == {reason: [f"ours (auto), {place}", f"textbook, {place}"]}


def test_question_without_cells_has_no_table() -> None:
    assert drawn(result(cell(PLACE)), "coldstart") == ""
    titles = [table.title for table in tables(result(cell(PLACE)), experiments_of("all"), SCOPE)]
    assert EXPERIMENTS["tiers"].question in titles
    assert EXPERIMENTS["fargate"].question not in titles


def test_the_legend_explains_every_sign_in_a_table() -> None:
    for sign in ("±", "~", "x textbook", "x floor", "p95"):
        assert sign in LEGEND
    assert all(len(line) <= WIDTH for line in LEGEND.splitlines())


# --- widths -------------------------------------------------------------------------------------------------------

# A minute a picture, the longest invocation that there is, all of the memory; and next to nothing.
HUGE = Repetition(
    records=10,
    invocations=10,
    wall_seconds=600.0,
    cpu_seconds=590.0,
    billed_ms=600_000.0,
    peak_rss_bytes=10_240 * 1024 * 1024,
    latencies_ms=(900_000,) * 20,
    bytes_in=1,
    bytes_out=1,
    outcomes={"stored": 10},
    requests={"get": 1},
    cold_start_ms=10_000,
)
TINY = replace(HUGE, wall_seconds=0.001234, cpu_seconds=0.001, billed_ms=1, latencies_ms=(1,) * 20, peak_rss_bytes=1)
SLOW = tuple(replace(HUGE, wall_seconds=600.0 * factor) for factor in (1, 1.9, 3.1))
FAST = tuple(replace(TINY, wall_seconds=0.001234 * factor) for factor in (1, 1.9, 3.1))


def extreme(key: CellKey, slow: bool) -> Cell:
    return Cell(key, SLOW if slow else FAST)


@pytest.mark.parametrize("ours_slow", [True, False])
@pytest.mark.parametrize("others_slow", [True, False])
@pytest.mark.parametrize("scope", [Options(), Options(quick=True)])
def test_numbers_and_names_are_never_cut_off(scope: Options, ours_slow: bool, others_slow: bool) -> None:
    slow = {"ours": ours_slow, TEXTBOOK: others_slow, FLOOR: not others_slow}
    cells = [extreme(key, slow.get(key.handler, True)) for key in EXPERIMENTS["all"].keys(scope)]
    said = drawn(result(*cells), "all", scope)
    assert "…" not in said
    assert " 900000 " in said
    assert max(map(len, said.splitlines())) <= WIDTH
    titles = [experiment.question for experiment in experiments_of("all")]
    assert [title for title in titles if title in said] == titles


def test_floor_has_no_price() -> None:
    """Nobody runs it."""
    floor = cell(peer(FLOOR, PLACE))
    assert next(rows(result(floor), EXPERIMENTS["tiers"], [floor]))[8:10] == ["-", "-"]
