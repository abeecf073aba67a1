"""Metrics, described once in `METRICS`: Prometheus for the worker, CloudWatch EMF lines for Lambda, same names.

No label holds a key or a bucket: labels come from the enums of model.py and errors.py. CloudWatch's only dimension is
the function's name, as in Lambda's own metrics, so that two stacks of one account do not mix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from thumbnailer.model import Outcome, Status

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

STAGES: Final = ("open", "fetch", "wait", "decode", "encode", "upload", "total")
EMF_MOST_VALUES: Final = 100  # the EMF specification's limit on the values of one metric in one line
NAMESPACE: Final = "Thumbnailer"
DIMENSION: Final = "FunctionName"


class Metric(NamedTuple):
    """`unit` is a CloudWatch unit."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: Literal["Count", "Bytes", "Seconds"]
    help: str
    buckets: tuple[float, ...] = ()


_TIME_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BYTE_BUCKETS: Final = tuple(float(4**power) for power in range(5, 15))
METRICS: Final = (
    *(Metric(f"thumbnailer_records_{status}", "counter", "Count", f"records that ended {status}") for status in Status),
    Metric("thumbnailer_profiles_ignored", "counter", "Count", "pictures with an unusable colour profile"),
    Metric("thumbnailer_engine_bugs", "counter", "Count", "panics that the compiled JPEG engine caught"),
    Metric("thumbnailer_bytes_in", "histogram", "Bytes", "bytes read of one source", _BYTE_BUCKETS),
    Metric("thumbnailer_bytes_out", "histogram", "Bytes", "bytes of thumbnails stored for one record", _BYTE_BUCKETS),
    *(
        Metric(f"thumbnailer_{s}_seconds", "histogram", "Seconds", f"stage {s} of a record", _TIME_BUCKETS)
        for s in STAGES
    ),
)
_AGE_BUCKETS: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400)
WORKER_METRICS: Final = (
    Metric("thumbnailer_in_flight", "gauge", "Count", "messages held by this worker"),
    Metric("thumbnailer_memory_reserved_bytes", "gauge", "Bytes", "memory reserved for the pictures in work"),
    Metric("thumbnailer_queue_visible", "gauge", "Count", "messages that wait in the queue (approximate)"),
    Metric("thumbnailer_queue_invisible", "gauge", "Count", "messages held by consumers of the queue (approximate)"),
    Metric("thumbnailer_queue_lag_seconds", "histogram", "Seconds", "age of a message at its receipt", _AGE_BUCKETS),
    Metric("thumbnailer_receive_count", "histogram", "Count", "how often a message was received", (1, 2, 3, 5, 10)),
    Metric("thumbnailer_messages_received", "counter", "Count", "messages taken from the queue"),
    Metric("thumbnailer_messages_deleted", "counter", "Count", "messages deleted because they are done"),
    Metric("thumbnailer_messages_returned", "counter", "Count", "messages returned to the queue for a retry"),
    Metric("thumbnailer_queue_errors", "counter", "Count", "failed requests to the queue, entries of a batch included"),
)
"""Of the worker itself, not of its records."""


def observations(outcome: Outcome) -> Iterator[tuple[str, float]]:
    """Metric names and values of one record."""
    yield f"thumbnailer_records_{outcome.status}", 1
    if outcome.profile_ignored:
        yield "thumbnailer_profiles_ignored", 1
    if outcome.engine_bug:
        yield "thumbnailer_engine_bugs", 1
    if outcome.bytes_in:
        yield "thumbnailer_bytes_in", outcome.bytes_in
    if outcome.outputs:
        yield "thumbnailer_bytes_out", outcome.bytes_out
    for stage, seconds in outcome.timings:
        yield f"thumbnailer_{stage}_seconds", seconds


def emf(outcomes: Sequence[Outcome], timestamp_ms: int, function: str) -> dict[str, Any]:
    """The members of CloudWatch's embedded metric format for one to EMF_MOST_VALUES records."""
    values: dict[str, list[float]] = {}
    for outcome in outcomes:
        for name, value in observations(outcome):
            values.setdefault(name, []).append(round(value, 3))  # milliseconds: each digit costs bytes in every value
    metrics = [metric for metric in METRICS if metric.name in values]
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [[DIMENSION]],  # CloudWatch bills each further set as metrics of its own
        "Metrics": [{"Name": metric.name, "Unit": metric.unit} for metric in metrics],
    }
    sums = {metric.name: sum(values[metric.name]) for metric in metrics if metric.kind == "counter"}
    head = {"Timestamp": timestamp_ms, "CloudWatchMetrics": [directive]}
    return {"_aws": head, DIMENSION: function, **values, **sums}


class Prometheus:
    """The same metrics and the worker's own, for a process that is scraped. Lambda never imports the client."""

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in METRICS + WORKER_METRICS:
            name, text = metric.name, metric.help
            if metric.kind == "histogram":
                self._histograms[name] = Histogram(name, text, buckets=metric.buckets, registry=registry)
            elif metric.kind == "gauge":
                self._gauges[name] = Gauge(name, text, registry=registry)
            else:
                labels = () if metric in WORKER_METRICS else ("reason",)
                self._counters[name] = Counter(name, text, labels, registry=registry)

    def observe(self, outcome: Outcome) -> None:
        for name, value in observations(outcome):
            if name in self._counters:
                self._counters[name].labels(reason=outcome.reason or "").inc(value)
            else:
                self._histograms[name].observe(value)

    def count(self, name: str, amount: float = 1) -> None:
        self._counters[name].inc(amount)

    def measure(self, name: str, value: float) -> None:
        """Adds one value to a histogram."""
        self._histograms[name].observe(value)

    def set(self, name: str, value: float) -> None:
        self._gauges[name].set(value)

    def watch(self, name: str, value: Callable[[], float]) -> None:
        """Calls `value` at every scrape of the gauge."""
        self._gauges[name].set_function(value)
