"""deploy/fargate.md: CloudFormation accepts its commands, and its sums are right."""

from __future__ import annotations

import re
import tomllib
from typing import Final

import pytest

from handler.worker.consumer import Limits
from handler.worker.heartbeat import LOOK_SECONDS
from handler.worker.receiver import POLL_SECONDS
from tests.deploy import stack as lambda_stack
from tests.deploy.fargate import BASICS, FARGATE, FARGATE_SIZES, NAME, environment, rate_of, read_template, worker
from tests.deploy.guides import (
    GUIDE,
    MILLION,
    WORKER_GUIDE,
    commands,
    cost_rows,
    on_one_line,
    overrides,
    reference_cells,
    watched_metrics,
)
from tests.deploy.stack import IMAGE, Stack
from thumbnailer.planning.tier import tier_for

TEXT: Final = on_one_line(WORKER_GUIDE)
PERFORMANCE: Final = FARGATE.parents[1] / "docs" / "performance.md"
PIPELINE: Final = Stack(lambda_stack.BASICS)
SHARED: Final = set(lambda_stack.source()["Parameters"]) & set(read_template()["Parameters"])
NOT_TAKEN: Final = set(re.findall(r'"(\w+)"', re.findall(r"IN\((.*?)\)", WORKER_GUIDE)[0]))
"""Parameters of the function's stack that the guide does not hand on."""
DEPLOYS: Final = [command for command in commands(WORKER_GUIDE) if "cloudformation deploy" in command]


def parameters_of(command: str) -> dict[str, str]:
    """The parameters that a command deploys with, its variables and outputs replaced."""
    text = re.sub(r"\$\(output \$stack (\w+)\)", lambda match: PIPELINE.outputs[match[1]], command)
    pairs = overrides(text.replace("$image", IMAGE))
    assert not any("$" in value for value in pairs.values())
    return handed_on(PIPELINE) if "file://worker.json" in command else pairs


def handed_on(pipeline: Stack) -> dict[str, str]:
    """The worker's parameters that the guide writes to worker.json; test_guide_loops.py runs it."""
    own = re.findall(r'"(\w+)=\\\(\$\w+\)"', WORKER_GUIDE)
    return settings_of(pipeline) | {name: BASICS[name] for name in own}


def settings_of(pipeline: Stack) -> dict[str, str]:
    """The parameters that the worker gets from the function's stack."""
    return {name: pipeline.parameters[name] for name in SHARED - NOT_TAKEN}


def test_parameters_of_the_same_name_mean_the_same_in_both_stacks() -> None:
    """Except those that the guide leaves out."""
    function, task = lambda_stack.source()["Parameters"], read_template()["Parameters"]
    checks = ("Type", "Default", "AllowedPattern", "AllowedValues", "MinValue", "MaxValue", "MaxLength")
    differing = {
        name
        for name in SHARED
        if [function[name].get(one) for one in checks] != [task[name].get(one) for one in checks]
    }
    assert differing <= NOT_TAKEN
    assert NOT_TAKEN - differing == {"Architecture", "VpcId", "SubnetIds"}  # a worker has its own image and network


def test_the_worker_gets_the_function_s_settings() -> None:
    given = lambda_stack.BASICS | {
        "Renditions": "a=1x1:cover, b=2x2", "Key": "t/{name}/{key}", "CacheControl": "public, max-age=60", "Svg": "on",
        "OnDelete": "keep", "Destination": "thumbs", "MaxPixels": "1000000", "Include": "*.jpg", "LogLevel": "DEBUG",
    }  # fmt: skip
    pipeline = Stack(given)
    of_function = pipeline["ImageFunction"]["Environment"]["Variables"]
    made = Stack(BASICS | settings_of(pipeline), read_template(), NAME)
    assert made.refused() == []
    of_worker = environment(made)
    assert {name: of_worker[name] for name in of_function} == of_function


def test_the_work_moves_with_two_deployments_and_back_with_two() -> None:
    files = [re.findall(r"--template-file deploy/(\w+)\.yaml", command)[0] for command in DEPLOYS]
    assert files == ["fargate", "template", "template", "fargate", "fargate"]
    assert [parameters_of(command).get("Consumer") for command in DEPLOYS] == [None, "none", "lambda", "none", None]


