"""The worker's template as data."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any, Final

from samtranslator.yaml_helper import yaml_parse

from tests.deploy.stack import ACCOUNT, IMAGE, REGION, TEMPLATE, Stack

FARGATE: Final = TEMPLATE.with_name("fargate.yaml")
QUEUE: Final = f"arn:aws:sqs:{REGION}:{ACCOUNT}:thumbnailer-events"
DEAD: Final = f"arn:aws:sqs:{REGION}:{ACCOUNT}:thumbnailer-dead"
BASICS: Final = {"QueueArn": QUEUE, "DeadLetterQueueArn": DEAD, "SourceBucket": "photos", "ImageUri": IMAGE}
"""The parameters that must be given."""
GIVEN_NETWORK: Final = {
    "VpcId": "vpc-0123456789abcdef0",
    "SubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
}
NAME: Final = "worker"


@cache
def _parse() -> dict[str, Any]:
    written: dict[str, Any] = yaml_parse(FARGATE.read_text())
    return written


def read_template() -> dict[str, Any]:
    """The template, anew each time; it is plain CloudFormation."""
    return deepcopy(_parse())


def worker(**parameters: str) -> Stack:
    """A stack that CloudFormation would take."""
    made = Stack(BASICS | parameters, _parse(), NAME)
    assert made.refused() == []
    return made


def refusals(**parameters: str) -> list[str]:
    return Stack(BASICS | parameters, _parse(), NAME).refused()


def container(stack: Stack) -> dict[str, Any]:
    (only,) = stack["TaskDefinition"]["ContainerDefinitions"]
    found: dict[str, Any] = only
    return found


def environment(stack: Stack) -> dict[str, str]:
    """Thumbnailer's settings as the worker gets them."""
    pairs = {one["Name"]: str(one["Value"]) for one in container(stack)["Environment"]}
    return {name: value for name, value in pairs.items() if name.startswith("THUMBNAILER_")}


GB: Final = 1024
FARGATE_SIZES: Final = {
    256: {512, GB, 2 * GB},
    512: set(range(GB, 4 * GB + 1, GB)),
    1024: set(range(2 * GB, 8 * GB + 1, GB)),
    2048: set(range(4 * GB, 16 * GB + 1, GB)),
    4096: set(range(8 * GB, 30 * GB + 1, GB)),
    8192: set(range(16 * GB, 60 * GB + 1, 4 * GB)),
    16384: set(range(32 * GB, 120 * GB + 1, 8 * GB)),
}
"""Memory by Cpu, as AWS documents them (platform version 1.4.0)."""


def evaluate(metrics: list[dict[str, Any]], **values: float | None) -> float:
    """The value that CloudWatch computes from metrics; None is a metric without a value."""
    (written_,) = [one["Expression"] for one in metrics if one.get("ReturnData", True)]
    functions = {
        "IF": lambda test, one, other: one if test else other,
        "FILL": lambda value, filling: filling if value is None else value,
    }
    return float(eval(written_.replace(" AND ", " and "), functions, values))


def scaling_rate(made: Stack) -> float:
    """The messages per second and task that the scaling policy assumes."""
    tracking = made["BacklogPolicy"]["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"]
    return 1 / evaluate(tracking["Metrics"], visible=1, tasks=1)


def rate_of(cpu: int) -> float:
    """The default rate of a task of that size."""
    return scaling_rate(worker(Cpu=str(cpu), Memory=str(min(FARGATE_SIZES[cpu]))))
