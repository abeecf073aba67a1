"""Runs of the state machine in two engines, with the real step handler and the real pipeline.

The quick tests run in moto's engine. The slow ones run in MiniStack's, which deploys the template itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

import pytest

from handler import invocation, steps
from tests.steps.stage import Stage, in_ministack, in_moto, key_of, picture, pipeline_variables
from tests.support.cloud import DESTINATION, SOURCE, Cloud
from tests.support.ministack import MiniStack
from thumbnailer.backfill import job
from thumbnailer.reporting import notes

Start = Callable[..., Stage]
KEYS: Final = [f"album/{number}.png" for number in range(10)]
LIMIT: Final = 5


@pytest.fixture(params=["moto", pytest.param("ministack", marks=pytest.mark.slow)])
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Sets a stage with shards of four keys. Its parameters are those of the template, and the pipeline's settings."""
    monkeypatch.setattr(job, "SHARD_KEYS", 4)
    monkeypatch.setattr(steps, "REST_SECONDS", 1)
    opened: list[AbstractContextManager[Stage]] = []
    aws = request.getfixturevalue("aws")  # clears the environment for both engines

    def set_(settings: dict[str, str] | None = None, **parameters: Any) -> Stage:
        variables = pipeline_variables(**settings or {})
        if request.param == "moto":
            assert isinstance(aws, Cloud)
            opened.append(in_moto(aws, monkeypatch, variables, **parameters))
        else:
            cloud: MiniStack = request.getfixturevalue("ministack")
            opened.append(in_ministack(cloud, monkeypatch, variables, **parameters))
        invocation.forget()
        return opened[-1].__enter__()

    yield set_
    for stage in opened:
        stage.__exit__(None, None, None)


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


def test_a_shard_that_fails_ends_the_run_and_the_next_run_sends_the_rest(start: Start) -> None:
    stage = start()
    stage.put(*KEYS)
    stage.steps.fails = lambda event: event["step"] == "feed" and event["shard"]["n"] == 2
    broken = stage.run("broken", limit_usd=LIMIT)
    assert broken.state == "Incomplete"
    assert broken.cause.startswith("8 of 10 records were sent")
    assert stage.deliver() == 8

    stage.steps.fails = lambda event: event["step"] == "survey"
    failed = stage.run("failed", limit_usd=LIMIT)
    assert failed.state == "CouldNotPrepare"
    stage.steps.fails = lambda event: False
    assert stage.run("again", limit_usd=LIMIT).state == "Done"
    assert stage.sent() == KEYS[8:]


def test_an_empty_bucket_has_nothing_to_do(start: Start) -> None:
    stage = start()
    assert stage.run("empty", limit_usd=LIMIT).state == "NothingThere"
    stage.put(*KEYS)
    assert stage.run("elsewhere", limit_usd=LIMIT, prefix="no/").state == "NothingThere"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"limit_usd": "much"}, "the limit is 'much': write the most USD"),
        ({"limit_usd": -1}, "the limit is -1: write the most USD"),
        ({"limit_usd": LIMIT, "mode": "all"}, "mode is 'all': write one of backfill, reconcile"),
        ({"limit_usd": LIMIT, "limits_usd": 1}, "limits_usd is no field of a job"),
        ({"limit_usd": LIMIT, "redo_before": "yesterday"}, "'yesterday' is no time"),
    ],
)
def test_a_wrong_job_is_unfit_and_sends_nothing(start: Start, given: dict[str, Any], sentence: str) -> None:
    stage = start()
    stage.put("a.png")
    ended = stage.run("wrong", **given)
    assert ended.state == "Unfit"
    assert sentence in ended.cause
    assert stage.take() == []


def test_a_bucket_that_the_pipeline_skips_is_unfit(start: Start) -> None:
    """The source is a destination of the function's settings."""
    stage = start({"Destination": SOURCE[:3] + "tos", "SourceBucket": "originals"})
    stage.put(*KEYS)
    ended = stage.run("looping", limit_usd=LIMIT)
    assert ended.state == "Unfit"
    assert f"{SOURCE} is a destination of THUMBNAILER_DESTINATION={SOURCE}" in ended.cause


def test_a_stack_with_another_destination_is_unfit(start: Start) -> None:
    ended = start({"Destination": "small-{bucket}"}).run("astray", limit_usd=LIMIT)
    assert ended.state == "Unfit"
    assert "the function writes to small-photos" in ended.cause


def test_a_queue_that_nothing_empties_is_unfit(start: Start) -> None:
    stage = start(idle=True)
    stage.put(*KEYS)
    ended = stage.run("idle", limit_usd=LIMIT)
    assert ended.state == "Unfit"
    assert "nothing empties the queue" in ended.cause
