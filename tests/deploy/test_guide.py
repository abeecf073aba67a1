"""deploy/README.md: CloudFormation accepts its commands, and its sums are right."""

from __future__ import annotations

import re
from typing import Final

import pytest
from typer.main import get_command

from handler.commands import app
from tests.deploy.guides import (
    GB_SECOND,
    GUIDE,
    MILLION,
    commands,
    cost_rows,
    costs,
    log_kb,
    on_one_line,
    overrides,
    seconds,
    section,
    watched_metrics,
)
from tests.deploy.stack import BASICS, Stack, translate
from thumbnailer.reporting.metrics import METRICS

SHELL: Final = {"bucket": "photos", "code": "code", "stack": "thumbnailer"}
DEPLOYS: Final = [command for command in commands(GUIDE) if "cloudformation deploy" in command]


def parameters_of(command: str) -> dict[str, str]:
    """The parameters that a command deploys with, the shell's variables replaced."""
    pairs = overrides(command).items()
    return {name: re.sub(r"\$(\w+)", lambda match: SHELL[match[1]], value) for name, value in pairs}


def test_the_first_thumbnail_needs_one_command() -> None:
    typed = commands(section("From nothing to the first thumbnail").partition("### By hand")[0])
    assert [line.split()[:2] for line in typed if "=" not in line.split()[0]] == [["make", "deploy"]]


def test_the_options_in_the_guide_exist() -> None:
    options = {option for one in get_command(app).commands["deploy"].params for option in one.opts}  # type: ignore[attr-defined]
    named = set(re.findall(r"--[a-z-]+", " ".join(re.findall(r"make deploy.*|^\| `--.*?\|", GUIDE, re.MULTILINE))))
    assert {"--bucket", "--with", "--remove"} <= named <= options


def test_cloudformation_accepts_the_deployment_by_hand() -> None:
    (command,) = DEPLOYS
    assert "--capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND" in command
    assert Stack({"SourceBucket": "photos"} | parameters_of(command)).refused() == []


def test_the_deployed_zip_is_uploaded_before() -> None:
    typed = commands(GUIDE)
    function = Stack(parameters_of(DEPLOYS[0]))["ZipFunction"]
    key, name = function["Code"]["S3Key"], f"{function['Runtime']}-{function['Architectures'][0]}"
    assert f"aws s3 cp dist/thumbnailer-{name}.zip s3://$code/{key}" in typed[: typed.index(DEPLOYS[0])]


def test_an_image_replaces_three_parameters() -> None:
    (written,) = set(re.findall(r"`ImageUri=([^`]+)`", GUIDE))
    assert Stack(BASICS | {"ImageUri": written.replace("...", "0" * 64)}).refused() == []


def test_existing_buckets_are_deployed_as_the_guide_says() -> None:
    source, destination = (
        {"CreateSourceBucket": "false", "Trigger": "eventbridge"},
        {"CreateDestinationBucket": "false"},
    )
    for more in (source, destination):
        assert " ".join(f"{name}={value}" for name, value in more.items()) in on_one_line(GUIDE)
    assert Stack(BASICS | source | destination).refused() == []


def test_the_guide_names_existing_parameters_outputs_and_alarms() -> None:
    declared = translate()
    named = set(re.findall(r"\b([A-Z][a-z][A-Za-z]+)=", GUIDE)) | set(
        re.findall(r"^\| `([A-Z]\w+)`", GUIDE, re.MULTILINE)
    )
    alarms = {id_ for id_, one in declared["Resources"].items() if one["Type"] == "AWS::CloudWatch::Alarm"}
    assert named - set(declared["Parameters"]) - {"OutputKey"} == alarms
    outputs = set(re.findall(r"output (\w+)\)", GUIDE)) | set(re.findall(r"output `(\w+)`", GUIDE))
    assert outputs <= set(declared["Outputs"])
    assert len(outputs) >= 6


# --- costs --------------------------------------------------------------------------------------------------------


def test_the_seconds_are_those_that_the_bench_measured() -> None:
    text = on_one_line(section("What it costs"))
    assert f"{seconds(1769, 1):.3f} s for one, {seconds(1769, 10):.3f} s for ten" in text
    ten_at_512 = seconds(512, 10)
    usd = [MILLION / 10 * took * mb / 1024 * GB_SECOND for mb, took in ((512, ten_at_512), (1769, seconds(1769, 10)))]
    assert "At 512 MB ten take {:.2f} s, and a million costs {:.2f} instead of {:.2f}".format(ten_at_512, *usd) in text


def test_the_costs_follow_from_the_prices() -> None:
    one, ten = (costs(n, seconds(1769, n), log_kb(1769, n)) for n in (1, 10))
    rows = cost_rows(section("What it costs"))
    assert [name for name, _, _ in rows] == list(one)
    for name, single, batched in rows:
        assert single == pytest.approx(one[name], abs=0.0051), name
        assert batched == pytest.approx(ten[name], abs=0.0051), name


def test_the_fixed_costs_are_those_of_the_template_s_resources() -> None:
    text = on_one_line(section("What it costs"))
    assert f"{0.30 * len(METRICS):.2f} for the {len(METRICS)} of namespace" in text
    watched = sum(watched_metrics(alarm.properties) for alarm in Stack(BASICS).of_type("AWS::CloudWatch::Alarm"))
    assert f"alarms {0.10 * watched:.2f} (0.10 for each of {watched} metrics)" in text
