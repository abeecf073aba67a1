"""Whole runs against S3 and SQS over HTTP: requests counted, killed, run again, over a bucket that grows."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from handler import backfill, backfill_sinks
from handler.aws_lambda import handler
from handler.commands import app, start_backfill
from tests.conftest import Context
from tests.support.cloud import DESTINATION, SOURCE, Cloud, sqs_event
from tests.support.counting import Counted, counted
from thumbnailer.backfill.estimate import Estimate, estimate
from thumbnailer.errors import SettingsError, ThumbnailerError

URL = f"s3://{SOURCE}"


def picture(number: int = 0) -> bytes:
    out = BytesIO()
    Image.new("RGB", (16, 8), (number % 256, 99, 0)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def counts(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    """Counts the requests of every run of the test."""
    before = signal.getsignal(signal.SIGINT)
    with counted(aws) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
        yield made
    signal.signal(signal.SIGINT, before)


def start(url: str = URL, to: str = "here", **given: Any) -> int:
    keys, prices = given.pop("keys", None), given.pop("prices", None)
    return start_backfill(url, {"limit_usd": None, **given}, to, keys, prices, asks=False, follow=False)


@pytest.fixture
def estimates(monkeypatch: pytest.MonkeyPatch) -> list[Estimate]:
    """Every estimate that a run makes."""
    made: list[Estimate] = []

    def kept(*arguments: Any) -> Estimate:
        made.append(estimate(*arguments))
        return made[-1]

    monkeypatch.setattr(backfill, "estimate", kept)
    return made


def put(aws: Cloud, keys: list[str]) -> None:
    for number, key in enumerate(keys):
        aws.fill(SOURCE, [key], picture(number))


def made(aws: Cloud) -> list[str]:
    return [key for key in aws.thumbnails() if not key.startswith(("_failed/", "_runs/"))]


@pytest.mark.matrix(61)
def test_a_dry_run_lists_and_sends_nothing(aws: Cloud, counts: Counted, capsys: pytest.CaptureFixture[str]) -> None:
    aws.fill(SOURCE, (f"{n:05}.jpg" for n in range(1500)))
    aws.fill(DESTINATION, (f"{n:05}.jpg" for n in range(1200)))
    assert start() == 0
    notes = 1
    assert counts.requests == {"LIST": math.ceil(1500 / 1000) + math.ceil(1200 / 1000) + notes}
    told = capsys.readouterr().out
    assert "1,200" in told
    assert "300  missing" in told
    assert "--limit-usd" in told


@pytest.mark.matrix(61)
def test_a_run_over_its_limit_sends_nothing(aws: Cloud, counts: Counted) -> None:
    put(aws, ["a.jpg"])
    with pytest.raises(ThumbnailerError, match="above the limit of 1e-07: nothing was sent"):
        start(limit_usd="0.0000001")
    assert counts.requests.keys() == {"LIST"}


@pytest.mark.matrix(61)
def test_a_run_makes_all_thumbnails_once_and_costs_what_it_said(
    aws: Cloud, counts: Counted, estimates: list[Estimate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THUMBNAILER_RENDITIONS", "a=8x8,b=4x4:webp")
    keys = [f"{n:02} +é\x01//.jpg" for n in range(40)]
    put(aws, keys)
    start()
    counts.requests.clear()
    assert start(limit_usd="1") == 0
    assert len(made(aws)) == 80
    assert sorted(counts.sources) == sorted(keys)
    told = {line.name.removeprefix("S3 "): line.number for line in estimates[-1].lines}
    told["LIST"] = 2 * told["LIST"] + 2  # both passes, and their notes
    for kind, number in told.items():
        assert counts.requests[kind] == pytest.approx(number, rel=0.02), kind
    counts.requests.clear()
    assert start(limit_usd="1") == 0
    assert counts.requests.keys() == {"LIST"}


def test_what_is_refused_is_said_once(aws: Cloud, counts: Counted, capsys: pytest.CaptureFixture[str]) -> None:
    aws.put("bad.jpg", b"only text" * 100)
    put(aws, ["good.jpg"])
    assert start(limit_usd="1") == 1
    told = capsys.readouterr()
    assert "1 of them failed or were rejected" in told.out
    assert "'bad.jpg': rejected:not-an-image" in told.err
    assert start(limit_usd="1") == 0
    assert "refused" in capsys.readouterr().out
    assert start(limit_usd="1", retry_failed=True) == 1
    assert counts.sources.count("good.jpg") == 1


@pytest.mark.matrix(61)
def test_a_bucket_that_grows_costs_no_more_than_was_agreed(
    aws: Cloud, counts: Counted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(aws, [f"{n}.jpg" for n in range(5)])
    agree = backfill._Backfill.may_start

    def grow(*arguments: Any) -> bool:
        put(aws, [f"{n}-new.jpg" for n in range(7)])
        return agree(*arguments)

    monkeypatch.setattr(backfill._Backfill, "may_start", grow)
    assert start(limit_usd="1") == 0
    assert len(counts.sources) == 5
    assert "7 more need thumbnails: run this again" in capsys.readouterr().out


def test_an_overwritten_source_is_stale(aws: Cloud, counts: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    put(aws, ["a.jpg", "b.jpg"])
    start(limit_usd="1")
    time.sleep(1.1)  # S3 tells whole seconds
    put(aws, ["b.jpg"])
    counts.sources.clear()
    assert start(limit_usd="1") == 0
    assert counts.sources == ["b.jpg"]


def test_compare_etag_finds_other_settings(aws: Cloud, counts: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    put(aws, ["a.jpg", "b.jpg"])
    start(limit_usd="1")
    counts.sources.clear()
    assert start(limit_usd="1", compare="etag") == 0
    assert not counts.sources
    monkeypatch.setenv("THUMBNAILER_RENDITIONS", "128x128:q50")
    assert start(limit_usd="1") == 0
    assert not counts.sources
    assert start(limit_usd="1", compare="etag") == 0
    assert sorted(counts.sources) == ["a.jpg", "b.jpg"]


def test_a_list_of_keys(aws: Cloud, counts: Counted, tmp_path: Path) -> None:
    put(aws, ["a b.jpg", "c,d.jpg", "e.jpg"])
    (tmp_path / "plain").write_text("a b.jpg\nnone.jpg\n")
    assert start(limit_usd="1", keys=tmp_path / "plain") == 0
    assert made(aws) == ["a b.jpg"]
    (tmp_path / "csv").write_text('"photos","c%2Cd.jpg","123"\n"other","e.jpg"\n')
    assert start(limit_usd="1", keys=tmp_path / "csv") == 0
    assert made(aws) == ["a b.jpg", "c,d.jpg"]
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(SettingsError, match="write one a line"):
        start(keys=tmp_path / "empty")


# --- killed and stopped -------------------------------------------------------------------------------------------

HASTY = "from handler import backfill_lease as l, cli; l.RENEW_SECONDS = 0.1; cli.main()"
IN_FLIGHT = 4


def child(counts: Counted, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HASTY, "backfill", URL, "--limit-usd", "1", "--yes", *arguments]
    env = {**os.environ, "THUMBNAILER_IN_FLIGHT": str(IN_FLIGHT), "AWS_ENDPOINT_URL": counts.url}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.matrix(61)
def test_a_run_killed_five_times_completes(aws: Cloud, counts: Counted) -> None:
    keys = [f"{n:03}.jpg" for n in range(60)]
    put(aws, keys)
    counts.delay = 0.05
    for _ in range(5):
        before = len(counts.sources)
        process = child(counts)
        until(lambda before=before: len(counts.sources) >= before + 8)
        process.kill()
        process.communicate()
    counts.delay = 0
    process = child(counts)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert made(aws) == keys
    assert len(counts.sources) <= len(keys) + 5 * IN_FLIGHT
    counts.sources.clear()
    assert start(limit_usd="1") == 0
    assert not counts.sources


@pytest.mark.matrix(61)
def test_ctrl_c_lets_records_in_work_end(aws: Cloud, counts: Counted) -> None:
    put(aws, [f"{n:03}.jpg" for n in range(200)])
    counts.delay = 0.05
    process = child(counts)
    until(lambda: len(counts.sources) >= 8)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == backfill.STOPPED
    assert "stopped: run this again to go on" in out
    assert "Traceback" not in err
    assert sorted(made(aws)) == sorted(set(counts.sources))
    assert len(counts.sources) < 200
    assert not [key for key in aws.thumbnails() if key.startswith("_runs/")]


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.matrix(61)
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["s3://photos-resized"], 2, "name the bucket that has the originals"),
        (["s3://photos", "--limit-usd", "0"], 2, "It accepts: USD above 0"),
        (["s3://photos", "--limit-usd", "-5"], 2, "It accepts: USD above 0"),
        (["s3://photos", "--limit-usd", "eight"], 2, "It accepts: USD above 0"),
        (["s3://photos/none/"], 0, "check the prefix"),
        (["s3://nothing-here"], 2, "create nothing-here-resized"),
        (["photos"], 2, "write s3://BUCKET or s3://BUCKET/PREFIX"),
        (["s3://photos", "--to", "queue"], 2, "THUMBNAILER_QUEUE_URL is not set"),
        (["s3://photos", "--to", "there"], 2, "write here, queue or aws:STACK"),
        (["s3://photos", "--compare", "size"], 2, "It accepts: time, etag or none"),
        (["s3://photos", "--redo-before", "soon"], 2, "It accepts: a time such as 2026-11-30"),
        (["s3://photos", "--limit-usd", "1"], 1, "Aborted"),
    ],
)
def test_bad_input_ends_with_a_sentence_that_says_what_to_do(
    aws: Cloud, arguments: list[str], code: int, says: str
) -> None:
    put(aws, ["a.jpg"])
    ended = CliRunner().invoke(app, ["backfill", *arguments])
    told = ended.output + str(ended.exception or "")
    assert says in told
    assert (2 if isinstance(ended.exception, ThumbnailerError) else ended.exit_code) == code
    assert not made(aws)


@pytest.mark.matrix(61)
def test_no_destination_bucket_names_the_setting(aws: Cloud) -> None:
    aws.s3.delete_bucket(Bucket=DESTINATION)
    put(aws, ["a.jpg"])
    with pytest.raises(SettingsError, match=r"create photos-resized or set THUMBNAILER_DESTINATION"):
        start()


@pytest.mark.matrix(61)
def test_old_prices_are_named_and_own_ones_taken(
    aws: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(aws, ["a.jpg"])
    prices = tmp_path / "prices.toml"
    prices.write_text('[s3_put]\nusd = 70\nunit = "request"\ndate = 2020-01-01\nsource = "an old offer"\n')
    start(prices=prices)
    told = capsys.readouterr().out
    assert "A price is from 2020-01-01, more than a year ago: update Thumbnailer" in told
    assert "77.0000" in told


@pytest.mark.parametrize(("answer", "stored"), [("n", []), ("y", ["a.jpg"])])
def test_a_person_is_asked_before_anything_is_sent(aws: Cloud, answer: str, stored: list[str]) -> None:
    put(aws, ["a.jpg"])
    ended = CliRunner().invoke(app, ["backfill", URL, "--limit-usd", "1"], input=f"{answer}\n")
    assert ended.exit_code == 0
    assert "Send 1 records for about" in ended.output
    assert made(aws) == stored


# --- reconcile ----------------------------------------------------------------------------------------------------


def test_reconcile_mends_within_its_bounds_and_then_has_nothing_to_do(
    aws: Cloud, counts: Counted, capsys: pytest.CaptureFixture[str]
) -> None:
    put(aws, [f"{n}.jpg" for n in range(6)])
    start(limit_usd="1")
    for key in ("0.jpg", "1.jpg"):
        aws.s3.delete_object(Bucket=DESTINATION, Key=key)
    aws.s3.delete_object(Bucket=SOURCE, Key="5.jpg")
    aws.s3.put_object(Bucket=DESTINATION, Key="index.html", Body=b"of somebody else")
    capsys.readouterr()
    assert start(mode="reconcile", most=10) == 0
    told = capsys.readouterr().out
    assert all(f"1  {one}" in told for one in ("orphan", "foreign"))
    assert "2  missing" in told
    assert start(mode="reconcile", most=1, limit_usd="1") == 0
    assert "2 more need thumbnails" in capsys.readouterr().out
    assert start(mode="reconcile", most=10, limit_usd="1") == 0
    assert made(aws) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg", "index.html"]
    counts.sources.clear()
    assert start(mode="reconcile", most=10, limit_usd="1") == 0
    assert not counts.sources


# --- the queue ----------------------------------------------------------------------------------------------------


@pytest.fixture
def queue(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> str:
    url: str = aws.client("sqs").create_queue(QueueName="thumbnails")["QueueUrl"]
    monkeypatch.setenv("THUMBNAILER_QUEUE_URL", url)
    return url


def received(aws: Cloud, url: str) -> list[dict[str, Any]]:
    """All visible messages, which are deleted."""
    sqs, found = aws.client("sqs"), []
    while answer := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"]).get("Messages"):
        found += answer
        for message in answer:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def test_the_queue_gets_records_that_the_function_takes(aws: Cloud, queue: str) -> None:
    keys = [f"{n:02} +é\x01.jpg" for n in range(25)]
    put(aws, keys)
    assert start(to="queue", limit_usd="1") == 0
    messages = received(aws, queue)
    groups = {message["Attributes"].get("MessageGroupId") for message in messages}
    assert len(groups) == 1
    assert str(groups.pop()).startswith("backfill-")
    answer = handler(sqs_event(*(message["Body"] for message in messages)), Context())
    assert answer == {"batchItemFailures": []}
    assert made(aws) == keys
    assert start(to="queue", limit_usd="1") == 0
    assert not received(aws, queue)


@pytest.mark.matrix(61)
def test_a_queue_without_consumer_gets_no_more_than_the_backlog(
    aws: Cloud, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("BACKLOG", 20), ("PAUSE_SECONDS", 0.01), ("STALL_SECONDS", 0.1)):
        monkeypatch.setattr(backfill_sinks, name, value)
    put(aws, [f"{n:02}.jpg" for n in range(45)])
    with pytest.raises(ThumbnailerError, match="start a worker, or enable the function's mapping, and run this again"):
        start(to="queue", limit_usd="1")
    assert len(received(aws, queue)) == 20
