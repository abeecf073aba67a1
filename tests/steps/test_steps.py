"""Single steps against an S3 and queues over HTTP, without an engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from handler import invocation, steps
from handler.invocation import Step
from tests.steps.stage import Stage, in_moto, pipeline_variables
from tests.support.cloud import DESTINATION, Cloud
from thumbnailer.backfill import job
from thumbnailer.reporting.notes import VERSION

KEYS: Final = [f"{number:02}.png" for number in range(10)]
BEGIN: Final = {"cursor": "", "shards": 0, "done": False}


@pytest.fixture(params=[{}])
def stage(request: pytest.FixtureRequest, aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Its parameter: settings of the pipeline's function."""
    monkeypatch.setattr(job, "SHARD_KEYS", 4)
    invocation.forget()
    with in_moto(aws, monkeypatch, pipeline_variables(**request.param)) as made:
        yield made


def ask(stage: Stage, step: str, given: dict[str, Any] | None = None, **event: Any) -> Any:
    return stage.steps({"step": step, "run": "run", "job": given or {}, **event})


def plan_and_survey(stage: Stage, given: dict[str, Any] | None = None) -> Any:
    """The answer of the step `estimate`, after those before it."""
    plan = BEGIN
    while not plan["done"]:
        plan = ask(stage, "plan", given, plan=plan)
    for shard in stage.report("run", "shards"):
        ask(stage, "survey", given, shard=shard)
    return ask(stage, "estimate", given, plan=plan)


def test_a_wrong_job_is_unfit_and_has_no_plan(stage: Stage) -> None:
    stage.put("a.png")
    for given in (
        {"limit_usd": "much"},
        {"limit_usd": -1},
        {"limit_usd": True},
        {"most": 0.5},
        {"mode": "all"},
        {"limits_usd": 1},
        {"redo_before": "yesterday"},
    ):
        told = ask(stage, "check", given)
        assert told["fit"] is False
        assert f"{next(iter(given))} is " in told["why"]
        planned = ask(stage, "plan", given, plan=BEGIN)
        assert (planned["done"], planned["shards"]) == (True, 0)


def test_shards_cover_every_key_and_a_turn_that_is_asked_twice_changes_nothing(stage: Stage) -> None:
    stage.put(*KEYS)
    first = ask(stage, "plan", plan=BEGIN)  # Lambda has a minute left, so a turn ends after its first page
    assert first == ask(stage, "plan", plan=BEGIN)
    last = ask(stage, "plan", plan=first)
    assert last == ask(stage, "plan", plan=first)
    assert [one["range"] for one in stage.report("run", "shards")] == [
        ["", "03.png"],
        ["03.png", "07.png"],
        ["07.png", None],
    ]


def test_feed_fills_the_queue_up_to_the_backlog_and_rests(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_BACKLOG", "3")
    stage.put(*KEYS)
    assert plan_and_survey(stage)["todo"] == 10
    item = stage.report("run", "feed")[0]
    assert item == {"n": 0, "most": 4}
    fed = ask(stage, "feed", shard=item, fed={"sent": 0, "waited": 0})
    assert (fed["sent"], fed["done"], stage.visible()) == (3, False, 3)
    fed = ask(stage, "feed", shard=item, fed=fed)
    assert fed == {"sent": 3, "waited": steps.REST_SECONDS, "done": False, "rest": steps.REST_SECONDS}
    assert stage.sent() == KEYS[:3]
    assert ask(stage, "feed", shard=item, fed=fed)["done"] is True
    assert stage.sent() == KEYS[3:4]
    monkeypatch.setenv("RUN_BACKLOG", "0")
    with pytest.raises(steps.QueueStuck, match="full for 3600 s"):
        ask(stage, "feed", shard=item, fed={"sent": 0, "waited": 3590})


def test_a_run_never_sends_what_its_survey_did_not_count(stage: Stage) -> None:
    stage.put(*KEYS[:3])
    assert plan_and_survey(stage)["todo"] == 3
    stage.put(*KEYS)  # the bucket grows meanwhile
    (item,) = stage.report("run", "feed")
    assert ask(stage, "feed", shard=item, fed={"sent": 0, "waited": 0})["done"] is True
    assert stage.sent() == KEYS[:3]


@pytest.mark.parametrize("stage", [{"Key": "{stem}.jpg"}], indirect=True)
def test_sources_that_listings_cannot_compare_are_asked_before_they_are_sent(stage: Stage) -> None:
    stage.put(*KEYS[:4])
    assert plan_and_survey(stage)["todo"] == 4
    stage.s3.put_object(Bucket=DESTINATION, Key="02.jpg", Body=b"a thumbnail")
    (item,) = stage.report("run", "feed")
    assert ask(stage, "feed", shard=item, fed={"sent": 0, "waited": 0})["done"] is True
    assert stage.sent() == ["00.png", "01.png", "03.png"]


def test_dead_letters_are_moved_once_for_each_version(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in moves them: moto has no StartMessageMoveTask."""
    moved: list[dict[str, Any]] = []
    whole = Step.client

    async def client(step: Step, service: str) -> Any:
        made = await whole(step, service)

        async def move(**arguments: Any) -> None:
            moved.append(arguments)

        made.start_message_move_task = move
        return made

    monkeypatch.setattr(Step, "client", client)
    stage.put(*KEYS[:2])
    for number in range(3):
        stage.sqs.send_message(QueueUrl=stage.dead, MessageBody=json.dumps(number))
    mend = {"mode": "reconcile", "limit_usd": 1, "most": 2}
    assert plan_and_survey(stage, mend)["dead_letters"] == 0  # more than `most`
    mend["most"] = 10
    told = plan_and_survey(stage, mend)
    assert (told["dead_letters"], told["todo"]) == (3, 5)
    assert plan_and_survey(stage, {"limit_usd": 1})["dead_letters"] == 0  # a backfill leaves them

    plan_and_survey(stage, mend)
    assert ask(stage, "report", mend)["complete"] is False
    assert moved == []  # not before everything was sent
    for item in stage.report("run", "feed"):
        ask(stage, "feed", mend, shard=item, fed={"sent": 0, "waited": 0})
    assert "3 dead letters moved back" in ask(stage, "report", mend)["text"]
    assert [one["MaxNumberOfMessagesPerSecond"] for one in moved] == [steps.MOVED_A_SECOND]
    assert stage.sqs.list_queue_tags(QueueUrl=stage.dead)["Tags"] == {steps.REDRIVEN: VERSION}
    assert plan_and_survey(stage, mend)["dead_letters"] == 0
