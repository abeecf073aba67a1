"""The guide of backfill and reconcile: its drawing, names and prices."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any, Final

import pytest

from tests.deploy import stack as lambda_stack
from tests.deploy.backfill import machine, read_template
from tests.deploy.guides import RUNS_GUIDE, commands, cost_rows, overrides
from tests.tools.machine import main
from thumbnailer.backfill.estimate import Consumer, Survey, estimate
from thumbnailer.backfill.job import KINDS, Job, parse_job
from thumbnailer.backfill.prices import load_prices
from thumbnailer.backfill.verdicts import Verdict
from thumbnailer.settings import parse_settings

GUIDE: Final = RUNS_GUIDE
DECLARED: Final[dict[str, Any]] = read_template()["Parameters"]
MILLION: Final = 10**6


def test_the_drawing_is_that_of_the_machine() -> None:
    """`python -m tests.tools.machine` draws it."""
    assert main(["--check"]) == 0


def test_every_failure_has_its_row() -> None:
    fails = {name for name, state in machine()["States"].items() if state["Type"] == "Fail"}
    assert set(re.findall(r"^\| `([A-Z]\w+)` \|", GUIDE.partition("## On a schedule")[0], re.MULTILINE)) == fails


def test_every_field_of_a_job_has_its_row_and_its_default() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \|", GUIDE, re.MULTILINE)
    assert set(rows) == set(KINDS)
    defaults = machine()["States"]["Defaults"]["Parameters"]["defaults"]
    assert set(defaults) == set(KINDS)
    assert parse_job("photos", defaults) == Job("photos")


def test_the_guide_names_existing_parameters_and_outputs() -> None:
    pipeline = lambda_stack.source()
    assert set(re.findall(r"\(output \$stack (\w+)\)", GUIDE)) <= set(pipeline["Outputs"])
    assert set(re.findall(r"\(output \$runs (\w+)\)", GUIDE)) <= set(read_template()["Outputs"])
    assert set(re.findall(r'"(\w+)=\\\(\$\w+\)"', GUIDE)) <= set(DECLARED)
    assert set(re.findall(r"`((?:Reconcile|Backlog)\w*)`", GUIDE)) <= {*DECLARED, *read_template()["Resources"]}
    for command in commands(GUIDE):
        for parameter in overrides(" ".join(shlex.split(command))) if "Reconcile" in command else ():
            assert parameter in DECLARED or "(" in parameter or ")" in parameter


def test_parameters_of_the_same_name_accept_the_same() -> None:
    """The guide hands them on from the Lambda's stack; it leaves out MemorySize."""
    pipeline = lambda_stack.source()["Parameters"]
    shared = set(pipeline) & set(DECLARED) - {"MemorySize"}
    assert shared >= {"PackageType", "ImageUri", "CodeBucket", "CodeKey", "Runtime", "Architecture", "SourceBucket"}
    for name in shared:
        for rule in ("Type", "AllowedValues", "AllowedPattern"):
            assert DECLARED[name].get(rule) == pipeline[name].get(rule), (name, rule)
    given = {name for name, one in DECLARED.items() if "Default" not in one} - shared
    assert given <= set(re.findall(r'"(\w+)=\\\(\$\w+\)"', GUIDE))


def test_the_inputs_in_the_guide_are_jobs() -> None:
    inputs = re.findall(r"--input '(.*?)'", GUIDE)
    assert [parse_job("photos", json.loads(text)).limit_usd for text in inputs] == [0, 3]


def test_the_costs_are_those_of_the_estimate() -> None:
    found = Survey({Verdict.MISSING: MILLION}, {"STANDARD": MILLION})
    cost = estimate(found, parse_settings({}), Job("photos"), load_prices(), Consumer())
    queue = sum(line.usd for line in cost.lines if line.name.startswith("SQS"))
    pictures = sum(line.usd for line in cost.lines if not line.name.startswith(("SQS", "S3 LIST")))
    rows = {name: (one, other) for name, one, other in cost_rows(GUIDE.replace(":", ""))}
    assert rows["SQS"][1] == pytest.approx(queue, abs=0.005)
    assert rows["making the thumbnails Lambda, S3, log"][1] == pytest.approx(pictures, abs=0.005)
