"""The template of backfill and reconcile as data, and its state machine as a graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from typing import Any, Final

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

from tests.deploy.stack import ACCOUNT, AS_ZIP, IMAGE, REGION, TEMPLATE, Stack

BACKFILL: Final = TEMPLATE.with_name("backfill.yaml")
QUEUE: Final = f"arn:aws:sqs:{REGION}:{ACCOUNT}:thumbnailer-events"
DEAD: Final = f"arn:aws:sqs:{REGION}:{ACCOUNT}:thumbnailer-dead"
MAPPING: Final = "11111111-2222-3333-4444-555555555555"
BASICS: Final = {
    "FunctionName": "thumbnailer-ImageFunction",
    "QueueArn": QUEUE,
    "DeadLetterQueueArn": DEAD,
    "SourceBucket": "photos",
    "DestinationBucket": "photos-resized",
    "ImageUri": IMAGE,
}
"""The parameters that must be given."""
NAME: Final = "backfill"
__all__ = ["AS_ZIP"]


@cache
def _translate() -> dict[str, Any]:
    session = boto3.Session(region_name=REGION)
    translated: dict[str, Any] = Translator({}, Parser(), boto_session=session).translate(read_template(), {})
    return translated


def read_template() -> dict[str, Any]:
    """The template as written, anew each time."""
    written: dict[str, Any] = yaml_parse(BACKFILL.read_text())
    return written


def translate() -> dict[str, Any]:
    """A copy of the template as plain CloudFormation."""
    return deepcopy(_translate())


def backfill(**parameters: str) -> Stack:
    """A stack that CloudFormation would take."""
    made = Stack(BASICS | parameters, _translate(), NAME)
    assert made.refused() == []
    return made


def refusals(**parameters: str) -> list[str]:
    return Stack(BASICS | parameters, _translate(), NAME).refused()


def machine() -> dict[str, Any]:
    """The state machine's definition, as written."""
    definition: dict[str, Any] = read_template()["Resources"]["Machine"]["Properties"]["Definition"]
    return definition


def levels(machine_: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The machine, each branch of a Parallel and the processor of each Map, with the name of the state around it."""
    yield name, machine_
    for inner, state in machine_["States"].items():
        for child in [*state.get("Branches", []), *([state["ItemProcessor"]] if "ItemProcessor" in state else [])]:
            yield from levels(child, inner)


def followers(state: Mapping[str, Any]) -> list[str]:
    """The states that may come next."""
    choices = [one["Next"] for one in state.get("Choices", []) + state.get("Catch", [])]
    return choices + [state[name] for name in ("Default", "Next") if name in state]
