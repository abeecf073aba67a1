"""Metric lines follow CloudWatch's specification, and the checker finds lines that do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import ValidationError

from tests.support import emf
from thumbnailer.errors import REASONS
from thumbnailer.model import EventKind, Format, ObjectEvent, Outcome, Output, Status
from thumbnailer.reporting.logs import batch_lines
from thumbnailer.reporting.metrics import METRICS, STAGES

SECONDS = st.floats(0, 900)
OUTCOMES = st.builds(
    Outcome,
    event=st.builds(ObjectEvent, st.sampled_from(EventKind), st.text(min_size=1), st.text(min_size=1)),
    status=st.sampled_from(Status),
    reason=st.none() | st.sampled_from(sorted(REASONS)),
    detail=st.none() | st.text(),
    outputs=st.just(()) | st.just((Output("b", "k", "s", 128, 96, Format.JPEG, 4000),)),
    bytes_in=st.integers(0, 5 * 10**12),
    profile_ignored=st.booleans(),
    timings=st.lists(st.tuples(st.sampled_from(STAGES), SECONDS), unique_by=lambda pair: pair[0]).map(tuple),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(OUTCOMES, max_size=130), st.integers(0, 2**45))
def test_lines_of_any_outcomes_follow_the_specification(outcomes: list[Outcome], now: int) -> None:
    for line in batch_lines(outcomes, 1.5, now, "thumbnails"):
        if outcomes:
            assert emf.check(line)["_aws"]["Timestamp"] == now
        else:
            assert "_aws" not in line


def test_a_batch_stays_within_the_limits_on_bytes_and_metrics() -> None:
    long = tuple((stage, 0.123456789012345678) for stage in STAGES)
    outcome = Outcome(ObjectEvent(EventKind.CREATED, "b", "k"), Status.STORED, bytes_in=5 * 10**12, timings=long)
    for line in batch_lines([outcome] * 10_000, 1.5, 0, "thumbnails"):
        emf.check(line)
    assert len(METRICS) <= 100


def valid() -> dict[str, Any]:
    directive = {
        "Namespace": "N",
        "Dimensions": [["function"], []],
        "Metrics": [{"Name": "one", "Unit": "Count"}, {"Name": "many", "Unit": "Kilobytes/Second"}, {"Name": "bare"}],
    }
    aws = {"Timestamp": 1, "CloudWatchMetrics": [directive]}
    return {"_aws": aws, "function": "f", "one": 1, "many": [0.5] * 100, "bare": 0, "more": {"allowed": None}}


def changed(*path: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    def change(document: Any) -> None:
        for name in path[:-1]:
            document = document[name]
        document[path[-1]] = to

    return change


DIRECTIVE = ("_aws", "CloudWatchMetrics", 0)
WRONG = {
    "no metadata": lambda document: document.pop("_aws"),
    "a time that is text": changed("_aws", "Timestamp", to="now"),
    "a fractional time": changed("_aws", "Timestamp", to=1.5),
    "an extra member in the metadata": changed("_aws", "More", to=1),
    "no directive": changed("_aws", "CloudWatchMetrics", to=[]),
    "no namespace": changed(*DIRECTIVE, "Namespace", to=""),
    "an extra member in the directive": changed(*DIRECTIVE, "More", to=1),
    "no dimension set": changed(*DIRECTIVE, "Dimensions", to=[]),
    "a dimension without a value": changed(*DIRECTIVE, "Dimensions", to=[["nowhere"]]),
    "a dimension that is a number": changed("function", to=1),
    "an empty dimension": changed("function", to=""),
    "31 dimensions": changed(*DIRECTIVE, "Dimensions", to=[[f"d{number}" for number in range(31)]]),
    "101 metrics": changed(*DIRECTIVE, "Metrics", to=[{"Name": "one"}] * 101),
    "a metric without a value": changed(*DIRECTIVE, "Metrics", to=[{"Name": "nowhere"}]),
    "an unknown unit": changed(*DIRECTIVE, "Metrics", to=[{"Name": "one", "Unit": "kilobytes"}]),
    "an unknown resolution": changed(*DIRECTIVE, "Metrics", to=[{"Name": "one", "StorageResolution": 30}]),
    "a value that is text": changed("one", to="1"),
    "a value that is true": changed("one", to=True),
    "a value that is NaN": changed("one", to=float("nan")),
    "no values": changed("many", to=[]),
    "101 values": changed("many", to=[1] * 101),
    "a log event too large": changed("more", to="x" * emf.MOST_BYTES),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_the_checker_refuses_lines_against_the_specification(wrong: Callable[[dict[str, Any]], object]) -> None:
    document = valid()
    emf.check(json.dumps(document))
    wrong(document)
    with pytest.raises((ValidationError, ValueError)):
        emf.check(json.dumps(document))
