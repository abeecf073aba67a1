"""The dashboard and the alarms look at metrics that there are: the template is held against what the function emits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pytest

from tests.deploy.stack import AS_ZIP, BASICS, Series, Stack, alarmed, shown
from thumbnailer.model import EventKind, Format, ObjectEvent, Outcome, Output, Status
from thumbnailer.reporting.metrics import METRICS, NAMESPACE, STAGES, emf_lines

EVENT: Final = ObjectEvent(EventKind.CREATED, "photos", "a.jpg")
EVERYTHING_SEEN: Final = [
    *(Outcome(EVENT, status) for status in Status),
    Outcome(
        EVENT,
        Status.STORED,
        outputs=(Output("photos-resized", "a.jpg", "128x128", 128, 96, Format.JPEG, 4000),),
        bytes_in=100_000,
        profile_ignored=True,
        timings=tuple((stage, 0.01) for stage in STAGES),
    ),
]
"""Records that give every metric a value."""

variants = pytest.mark.parametrize(
    "parameters",
    [
        {"Trigger": trigger} | dict(package)
        for trigger in ("queue", "eventbridge", "direct")
        for package in ({}, AS_ZIP)
    ],
    ids=lambda one: f"{one['Trigger']}-{'zip' if len(one) > 1 else 'image'}",
)


def emitted(lines: Iterable[Mapping[str, Any]]) -> set[Series]:
    """What CloudWatch makes of EMF lines: a series for each metric and set of dimensions."""
    return {
        Series(directive["Namespace"], metric["Name"], frozenset((name, line[name]) for name in dimensions))
        for line in lines
        for directive in line["_aws"]["CloudWatchMetrics"]
        for dimensions in directive["Dimensions"]
        for metric in directive["Metrics"]
    }


def of(stack: Stack) -> set[Series]:
    return emitted(emf_lines(EVERYTHING_SEEN, 1_795_601_700_000, stack.outputs["FunctionName"]))


def ours(series: set[Series]) -> set[Series]:
    return {one for one in series if one.namespace == NAMESPACE}


@variants
def test_the_dashboard_shows_every_metric_of_this_function_and_no_other(parameters: dict[str, str]) -> None:
    made = Stack(BASICS | parameters)
    assert ours(shown(made)) == of(made)
    assert {one.name for one in of(made)} == {metric.name for metric in METRICS}


@variants
def test_the_alarms_look_at_metrics_that_the_function_emits(parameters: dict[str, str]) -> None:
    made = Stack(BASICS | parameters)
    assert {one.name for one in ours(alarmed(made))} == {"thumbnailer_records_failed", "thumbnailer_total_seconds"}
    assert ours(alarmed(made)) <= of(made)


@variants
def test_what_is_aws_s_own_is_of_this_function_and_its_queues(parameters: dict[str, str]) -> None:
    made = Stack(BASICS | parameters)
    function = ("FunctionName", made.outputs["FunctionName"])
    queues = {("QueueName", made.attribute(queue.id, "QueueName")) for queue in made.of_type("AWS::SQS::Queue")}
    seen: set[tuple[str, str]] = set()
    for one in (shown(made) | alarmed(made)) - ours(shown(made) | alarmed(made)):
        (dimension,) = one.dimensions
        assert (one.namespace, dimension) in {("AWS/Lambda", function)} | {("AWS/SQS", queue) for queue in queues}
        seen.add(dimension)
    assert seen == {function} | queues


def test_two_stacks_of_one_account_watch_nothing_in_common() -> None:
    one, other = (Stack(BASICS, name=name) for name in ("thumbnailer", "thumbnailer-2"))
    assert not (shown(one) | alarmed(one)) & (shown(other) | alarmed(other))
    assert not of(one) & of(other)
