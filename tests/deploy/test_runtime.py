"""The deployed template with the function as AWS runs it: the runtime client under the runtime interface emulator.

moto has the stack's buckets, queues and mapping. The function gets the memory, time limit and environment that moto
reports, and so the template's. tests/support/mapping.py carries batches from the queue to the function.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from bench.rig.emulator import HANDLER, Function, find_binary
from bench.rig.processes import NotInstalled
from tests.deploy.deploying import Deployed, deploy
from tests.deploy.running import DEAD, EVENTS, NO_EVENT, Running, take_over_buckets
from tests.deploy.stack import AS_ZIP, alarm_series, dashboard_series, translate
from tests.deploy.watching import emf_series, own_series
from tests.support.cloud import DESTINATION, Cloud
from tests.support.emulator import Emulator
from tests.support.emulator import running as emulated
from tests.support.mapping import InvocationFailed
from tests.support.pictures import opened
from thumbnailer.settings import PREFIX

PHOTO = "coffee-rotated-by-exif.jpg"


class AsInAws(Running):
    """A deployed stack whose function runs under the emulator."""

    def __init__(self, deployed: Deployed, function: Emulator) -> None:
        super().__init__(deployed, self.invoke)
        self.function = function

    def invoke(self, event: dict[str, Any]) -> Any:
        answer = self.function.invoke(event)
        if answer.error:
            raise InvocationFailed(answer.error)
        return answer.value

    def lines(self, message: str) -> list[dict[str, Any]]:
        """The function's log lines of one kind."""
        return [line for line in self.function.lines() if line.get("message") == message]


Start = Callable[..., AsInAws]


def as_configured(deployed: Deployed, folder: Path) -> Function:
    """The function as the stack configures it, with the credentials that Lambda adds and the emulator's endpoint."""
    name = deployed.outputs["FunctionName"]
    told = deployed.cloud.client("lambda").get_function_configuration(FunctionName=name)
    added = {**deployed.cloud.env, "AWS_LAMBDA_FUNCTION_NAME": name, "TMPDIR": str(folder), "NO_PROXY": "127.0.0.1"}
    return Function(
        told["MemorySize"],
        told["Timeout"],
        env=added | deployed.environment(),
        command=(sys.executable, "-m", "awslambdaric", told.get("Handler") or HANDLER),  # an image contains its command
    )


@pytest.fixture
def invoked(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    return take_over_buckets(aws, monkeypatch)


@pytest.fixture
def start(aws: Cloud, invoked: object, tmp_path: Path) -> Iterator[Start]:
    """Deploys into an empty cloud and starts the function; a failing test shows its log."""
    try:
        find_binary()
    except NotInstalled as error:
        pytest.skip(str(error))
    with ExitStack() as stack:

        def begin(template: Mapping[str, Any] | None = None, **parameters: str) -> AsInAws:
            deployed = deploy(aws, template, **parameters)
            log = tmp_path / "log"
            stack.callback(lambda: print(log.read_text()))
            return AsInAws(deployed, stack.enter_context(emulated(as_configured(deployed, tmp_path), log)))

        yield begin


def purge_test_event(running: Running) -> None:
    running.sqs.purge_queue(QueueUrl=running.mapping.url)


# --- a picture goes through ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [{"Trigger": "queue"}, {"Trigger": "eventbridge"}, {"Trigger": "queue", **AS_ZIP}],
    ids=["notification", "eventbridge", "zip"],
)
def test_a_picture_in_the_source_bucket_gets_a_thumbnail(
    start: Start, aws: Cloud, samples: dict[str, bytes], parameters: dict[str, str]
) -> None:
    if "CodeBucket" in parameters:
        aws.s3.create_bucket(Bucket=parameters["CodeBucket"])
        aws.s3.put_object(Bucket=parameters["CodeBucket"], Key=parameters["CodeKey"], Body=b"PK\5\6" + bytes(18))
    running = start(LogLevel="DEBUG", **parameters)
    deliveries = running.upload("albums/red flower+1.jpg", samples[PHOTO])
    assert [delivery.answer for delivery in deliveries] == [{"batchItemFailures": []}]
    assert opened(aws.thumbnail("albums/red flower+1.jpg")["Body"]).size == (128, 85)
    assert running.holds(EVENTS) == running.holds(DEAD) == 0
    assert [line["key"] for line in running.lines("record")] == ["albums/red flower+1.jpg"]


