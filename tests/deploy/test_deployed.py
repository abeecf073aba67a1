"""The deployed template: a picture in the source bucket gets a thumbnail in the destination.

The emulator is moto; deploying.py adds the parts that moto lacks, and tests/support/mapping.py carries messages to the
function. The function runs in this process, which is fast; in test_runtime.py it runs as in AWS.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

import pytest

from handler import aws_lambda
from tests.conftest import Context
from tests.deploy.deploying import deploy
from tests.deploy.running import DEAD, EVENTS, NO_EVENT, Running, take_over_buckets
from tests.deploy.stack import ACCOUNT, AS_ZIP, translate
from tests.support.cloud import DESTINATION, SOURCE, Cloud
from tests.support.mapping import InvocationFailed, QueueMapping, ids_to_keep
from tests.support.pictures import opened

Start = Callable[..., Running]


def post(event: dict[str, Any]) -> Any:
    """The function, in this process."""
    try:
        return json.loads(json.dumps(aws_lambda.handler(event, Context())))
    except Exception as error:
        raise InvocationFailed(str(error)) from error


@pytest.fixture
def invoked(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    return take_over_buckets(aws, monkeypatch)


@pytest.fixture
def start(aws: Cloud, invoked: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Deploys into an empty cloud; the function is this process with the stack's environment."""

    def deployed(template: Mapping[str, Any] | None = None, tested: bool = True, **parameters: str) -> Running:
        running = Running(deploy(aws, template, **parameters), post)
        for name, value in running.deployed.environment().items():
            monkeypatch.setenv(name, value)
        if tested and parameters.get("Trigger", "queue") == "queue":
            running.take_test_event()
        return running

    yield deployed
    aws_lambda.close()


# --- resources ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", ["queue", "eventbridge", "direct"])
def test_the_emulator_and_the_tests_resolve_the_template_alike(start: Start, trigger: str) -> None:
    """Every output, by moto's own reading of the template and by stack.py's."""
    deployed = start(Trigger=trigger).deployed
    assert deployed.outputs == deployed.stack.outputs


