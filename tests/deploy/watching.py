"""Metrics: the series that the function emits, and outcomes that give every metric a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from tests.deploy.stack import Series
from thumbnailer.model import EventKind, Format, ObjectEvent, Outcome, Output, Status
from thumbnailer.reporting.metrics import NAMESPACE, STAGES

EVENT: Final = ObjectEvent(EventKind.CREATED, "photos", "a.jpg")
ALL_OUTCOMES: Final = [
    *(Outcome(EVENT, status) for status in Status),
    Outcome(
        EVENT,
        Status.STORED,
        outputs=(Output("photos-resized", "a.jpg", "128x128", 128, 96, Format.JPEG, 4000),),
        bytes_in=100_000,
        profile_ignored=True,
        engine_bug="panic",
        timings=tuple((stage, 0.01) for stage in STAGES),
    ),
]
"""Together, these give every metric a value."""


def emf_series(lines: Iterable[Mapping[str, Any]]) -> set[Series]:
    """The series that CloudWatch makes of EMF lines: one for each metric and set of dimensions."""
    return {
        Series(directive["Namespace"], metric["Name"], frozenset((name, line[name]) for name in dimensions))
        for line in lines
        for directive in line["_aws"]["CloudWatchMetrics"]
        for dimensions in directive["Dimensions"]
        for metric in directive["Metrics"]
    }


def own_series(series: set[Series]) -> set[Series]:
    """The series of Thumbnailer's own namespace."""
    return {one for one in series if one.namespace == NAMESPACE}
