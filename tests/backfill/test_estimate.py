"""The estimate: sums by hand, classes with fees of their own, warnings of old prices; and jobs from their fields."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from tests.support.listings import listed
from tests.support.pipelines import settings
from thumbnailer.backfill.estimate import Consumer, Estimate, Survey, age_warning, estimate, transfer_warning
from thumbnailer.backfill.job import Job, parse_job, refuse_bucket
from thumbnailer.backfill.prices import load_prices
from thumbnailer.backfill.verdicts import Finding, Policy, Verdict
from thumbnailer.errors import SettingsError

MILLION = 1_000_000
HERE, QUEUE = Consumer(0, 2), Consumer()
PLAIN = Job("photos")


def survey(storage_class: str = "STANDARD", number: int = MILLION, gb: float = 0.0, **counts: int) -> Survey:
    work = {storage_class: number}
    return Survey(counts or {"missing": number}, work, {storage_class: int(gb * 1e9)})


def priced(found: Survey, consumer: Consumer = QUEUE, job: Job = PLAIN, **env: str) -> Estimate:
    return estimate(found, settings(**env), job, load_prices(), consumer)


def usd(cost: Estimate) -> dict[str, float]:
    return {line.name: round(line.usd, 4) for line in cost.lines}


def test_a_million_pictures_through_the_queue() -> None:
    cost = priced(survey())
    assert usd(cost) == {
        "S3 LIST": 0.01,
        "S3 GET": 0.4,
        "S3 HEAD": 0.4,
        "S3 PUT": 5.0,
        "SQS requests": 0.12,
        "SQS sends with a group": 0.01,
        "Lambda GB-seconds": 1.1661,
        "Lambda invocations": 0.02,
        "GB of log": 0.405,
    }
    assert cost.usd == pytest.approx(1.1 * sum(line.usd for line in cost.lines))
    assert cost.usd == pytest.approx(8.28, abs=0.01)
    assert cost.seconds == pytest.approx(MILLION / 5000 + MILLION * 0.0405 / 10)


def test_this_machine_pays_requests_only() -> None:
    cost = priced(survey(), HERE)
    assert set(usd(cost)) == {"S3 LIST", "S3 GET", "S3 HEAD", "S3 PUT"}
    assert cost.seconds == pytest.approx(MILLION / 5000 + MILLION * 0.0405 / 2)


def test_transfer_out_of_the_region_is_named() -> None:
    assert "1,000.00 GB are read: 90.00 USD" in transfer_warning(survey(gb=1000), load_prices())


def test_reading_an_infrequent_class_is_the_largest_line() -> None:
    cost = usd(priced(survey("GLACIER_IR", gb=5000), HERE))
    assert cost["S3 GET from GLACIER_IR"] == 10.0
    assert cost["GB retrieved from GLACIER_IR"] == 150.0
    assert usd(priced(survey("STANDARD_IA", gb=5000), HERE))["GB retrieved from STANDARD_IA"] == 50.0


def test_every_rendition_is_a_put_and_write_once_has_no_head() -> None:
    cost = usd(priced(survey(number=10_000), HERE, RENDITIONS="a=1x1,b=2x2,c=3x3", WRITE_ONCE="on"))
    assert cost["S3 PUT"] == round(30_000 * 5e-6, 4)
    assert "S3 HEAD" not in cost
    assert usd(priced(survey(), HERE, SSE="aws:kms"))["KMS requests"] == 3.0


@pytest.mark.parametrize(
    ("job", "key", "heads"),
    [
        (Job("photos", compare="etag"), "{key}", 600),
        (Job("photos"), "{stem}.{ext}", 400 * 6),
        (Job("photos", compare="none"), "{stem}.{ext}", 0),
    ],
)
def test_heads_of_the_comparison_are_in_the_estimate(job: Job, key: str, heads: int) -> None:
    found = survey(number=400, fresh=600) if key == "{key}" else survey(number=400, unknown=400)
    lines = {line.name: line.number for line in priced(found, HERE, job, KEY=key).lines}
    assert lines.get("S3 HEAD to compare", 0) == heads


def test_no_work_costs_the_listing() -> None:
    assert set(usd(priced(survey(number=0, fresh=5), HERE))) == {"S3 LIST"}


def test_surveys_of_shards_add_up_and_pass_through_json() -> None:
    findings = [Finding(Verdict.MISSING, listed("a", size=10), "a"), Finding(Verdict.FRESH, listed("b"), "b")]
    one = Survey()
    one.add(findings)
    copy = Survey(**json.loads(json.dumps(one.as_json())))
    both = one + copy
    assert (both.todo, both.counts["fresh"], both.bytes["STANDARD"]) == (2, 2, 20)
    assert (both.within(1).todo, both.within(None).todo) == (1, 2)


def test_prices_older_than_a_year_are_named() -> None:
    cost = priced(survey())
    assert age_warning(cost, cost.prices_from + datetime.timedelta(days=365)) == ""
    assert "--prices" in age_warning(cost, cost.prices_from + datetime.timedelta(days=366))


# --- jobs ---------------------------------------------------------------------------------------------------------


def test_a_job_has_defaults_for_all_fields() -> None:
    assert parse_job("photos", {}) == Job("photos")
    empty = {"prefix": "", "mode": "backfill", "compare": "time", "redo_before": "", "retry_failed": False, "most": 0}
    assert parse_job("photos", {**empty, "limit_usd": 0}) == Job("photos")
    given = {"redo_before": "1970-01-01T00:01Z", "retry_failed": True, "limit_usd": "8", "most": 5}
    assert parse_job("photos", given) == Job("photos", policy=Policy(60, True), limit_usd=8.0, most=5)


@pytest.mark.matrix(61)
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"limit_usd": "0"}, "It accepts: USD above 0, e.g. 8; without a limit it is a dry run"),
        ({"limit_usd": -1}, "It accepts: USD above 0, e.g. 8; without a limit it is a dry run"),
        ({"limit_usd": "eight"}, "It accepts: USD above 0, e.g. 8; without a limit it is a dry run"),
        ({"limit_usd": "nan"}, "It accepts: USD above 0, e.g. 8; without a limit it is a dry run"),
        ({"limit_usd": "inf"}, "It accepts: USD above 0, e.g. 8; without a limit it is a dry run"),
        ({"compare": "size"}, "It accepts: time, etag or none"),
        ({"mode": "mend"}, "It accepts: backfill or reconcile"),
        ({"redo_before": "yesterday"}, "It accepts: a time such as 2026-11-30"),
        ({"most": -1}, "It accepts: 1 to"),
        ({"most": "many"}, "It accepts: 1 to"),
        ({"limit": 8}, "the nearest is 'limit_usd'"),
    ],
)
def test_a_bad_field_of_a_job_is_named(given: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        parse_job("photos", given)


@pytest.mark.matrix(61)
def test_destinations_and_foreign_buckets_are_refused() -> None:
    with pytest.raises(SettingsError, match="name the bucket that has the originals"):
        refuse_bucket("photos-resized", settings())
    with pytest.raises(SettingsError, match="add it to that setting"):
        refuse_bucket("photos", settings(SOURCES="other"))