def test_a_direct_invocation_makes_a_thumbnail(
    start: Start, aws: Cloud, samples: dict[str, bytes], invoked: list[tuple[str, str]]
) -> None:
    running = start(Trigger="direct")
    aws.put("a b.jpg", samples[PHOTO])
    ((arn, body),) = invoked
    assert arn.rpartition(":")[2] == running.deployed.outputs["FunctionName"]
    assert running.invoke(json.loads(body))["outcomes"] == {"stored": 1}
    assert aws.thumbnails() == ["a b.jpg"]


def test_the_function_has_only_the_template_s_settings(start: Start, samples: dict[str, bytes], tmp_path: Path) -> None:
    running = start(Renditions="big=300x300:cover:webp:q80, small=40x", MemorySize="512", Timeout="20")
    function = as_configured(running.deployed, tmp_path)
    assert (function.memory_mb, function.timeout) == (512, 20)
    ours_ = {name: value for name, value in function.environment().items() if name.startswith(PREFIX)}
    (of_the_template,) = running.deployed.stack.of_type("AWS::Lambda::Function")
    assert ours_ == of_the_template.properties["Environment"]["Variables"]
    running.upload("a.jpg", samples[PHOTO])
    assert running.cloud.thumbnails() == ["a.jpg/big.webp", "a.jpg/small.jpg"]


def test_batches_follow_batch_size_and_window(start: Start, samples: dict[str, bytes]) -> None:
    """Each batch is one invocation, all in one environment."""
    running = start(BatchSize="12", BatchWindow="1")
    purge_test_event(running)
    for number in range(15):
        running.cloud.put(f"{number}.jpg", samples[PHOTO])
    assert [len(delivery.ids) for delivery in running.mapping.deliver_all()] == [12, 3]
    assert [line["records"] for line in running.lines("batch")] == [12, 3]
    assert len(running.cloud.thumbnails()) == 15
    assert running.function.starts == 1


# --- failures ----------------------------------------------------------------------------------------------------


def test_only_failed_messages_of_a_batch_come_back_and_end_in_the_dead_letter_queue(
    start: Start, samples: dict[str, bytes]
) -> None:
    """A picture, an object that is no picture (it gets a note), and a message that is no event."""
    running = start(MaxReceiveCount="2")
    purge_test_event(running)
    running.cloud.put("good.jpg", samples[PHOTO])
    running.cloud.put("bad.jpg", b"not a picture at all")
    running.send(NO_EVENT)
    mapping = running.mapping
    first = mapping.deliver()
    assert first is not None
    assert (len(first.ids), len(first.kept)) == (3, 1)
    assert first.answer == {"batchItemFailures": [{"itemIdentifier": first.kept[0]}]}
    assert running.cloud.thumbnails() == ["_failed/bad.jpg.json", "good.jpg"]
    note = json.loads(running.cloud.thumbnail("_failed/bad.jpg.json")["Body"])
    assert note["reason"] == "not-an-image"
    assert mapping.deliver() is None  # not before its visibility timeout ends
    mapping.let_visibility_end()
    second = mapping.deliver()
    assert second is not None
    assert second.ids == second.kept == first.kept
    mapping.let_visibility_end()
    assert mapping.deliver() is None
    assert running.dead_letters() == [NO_EVENT]
    assert running.holds(EVENTS) == 0


