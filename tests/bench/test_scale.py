"""`python -m bench scale`: what it is asked, what it prints, what it writes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.commands import app
from bench.money.costing import Cost
from bench.result import write_result
from bench.scale.command import parse_rate
from bench.scale.model import ScaleError
from tests.bench.results import synthetic_result


@pytest.mark.parametrize(
    ("text", "rate"), [("10000/s", 10_000), ("600/min", 10), ("3600 / h", 1), ("2e6/day", 23.148), ("1_000/s", 1000)]
)
def test_rates_are_parsed(text: str, rate: float) -> None:
    assert parse_rate(text) == pytest.approx(rate, rel=1e-4)


@pytest.mark.parametrize("text", ["", "10", "10/week", "/s", "-5/s", "0/s", "1e/s", "1e300/s", "nan/s"])
def test_invalid_rate_is_refused(text: str) -> None:
    with pytest.raises(ScaleError, match="expected a rate such as"):
        parse_rate(text)


def test_command_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    measured, output = tmp_path / "result.json", tmp_path / "scale.json"
    write_result(synthetic_result(), measured)
    options = [
        "scale",
        "--rate",
        "50/s",
        "--minutes",
        "0.5",
        "--results",
        str(measured),
        "--memory",
        "512",
        "-o",
        str(output),
    ]
    ended = CliRunner().invoke(app, options)
    assert ended.exit_code == 0, ended.output
    assert "USD a million" in ended.output
    written = json.loads(output.read_text())
    assert set(written) == {"Lambda", "Fargate", "Fargate Spot"}
    assert len(written["Lambda"]["samples"]) >= 30
    assert set(written["Lambda"]["cost"]) == set(asdict(Cost()))


def told(*options: str) -> str:
    """What it prints, without its line breaks."""
    ended = CliRunner().invoke(app, ["scale", *options])
    assert ended.exit_code == 0, ended.output
    return " ".join(ended.output.split())


def test_prices_include_requests_and_scale_in(tmp_path: Path) -> None:
    base, measured, output = synthetic_result((1769,)), tmp_path / "result.json", tmp_path / "scale.json"
    looking = (
        replace(cell, repetitions=tuple(replace(one, requests={**one.requests, "head": 1}) for one in cell.repetitions))
        for cell in base.cells
    )
    write_result(replace(base, cells=tuple(looking)), measured)
    said = told("--rate", "1000/s", "--minutes", "4", "--results", str(measured), "-o", str(output))
    assert "for a picture 1 GET, 1 HEAD, 1 PUT, and SQS's requests" in said
    assert "until autoscaling is back at 1" in said
    written = json.loads(output.read_text())
    assert [one["cost"]["s3_head"] for one in written.values()] == [pytest.approx(0.4)] * 3
    fargate, spot = written["Fargate"], written["Fargate Spot"]
    assert fargate["started"] > 1
    assert fargate["paid_until"] == spot["paid_until"] > fargate["drained"]
    assert written["Lambda"]["paid_until"] is None
    assert f"tasks paid until │ - │ {fargate['paid_until']:,.0f} s │ {spot['paid_until']:,.0f} s" in said


def test_source_of_service_times_is_printed(tmp_path: Path) -> None:
    measured = tmp_path / "result.json"
    write_result(synthetic_result((1769,)), measured)
    said = told("--rate", "5/s", "--minutes", "0.5", "--results", str(measured))
    assert "a batch of 10 at 1,769 MB (others by a model of 1 measured; they vary as batches of 10 at 1,769 MB" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rate", "many"], "expected a rate such as"),
        (["--rate", "1/day", "--minutes", "1"], "nothing arrived in 60 s"),
        (["--results", "none.json"], "cannot be read"),
        (["--prices", "none.toml"], "cannot be read"),
        (["--memory", "333"], "no measured function of 333 MB"),
    ],
)
def test_command_reports_mistakes(options: list[str], said: str) -> None:
    ended = CliRunner().invoke(app, ["scale", *options])
    assert ended.exit_code == 2
    assert said in " ".join(ended.output.split())
