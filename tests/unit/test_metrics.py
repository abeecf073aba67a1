"""Metrics: EMF lines and Prometheus have the same names and values, and no text of the input."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from thumbnailer.errors import REASONS
from thumbnailer.model import EngineName, EventKind, Format, ObjectEvent, Outcome, Output, Status
from thumbnailer.reporting.logs import REQUEST_ID, batch_lines
from thumbnailer.reporting.metrics import (
    DIMENSION,
    EMF_MOST_VALUES,
    METRICS,
    NAMESPACE,
    STAGES,
    WORKER_METRICS,
    Prometheus,
    emf,
    observations,
)

NOW_MS = 1_795_601_700_000
FUNCTION = "thumbnailer-ImageFunction-1A2B"
SECRET_BUCKET, SECRET_KEY = "bucket-of-alice", 'key-of-alice"} 1\n# HELP forged'
NAMES = {metric.name for metric in METRICS}


def outcome(status: Status = Status.STORED, reason: str | None = None) -> Outcome:
    return Outcome(
        ObjectEvent(EventKind.CREATED, SECRET_BUCKET, SECRET_KEY, version_id="v-secret", etag="e-secret"),
        status,
        reason,
        detail="detail-of-alice",
        outputs=(Output(f"{SECRET_BUCKET}-resized", SECRET_KEY, "s", 128, 96, Format.JPEG, 4000),),
        bytes_in=100_000,
        engine=EngineName.VIPS,
        timings=tuple((stage, 0.01) for stage in STAGES),
    )


ALL = [
    *(outcome(status) for status in Status),
    *(outcome(Status.REJECTED, reason) for reason in REASONS),
    replace(outcome(), profile_ignored=True, engine_bug="panic"),
]


def test_an_emf_line_carries_its_time_and_namespace() -> None:
    """`test_emf` checks the lines against CloudWatch's specification."""
    line = emf(ALL, NOW_MS, FUNCTION)
    assert line["_aws"]["Timestamp"] == NOW_MS
    assert line["_aws"]["CloudWatchMetrics"][0]["Namespace"] == NAMESPACE


def test_an_emf_line_declares_every_value_as_a_metric() -> None:
    line = emf(ALL, NOW_MS, FUNCTION)
    declared = [metric["Name"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
    assert len(set(declared)) == len(declared)
    assert set(declared) == set(line) - {"_aws", DIMENSION} == NAMES


def test_the_function_is_the_only_dimension() -> None:
    """Two functions of one account do not mix. CloudWatch bills each combination of name and dimensions."""
    line = emf(ALL, NOW_MS, FUNCTION)
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [[DIMENSION]]
    assert line[DIMENSION] == FUNCTION


def test_250_records_give_3_lines_and_none_is_lost() -> None:
    lines = [json.loads(line) for line in batch_lines([outcome()] * 250, 0.5, NOW_MS, FUNCTION)]
    assert [line["records"] for line in lines] == [100, 100, 50]
    assert [line["thumbnailer_records_stored"] for line in lines] == [100, 100, 50]
    assert [len(line["thumbnailer_total_seconds"]) for line in lines] == [100, 100, 50]


@pytest.mark.parametrize(("records", "lines"), [(0, 1), (1, 1), (EMF_MOST_VALUES, 1), (EMF_MOST_VALUES + 1, 2)])
def test_a_line_holds_as_many_records_as_a_metric_may_have_values(records: int, lines: int) -> None:
    assert len(list(batch_lines([outcome()] * records, 0.5, NOW_MS, FUNCTION))) == lines


def test_an_emf_line_has_the_units_and_values_of_its_records() -> None:
    line = emf([outcome(), outcome(Status.FAILED)], NOW_MS, FUNCTION)
    units = {metric["Name"]: metric["Unit"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert units["thumbnailer_bytes_in"] == "Bytes"
    assert units["thumbnailer_decode_seconds"] == "Seconds"
    assert units["thumbnailer_records_failed"] == "Count"
    assert line["thumbnailer_bytes_in"] == [100_000, 100_000]
    assert line["thumbnailer_bytes_out"] == [4000, 4000]
    assert (line["thumbnailer_records_stored"], line["thumbnailer_records_failed"]) == (1, 1)


def test_a_record_that_was_not_read_has_no_size_and_no_stages() -> None:
    assert list(observations(Outcome(ALL[0].event, Status.SKIPPED))) == [("thumbnailer_records_skipped", 1)]


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    prometheus = Prometheus(registry)
    for each in ALL:
        prometheus.observe(each)
    return registry


def test_prometheus_and_emf_have_the_same_names_and_values(registry: CollectorRegistry) -> None:
    line = emf(ALL, NOW_MS, FUNCTION)
    workers_own = {metric.name for metric in WORKER_METRICS}
    families = {family.name: family for family in registry.collect() if family.name not in workers_own}
    assert set(families) == set(line) - {"_aws", DIMENSION} == NAMES
    for name, family in families.items():
        samples = [s.value for s in family.samples if s.name in (f"{name}_total", f"{name}_sum")]
        expected = line[name] if isinstance(line[name], list) else [line[name]]
        assert sum(samples) == pytest.approx(sum(expected)), name


def test_no_label_holds_text_of_the_input(registry: CollectorRegistry) -> None:
    text = generate_latest(registry).decode()
    assert "alice" not in text
    assert "secret" not in text
    assert "forged" not in text
    labels = [label for family in registry.collect() for sample in family.samples for label in sample.labels.items()]
    assert {name for name, _ in labels} == {"reason", "le"}
    assert {value for name, value in labels if name == "reason"} <= {"", *REASONS}


def test_more_keys_and_buckets_add_no_series(registry: CollectorRegistry) -> None:
    def series(of: CollectorRegistry) -> int:
        return sum(len(family.samples) for family in of.collect())

    fresh = CollectorRegistry()
    prometheus = Prometheus(fresh)
    for index in range(50):
        for each in ALL:
            prometheus.observe(replace(each, event=ObjectEvent(EventKind.CREATED, f"b{index}", f"k{index}")))
    assert series(fresh) == series(registry)


def test_no_emf_line_holds_a_key_or_a_bucket() -> None:
    assert all("alice" not in line for line in batch_lines(ALL, 0.5, NOW_MS, FUNCTION))


def test_ten_stored_photos_leave_200_bytes_of_log_each() -> None:
    """With the 300 bytes that Lambda itself writes for an invocation."""
    seconds = (0.0213456, 0.0051234, 0.1012345, 0.0312345, 0.0009123, 0.0456789, 0.2055292)
    photo = replace(outcome(), bytes_in=2_000_000, timings=tuple(zip(STAGES, seconds, strict=True)))
    token = REQUEST_ID.set("11111111-2222-3333-4444-555555555555")
    (line,) = batch_lines([photo] * 10, 0.405, NOW_MS, FUNCTION)
    REQUEST_ID.reset(token)
    assert len(line) + 300 <= 10 * 200
