"""Metrics, described once in `METRICS`: Prometheus for the worker, CloudWatch EMF lines for Lambda, the same names.

No label ever holds a key or a bucket: labels come from the enums of model.py and errors.py alone. In CloudWatch the one
dimension is the function's name, as in Lambda's own metrics: two stacks of one account do not mix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from thumbnailer.model import Outcome, Status

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

STAGES: Final = ("open", "fetch", "wait", "decode", "encode", "upload", "total")
EMF_MOST_VALUES: Final = 100  # the EMF specification's limit on the values of one metric in one line
NAMESPACE: Final = "Thumbnailer"
DIMENSION: Final = "FunctionName"


class Metric(NamedTuple):
    """One metric. `unit` is CloudWatch's word."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: Literal["Count", "Bytes", "Seconds"]
    help: str
    buckets: tuple[float, ...] = ()


_TIME_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BYTE_BUCKETS: Final = tuple(float(4**power) for power in range(5, 15))
METRICS: Final = (
    *(Metric(f"thumbnailer_records_{status}", "counter", "Count", f"records that ended {status}") for status in Status),
    Metric("thumbnailer_profiles_ignored", "counter", "Count", "pictures with a colour profile that cannot be used"),
    Metric("thumbnailer_bytes_in", "histogram", "Bytes", "size of a source that was read", _BYTE_BUCKETS),
    Metric("thumbnailer_bytes_out", "histogram", "Bytes", "thumbnails stored for one record", _BYTE_BUCKETS),
    *(
        Metric(f"thumbnailer_{s}_seconds", "histogram", "Seconds", f"stage {s} of a record", _TIME_BUCKETS)
        for s in STAGES
    ),
)
_AGE_BUCKETS: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400)
WORKER_METRICS: Final = (
    Metric("thumbnailer_in_flight", "gauge", "Count", "messages held by this worker"),
    Metric("thumbnailer_memory_reserved_bytes", "gauge", "Bytes", "what the plans of the pictures in work reckon with"),
    Metric("thumbnailer_queue_visible", "gauge", "Count", "messages that wait in the queue, approximately"),
    Metric("thumbnailer_queue_invisible", "gauge", "Count", "messages that consumers of the queue hold, approximately"),
    Metric("thumbnailer_queue_lag_seconds", "histogram", "Seconds", "age of a message as it is received", _AGE_BUCKETS),
    Metric("thumbnailer_receive_count", "histogram", "Count", "how often a message was received", (1, 2, 3, 5, 10)),
    Metric("thumbnailer_messages_received", "counter", "Count", "messages taken from the queue"),
    Metric("thumbnailer_messages_deleted", "counter", "Count", "messages that are done"),
    Metric("thumbnailer_messages_returned", "counter", "Count", "messages given back to be tried again"),
    Metric("thumbnailer_queue_errors", "counter", "Count", "requests to the queue that failed, entries of a batch too"),
)
"""What the worker knows beside its records."""


def observations(outcome: Outcome) -> Iterator[tuple[str, float]]:
    """(metric, value) pairs of one record."""
    yield f"thumbnailer_records_{outcome.status}", 1
    if outcome.profile_ignored:
        yield "thumbnailer_profiles_ignored", 1
    if outcome.bytes_in:
        yield "thumbnailer_bytes_in", outcome.bytes_in
    if outcome.outputs:
        yield "thumbnailer_bytes_out", outcome.bytes_out
    for stage, seconds in outcome.timings:
        yield f"thumbnailer_{stage}_seconds", seconds


def emf_lines(outcomes: Sequence[Outcome], timestamp_ms: int, function: str) -> Iterator[dict[str, Any]]:
    """CloudWatch embedded-metric-format objects, one for each EMF_MOST_VALUES records."""
    for start in range(0, len(outcomes), EMF_MOST_VALUES):
        yield _emf(outcomes[start : start + EMF_MOST_VALUES], timestamp_ms, function)


def _emf(outcomes: Sequence[Outcome], timestamp_ms: int, function: str) -> dict[str, Any]:
    values: dict[str, list[float]] = {}
    for outcome in outcomes:
        for name, value in observations(outcome):
            values.setdefault(name, []).append(value)
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [[DIMENSION]],  # one set: each further one would be billed as metrics of its own
        "Metrics": [{"Name": metric.name, "Unit": metric.unit} for metric in METRICS if metric.name in values],
    }
    head = {"Timestamp": timestamp_ms, "CloudWatchMetrics": [directive]}
    return {"_aws": head, DIMENSION: function, **_summed(values)}


def _summed(values: Mapping[str, list[float]]) -> dict[str, float | list[float]]:
    """Counters as their sum, the others as their values."""
    counters = {metric.name for metric in METRICS if metric.kind == "counter"}
    return {name: sum(given) if name in counters else given for name, given in values.items()}


class Prometheus:
    """The same metrics, and the worker's own, for a process that is scraped. Lambda never pays the import."""

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self._records = {
            m.name: Counter(m.name, m.help, ["reason"], registry=registry) for m in METRICS if m.kind == "counter"
        }
        self._counters = {
            m.name: Counter(m.name, m.help, registry=registry) for m in WORKER_METRICS if m.kind == "counter"
        }
        self._gauges = {m.name: Gauge(m.name, m.help, registry=registry) for m in WORKER_METRICS if m.kind == "gauge"}
        self._histograms = {
            m.name: Histogram(m.name, m.help, buckets=m.buckets, registry=registry)
            for m in METRICS + WORKER_METRICS
            if m.kind == "histogram"
        }

    def observe(self, outcome: Outcome) -> None:
        for name, value in observations(outcome):
            if name in self._records:
                self._records[name].labels(reason=outcome.reason or "").inc(value)
            else:
                self._histograms[name].observe(value)

    def count(self, name: str, amount: float = 1) -> None:
        self._counters[name].inc(amount)

    def measure(self, name: str, value: float) -> None:
        """One value of a histogram."""
        self._histograms[name].observe(value)

    def set(self, name: str, value: float) -> None:
        self._gauges[name].set(value)

    def watch(self, name: str, value: Callable[[], float]) -> None:
        """A gauge that asks when it is scraped."""
        self._gauges[name].set_function(value)