def test_a_message_that_fails_for_a_while_comes_back_and_succeeds(start: Start, samples: dict[str, bytes]) -> None:
    running = start(MaxReceiveCount="3", LogLevel="DEBUG")
    running.cloud.s3.delete_bucket(Bucket=DESTINATION)
    purge_test_event(running)
    running.cloud.put("a.jpg", samples[PHOTO])
    mapping = running.mapping
    first = mapping.deliver()
    assert first is not None
    assert first.kept == first.ids
    running.cloud.s3.create_bucket(Bucket=DESTINATION)
    mapping.let_visibility_end()
    second = mapping.deliver()
    assert second is not None
    assert (second.ids, second.kept) == (first.ids, ())
    assert running.cloud.thumbnails() == ["a.jpg"]
    assert running.holds(EVENTS) == running.holds(DEAD) == 0
    assert [line["outcome"] for line in running.lines("record")] == ["failed", "stored"]


def test_a_message_that_fails_too_often_is_a_dead_letter_and_a_redrive_succeeds(
    start: Start, samples: dict[str, bytes]
) -> None:
    running = start(MaxReceiveCount="3")
    running.cloud.s3.delete_bucket(Bucket=DESTINATION)
    purge_test_event(running)
    running.cloud.put("a.jpg", samples[PHOTO])
    mapping, tries = running.mapping, 0
    while tries < 10 and (delivery := mapping.deliver()):
        assert delivery.kept == delivery.ids
        tries += 1
        mapping.let_visibility_end()
    assert tries == 3
    assert {line["reason"] for line in running.lines("record")} == {"destination-unavailable"}
    (body,) = running.dead_letters()
    assert [unquote_plus(record["s3"]["object"]["key"]) for record in json.loads(body)["Records"]] == ["a.jpg"]

    running.cloud.s3.create_bucket(Bucket=DESTINATION)
    running.send(body)  # moto has no start-message-move-task
    (redriven,) = mapping.deliver_all()
    assert redriven.kept == ()
    assert running.cloud.thumbnails() == ["a.jpg"]


def test_without_report_batch_item_failures_the_failed_message_is_lost(start: Start) -> None:
    """This shows that the template is the cause in the tests above."""
    template = translate()
    del template["Resources"]["QueueMapping"]["Properties"]["FunctionResponseTypes"]
    running = start(template)
    purge_test_event(running)
    running.send(NO_EVENT)
    (delivery,) = running.mapping.deliver_all()
    assert len(delivery.answer["batchItemFailures"]) == 1
    assert delivery.kept == ()
    assert running.holds(EVENTS) == running.holds(DEAD) == 0


def test_settings_that_the_function_refuses_are_logged_and_no_message_is_deleted(
    start: Start, samples: dict[str, bytes]
) -> None:
    """No pattern of a template can count."""
    running = start(Offers=",".join(f"{side}x{side}" for side in range(1, 34)))
    purge_test_event(running)
    running.cloud.put("a.jpg", samples[PHOTO])
    delivery = running.mapping.deliver()
    assert delivery is not None
    assert (delivery.answer, delivery.kept) == (None, delivery.ids)
    assert running.holds(EVENTS) == 1
    assert "THUMBNAILER_OFFERS" in running.function.log


# --- monitoring -------------------------------------------------------------------------------------------------


def test_dashboard_and_alarms_use_the_metrics_of_the_running_function(start: Start, samples: dict[str, bytes]) -> None:
    running = start()
    running.upload("a.jpg", samples[PHOTO])
    running.upload("b.jpg", b"not a picture at all")
    for key in running.cloud.thumbnails():
        running.cloud.s3.delete_object(Bucket=DESTINATION, Key=key)
    running.cloud.s3.delete_bucket(Bucket=DESTINATION)
    running.upload("c.jpg", samples[PHOTO])
    seen = emf_series(line for line in running.function.lines() if "_aws" in line)
    assert {"thumbnailer_records_stored", "thumbnailer_records_rejected", "thumbnailer_records_failed"} <= {
        one.name for one in seen
    }
    assert seen <= dashboard_series(running.deployed.stack)
    assert own_series(alarm_series(running.deployed.stack)) <= seen