def test_cloudformation_accepts_every_deployment() -> None:
    for command in DEPLOYS:
        if "fargate.yaml" in command:
            assert "--stack-name $worker" in command
            assert Stack(parameters_of(DEPLOYS[0]) | parameters_of(command), read_template(), NAME).refused() == []
        else:
            assert "--stack-name $stack" in command
            assert Stack(lambda_stack.BASICS | parameters_of(command)).refused() == []
    assert set(parameters_of(DEPLOYS[0])) == set(BASICS) | SHARED - NOT_TAKEN


def test_the_guide_names_existing_parameters_outputs_and_alarms() -> None:
    template, pipeline = read_template(), lambda_stack.translate()
    alarms = {id_ for id_, one in template["Resources"].items() if one["Type"] == "AWS::CloudWatch::Alarm"}
    assigned = set(re.findall(r"\b([A-Z][a-z][A-Za-z]+)=", WORKER_GUIDE)) - {"OutputKey"}
    assert assigned <= set(template["Parameters"]) | set(pipeline["Parameters"])
    rows = re.findall(r"^\| (`[A-Z]\w+`(?:, `\w+`)*) \|", WORKER_GUIDE, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"\w+", row)} - set(template["Parameters"]) == alarms
    of_worker = set(re.findall(r"output (?:\$worker |`)(\w+)", WORKER_GUIDE))
    assert of_worker <= set(template["Outputs"])
    assert len(of_worker) >= 5
    assert set(re.findall(r"output \$stack (\w+)", WORKER_GUIDE)) <= set(pipeline["Outputs"])


def test_every_link_of_both_guides_leads_to_a_file() -> None:
    for path in re.findall(r"\]\((?!http|#)([^)#]+)", GUIDE + WORKER_GUIDE):
        assert (FARGATE.parent / path).exists(), path


# --- costs --------------------------------------------------------------------------------------------------------

HOURS: Final = 730
PRICES: Final = tomllib.loads((FARGATE.parents[1] / "thumbnailer" / "backfill" / "prices.toml").read_text())
X86: Final = (0.04048, 0.004445)
ARM: Final = (0.03238, 0.00356)


def hour(prices: tuple[float, float] = X86) -> float:
    """USD of an hour of the default task."""
    task = worker()["TaskDefinition"]
    return int(task["Cpu"]) / 1024 * prices[0] + int(task["Memory"]) / 1024 * prices[1]


def costs(rate: float) -> dict[str, float]:
    """USD per million pictures."""
    rows = {
        "Fargate": MILLION / rate / 3600 * hour(),
        "S3, GET and HEAD": 2 * MILLION * 0.0004 / 1000,
        "S3, PUT": MILLION * 0.005 / 1000,
        "SQS": 0.40 + 2 * 0.40 / 10,
        "log": 0.0,  # a line of 100 bytes every ten seconds
    }
    return rows | {"together": sum(rows.values())}


def rates() -> dict[float, float]:
    """The measured pictures a second, by vCPUs."""
    return {cell.key.vcpus: cell.median("images_per_second") or 0.0 for cell in reference_cells("fargate")}


def test_the_rates_are_the_measured_ones_and_the_template_s_are_no_higher() -> None:
    found = rates()
    assert f"{found[0.25]:.1f} a second at 0.25 vCPU, {found[0.5]:.1f} at 0.5 and {found[1.0]:.1f} at 1" in TEXT
    assert f"the {found[1.0]:.1f} that were measured" in TEXT
    for vcpus in (0.25, 0.5, 1.0):
        assert 0.5 * found[vcpus] < rate_of(int(1024 * vcpus)) <= found[vcpus], vcpus


def test_the_default_rates_are_the_template_s() -> None:
    quarter, half, one, *more = (f"{rate_of(cpu):.0f}" for cpu in FARGATE_SIZES)
    assert f"goes by `Cpu`: {quarter} at 0.25 vCPU, {half} at 0.5, {one} at 1." in TEXT
    assert "so {} at 2, {} at 4, {} at 8, {} at 16.".format(*more) in TEXT


