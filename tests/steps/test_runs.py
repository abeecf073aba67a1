"""Runs of the state machine with the real step handler and the real pipeline.

MiniStack's engine deploys the template itself; these tests are slow. moto's engine has one test of all states.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import pytest

from handler import invocation, steps
from tests.steps.stage import Stage, in_ministack, in_moto, key_of, name_of, pipeline_variables
from tests.support.cloud import DESTINATION, SOURCE, Cloud
from tests.support.ministack import MiniStack
from thumbnailer.backfill import job

Start = Callable[..., Stage]
KEYS: Final = [f"album/{number}.png" for number in range(10)]
LIMIT: Final = 5


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of four keys and short rests."""
    monkeypatch.setattr(job, "SHARD_KEYS", 4)
    monkeypatch.setattr(steps, "REST_SECONDS", 1)
    invocation.forget()


@pytest.fixture
def moto(aws: Cloud, small: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with in_moto(aws, monkeypatch, pipeline_variables()) as stage:
        yield stage


@pytest.fixture
def start(aws: Cloud, ministack: MiniStack, small: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Deploys the template with parameters, over the pipeline's settings. `aws` clears the environment."""
    with ExitStack() as stack:

        def set_(settings: Mapping[str, str] | None = None, **parameters: Any) -> Stage:
            variables = pipeline_variables(**settings or {})
            return stack.enter_context(in_ministack(ministack, monkeypatch, variables, **parameters))

        yield set_


def test_a_backfill_in_moto(moto: Stage) -> None:
    """Dry run, the run itself, and the same again."""
    moto.put(*KEYS[:6])
    assert moto.run("dry").state == "DryRun"
    first = moto.run("first", limit_usd=LIMIT)
    assert first.state == "Done", first
    assert moto.deliver() == 6
    assert moto.thumbnails() == set(KEYS[:6])
    assert moto.run("second", limit_usd=LIMIT).state == "UpToDate"
    assert moto.take() == []


@pytest.mark.slow
def test_a_backfill_from_dry_run_to_up_to_date(start: Start) -> None:
    """Dry run, over the limit, the run itself, the same again, and again after one thumbnail was lost."""
    stage = start()
    stage.put(*KEYS)
    dry = stage.run("dry")
    assert (dry.state, dry.output["sum"]["estimate"]["todo"]) == ("DryRun", 10)
    over = stage.run("over", limit_usd=0.000001)
    assert over.state == "OverLimit"
    assert over.cause.startswith("10 records to send, for about 0.00 USD")
    assert stage.take() == []

    assert stage.run("first", limit_usd=LIMIT).state == "Done"
    messages = stage.take()
    assert sorted(map(key_of, messages)) == KEYS
    assert {message["Attributes"]["MessageGroupId"] for message in messages} == {"backfill-first"}
    stage.process(messages)
    assert stage.thumbnails() == set(KEYS)

    assert stage.run("second", limit_usd=LIMIT).state == "UpToDate"
    assert stage.take() == []
    stage.s3.delete_object(Bucket=DESTINATION, Key=KEYS[7])
    assert stage.run("third", limit_usd=LIMIT, prefix="album/").state == "Done"
    assert stage.sent() == [KEYS[7]]


@pytest.mark.slow
def test_a_shard_that_fails_ends_the_run_and_the_next_run_sends_the_rest(start: Start) -> None:
    stage = start()
    stage.put(*KEYS)
    stage.steps.fails = lambda event: event["step"] == "feed" and event["shard"]["n"] == 2
    broken = stage.run("broken", limit_usd=LIMIT)
    assert broken.state == "Incomplete"
    assert broken.cause.startswith("8 of 10 records were sent")
    assert stage.deliver() == 8

    for step, end in (("check", "CouldNotPrepare"), ("survey", "CouldNotPrepare"), ("report", "CouldNotReport")):
        stage.steps.fails = partial(_is_step, step)
        assert stage.run(f"no-{step}", limit_usd=LIMIT).state == end
    assert stage.sent() == KEYS[8:]
    stage.steps.fails = lambda event: False
    assert stage.run("again", limit_usd=LIMIT).state == "Done"
    assert stage.sent() == KEYS[8:]


def _is_step(name: str, event: Mapping[str, Any]) -> bool:
    return bool(event["step"] == name)


@pytest.mark.slow
def test_a_step_whose_answer_is_lost_sends_at_most_its_own_records_twice(start: Start) -> None:
    stage = start()
    stage.put(*KEYS)
    stage.steps.loses = {"feed"}
    assert stage.run("lost", limit_usd=LIMIT).state == "Done"
    assert stage.sent() == sorted(KEYS + KEYS[:4])


@pytest.mark.slow
def test_an_empty_bucket_has_nothing_to_do(start: Start) -> None:
    stage = start()
    assert stage.run("empty", limit_usd=LIMIT).state == "NothingThere"
    stage.put(*KEYS)
    assert stage.run("elsewhere", limit_usd=LIMIT, prefix="no/").state == "NothingThere"


@pytest.mark.slow
def test_an_unfit_run_says_why_and_sends_nothing(start: Start) -> None:
    """A bucket of thumbnails, another stack's destination, a queue that nothing empties, a limit that is text."""
    for settings, parameters, given, sentence in (
        ({"Destination": SOURCE, "SourceBucket": "originals"}, {}, {}, f"{SOURCE} is a destination"),
        ({"Destination": "small-{bucket}"}, {}, {}, "the function writes to small-photos"),
        ({}, {"idle": True}, {}, "nothing empties the queue"),
        ({}, {}, {"limit_usd": "much"}, "limit_usd is 'much'"),
    ):
        invocation.forget()
        stage = start(settings, **parameters)
        stage.put(*KEYS)
        ended = stage.run("unfit", **{"limit_usd": LIMIT} | given)
        assert ended.state == "Unfit"
        assert sentence in ended.cause
        assert stage.take() == []


@pytest.mark.slow
def test_a_run_waits_while_the_queue_is_full_and_a_second_run_is_refused(start: Start) -> None:
    stage = start(Backlog="10")
    keys = [f"{number:02}.png" for number in range(25)]
    stage.put(*keys)
    first = stage.start("first", limit_usd=LIMIT)
    stage.wait_for(lambda: any(call["step"] == "feed" and call["fed"]["waited"] for call in stage.steps.calls))
    refused = stage.run("second", limit_usd=LIMIT)
    assert refused.state == "Unfit"
    assert "the run first goes on" in refused.cause
    assert stage.visible() == 10

    sent: list[str] = []
    stopping = threading.Event()
    consumer = threading.Thread(target=_consume, args=(stage, sent, stopping))
    consumer.start()
    assert stage.end(first).state == "Done"
    stopping.set()
    consumer.join()
    assert sorted(sent + stage.sent()) == keys


def _consume(stage: Stage, sent: list[str], stopping: threading.Event) -> None:
    while not stopping.is_set():
        assert stage.visible() <= 10
        sent += stage.sent()
        time.sleep(0.2)


@pytest.mark.slow
def test_a_queue_that_stays_full_ends_the_run(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "LONGEST_REST_SECONDS", 2)
    stage = start(Backlog="10")
    stage.put(*KEYS, "one-more.png", "two-more.png")
    ended = stage.run("stuck", limit_usd=LIMIT)
    assert ended.state == "Incomplete"
    assert ended.cause.startswith("8 of 12 records were sent")
    assert len(stage.take()) == 10


@pytest.mark.slow
def test_reconcile_mends_what_is_wrong_and_touches_nothing_else(start: Start) -> None:
    """Missing, stale, an orphan, somebody's file, a note of an older version and one of this version."""
    stage = start()
    stage.put("fresh.png", "gone.png", "missing.png", "stale.png")
    stage.put("refused.png", "retried.png", body=b"this is no picture")
    assert stage.run("backfill", limit_usd=LIMIT).state == "Done"
    assert stage.deliver() == 6
    notes = {"_failed/refused.png.json", "_failed/retried.png.json"}
    assert stage.thumbnails() == {"fresh.png", "gone.png", "missing.png", "stale.png"} | notes

    stage.s3.delete_object(Bucket=SOURCE, Key="gone.png")
    stage.s3.delete_object(Bucket=DESTINATION, Key="missing.png")
    stage.s3.put_object(Bucket=DESTINATION, Key="somebody.txt", Body=b"mine")
    stage.give_note_of_another_version("_failed/retried.png.json")
    time.sleep(1.1)  # listings tell whole seconds
    stage.put("stale.png")

    report = stage.run("report", mode="reconcile")
    assert (report.state, report.output["sum"]["estimate"]["todo"]) == ("DryRun", 4)
    counts = stage.report("report", "estimate")["counts"]
    assert counts == {
        "fresh": 1, "missing": 1, "stale": 1, "retry": 1, "refused": 1, "orphan": 1, "foreign": 1,
    }  # fmt: skip
    assert stage.take() == []

    assert stage.run("mend", mode="reconcile", limit_usd=LIMIT, most=10).state == "Done"
    messages = stage.take()
    assert {key_of(message): name_of(message) for message in messages} == {
        "gone.png": "ObjectRemoved:Reconcile",
        "missing.png": "ObjectCreated:Backfill",
        "stale.png": "ObjectCreated:Backfill",
        "retried.png": "ObjectCreated:Backfill",
    }
    stage.process(messages)
    assert stage.thumbnails() == {"fresh.png", "missing.png", "stale.png", "somebody.txt"} | notes
    assert stage.run("again", mode="reconcile", limit_usd=LIMIT).state == "UpToDate"
    assert stage.take() == []


@pytest.mark.slow
def test_reconcile_sends_at_most_so_many_records_a_run_and_the_next_run_goes_on(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    stage = start()
    keys = [f"{number:02}.png" for number in range(25)]
    stage.put(*keys)
    sent = []
    for name in ("one", "two", "three"):
        assert stage.run(name, mode="reconcile", limit_usd=LIMIT, most=10).state == "Done"
        sent.append(stage.deliver())
    assert sent == [10, 10, 5]
    assert stage.run("four", mode="reconcile", limit_usd=LIMIT, most=10).state == "UpToDate"
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if "CloudWatchMetrics" in line]
    still = [line[steps.STILL_MISSING] for line in lines if steps.STILL_MISSING in line]
    assert still == [0, 15, 5, 0]  # of two runs in a row the smaller number


@pytest.mark.slow
def test_an_emptied_source_bucket_leaves_orphans(start: Start) -> None:
    stage = start()
    stage.put(*KEYS)
    assert stage.run("backfill", limit_usd=LIMIT).state == "Done"
    assert stage.deliver() == 10
    for key in KEYS:
        stage.s3.delete_object(Bucket=SOURCE, Key=key)
    assert stage.run("mend", mode="reconcile", limit_usd=LIMIT, most=8).state == "Done"
    assert stage.deliver() == 8
    assert len(stage.thumbnails()) == 2
