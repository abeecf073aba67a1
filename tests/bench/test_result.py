"""Files of results: a written result can be read back; a broken file is refused with the place in it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.result import (
    METRICS,
    VERSION,
    Cell,
    ResultError,
    Spread,
    decode,
    encode,
    percentile,
    read_result,
    write_result,
)
from tests.bench.results import lambda_cell, synthetic_result

RESULT = decode(encode(synthetic_result((512, 1769))))
DOCUMENT = json.loads(encode(RESULT))


def test_a_written_result_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_result(RESULT, path)
    assert read_result(path) == RESULT
    assert [each.name for each in tmp_path.iterdir()] == ["result.json"]


def test_fields_that_only_some_repetitions_have_stay_theirs() -> None:
    cell = lambda_cell(512, "vips")
    first, *rest = cell.repetitions
    repetitions = (replace(first, cold_start_ms=None, stages_ms={"decode": 1.0}), *rest)
    for changed in (repetitions, tuple(replace(one, stages_ms={}) for one in repetitions)):
        found = decode(encode(replace(RESULT, cells=(Cell(cell.key, changed),)))).cells[0].repetitions
        assert [one.cold_start_ms for one in found] == [one.cold_start_ms for one in changed]
        assert [set(one.stages_ms) for one in found] == [set(one.stages_ms) for one in changed]


def test_equal_repetitions_are_read_back_as_they_were() -> None:
    cell = lambda_cell(512, "vips")
    for count in (1, 3):
        equal = Cell(cell.key, cell.repetitions[1:2] * count)
        found = decode(encode(replace(RESULT, cells=(equal,)))).cells[0].repetitions
        assert [(one.records, list(one.latencies_ms), one.stages_ms) for one in found] == [
            (one.records, list(one.latencies_ms), one.stages_ms) for one in equal.repetitions
        ]


def test_a_file_has_one_line_per_cell() -> None:
    lines = encode(RESULT).splitlines()
    start = lines.index(b' "cells": [')
    assert len(lines[start + 1 : -1]) == len(RESULT.cells)


def test_a_spread_is_median_and_quartiles_of_the_repetitions() -> None:
    cell = lambda_cell(1024, "vips")
    rates = sorted(one.records / one.wall_seconds for one in cell.repetitions)
    assert cell.spread("images_per_second") == Spread(rates[2], rates[1], rates[3])
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)


def test_metrics_are_what_their_names_say() -> None:
    one = replace(lambda_cell(512, "vips").repetitions[0], records=100, billed_ms=2000, wall_seconds=4, cpu_seconds=1)
    cell = Cell(lambda_cell(512, "vips").key, (one,))
    assert {metric: cell.median(metric) for metric in list(METRICS)[:5]} == pytest.approx(
        {
            "images_per_second": 25,
            "cpu_ms_per_image": 10,
            "billed_ms_per_image": 20,
            "mb_seconds_per_image": 10.24,
            "images_per_gb_second": 100,
        }
    )


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_a_value_that_enough_values_do_not_exceed(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


# --- refusals -----------------------------------------------------------------------------------------------------


FIELDS = {name: number for number, name in enumerate(DOCUMENT["fields"])}


def _set(document: dict[str, Any], name: str, value: object) -> None:
    document["cells"][0]["repetitions"][FIELDS[name]] = value


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no machine": (lambda d: d.pop("machine"), "missing required field `machine`"),
    "no kernel": (lambda d: d["machine"].update(kernel=""), "$.machine.kernel"),
    "a malformed hash": (lambda d: d["picture_sets"][0].update(hash="x"), "$.picture_sets[0].hash"),
    "an unknown platform": (lambda d: d["cells"][0]["key"].update(platform="ec2"), "$.cells[0].key.platform"),
    "zero records": (lambda d: _set(d, "records", 0), "$.cells[0].repetitions[0].records"),
    "text for a number": (lambda d: _set(d, "log_bytes", "9"), "$.cells[0].repetitions[0].log_bytes"),
    "a negative request": (lambda d: _set(d, "requests", {"get": -1}), "$.cells[0].repetitions[0].requests"),
    "a missing value": (lambda d: d["cells"][0]["repetitions"].pop(), "expected a column for each of `fields`"),
    "a short column": (
        lambda d: d["cells"][0]["repetitions"][FIELDS["wall_seconds"]].pop(),
        "expected a column for each of `fields`",
    ),
    "no columns": (lambda d: d["cells"][0].update(repetitions=7), "expected a column for each of `fields`"),
    "no repetitions": (lambda d: d["cells"][0].update(repetitions=[]), "$.cells[0]"),
    "refused and measured": (lambda d: d["cells"][0].update(refused="no"), "$.cells[0]"),
    "a date without time": (lambda d: d.update(made="2026-01-02"), "$.made"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_malformed_file_is_refused_with_the_place(name: str, tmp_path: Path) -> None:
    change, said = CHANGES[name]
    document = copy.deepcopy(DOCUMENT)
    change(document)
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ResultError) as raised:
        read_result(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert said in str(raised.value)


@pytest.mark.parametrize("version", [0, VERSION - 1, VERSION + 1, "3", None])
def test_an_older_or_newer_file_is_named_as_such(version: object) -> None:
    with pytest.raises(ResultError, match="is not a file of results of this version"):
        decode(json.dumps(DOCUMENT | {"version": version}).encode())


@pytest.mark.parametrize("document", [[], {}, None, "x", {"format": "other"}, {"version": 1, "cells": []}])
def test_a_foreign_file_is_named_as_such(document: object) -> None:
    with pytest.raises(ResultError, match="is not a file of results"):
        decode(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"PK\x03\x04", b'{"x": NaN}'])
def test_a_file_that_is_not_json_is_named_as_such(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(ResultError, match=r"x\.json: is not JSON"):
        read_result(path)
    with pytest.raises(ResultError, match="cannot be read: No such file"):
        read_result(tmp_path / "none.json")


def test_an_unreadable_result_is_not_written_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_result(RESULT, path)
    before = path.read_bytes()
    for wrong in (replace(RESULT, made="now"), replace(RESULT, prices={"s3_put": -1.0})):
        with pytest.raises(ResultError, match=r"made|prices"):
            write_result(wrong, path)
    assert path.read_bytes() == before