def test_the_buckets_exist_and_are_private(start: Start) -> None:
    s3 = start().cloud.s3
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == [SOURCE, DESTINATION]
    for bucket in (SOURCE, DESTINATION):
        blocked = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert list(blocked.values()) == [True] * 4
        (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        (owner,) = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
        assert owner == {"ObjectOwnership": "BucketOwnerEnforced"}
        (lifecycle,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        assert lifecycle["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
        assert s3.get_bucket_versioning(Bucket=bucket).get("Status") is None


def test_the_notification_is_wired_to_the_queue(start: Start) -> None:
    running = start()
    told = running.cloud.s3.get_bucket_notification_configuration(Bucket=SOURCE)
    wired = {(one["QueueArn"], event) for one in told["QueueConfigurations"] for event in one["Events"]}
    arn = running.deployed.outputs["QueueArn"]
    assert wired == {
        (arn, "s3:ObjectCreated:*"),
        (arn, "s3:ObjectRemoved:*"),
        (arn, "s3:LifecycleExpiration:*"),
        (arn, "s3:ObjectRestore:Completed"),
    }
    allowed = json.loads(running.attributes(EVENTS)["Policy"])["Statement"][1]
    assert allowed["Principal"] == {"Service": "s3.amazonaws.com"}
    assert allowed["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}


def test_the_queues_are_connected_to_each_other_and_to_the_function(start: Start) -> None:
    running = start(Timeout="30", BatchWindow="5", MaxReceiveCount="3", BatchSize="100", MaximumConcurrency="7")
    events, dead = running.attributes(EVENTS), running.attributes(DEAD)
    assert events["VisibilityTimeout"] == "185"
    assert json.loads(events["RedrivePolicy"]) == {"deadLetterTargetArn": dead["QueueArn"], "maxReceiveCount": 3}
    assert int(dead["MessageRetentionPeriod"]) > int(events["MessageRetentionPeriod"])
    mapping = running.deployed.mapping
    assert mapping is not None
    assert mapping["FunctionArn"].endswith(running.deployed.outputs["FunctionName"])
    assert (running.mapping.batch_size, running.mapping.window_seconds) == (100, 5)
    assert running.mapping.reports_failures
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 7}


def test_the_function_is_what_the_parameters_say(start: Start) -> None:
    running = start(MemorySize="3008", Timeout="120", MaximumConcurrency="7", ReserveConcurrency="true", Svg="on")
    told = running.cloud.client("lambda").get_function(FunctionName=running.deployed.outputs["FunctionName"])
    one = told["Configuration"]
    assert (one["MemorySize"], one["Timeout"]) == (3008, 120)
    assert one["Role"].endswith(running.deployed.outputs["RoleArn"])
    assert one["Environment"]["Variables"]["THUMBNAILER_SVG"] == "on"
    assert told["Code"]["ImageUri"].endswith("/thumbnailer:1")
    assert told["Concurrency"] == {"ReservedConcurrentExecutions": 7}


def test_a_zip_replaces_the_image(start: Start, aws: Cloud) -> None:
    aws.s3.create_bucket(Bucket="code")
    aws.s3.put_object(Bucket="code", Key="thumbnailer-1.zip", Body=b"PK\5\6" + bytes(18))
    running = start(**AS_ZIP, Runtime="python3.14")
    told = aws.client("lambda").get_function_configuration(FunctionName=running.deployed.outputs["FunctionName"])
    assert (told["PackageType"], told["Runtime"]) == ("Zip", "python3.14")
    assert told["Handler"] == "handler.aws_lambda.handler"


def test_alarms_and_dashboard_exist(start: Start) -> None:
    cloudwatch = start(AlarmTopicArn=f"arn:aws:sns:us-east-1:{ACCOUNT}:ops").cloud.client("cloudwatch")
    alarms = cloudwatch.describe_alarms()["MetricAlarms"]
    assert len(alarms) == 5
    assert all(alarm["AlarmActions"] == alarm["OKActions"] != [] for alarm in alarms)
    (dashboard,) = cloudwatch.list_dashboards()["DashboardEntries"]
    assert dashboard["DashboardName"] == "thumbnailer-us-east-1"


def test_parameters_that_cloudformation_refuses_are_not_deployed(aws: Cloud) -> None:
    with pytest.raises(ValueError, match="LargeBatchesHaveAWindow"):
        deploy(aws, BatchSize="11")


# --- a picture goes through ---------------------------------------------------------------------------------------


def test_a_picture_in_the_source_bucket_becomes_a_thumbnail(start: Start, samples: dict[str, bytes]) -> None:
    running = start()
    (delivery,) = running.upload("albums/red flower+1.jpg", samples["coffee-rotated-by-exif.jpg"])
    assert (delivery.answer, delivery.kept) == ({"batchItemFailures": []}, ())
    thumbnail = running.cloud.thumbnail("albums/red flower+1.jpg")
    assert opened(thumbnail["Body"]).size == (128, 85)
    assert running.holds(EVENTS) == running.holds(DEAD) == 0


def test_the_thumbnail_is_deleted_with_the_picture(start: Start, samples: dict[str, bytes]) -> None:
    running = start()
    running.upload("a.jpg", samples["coffee-rotated-by-exif.jpg"])
    assert running.cloud.thumbnails() == ["a.jpg"]
    running.cloud.s3.delete_object(Bucket=SOURCE, Key="a.jpg")
    assert running.mapping.deliver_all()
    assert running.cloud.thumbnails() == []


def test_the_settings_reach_the_function(start: Start, samples: dict[str, bytes]) -> None:
    running = start(
        Renditions="big=300x300:cover:webp:q80, small=40x", Destination="small-{bucket}", CacheControl="max-age=60"
    )
    running.upload("a.jpg", samples["coffee-rotated-by-exif.jpg"])
    listed = running.cloud.s3.list_objects_v2(Bucket=f"small-{SOURCE}")["Contents"]
    assert [item["Key"] for item in listed] == ["a.jpg/big.webp", "a.jpg/small.jpg"]
    assert running.cloud.s3.head_object(Bucket=f"small-{SOURCE}", Key="a.jpg/big.webp")["CacheControl"] == "max-age=60"


def test_a_batch_contains_the_messages_of_its_window(start: Start, samples: dict[str, bytes]) -> None:
    running = start(BatchSize="25", BatchWindow="1")
    for number in range(30):
        running.cloud.put(f"{number}.png", samples["coffee-rotated-by-exif.jpg"])
    first, second = running.mapping.deliver_all()
    assert (len(first.ids), len(second.ids)) == (25, 5)
    assert len(running.cloud.thumbnails()) == 30


def test_without_a_window_a_batch_is_at_most_the_batch_size(start: Start, samples: dict[str, bytes]) -> None:
    running = start(BatchSize="2")
    for number in range(3):
        running.cloud.put(f"{number}.jpg", samples["coffee-rotated-by-exif.jpg"])
    assert [len(delivery.ids) for delivery in running.mapping.deliver_all()] == [2, 1]


def test_an_existing_bucket_sends_by_eventbridge(start: Start, aws: Cloud, samples: dict[str, bytes]) -> None:
    aws.s3.create_bucket(Bucket=SOURCE)
    switched_on: Any = {"EventBridgeConfiguration": {}}  # as the guide says
    aws.s3.put_bucket_notification_configuration(Bucket=SOURCE, NotificationConfiguration=switched_on)
    running = start(Trigger="eventbridge", CreateSourceBucket="false")
    running.upload("50% of+it.jpg", samples["coffee-rotated-by-exif.jpg"])
    assert running.cloud.thumbnails() == ["50% of+it.jpg"]


def test_an_existing_bucket_sends_to_the_queue(start: Start, aws: Cloud, samples: dict[str, bytes]) -> None:
    aws.s3.create_bucket(Bucket=SOURCE)
    running = start(CreateSourceBucket="false", KeyPrefix="in/", tested=False)
    notification = json.loads(running.deployed.outputs["SourceNotification"])
    aws.s3.put_bucket_notification_configuration(Bucket=SOURCE, NotificationConfiguration=notification)
    running.take_test_event()
    running.upload("in/a b.jpg", samples["coffee-rotated-by-exif.jpg"])
    assert running.cloud.thumbnails() == ["in/a b.jpg"]


def test_events_of_other_keys_cost_no_message(start: Start, samples: dict[str, bytes]) -> None:
    running = start(KeyPrefix="in/", KeySuffix=".jpg")
    for key in ("a.jpg", "in/a.png", "in/a.jpg"):
        running.cloud.put(key, samples["coffee-rotated-by-exif.jpg"])
    assert running.holds(EVENTS) == 1
    running.mapping.deliver_all()
    assert running.cloud.thumbnails() == ["in/a.jpg"]


def test_a_bucket_of_the_stack_sends_by_eventbridge(start: Start, samples: dict[str, bytes]) -> None:
    running = start(Trigger="eventbridge")
    running.upload("a b.jpg", samples["coffee-rotated-by-exif.jpg"])
    assert running.cloud.thumbnails() == ["a b.jpg"]


def test_the_bucket_invokes_the_function_directly(
    start: Start, samples: dict[str, bytes], invoked: list[tuple[str, str]]
) -> None:
    """moto would run the function in Docker; here it runs in this process."""
    running = start(Trigger="direct")
    function = running.deployed.outputs["FunctionName"]
    running.cloud.put("a b.jpg", samples["coffee-rotated-by-exif.jpg"])
    ((arn, body),) = invoked
    assert arn.rpartition(":")[2] == function
    assert post(json.loads(body))["outcomes"] == {"stored": 1}
    assert running.cloud.thumbnails() == ["a b.jpg"]
    policy = json.loads(running.cloud.client("lambda").get_policy(FunctionName=function)["Policy"])
    assert policy["Statement"][0]["Principal"] == {"Service": "s3.amazonaws.com"}
    invokes = running.cloud.client("lambda").get_function_event_invoke_config(FunctionName=function)
    dead = running.deployed.outputs["DeadLetterQueueArn"]
    assert invokes["DestinationConfig"]["OnFailure"] == {"Destination": dead}


# --- failures -----------------------------------------------------------------------------------------------------


def test_only_the_failed_message_comes_back(start: Start, samples: dict[str, bytes]) -> None:
    running = start()
    running.cloud.put("a.jpg", samples["coffee-rotated-by-exif.jpg"])
    running.send(NO_EVENT)
    mapping = running.mapping
    (delivery,) = mapping.deliver_all()
    assert (len(delivery.ids), len(delivery.kept)) == (2, 1)
    assert running.cloud.thumbnails() == ["a.jpg"]
    assert running.holds(EVENTS) == 1
    assert mapping.deliver() is None  # not before its visibility timeout ends
    mapping.let_visibility_end()
    again = mapping.deliver()
    assert again is not None
    assert again.ids == delivery.kept


def test_a_record_that_keeps_failing_is_a_dead_letter_and_a_redrive_succeeds(
    start: Start, samples: dict[str, bytes]
) -> None:
    """The destination is missing for longer than all receives take."""
    running = start(MaxReceiveCount="3")
    running.cloud.s3.delete_bucket(Bucket=DESTINATION)
    running.cloud.put("a.jpg", samples["coffee-rotated-by-exif.jpg"])
    mapping, tries = running.mapping, 0
    while tries < 10 and (delivery := mapping.deliver()):
        assert delivery.kept == delivery.ids
        tries += 1
        mapping.let_visibility_end()
    assert tries == 3
    assert running.holds(EVENTS) == 0
    (body,) = running.dead_letters()
    assert [unquote_plus(record["s3"]["object"]["key"]) for record in json.loads(body)["Records"]] == ["a.jpg"]

    running.cloud.s3.create_bucket(Bucket=DESTINATION)
    running.send(body)  # moto has no start-message-move-task
    (redriven,) = mapping.deliver_all()
    assert redriven.kept == ()
    assert running.cloud.thumbnails() == ["a.jpg"]


def test_a_rejected_picture_leaves_a_note_and_does_not_come_back(start: Start) -> None:
    running = start()
    (delivery,) = running.upload("a.jpg", b"not a picture at all")
    assert delivery.kept == ()
    assert running.cloud.thumbnails() == ["_failed/a.jpg.json"]


def test_without_a_failed_prefix_a_rejected_picture_leaves_no_note(start: Start) -> None:
    running = start(FailedPrefix="")
    running.upload("a.jpg", b"not a picture at all")
    assert running.cloud.thumbnails() == []


def test_a_failed_invocation_deletes_no_message(start: Start, samples: dict[str, bytes]) -> None:
    running = start()

    def broken(event: dict[str, Any]) -> Any:
        raise InvocationFailed("out of memory")

    running.cloud.put("a.jpg", samples["coffee-rotated-by-exif.jpg"])
    mapping = QueueMapping(running.mapping.configuration, running.sqs, broken)
    delivery = mapping.deliver()
    assert delivery is not None
    assert delivery.kept == delivery.ids
    assert running.holds(EVENTS) == 1


def test_without_report_batch_item_failures_the_failed_message_is_lost(start: Start) -> None:
    """This is why the template needs it: after the same failure the message is in no queue."""
    template = translate()
    del template["Resources"]["QueueMapping"]["Properties"]["FunctionResponseTypes"]
    running = start(template)
    running.send(NO_EVENT)
    (delivery,) = running.mapping.deliver_all()
    assert len(delivery.answer["batchItemFailures"]) == 1
    assert delivery.kept == ()
    assert running.holds(EVENTS) == running.holds(DEAD) == 0


def test_a_mapping_that_is_switched_off_delivers_nothing(start: Start) -> None:
    running = start()
    running.send(NO_EVENT)
    mapping = QueueMapping({**running.mapping.configuration, "State": "Disabled"}, running.sqs, post)
    assert mapping.deliver() is None
    assert running.holds(EVENTS) == 1


# --- how AWS reads an answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}, ""])
def test_an_empty_answer_keeps_nothing(answer: Any) -> None:
    assert ids_to_keep(answer, ["1", "2"]) == set()


@pytest.mark.parametrize(
    "items",
    [
        [{"itemIdentifier": ""}],
        [{"itemIdentifier": None}],
        [{"itemIdentifer": "1"}],
        [{"itemIdentifier": "3"}],
        [{"itemIdentifier": "1"}, {"itemIdentifier": "3"}],
        ["1"],
    ],
)
def test_an_answer_that_names_no_message_of_the_batch_keeps_all(items: Any) -> None:
    assert ids_to_keep({"batchItemFailures": items}, ["1", "2"]) == {"1", "2"}


def test_an_answer_keeps_what_it_names() -> None:
    assert ids_to_keep({"batchItemFailures": [{"itemIdentifier": "2"}]}, ["1", "2"]) == {"2"}
