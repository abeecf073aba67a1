"""The resources, policies and alarms that deploy/template.yaml makes, tested as data."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.fargate import environment, refusals, worker
from tests.deploy.policies import Request, decision, stack_request
from tests.deploy.stack import (
    ACCOUNT,
    AS_ZIP,
    BASICS,
    REGION,
    TEMPLATE,
    Stack,
    as_list,
    dashboard,
    policies,
    source,
    translate,
)
from thumbnailer.reporting.metrics import NAMESPACE

TRIGGERS: Final = ("queue", "eventbridge", "direct")
KEY: Final = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
OTHER_KEY: Final = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/99999999-2222-3333-4444-555555555555"
EVERYTHING: Final = {
    "SourceKmsKeyArn": KEY,
    "Sse": "aws:kms",
    "KmsKeyId": OTHER_KEY,
    "AllowListBucket": "true",
    "SourceVersioning": "true",
    "ReserveConcurrency": "true",
    "AlarmTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:ops",
    "OldVersionDays": "30",
    "KeyPrefix": "a/",
    "KeySuffix": ".jpg",
    "VpcId": "vpc-0123456789abcdef0",
    "SubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    "PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/bound",
    "RolePath": "/teams/pictures/",
    "Tracing": "Active",
    "LogFormat": "JSON",
    "CostAlarmUsd": "5",
    "Readers": "cloudfront",
    "DestinationEvents": "true",
}
COMMON: Final = {
    "LogGroup", "Role", "DestinationBucket", "DestinationBucketPolicy", "SourceBucketResource", "SourceBucketPolicy",
    "DeadLetterQueue", "DeadLetterQueuePolicy", "DeadLetterAlarm", "ErrorRateAlarm", "FailedRecordsAlarm",
    "DurationAlarm", "AgeAlarm", "Dashboard",
}  # fmt: skip
QUEUED: Final = {"Queue", "QueuePolicy", "QueueMapping"}
OWN: Final = {"queue": QUEUED, "eventbridge": QUEUED | {"Rule"}, "direct": {"InvokePermission", "AsyncInvokes"}}
GRADUAL: Final = {"Deployment": "Canary10Percent10Minutes", "Release": "2026-11-30T12:00"}


def stack(**parameters: str) -> Stack:
    made = Stack(BASICS | parameters)
    assert made.refused() == []
    return made


ALL: Final = [
    {"Trigger": trigger, **package, **more}
    for trigger, package, more in product(TRIGGERS, ({}, AS_ZIP), ({}, EVERYTHING))
]


# --- the file -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The findings of cfn-lint, information included, by file: the template and SAM's translation of it."""
    plain = tmp_path_factory.mktemp("lint") / "translated.json"
    plain.write_text(json.dumps(translate()))
    code = "from cfnlint.runner import main; main()"
    command = [sys.executable, "-c", code, "--format", "json", "--include-checks", "I", "--", str(TEMPLATE), str(plain)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    found: dict[str, list[str]] = {TEMPLATE.name: [], plain.name: []}
    for one in json.loads(told.stdout):
        found[Path(one["Filename"]).name].append(f"{one['Rule']['Id']} {one['Message']}")
    return found


def test_cfn_lint_reports_nothing(findings: Mapping[str, list[str]]) -> None:
    """No rule is switched off in the file."""
    assert "cfn-lint" not in TEMPLATE.read_text()
    assert findings["template.yaml"] == []


def test_cfn_lint_finds_no_error_in_the_translated_template(findings: Mapping[str, list[str]]) -> None:
    """Except warnings about the empty defaults of a zip, which a rule of the template prevents."""
    assert [one for one in findings["translated.json"] if not one.startswith(("W1030 {'Ref': 'Code", "I"))] == []


def test_sam_adds_no_resources() -> None:
    written = source()
    assert written["Transform"] == "AWS::Serverless-2016-10-31"
    assert set(translate()["Resources"]) == set(written["Resources"])


def test_every_condition_mapping_and_parameter_is_used() -> None:
    text = json.dumps(translate())
    for name in translate()["Conditions"]:
        assert text.count(f'"{name}"') > 1, name
    for name in translate()["Parameters"]:
        assert f'{{"Ref": "{name}"}}' in text or f"${{{name}}}" in text, name


# --- variants -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", [{}, AS_ZIP], ids=["image", "zip"])
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_each_variant_has_exactly_its_resources(trigger: str, package: Mapping[str, str]) -> None:
    function = "ZipFunction" if package else "ImageFunction"
    assert set(stack(Trigger=trigger, **package).resources) == COMMON | OWN[trigger] | {function}


def test_existing_buckets_and_an_unwanted_dashboard_are_not_made() -> None:
    made = stack(
        Trigger="eventbridge", CreateSourceBucket="false", CreateDestinationBucket="false", CreateDashboard="false"
    )
    left_out = {
        "SourceBucketResource",
        "SourceBucketPolicy",
        "DestinationBucket",
        "DestinationBucketPolicy",
        "Dashboard",
    }
    assert set(made.resources) == COMMON - left_out | OWN["eventbridge"] | {"ImageFunction"}


def test_every_variant_can_be_resolved() -> None:
    """Neither a resource nor an output refers to a resource that is not made."""
    for parameters in ALL:
        made = stack(**parameters)
        assert "Fn::" not in json.dumps([resource.properties for resource in made.resources.values()])
        assert made.outputs["FunctionName"]
        assert ("QueueUrl" in made.outputs) == (parameters["Trigger"] != "direct")


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_the_bucket_is_made_after_the_target_of_its_notification(trigger: str) -> None:
    """S3 checks the target when the notification is set; CloudFormation orders resources by their references."""
    made = stack(Trigger=trigger)
    needs = made.resolve(made.template["Resources"]["SourceBucketResource"]["Metadata"]["Needs"])
    wanted = {
        "queue": "thumbnailer-QueuePolicy",
        "direct": "thumbnailer-InvokePermission",
        "eventbridge": ["thumbnailer-QueuePolicy", "thumbnailer-Rule"],
    }
    assert needs == wanted[trigger]


def test_no_resource_depends_on_a_conditional_one() -> None:
    """CloudFormation would leave out a resource that depends on one that is left out."""
    assert not [one for one in translate()["Resources"].values() if "DependsOn" in one]


# --- function -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", [{}, AS_ZIP], ids=["image", "zip"])
def test_the_function_is_what_the_parameters_say(package: Mapping[str, str]) -> None:
    made = stack(**package, Architecture="arm64", MemorySize="512", Timeout="300", EphemeralStorage="4096")
    (function,) = made.of_type("AWS::Lambda::Function")
    told = function.properties
    assert told["Architectures"] == ["arm64"]
    assert (told["MemorySize"], told["Timeout"], told["EphemeralStorage"]) == ("512", "300", {"Size": "4096"})
    assert told["LoggingConfig"] == {"LogGroup": "/aws/lambda/thumbnailer", "LogFormat": "Text"}
    assert told["TracingConfig"] == {"Mode": "PassThrough"}
    assert "VpcConfig" not in told
    if package:
        assert (told["PackageType"], told["Code"]) == ("Zip", {"S3Bucket": "code", "S3Key": "thumbnailer-1.zip"})
        assert (told["Handler"], told["Runtime"]) == ("handler.aws_lambda.handler", "python3.13")
    else:
        assert (told["PackageType"], told["Code"]) == ("Image", {"ImageUri": BASICS["ImageUri"]})
        assert not {"Handler", "Runtime"} & set(told)


def test_the_reserved_concurrency_is_the_mapping_s() -> None:
    assert "ReservedConcurrentExecutions" not in stack()["ImageFunction"]
    made = stack(ReserveConcurrency="true", MaximumConcurrency="25")
    assert made["ImageFunction"]["ReservedConcurrentExecutions"] == "25"
    assert made["QueueMapping"]["ScalingConfig"] == {"MaximumConcurrency": "25"}


def test_the_log_s_retention_is_a_parameter() -> None:
    group = stack(LogRetentionDays="7")["LogGroup"]
    assert group == {"LogGroupName": "/aws/lambda/thumbnailer", "RetentionInDays": "7"}
    assert stack(LogKmsKeyArn=KEY)["LogGroup"]["KmsKeyId"] == KEY


# --- queues -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", ["queue", "eventbridge"])
def test_only_this_queue_moves_messages_to_the_dead_letter_queue(trigger: str) -> None:
    made = stack(Trigger=trigger, MaxReceiveCount="7")
    redrive = made["Queue"]["RedrivePolicy"]
    assert redrive == {"deadLetterTargetArn": made.attribute("DeadLetterQueue", "Arn"), "maxReceiveCount": "7"}
    allowed = made["DeadLetterQueue"]["RedriveAllowPolicy"]
    assert allowed == {"redrivePermission": "byQueue", "sourceQueueArns": [made.attribute("Queue", "Arn")]}


def test_without_a_queue_none_may_move_messages_to_the_dead_letter_queue() -> None:
    assert stack(Trigger="direct")["DeadLetterQueue"]["RedriveAllowPolicy"] == {"redrivePermission": "denyAll"}


def test_dead_letters_are_kept_longer_than_waiting_messages() -> None:
    """A moved message keeps its age; SQS keeps messages for at most 14 days."""
    for parameters in ALL:
        made = stack(**parameters)
        assert made["DeadLetterQueue"]["MessageRetentionPeriod"] == 14 * 24 * 3600
        longest = int(made.template["Parameters"]["QueueRetentionSeconds"]["MaxValue"])
        assert longest <= 13 * 24 * 3600


def test_every_queue_is_encrypted_with_sqs_own_key() -> None:
    for parameters in ALL:
        for queue in stack(**parameters).of_type("AWS::SQS::Queue"):
            assert queue.properties["SqsManagedSseEnabled"] is True
            assert "KmsMasterKeyId" not in queue.properties


@pytest.mark.parametrize("trigger", ["queue", "eventbridge"])
def test_the_mapping_uses_partial_batch_responses(trigger: str) -> None:
    mapping = stack(Trigger=trigger, BatchSize="50", BatchWindow="5")["QueueMapping"]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert (mapping["BatchSize"], mapping["MaximumBatchingWindowInSeconds"]) == ("50", "5")


def test_a_direct_invocation_that_keeps_failing_goes_to_the_dead_letter_queue() -> None:
    made = stack(Trigger="direct")
    config = made["AsyncInvokes"]
    assert config["DestinationConfig"]["OnFailure"]["Destination"] == made.attribute("DeadLetterQueue", "Arn")
    assert config["MaximumRetryAttempts"] == 2
    send = Request("sqs:SendMessage", made.attribute("DeadLetterQueue", "Arn"))
    assert decision(role(made), send) == "allow"


# --- buckets ------------------------------------------------------------------------------------------------------


def test_every_bucket_is_private_encrypted_and_kept() -> None:
    for parameters in ALL:
        made = stack(**parameters)
        buckets = made.of_type("AWS::S3::Bucket")
        assert len(buckets) == 2
        for bucket in buckets:
            told = bucket.properties
            assert list(told["PublicAccessBlockConfiguration"].values()) == [True] * 4
            assert told["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
            assert len(told["BucketEncryption"]["ServerSideEncryptionConfiguration"]) == 1
            rule, *_ = told["LifecycleConfiguration"]["Rules"]
            assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
            written = made.template["Resources"][bucket.id]
            assert (written["DeletionPolicy"], written["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


def encryption(made: Stack, bucket: str) -> Any:
    return made[bucket]["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]["ServerSideEncryptionByDefault"]


def test_buckets_are_encrypted_with_the_keys_given() -> None:
    made = stack(**EVERYTHING)
    assert encryption(made, "SourceBucketResource") == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    assert encryption(made, "DestinationBucket") == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": OTHER_KEY}
    assert encryption(stack(), "SourceBucketResource") == {"SSEAlgorithm": "AES256"}
    assert encryption(stack(), "DestinationBucket") == {"SSEAlgorithm": "AES256"}


def test_versioning_is_a_parameter() -> None:
    assert stack(SourceVersioning="true")["SourceBucketResource"]["VersioningConfiguration"] == {"Status": "Enabled"}
    assert "VersioningConfiguration" not in stack()["SourceBucketResource"]


def test_old_versions_expire_where_versions_are_kept() -> None:
    _, rule = stack(SourceVersioning="true")["SourceBucketResource"]["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["NoncurrentVersionExpiration"]) == ("Enabled", {"NoncurrentDays": "365"})
    assert rule["ExpiredObjectDeleteMarker"] is True
    assert len(stack()["SourceBucketResource"]["LifecycleConfiguration"]["Rules"]) == 1


@pytest.mark.parametrize(("trigger", "kind"), [("queue", "Queue"), ("direct", "Lambda")])
def test_an_expired_old_version_is_no_event(trigger: str, kind: str) -> None:
    """Its removal would have the thumbnails of the current version made again."""
    for versions, event in (
        ("true", "s3:LifecycleExpiration:DeleteMarkerCreated"),
        ("false", "s3:LifecycleExpiration:*"),
    ):
        bucket = stack(Trigger=trigger, SourceVersioning=versions)["SourceBucketResource"]
        sent = [one["Event"] for one in bucket["NotificationConfiguration"][f"{kind}Configurations"]]
        assert [one for one in sent if "Lifecycle" in one] == [event]


@pytest.mark.parametrize(
    ("destination", "name"),
    [
        ("{bucket}-resized", "photos-resized"),
        ("small-{bucket}", "small-photos"),
        ("a.{bucket}.b", "a.photos.b"),
        ("thumbs", "thumbs"),
    ],
)
def test_template_and_function_resolve_the_destination_alike(destination: str, name: str) -> None:
    made = stack(Destination=destination)
    assert made["DestinationBucket"]["BucketName"] == name
    assert made.outputs["DestinationBucketName"] == name
    assert made["ImageFunction"]["Environment"]["Variables"]["THUMBNAILER_DESTINATION"] == destination
    put = stack_request("s3:PutObject", f"arn:aws:s3:::{name}/a.jpg")
    assert decision(role(made), put) == "allow"


# --- policies -----------------------------------------------------------------------------------------------------


def role(made: Stack) -> dict[str, Any]:
    (only,) = made["Role"]["Policies"]
    document: dict[str, Any] = only["PolicyDocument"]
    return document


def queue_policy(made: Stack, queue: str) -> dict[str, Any]:
    (found,) = [
        one.properties["PolicyDocument"]
        for one in made.of_type("AWS::SQS::QueuePolicy")
        if made.ref(queue) in one.properties["Queues"]
    ]
    document: dict[str, Any] = found
    return document


WITHOUT_RESOURCE: Final = {"WriteTraces", "ConnectToTheVpc", "ReadAlarms"}
"""Statements whose actions AWS grants on every resource or not at all."""


def test_no_statement_has_a_wildcard() -> None:
    """No resource `*`, no action `*`, no `NotAction`; wildcards in actions only to deny."""
    for parameters in [*ALL, GRADUAL | {"Trigger": "queue"}]:
        documents = policies(stack(**parameters))
        of_deployments = 2 if "Deployment" in parameters else 0
        # trust, role, buckets, queues
        assert len(documents) == (6 if parameters["Trigger"] != "direct" else 5) + of_deployments
        for path, document in documents.items():
            for statement in document["Statement"]:
                assert not {"NotAction", "NotResource", "NotPrincipal"} & set(statement), path
                if statement.get("Sid") not in WITHOUT_RESOURCE:
                    assert "*" not in as_list(statement.get("Resource", [])), path
                actions = as_list(statement["Action"])
                assert "*" not in actions, path
                if statement["Effect"] == "Allow":
                    assert not [action for action in actions if "*" in action], path
                    assert statement.get("Principal") != "*", path


def test_the_role_has_no_managed_policy_and_only_lambda_may_assume_it() -> None:
    for parameters in ALL:
        told = stack(**parameters)["Role"]
        assert set(told) - {"PermissionsBoundary"} == {"AssumeRolePolicyDocument", "Path", "Policies"}
        (trust,) = told["AssumeRolePolicyDocument"]["Statement"]
        assert trust == {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }


FUNCTION: Final = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:thumbnailer-ImageFunction"
PHOTO: Final = "arn:aws:s3:::photos/a/b.jpg"
THUMBNAIL: Final = "arn:aws:s3:::photos-resized/a/b.jpg"
QUEUE: Final = f"arn:aws:sqs:{REGION}:{ACCOUNT}:thumbnailer-events"
DEAD: Final = f"arn:aws:sqs:{REGION}:{ACCOUNT}:thumbnailer-dead"
LOG: Final = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/thumbnailer:log-stream:x"
MAY: Final = {
    ("s3:GetObject", PHOTO),
    ("s3:PutObject", THUMBNAIL),
    ("s3:DeleteObject", THUMBNAIL),
    ("logs:CreateLogStream", LOG),
    ("logs:PutLogEvents", LOG),
}
CONSUMES: Final = {(f"sqs:{verb}", QUEUE) for verb in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")}
KMS_AND_LIST: Final = {
    ("kms:Decrypt", KEY), ("kms:GenerateDataKey", OTHER_KEY), ("s3:ListBucket", "arn:aws:s3:::photos"),
}  # fmt: skip
ANY: Final = "every resource"
TRACES: Final = {(f"xray:{verb}", ANY) for verb in ("PutTraceSegments", "PutTelemetryRecords")}
INTERFACES: Final = {
    (f"ec2:{verb}", ANY)
    for verb in (
        "CreateNetworkInterface", "DescribeNetworkInterfaces", "DescribeSubnets", "DeleteNetworkInterface",
        "AssignPrivateIpAddresses", "UnassignPrivateIpAddresses",
    )
}  # fmt: skip
"""Lambda uses these to connect the function; its code has them not."""
ACTIONS: Final = {action for action, _ in MAY | CONSUMES | KMS_AND_LIST | TRACES | INTERFACES} | {
    "ec2:ModifyNetworkInterfaceAttribute",
    "s3:GetObjectVersion", "s3:DeleteObjectVersion", "s3:PutObjectAcl", "s3:PutBucketPolicy", "s3:GetObjectTagging",
    "sqs:SendMessage", "sqs:PurgeQueue", "kms:Encrypt", "logs:CreateLogGroup", "lambda:InvokeFunction", "iam:PassRole",
}  # fmt: skip
RESOURCES: Final = {
    PHOTO, THUMBNAIL, QUEUE, DEAD, LOG, KEY, OTHER_KEY, "arn:aws:s3:::photos", "arn:aws:s3:::photos-resized",
    "arn:aws:s3:::photos-private/x", "arn:aws:s3:::photos-resized-2/x", f"{QUEUE}-2",
    LOG.replace("thumbnailer", "other"),
}  # fmt: skip


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("more", [{}, EVERYTHING], ids=["plain", "everything"])
def test_the_role_allows_what_the_function_does_and_nothing_else(trigger: str, more: Mapping[str, str]) -> None:
    """Every action tried on every resource."""
    document = role(stack(Trigger=trigger, **more))
    by_trigger = {("sqs:SendMessage", DEAD)} if trigger == "direct" else CONSUMES
    code = {"aws:ResourceAccount": ACCOUNT, "lambda:SourceFunctionArn": FUNCTION}
    assert allowed_actions(document, code) == MAY | by_trigger | (KMS_AND_LIST | TRACES if more else set())
    of_lambda = {one for one in allowed_actions(document, {}) if one[0].startswith("ec2:")}
    assert of_lambda == (INTERFACES if more else set())


def allowed_actions(document: Mapping[str, Any], context: Mapping[str, str]) -> set[tuple[str, str]]:
    """The pairs of action and resource that a policy allows; actions without a resource are listed once."""
    tried = [(one, Request(*one, context=context)) for one in product(ACTIONS, RESOURCES)]
    allowed = {one for one, request in tried if decision(document, request) == "allow"}
    without = {(action, ANY) for action, _ in allowed if action.startswith(("xray:", "ec2:"))}
    return {one for one in allowed if (one[0], ANY) not in without} | without


def test_on_delete_keep_gives_no_permission_to_delete() -> None:
    delete = stack_request("s3:DeleteObject", THUMBNAIL)
    assert decision(role(stack(OnDelete="keep")), delete) == "nothing"
    assert decision(role(stack(OnDelete="delete")), delete) == "allow"


OTHER: Final = "999999999999"
THIRD: Final = "333333333333"


@pytest.mark.matrix(44)
@pytest.mark.parametrize(
    ("given", "source_account", "destination_account", "owner"),
    [
        ({}, ACCOUNT, ACCOUNT, ACCOUNT),
        ({"ExpectedOwner": OTHER}, OTHER, OTHER, OTHER),
        ({"DestinationAccount": OTHER}, ACCOUNT, OTHER, None),
        ({"SourceAccount": OTHER, "CreateSourceBucket": "false"}, OTHER, ACCOUNT, None),
    ],
    ids=["own account", "another account", "destination elsewhere", "source elsewhere"],
)
@pytest.mark.parametrize("template", ["function", "worker"])
def test_a_bucket_of_the_same_name_in_another_account_is_of_no_use(
    template: str, given: dict[str, str], source_account: str, destination_account: str, owner: str | None
) -> None:
    """Somebody may take the name of a deleted bucket. S3 compares one owner with both buckets, IAM one each."""
    if template == "worker":
        given = {name: value for name, value in given.items() if name != "CreateSourceBucket"}
    more = {"AllowListBucket": "true", **given}
    made = stack(**more) if template == "function" else worker(**more)
    document = role(made) if template == "function" else made["TaskRole"]["Policies"][0]["PolicyDocument"]
    for action, resource, account in (
        ("s3:GetObject", PHOTO, source_account),
        ("s3:ListBucket", "arn:aws:s3:::photos", source_account),
        ("s3:PutObject", THUMBNAIL, destination_account),
        ("s3:DeleteObject", THUMBNAIL, destination_account),
    ):
        allowed = [
            one
            for one in (ACCOUNT, OTHER, THIRD)
            if decision(document, Request(action, resource, context={"aws:ResourceAccount": one})) == "allow"
        ]
        assert allowed == [account], action
    variables = made["ImageFunction"]["Environment"]["Variables"] if template == "function" else environment(made)
    assert variables.get("THUMBNAILER_EXPECTED_OWNER") == owner


def test_one_owner_contradicts_an_account_for_the_destination() -> None:
    for account in ("SourceAccount", "DestinationAccount"):
        both = {"ExpectedOwner": ACCOUNT, account: OTHER}
        assert "OneOwnerOrTwo" in Stack(BASICS | both).refused()
        assert "OneOwnerOrTwo" in refusals(**both)


S3: Final = ("Service", "s3.amazonaws.com")
EVENTS: Final = ("Service", "events.amazonaws.com")
RULE: Final = f"arn:aws:events:{REGION}:{ACCOUNT}:rule/thumbnailer-events"
OURS: Final = {"aws:SourceArn": "arn:aws:s3:::photos", "aws:SourceAccount": ACCOUNT, "aws:SecureTransport": "true"}
BY_RULE: Final = {"aws:SourceArn": RULE, "aws:SourceAccount": ACCOUNT, "aws:SecureTransport": "true"}
SENDERS: Final = {
    "the bucket": (S3, OURS),
    "the bucket, in the clear": (S3, OURS | {"aws:SecureTransport": "false"}),
    "another bucket": (S3, OURS | {"aws:SourceArn": "arn:aws:s3:::photos2"}),
    "a bucket of that name in another account": (S3, OURS | {"aws:SourceAccount": "999999999999"}),
    "S3 for nobody": (S3, {"aws:SecureTransport": "true"}),
    "the rule": (EVENTS, BY_RULE),
    "another rule": (EVENTS, BY_RULE | {"aws:SourceArn": RULE + "2"}),
    "the same rule in another account": (EVENTS, BY_RULE | {"aws:SourceArn": RULE.replace(ACCOUNT, "9" * 12)}),
    "a topic": (("Service", "sns.amazonaws.com"), OURS),
    "another account": (("AWS", "arn:aws:iam::999999999999:root"), OURS),
    "everybody": (("AWS", "*"), OURS),
}


def senders(document: Mapping[str, Any], queue: str) -> set[str]:
    """The senders that the queue's policy allows."""
    return {
        who
        for who, (principal, context) in SENDERS.items()
        if decision(document, Request("sqs:SendMessage", queue, principal, context)) == "allow"
    }


@pytest.mark.parametrize("trigger", ["queue", "eventbridge"])
def test_only_the_bucket_and_its_rule_may_send_to_the_queue(trigger: str) -> None:
    """Both may, so that events under way are accepted while `Trigger` changes."""
    made = stack(Trigger=trigger)
    assert senders(queue_policy(made, "Queue"), QUEUE) == {"the bucket", "the rule"}
    for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:SetQueueAttributes"):
        for principal, context in SENDERS.values():
            assert decision(queue_policy(made, "Queue"), Request(action, QUEUE, principal, context)) != "allow"


def test_a_bucket_of_the_given_account_may_send_to_the_queue() -> None:
    for given in ({"SourceAccount": "999999999999"}, {"ExpectedOwner": "999999999999"}):
        made = stack(CreateSourceBucket="false", **given)
        assert senders(queue_policy(made, "Queue"), QUEUE) == {"a bucket of that name in another account", "the rule"}


@pytest.mark.parametrize(("trigger", "allowed"), [("queue", set()), ("direct", set()), ("eventbridge", {"the rule"})])
def test_only_the_rule_may_send_to_the_dead_letter_queue(trigger: str, allowed: set[str]) -> None:
    """The queue's redrive and the function's role need no statement in its policy."""
    assert senders(queue_policy(stack(Trigger=trigger), "DeadLetterQueue"), DEAD) == allowed


def test_buckets_and_queues_refuse_plain_http() -> None:
    for parameters in ALL:
        made = stack(**parameters)
        anybody = ("AWS", f"arn:aws:iam::{ACCOUNT}:role/admin")
        guarded = [
            (one.properties["PolicyDocument"], one.properties["Bucket"])
            for one in made.of_type("AWS::S3::BucketPolicy")
        ]
        assert len(guarded) == 2
        for document, bucket in guarded:
            for resource in (f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/a/b.jpg"):
                for secure, expected in (("false", "deny"), ("true", "nothing")):
                    request = Request("s3:GetObject", resource, anybody, {"aws:SecureTransport": secure})
                    assert decision(document, request) == expected
        for queue in made.of_type("AWS::SQS::Queue"):
            document, arn = queue_policy(made, queue.id), made.attribute(queue.id, "Arn")
            for secure, expected in (("false", "deny"), ("true", "nothing")):
                request = Request("sqs:ReceiveMessage", arn, anybody, {"aws:SecureTransport": secure})
                assert decision(document, request) == expected


CLOUDFRONT: Final = ("Service", "cloudfront.amazonaws.com")


def destination_readers(made: Stack, action: str = "s3:GetObject", resource: str = THUMBNAIL) -> set[str]:
    """The readers that the destination bucket's policy allows."""
    distribution = {"aws:SourceAccount": ACCOUNT, "aws:SecureTransport": "true"}
    readers = {
        "own distribution": (CLOUDFRONT, distribution),
        "own distribution, in the clear": (CLOUDFRONT, distribution | {"aws:SecureTransport": "false"}),
        "distribution of another account": (CLOUDFRONT, distribution | {"aws:SourceAccount": OTHER}),
        "CloudFront for nobody": (CLOUDFRONT, {"aws:SecureTransport": "true"}),
        "another service": (S3, distribution),
        "everybody": (("AWS", "*"), distribution),
    }
    document = made["DestinationBucketPolicy"]["PolicyDocument"]
    return {
        name
        for name, (principal, context) in readers.items()
        if decision(document, Request(action, resource, principal, context)) == "allow"
    }


def test_only_own_distributions_read_thumbnails_and_only_on_request() -> None:
    made = stack(Readers="cloudfront")
    assert destination_readers(stack()) == set()
    assert destination_readers(made) == {"own distribution"}
    for action, resource in (
        ("s3:PutObject", THUMBNAIL),
        ("s3:DeleteObject", THUMBNAIL),
        ("s3:ListBucket", "arn:aws:s3:::photos-resized"),
        ("s3:GetObject", PHOTO),
    ):
        assert destination_readers(made, action, resource) == set(), action


def test_the_destination_sends_events_on_request() -> None:
    switched_on = {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}
    assert stack(DestinationEvents="true")["DestinationBucket"]["NotificationConfiguration"] == switched_on
    assert "NotificationConfiguration" not in stack()["DestinationBucket"]


def test_only_the_bucket_may_invoke_the_function_directly() -> None:
    permission = stack(Trigger="direct")["InvokePermission"]
    assert permission == {
        "FunctionName": "thumbnailer-ImageFunction",
        "Action": "lambda:InvokeFunction",
        "Principal": "s3.amazonaws.com",
        "SourceAccount": ACCOUNT,
        "SourceArn": "arn:aws:s3:::photos",
    }


def test_the_rule_s_name_is_the_one_in_the_queue_policies() -> None:
    assert RULE.endswith(f":rule/{stack(Trigger='eventbridge')['Rule']['Name']}")


def test_the_rule_matches_one_bucket_of_this_account() -> None:
    made = stack(Trigger="eventbridge")
    pattern = made["Rule"]["EventPattern"]
    assert pattern["detail"] == {"bucket": {"name": ["photos"]}}
    assert (pattern["account"], pattern["source"]) == ([ACCOUNT], ["aws.s3"])
    (target,) = made["Rule"]["Targets"]
    assert (target["Arn"], target["DeadLetterConfig"]["Arn"]) == (QUEUE, DEAD)


def test_the_rule_matches_every_event_that_thumbnailer_reads() -> None:
    folder = Path(__file__).parents[1] / "events"
    names = ("created", "deleted", "restore")
    events = [json.loads((folder / f"eventbridge_{name}.json").read_bytes()) for name in names]
    assert {event["detail-type"] for event in events} == set(
        stack(Trigger="eventbridge")["Rule"]["EventPattern"]["detail-type"]
    )


# --- alarms and dashboard -----------------------------------------------------------------------------------------


def test_there_are_five_alarms_or_six_and_missing_data_is_no_alarm() -> None:
    for parameters in ALL:
        alarms = stack(**parameters).of_type("AWS::CloudWatch::Alarm")
        assert len(alarms) == 5 + ("CostAlarmUsd" in parameters)
        for alarm in alarms:
            assert alarm.properties["TreatMissingData"] == "notBreaching"
            topic = [parameters["AlarmTopicArn"]] if "AlarmTopicArn" in parameters else None
            assert alarm.properties.get("AlarmActions") == alarm.properties.get("OKActions") == topic
            assert len(alarm.properties["AlarmDescription"]) > 20


def metrics(alarm: Mapping[str, Any]) -> dict[str, tuple[str, str, str]]:
    """The metrics of an alarm with an expression, by id: namespace, name and statistic."""
    stats = {one["Id"]: one["MetricStat"] for one in alarm["Metrics"] if "MetricStat" in one}
    return {
        id_: (stat["Metric"]["Namespace"], stat["Metric"]["MetricName"], stat["Stat"]) for id_, stat in stats.items()
    }


def expression(alarm: Mapping[str, Any], **values: float) -> float:
    """The value that CloudWatch computes; its arithmetic is Python's except for IF."""
    (written,) = [one["Expression"] for one in alarm["Metrics"] if one.get("ReturnData", True)]
    return float(eval(written, {"IF": lambda test, one, other: one if test else other}, values))


def test_a_single_dead_letter_is_an_alarm() -> None:
    alarm = stack()["DeadLetterAlarm"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": "thumbnailer-dead"}]
    assert (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == (
        "Maximum",
        "GreaterThanThreshold",
        0,
    )


def test_the_error_rate_is_a_percentage_of_the_invocations() -> None:
    alarm = stack(ErrorRateAlarmPercent="7")["ErrorRateAlarm"]
    assert metrics(alarm) == {
        "errors": ("AWS/Lambda", "Errors", "Sum"),
        "invocations": ("AWS/Lambda", "Invocations", "Sum"),
    }
    assert expression(alarm, errors=3, invocations=60) == 5
    assert alarm["Threshold"] == "7"


def test_the_failed_records_are_a_percentage_of_all_records() -> None:
    alarm = stack(ErrorRateAlarmPercent="7")["FailedRecordsAlarm"]
    assert metrics(alarm) == {
        "failed": (NAMESPACE, "thumbnailer_records_failed", "Sum"),
        "records": (NAMESPACE, "thumbnailer_total_seconds", "SampleCount"),
    }
    assert expression(alarm, failed=3, records=60) == 5
    assert alarm["Threshold"] == "7"


def test_the_duration_is_a_percentage_of_the_timeout() -> None:
    alarm = stack(Timeout="120", DurationAlarmPercent="80")["DurationAlarm"]
    assert metrics(alarm) == {"duration": ("AWS/Lambda", "Duration", "p99")}
    assert expression(alarm, duration=96_000) == 80
    assert alarm["Threshold"] == "80"


@pytest.mark.parametrize(
    ("trigger", "metric", "of_an_hour"),
    [
        ("queue", ("AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum"), 3600),
        ("eventbridge", ("AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum"), 3600),
        ("direct", ("AWS/Lambda", "AsyncEventAge", "Maximum"), 3_600_000),
    ],
)
def test_the_age_of_the_oldest_event_is_in_seconds(trigger: str, metric: tuple[str, str, str], of_an_hour: int) -> None:
    alarm = stack(Trigger=trigger, AgeAlarmSeconds="1200")["AgeAlarm"]
    assert metrics(alarm) == {"age": metric}
    assert expression(alarm, age=of_an_hour) == 3600
    assert alarm["Threshold"] == "1200"


def test_the_default_age_alarm_waits_longer_than_one_retry() -> None:
    made = stack()
    assert int(made["Queue"]["VisibilityTimeout"]) < int(made["AgeAlarm"]["Threshold"])


def test_the_dashboard_s_widgets_do_not_overlap_and_show_all_alarms() -> None:
    for parameters in ALL:
        made = stack(**parameters)
        widgets = dashboard(made)["widgets"]
        cells = [
            (x, y)
            for one in widgets
            for x in range(one["x"], one["x"] + one["width"])
            for y in range(one["y"], one["y"] + one["height"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24
        alarms = {made.attribute(alarm.id, "Arn") for alarm in made.of_type("AWS::CloudWatch::Alarm")}
        assert set(widgets[0]["properties"]["alarms"]) == alarms


@pytest.mark.parametrize("timeout", ["10", "900"])
def test_the_dashboard_marks_the_timeout_in_milliseconds(timeout: str) -> None:
    (line,) = [
        widget["properties"]["annotations"]["horizontal"][0]["value"]
        for widget in dashboard(stack(Timeout=timeout))["widgets"]
        if "annotations" in widget.get("properties", {})
    ]
    assert line == int(timeout) * 1000
