"""deploy/fargate.md: what it says to type is taken, and its sums are right."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from bench.pages.slices import ours_alike
from bench.result import read_result
from bench.scale.command import REFERENCE
from handler.worker.consumer import Limits
from handler.worker.heartbeat import LOOK_SECONDS
from handler.worker.receiver import POLL_SECONDS
from tests.deploy import stack as lambda_stack
from tests.deploy.fargate import BASICS, FARGATE, NAME, worker, written
from tests.deploy.stack import IMAGE, Stack
from tests.deploy.test_fargate import FARGATE_SIZES, rate_of
from tests.deploy.test_guide import commands
from thumbnailer.planning.tier import tier_for

GUIDE: Final = FARGATE.with_suffix(".md").read_text()
README: Final = FARGATE.with_name("README.md").read_text()
PIPELINE: Final = Stack(lambda_stack.BASICS)
TYPED: Final = commands(GUIDE)
DEPLOYS: Final = [command for command in TYPED if "cloudformation deploy" in command]


def given(command: str) -> dict[str, str]:
    """The parameters that a command deploys with, its variables and outputs filled in."""
    text = command.partition("--parameter-overrides")[2]
    text = re.sub(r"\$\(output \$stack (\w+)\)", lambda match: PIPELINE.outputs[match[1]], text)
    pairs = dict(word.split("=", 1) for word in text.replace("$image", IMAGE).split())
    assert not any("$" in value for value in pairs.values())
    return pairs


def test_from_the_lambda_to_the_worker_it_is_two_deployments_and_two_back() -> None:
    files = [re.findall(r"--template-file deploy/(\w+)\.yaml", command)[0] for command in DEPLOYS]
    assert files == ["fargate", "template", "template", "fargate"]
    assert [given(command).get("Consumer") for command in DEPLOYS] == [None, "none", "lambda", "none"]


@pytest.mark.parametrize("command", DEPLOYS, ids=range(len(DEPLOYS)))
def test_what_it_says_to_deploy_is_a_stack(command: str) -> None:
    if "fargate.yaml" in command:
        assert "--stack-name $worker" in command
        assert Stack(given(DEPLOYS[0]) | given(command), written(), NAME).refused() == []
    else:
        assert "--stack-name $stack" in command
        assert Stack(lambda_stack.BASICS | given(command)).refused() == []


def test_what_it_deploys_first_needs_nothing_that_it_does_not_give() -> None:
    assert set(given(DEPLOYS[0])) == set(BASICS)


def test_it_names_parameters_outputs_and_alarms_that_there_are() -> None:
    template, pipeline = written(), lambda_stack.translated()
    alarms = {id_ for id_, one in template["Resources"].items() if one["Type"] == "AWS::CloudWatch::Alarm"}
    assigned = set(re.findall(r"\b([A-Z][A-Za-z]+)=", GUIDE)) - {"OutputKey"}
    assert assigned <= set(template["Parameters"]) | set(pipeline["Parameters"])
    rows = {
        name
        for row in re.findall(r"^\| (`[A-Z]\w+`(?:, `\w+`)*) \|", GUIDE, re.MULTILINE)
        for name in re.findall(r"\w+", row)
    }
    assert rows - set(template["Parameters"]) == alarms
    of_worker = set(re.findall(r"output \$worker (\w+)", GUIDE)) | set(re.findall(r"output `(\w+)`", GUIDE))
    assert of_worker <= set(template["Outputs"])
    assert len(of_worker) >= 5
    assert set(re.findall(r"output \$stack (\w+)", GUIDE)) <= set(pipeline["Outputs"])


def test_one_guide_leads_to_the_other() -> None:
    assert "(fargate.md)" in README
    assert "(README.md)" in GUIDE
    for path in re.findall(r"\]\((?!http|#)([^)#]+)", GUIDE):
        assert (FARGATE.parent / path).exists(), path


# --- what it costs ------------------------------------------------------------------------------------------------

MILLION: Final = 1_000_000
HOURS: Final = 730
X86: Final = (0.04048, 0.004445)
ARM: Final = (0.03238, 0.00356)


def hour(prices: tuple[float, float] = X86) -> float:
    """USD of an hour of the task as it is by default."""
    task = worker()["TaskDefinition"]
    return int(task["Cpu"]) / 1024 * prices[0] + int(task["Memory"]) / 1024 * prices[1]


def costs(rate: float) -> dict[str, float]:
    """USD per million pictures."""
    alone, among_ten = 2.2, 0.81  # KB of log a picture takes in the Lambda: of itself, and of its batch
    rows = {
        "Fargate": MILLION / rate / 3600 * hour(),
        "S3, GET and HEAD": 2 * MILLION * 0.0004 / 1000,
        "S3, PUT": MILLION * 0.005 / 1000,
        "SQS": 0.40 + 2 * 0.40 / 10,
        "log": (10 * among_ten - alone) / 9 * 0.50,
    }
    return rows | {"together": sum(rows.values())}


def rates() -> dict[float, float]:
    """Pictures a second by vCPUs, as the bench measured them."""
    cells = ours_alike(read_result(REFERENCE), "fargate")
    return {cell.key.vcpus: cell.median("images_per_second") or 0.0 for cell in cells}


def test_its_rates_are_those_that_were_measured_and_the_templates_are_no_higher() -> None:
    found = rates()
    said = f"{found[0.25]:.1f} a second at 0.25 vCPU, {found[0.5]:.1f} at 0.5 and {found[1.0]:.1f} at 1"
    assert said in " ".join(GUIDE.split())
    assert f"the {found[1.0]:.1f} that were measured" in " ".join(GUIDE.split())
    for vcpus in (0.25, 0.5, 1.0):
        assert 0.5 * found[vcpus] < rate_of(int(1024 * vcpus)) <= found[vcpus], vcpus


def test_it_says_what_each_size_is_reckoned_with() -> None:
    said = " ".join(GUIDE.split())
    quarter, half, one, *more = (f"{rate_of(cpu):.0f}" for cpu in FARGATE_SIZES)
    assert f"goes by `Cpu`: {quarter} at 0.25 vCPU, {half} at 0.5, {one} at 1." in said
    assert "so {} at 2, {} at 4, {} at 8, {} at 16.".format(*more) in said


def test_the_costs_are_what_the_prices_make_of_them() -> None:
    table = re.findall(r"^\| ([\w, ]+) \| ([\d.]+) \| ([\d.]+) \|", GUIDE, re.MULTILINE)
    assert [row[0] for row in table] == list(costs(10))
    measured = rates()[1.0]
    for name, ten, as_measured in table:
        assert float(ten) == pytest.approx(costs(10)[name], abs=0.0051), name
        assert float(as_measured) == pytest.approx(costs(measured)[name], abs=0.0051), name
    on_arm = [MILLION / rate / 3600 * hour(ARM) for rate in (10, measured)]
    assert "makes the first line {:.2f} and {:.2f}".format(*on_arm) in GUIDE


def monthly(row: str) -> float:
    (found,) = re.findall(rf"^\| {row} \| (?:some )?([\d.]+) \|", GUIDE, re.MULTILINE)
    return float(found)


def looked_at(alarm: dict[str, Any]) -> int:
    return len([part for part in alarm.get("Metrics", [alarm]) if "Expression" not in part])


def test_the_monthly_costs_are_those_of_what_the_template_makes() -> None:
    made = worker(MinimumTasks="1")
    assert monthly("a task that always runs") == pytest.approx(HOURS * hour(), abs=0.0051)
    interfaces = [one.properties for one in made.of_type("AWS::EC2::VPCEndpoint") if "SubnetIds" in one.properties]
    an_hour = 0.01 * sum(len(one["SubnetIds"]) for one in interfaces)
    assert monthly("endpoints of a network made here") == pytest.approx(HOURS * an_hour)
    assert f"{HOURS * an_hour:.2f} a month with `Zones=2`, {HOURS * an_hour / 2:.2f} with `Zones=1`" in GUIDE
    assert an_hour / 2 == pytest.approx(0.04)
    assert "cost 0.04 USD an hour in each" in written()["Parameters"]["Zones"]["Description"]
    task = made["TaskDefinition"]
    tier = tier_for(int(task["Memory"]), int(task["Cpu"]) / 1024)
    receivers = Limits(tier.in_flight, 0, 0).receivers
    requests = HOURS * 3600 * (receivers / POLL_SECONDS + 1 / LOOK_SECONDS)
    assert monthly("a task asking an empty queue") == pytest.approx(requests / MILLION * 0.40, abs=0.0051)
    assert f"{receivers} receivers, each every {POLL_SECONDS} s, and the queue's length every {LOOK_SECONDS} s" in GUIDE
    own = sum(looked_at(alarm.properties) for alarm in made.of_type("AWS::CloudWatch::Alarm"))
    tracking = made["BacklogPolicy"]["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"]
    of_tracking = 2 * looked_at(tracking)
    assert (own, of_tracking) == (6, 4)
    assert monthly("alarms") == pytest.approx(0.10 * (own + of_tracking))
    assert monthly("Container Insights") == pytest.approx(0.30 * (8 + 11 + 6))
    assert f"({HOURS * 0.005:.2f} a month for each task" in GUIDE


def test_where_worker_and_lambda_cost_the_same() -> None:
    lambda_hour = 3600 * 1769 / 1024 * 0.0000166667
    assert f"{lambda_hour:.4f} on Lambda (1,769 MB, x86_64) and {hour():.4f} here" in re.sub(r"\s+", " ", GUIDE)
    assert f"more than {100 * hour() / lambda_hour:.0f} % of the hours" in re.sub(r"\s+", " ", GUIDE)
    assert f"at 70 % off for more than {100 * 0.3 * hour() / lambda_hour:.0f} %" in re.sub(r"\s+", " ", GUIDE)
    a_million_on_lambda = MILLION * 0.1 * lambda_hour / 3600
    assert 20 < monthly("endpoints of a network made here") / a_million_on_lambda < 21