def test_the_costs_follow_from_the_prices() -> None:
    rows = cost_rows(WORKER_GUIDE)
    assert [name for name, _, _ in rows] == list(costs(10))
    fast = rates()[1.0]
    for name, at_ten, as_measured in rows:
        assert at_ten == pytest.approx(costs(10)[name], abs=0.0051), name
        assert as_measured == pytest.approx(costs(fast)[name], abs=0.0051), name
    on_arm = [MILLION / rate / 3600 * hour(ARM) for rate in (10, fast)]
    assert "makes the first line {:.2f} and {:.2f}".format(*on_arm) in TEXT


def monthly_price(row: str) -> float:
    (found,) = re.findall(rf"^\| {row} \| (?:about )?([\d.]+) \|", WORKER_GUIDE, re.MULTILINE)
    return float(found)


def networks() -> list[float]:
    """USD a month of each network in the guide's table."""
    rows = re.findall(r"^\| (?:private|public|your subnets)[^|]*\|[^|]*\| ([\d.]+) \|", WORKER_GUIDE, re.MULTILINE)
    return [float(row) for row in rows]


def test_the_costs_of_the_networks_are_those_of_their_parts() -> None:
    an_hour = []
    for parameters in ({}, {"Zones": "1"}, {"AssignPublicIp": "true"}):
        endpoints = worker(**parameters).of_type("AWS::EC2::VPCEndpoint")
        zones = sum(len(one.properties.get("SubnetIds", ())) for one in endpoints)
        an_hour.append(zones * PRICES["endpoint_hour"]["usd"])
    assert an_hour[0] / 2 == pytest.approx(0.04)
    assert "cost 0.04 USD an hour in each" in read_template()["Parameters"]["Zones"]["Description"]
    expected = [an_hour[0], an_hour[1], an_hour[2] + PRICES["public_ipv4_hour"]["usd"], 0.045]
    assert networks() == pytest.approx([HOURS * one for one in expected])
    assert monthly_price(r"\[network\]\(#network\)") == pytest.approx(HOURS * an_hour[0])
    rows = ("a task that always runs", "a task polling an empty queue", "alarms", "Container Insights")
    others = sum(monthly_price(row) for row in rows)
    private, public = (others + networks()[place] for place in (0, 2))
    assert f"idles at {private:.2f} with the first network and at {public:.2f} with the public one" in TEXT


def test_the_fixed_costs_are_those_of_the_template_s_resources() -> None:
    made = worker(MinimumTasks="1")
    assert monthly_price("a task that always runs") == pytest.approx(HOURS * hour(), abs=0.0051)
    task = made["TaskDefinition"]
    receivers = Limits(tier_for(int(task["Memory"]), int(task["Cpu"]) / 1024).in_flight, 0, 0).receivers
    requests = HOURS * 3600 * (receivers / POLL_SECONDS + 1 / LOOK_SECONDS)
    assert monthly_price("a task polling an empty queue") == pytest.approx(requests / MILLION * 0.40, abs=0.0051)
    assert f"{receivers} receivers, each every {POLL_SECONDS} s, and the queue's length every {LOOK_SECONDS} s" in TEXT
    own = sum(watched_metrics(alarm.properties) for alarm in made.of_type("AWS::CloudWatch::Alarm"))
    tracking = made["BacklogPolicy"]["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"]
    of_tracking = 2 * watched_metrics(tracking)
    assert (own, of_tracking) == (6, 4)
    assert monthly_price("alarms") == pytest.approx(0.10 * (own + of_tracking))
    assert monthly_price("Container Insights") == pytest.approx(0.30 * (8 + 11 + 6))


def test_the_busy_share_where_fargate_is_cheaper_is_the_one_in_docs_performance_md() -> None:
    shares = re.findall(r"^\| Fargate[^|]*\|[^|]*\|[^|]*\| (\d+)% \|$", PERFORMANCE.read_text(), re.MULTILINE)
    assert "busy for more than {} % of its time, on Spot for more than {} %".format(*shares) in TEXT
