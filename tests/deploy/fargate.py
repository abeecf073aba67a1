"""The worker's template as data, and what of Thumbnailer's settings it sets otherwise than the Lambda's."""

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
def _written() -> dict[str, Any]:
    written: dict[str, Any] = yaml_parse(FARGATE.read_text())
    return written


def written() -> dict[str, Any]:
    """The template, anew each time; it is plain CloudFormation."""
    return deepcopy(_written())


def worker(**parameters: str) -> Stack:
    """A stack that CloudFormation would take."""
    made = Stack(BASICS | parameters, _written(), NAME)
    assert made.refused() == []
    return made


def refused(**parameters: str) -> list[str]:
    return Stack(BASICS | parameters, _written(), NAME).refused()


def container(stack: Stack) -> dict[str, Any]:
    (only,) = stack["TaskDefinition"]["ContainerDefinitions"]
    found: dict[str, Any] = only
    return found


def environment(stack: Stack) -> dict[str, str]:
    """Thumbnailer's settings as the worker gets them."""
    pairs = {one["Name"]: str(one["Value"]) for one in container(stack)["Environment"]}
    return {name: value for name, value in pairs.items() if name.startswith("THUMBNAILER_")}
