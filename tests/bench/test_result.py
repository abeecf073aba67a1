"""Files of results: what is written is read again, and what is not such a file is refused with the place."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.result import (
    METRICS,
    Cell,
    ResultError,
    Spread,
    from_document,
    percentile,
    read_result,
    schema,
    to_document,
    write_result,
)
from tests.bench.results import lambda_cell, synthetic_result, task_cell

RESULT = synthetic_result((512, 1769))
DOCUMENT = to_document(RESULT)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_result(RESULT, path)
    assert read_result(path) == RESULT
    assert [each.name for each in tmp_path.iterdir()] == ["result.json"]


def test_the_schema_is_one_and_knows_every_metric() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    measured = next(cell for cell in DOCUMENT["cells"] if cell["repetitions"])
    assert set(measured["summary"]) == set(METRICS)


def test_a_summary_is_median_and_quartiles_of_the_repetitions() -> None:
    cell = lambda_cell(1024, "vips")
    rates = sorted(one.records / one.wall_seconds for one in cell.repetitions)
    assert cell.summary()["images_per_second"] == Spread(rates[2], rates[1], rates[3])
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)


def test_metrics_are_what_their_names_say() -> None:
    one = replace(lambda_cell(512, "vips").repetitions[0], records=100, billed_ms=2000, wall_seconds=4, cpu_seconds=1)
    cell = Cell(lambda_cell(512, "vips").key, (one,))
    assert {metric: cell.median(metric) for metric in list(METRICS)[:6]} == pytest.approx(
        {
            "images_per_second": 25,
            "cpu_ms_per_image": 10,
            "billed_ms_per_image": 20,
            "mb_seconds_per_image": 10.24,
            "images_per_second_per_mb": 25 / 512,
            "images_per_gb_second": 100,
        }
    )


def test_ratios_are_to_the_baseline_in_the_same_place() -> None:
    ours, textbook = lambda_cell(512, "auto"), lambda_cell(512, "pillow", "textbook")
    other = lambda_cell(1769, "pillow", "textbook")
    result = replace(RESULT, cells=(other, ours, textbook))
    assert result.baseline_of(ours) == textbook
    wanted = (ours.median("images_per_second") or 0) / (textbook.median("images_per_second") or 1)
    assert result.ratios(ours)["images_per_second"] == pytest.approx(wanted)
    assert set(result.ratios(textbook).values()) == {1.0}
    assert replace(result, baseline="").ratios(ours) == {}
    assert result.ratios(task_cell("fargate", 1, 2048)) == {}


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_value_that_enough_do_not_exceed(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


# --- what is refused ----------------------------------------------------------------------------------------------


def _cell(document: dict[str, Any]) -> Any:
    return document["cells"][0]


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no machine": (lambda d: d.pop("machine"), "the file: 'machine' is a required property"),
    "a field too many": (lambda d: d["software"].update(branch="x"), "software: Additional properties"),
    "no kernel": (lambda d: d["machine"].update(kernel=""), "machine/kernel:"),
    "a hash that is none": (lambda d: d["picture_sets"][0].update(hash="x"), "picture_sets/0/hash:"),
    "a platform unknown": (lambda d: _cell(d)["key"].update(platform="ec2"), "cells/0/key/platform:"),
    "records of none": (lambda d: _cell(d)["repetitions"][0].update(records=0), "cells/0/repetitions/0/records:"),
    "text for a number": (
        lambda d: _cell(d)["repetitions"][0].update(log_bytes="9"),
        "cells/0/repetitions/0/log_bytes:",
    ),
    "nothing measured": (lambda d: _cell(d).update(repetitions=[]), "cells/0/repetitions:"),
    "refused and measured": (lambda d: _cell(d).update(refused="no"), "cells/0/repetitions:"),
    "a time of no zone": (lambda d: d.update(made="2026-01-02"), "made:"),
    "another's summary": (
        lambda d: _cell(d)["summary"]["p50_ms"].update(median=1),
        "cells/0/summary: does not follow from the repetitions",
    ),
    "another's latencies": (
        lambda d: _cell(d)["latencies"].update(p95_ms=1),
        "cells/0/latencies: does not follow from the repetitions",
    ),
    "another's ratio": (
        lambda d: _cell(d)["ratio_to_baseline"].update(p50_ms=0.1),
        "cells/0/ratio_to_baseline: does not follow",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_breaks_the_schema_is_refused_with_the_place(name: str, tmp_path: Path) -> None:
    change, said = CHANGES[name]
    document = copy.deepcopy(DOCUMENT)
    change(document)
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ResultError) as raised:
        read_result(path)
    assert str(raised.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize("version", [0, 1, "2", None])
def test_an_older_or_newer_file_is_named_as_such(version: object) -> None:
    with pytest.raises(ResultError, match=r"has version .*, and version 2 is read here"):
        from_document(DOCUMENT | {"version": version})


@pytest.mark.parametrize("document", [[], {}, None, "x", {"format": "other"}, {"version": 1, "cells": []}])
def test_a_foreign_file_is_named_as_such(document: object) -> None:
    with pytest.raises(ResultError, match="is not a file of results"):
        from_document(document)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"PK\x03\x04", b'{"x": NaN}'])
def test_what_is_not_json_is_named_as_such(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(ResultError, match=r"x\.json: is not JSON"):
        read_result(path)
    with pytest.raises(ResultError, match="cannot be read: No such file"):
        read_result(tmp_path / "none.json")


def test_what_would_not_be_read_again_is_not_written_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_result(RESULT, path)
    before = path.read_bytes()
    for wrong in (replace(RESULT, made="now"), replace(RESULT, prices={"s3_put": -1.0})):
        with pytest.raises(ResultError, match=r"made|prices/s3_put"):
            write_result(wrong, path)
    assert path.read_bytes() == before


def test_every_change_of_a_repetition_is_seen_in_what_is_read(tmp_path: Path) -> None:
    cell = RESULT.cells[0]
    slower = replace(cell.repetitions[0], wall_seconds=1e9)
    changed = replace(RESULT, cells=(replace(cell, repetitions=(slower, *cell.repetitions[1:])), *RESULT.cells[1:]))
    write_result(changed, tmp_path / "x.json")
    assert read_result(tmp_path / "x.json").cells[0].repetitions[0].wall_seconds == 1e9
