"""The on-demand template as data."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any, Final

from samtranslator.yaml_helper import yaml_parse

from tests.deploy.stack import IMAGE, TEMPLATE, Stack

ON_DEMAND: Final = TEMPLATE.with_name("on-demand.yaml")
BASICS: Final = {"SourceBucket": "photos", "DestinationBucket": "photos-resized", "ImageUri": IMAGE}
"""The parameters that must be given."""
NAME: Final = "pictures"


@cache
def _parse() -> dict[str, Any]:
    written: dict[str, Any] = yaml_parse(ON_DEMAND.read_text())
    return written


def read_template() -> dict[str, Any]:
    """The template, anew each time; it is plain CloudFormation."""
    return deepcopy(_parse())


def pictures(**parameters: str) -> Stack:
    """A stack that CloudFormation would take."""
    made = Stack(BASICS | parameters, _parse(), NAME)
    assert made.refused() == []
    return made


def refusals(**parameters: str) -> list[str]:
    return Stack(BASICS | parameters, _parse(), NAME).refused()
