"""The dashboard and the alarms watch metrics that exist: the template against the metrics that the function emits."""

from __future__ import annotations

from itertools import product
from typing import Final

from tests.deploy.stack import AS_ZIP, BASICS, Series, Stack, alarm_series, dashboard_series
from tests.deploy.watching import ALL_OUTCOMES, emf_series, own_series
from thumbnailer.reporting.metrics import METRICS, emf

VARIANTS: Final = [
    {"Trigger": trigger, **package} for trigger, package in product(("queue", "eventbridge", "direct"), ({}, AS_ZIP))
]


def of(stack: Stack) -> set[Series]:
    """The series of the stack's function."""
    return emf_series([emf(ALL_OUTCOMES, 1_795_601_700_000, stack.outputs["FunctionName"])])


def test_the_dashboard_shows_every_metric_of_this_function_and_no_other() -> None:
    for parameters in VARIANTS:
        made = Stack(BASICS | parameters)
        assert own_series(dashboard_series(made)) == of(made), parameters
        assert {one.name for one in of(made)} == {metric.name for metric in METRICS}


def test_the_alarms_watch_metrics_that_the_function_emits() -> None:
    for parameters in VARIANTS:
        made = Stack(BASICS | parameters)
        assert {one.name for one in own_series(alarm_series(made))} == {
            "thumbnailer_records_failed",
            "thumbnailer_total_seconds",
        }
        assert own_series(alarm_series(made)) <= of(made), parameters


def test_aws_s_own_metrics_are_those_of_this_function_and_its_queues() -> None:
    for parameters in VARIANTS:
        made = Stack(BASICS | parameters)
        function = ("FunctionName", made.outputs["FunctionName"])
        queues = {("QueueName", made.attribute(queue.id, "QueueName")) for queue in made.of_type("AWS::SQS::Queue")}
        watched = dashboard_series(made) | alarm_series(made)
        found = {(one.namespace, *one.dimensions) for one in watched - own_series(watched)}
        assert found == {("AWS/Lambda", function)} | {("AWS/SQS", queue) for queue in queues}, parameters


def test_two_stacks_of_one_account_have_no_metric_in_common() -> None:
    one, other = (Stack(BASICS, name=name) for name in ("thumbnailer", "thumbnailer-2"))
    assert not (dashboard_series(one) | alarm_series(one)) & (dashboard_series(other) | alarm_series(other))
    assert not of(one) & of(other)
