"""What `thumbnailer deploy` refuses before it makes anything, each with a sentence; and its pure parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import boto3
import pytest
from botocore.stub import Stubber
from typer.testing import CliRunner

from handler.commands import app
from handler.deploy import DeployError, costs, parameters, stacks
from handler.deploy.account import Account, has_bucket, look_at_concurrency, sentences
from handler.deploy.code import CodeBucket, check_package, read_package
from handler.deploy.parameters import ADDITIONS, MAIN, TEMPLATES, load_template, values_from_main
from handler.deploy.plan import Request, make_plan
from handler.deploy.run import run_deploy
from handler.deploy.source import switch_eventbridge_on, without_stack
from handler.deploy.stacks import CloudFormation, Stack
from tests.deploy.guides import costs as guide_costs
from tests.deploy.guides import log_kb, seconds
from tests.support.cloud import SOURCE, Cloud

ID = "123456789012"
STACK = "arn:aws:cloudformation:us-east-1:123456789012:stack/thumbnailer/1"


class Stubbed:
    """A session whose clients give scripted answers."""

    region_name = "us-east-1"

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}
        self._stack = ExitStack()

    def client(self, service: str, **_: Any) -> Any:
        if service not in self._clients:
            keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
            self._clients[service] = boto3.client(service, region_name=self.region_name, **keys)
            self.stub = self._stack.enter_context(Stubber(self._clients[service]))
        return self._clients[service]

    def script(self, service: str) -> Stubber:
        self.client(service)
        return self.stub

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def session() -> Iterator[Stubbed]:
    stubbed = Stubbed()
    yield stubbed
    stubbed.close()


@pytest.fixture
def ours(session: Stubbed) -> Account:
    return Account(ID, "us-east-1", session)


def described(status: str, **values: str) -> dict[str, Any]:
    listed = [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]
    one = {"StackName": "thumbnailer", "StackId": STACK, "StackStatus": status, "CreationTime": 0, "Parameters": listed}
    return {"Stacks": [one]}


def plan(ours: Account, session: Stubbed, request: Request) -> Any:
    """The plan where no stack is there."""
    for _ in range(1 + len(ADDITIONS)):
        session.script("cloudformation").add_client_error("describe_stacks", "ValidationError")
    return make_plan(request, ours, CloudFormation(ours.client("cloudformation")))


# --- credentials and region -------------------------------------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


def test_no_credentials_is_a_sentence(bare: None) -> None:
    with pytest.raises(DeployError, match="There are no AWS credentials: run `aws configure`"):
        run_deploy(Request("photos", region="us-east-1"))


def test_no_region_is_a_sentence(bare: None) -> None:
    with pytest.raises(DeployError, match="There is no AWS region: add --region"):
        run_deploy(Request("photos"))


def test_an_unknown_profile_is_a_sentence(bare: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "none")
    with pytest.raises(DeployError, match="AWS_PROFILE names no profile"):
        run_deploy(Request("photos", region="us-east-1"))


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("ExpiredToken", "does not accept these credentials.*run `aws configure`"),
        ("InvalidClientTokenId", "does not accept these credentials"),
        ("AccessDenied", "may not do GetCallerIdentity"),
        ("Throttling", r"AWS refuses GetCallerIdentity \(Throttling\)"),
    ],
)
def test_refusals_of_aws_are_sentences(session: Stubbed, code: str, sentence: str) -> None:
    session.script("sts").add_client_error("get_caller_identity", code, "told.")
    with pytest.raises(DeployError, match=sentence), sentences():
        session.client("sts").get_caller_identity()


# --- buckets ----------------------------------------------------------------------------------------------------------


def test_a_bucket_of_another_account_is_refused(ours: Account, session: Stubbed) -> None:
    """A source of another account too: the sentence names the guide."""
    session.script("s3").add_client_error("head_bucket", "403", http_status_code=403)
    with pytest.raises(DeployError, match=r"photos belongs to another account.*deploy/buckets\.md"):
        has_bucket(ours, "photos")


def test_a_bucket_of_another_region_is_refused(ours: Account, session: Stubbed) -> None:
    headers = {"HTTPHeaders": {"x-amz-bucket-region": "eu-west-1"}}
    session.script("s3").add_client_error("head_bucket", "301", http_status_code=301, response_meta=headers)
    with pytest.raises(DeployError, match=r"photos is in eu-west-1.*Add --region eu-west-1"):
        has_bucket(ours, "photos")


def test_a_bucket_that_is_not_there_is_made(ours: Account, session: Stubbed) -> None:
    session.script("s3").add_client_error("head_bucket", "404", http_status_code=404)
    assert not has_bucket(ours, "photos")


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (Request(), "Which bucket"),
        (Request("Photos_1"), "SourceBucket=Photos_1: template.yaml accepts a bucket name"),
        (Request("p" * 60), "68 characters, and S3 allows 63"),
        (Request("photos-resized"), "has the name of a bucket of thumbnails"),
        (Request("photos", stack="s" * 30), "at most 29"),
        (Request("photos", sets=("Rendition=1x1",)), "no parameter has that name; the nearest is 'Renditions'"),
        (Request("photos", sets=("Renditions",)), "write --set Name=value"),
        (Request("photos", sets=("Renditions=a=1x1,a=2x2",)), "Renditions|the name 'a' is given twice"),
        (Request("photos", sets=("MemorySize=64",)), "accepts 128 to 10240"),
        (Request("photos", sets=("Trigger=sns",)), "accepts queue, eventbridge, direct"),
        (Request("photos", additions=("fargate",), sets=("fargate.Cpu=7",)), r"Cpu=7: fargate\.yaml accepts 256, 512"),
        (Request("photos", additions=("fargat",)), "the nearest is 'fargate'"),
        (Request("photos", additions=("fargate",)), "fargate.yaml needs ImageUri: add --set fargate.ImageUri=VALUE"),
        (Request("photos", additions=("backfill",), sets=("Trigger=direct",)), "backfill.yaml needs QueueArn"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_made(
    ours: Account, session: Stubbed, request_: Request, sentence: str
) -> None:
    """The stubs refuse every request that changes something."""
    with pytest.raises(DeployError, match=sentence):
        plan(ours, session, request_)


# --- stacks and quotas ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("ROLLBACK_COMPLETE", "run `thumbnailer deploy --remove --stack thumbnailer`, then deploy again"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback"),
        ("DELETE_FAILED", "--remove --stack thumbnailer"),
        ("UPDATE_IN_PROGRESS", "wait until it has finished"),
    ],
)
def test_a_stack_that_cannot_be_updated_is_refused(session: Stubbed, status: str, sentence: str) -> None:
    session.script("cloudformation").add_response("describe_stacks", described(status))
    with pytest.raises(DeployError, match=sentence):
        CloudFormation(session.client("cloudformation")).find_usable("thumbnailer")


def test_a_stack_keeps_its_bucket(ours: Account, session: Stubbed) -> None:
    script = session.script("cloudformation")
    script.add_response("describe_stacks", described("CREATE_COMPLETE", SourceBucket="photos"))
    for _ in ADDITIONS:
        script.add_client_error("describe_stacks", "ValidationError")
    with pytest.raises(DeployError, match="is for the bucket photos: add --stack NAME"):
        make_plan(Request("others"), ours, CloudFormation(session.client("cloudformation")))


def limits(session: Stubbed, total: int) -> None:
    limit = {"ConcurrentExecutions": total, "UnreservedConcurrentExecutions": total}
    session.script("lambda").add_response("get_account_settings", {"AccountLimit": limit})


def test_the_quota_of_a_new_account_is_told(ours: Account, session: Stubbed) -> None:
    values = {"MaximumConcurrency": "10", "ReserveConcurrency": "false"}
    limits(session, 10)
    (warning,) = look_at_concurrency(ours, values)
    assert "runs 10 invocations at a time" in warning
    limits(session, 1000)
    assert look_at_concurrency(ours, values) == []


def test_a_reservation_that_lambda_would_refuse_is_refused(ours: Account, session: Stubbed) -> None:
    for reserves in ({"ReserveConcurrency": "true"}, {"ReserveConcurrency": "false", "OnDemandConcurrency": "20"}):
        limits(session, 105)
        with pytest.raises(DeployError, match="leaves less than 100"):
            look_at_concurrency(ours, {"MaximumConcurrency": "10", **reserves})


@pytest.mark.parametrize(
    ("sets", "outcome"),
    [((), pytest.raises(DeployError, match="leaves less")), (("on-demand.OnDemandConcurrency=0",), nullcontext())],
)
def test_on_demand_reserves_concurrency_beside_a_stack_that_is_there(
    ours: Account, session: Stubbed, sets: tuple[str, ...], outcome: AbstractContextManager[object]
) -> None:
    script = session.script("cloudformation")
    script.add_response("describe_stacks", described("CREATE_COMPLETE", SourceBucket="photos"))
    for _ in ADDITIONS:
        script.add_client_error("describe_stacks", "ValidationError")
    limits(session, 105)
    with outcome:
        request = Request(additions=("on-demand",), sets=sets)
        make_plan(request, ours, CloudFormation(ours.client("cloudformation")))


@pytest.mark.parametrize(("is_there", "readers"), [(False, "cloudfront"), (True, "")])
def test_the_policy_of_a_bucket_that_was_there_is_left_alone(
    ours: Account, session: Stubbed, is_there: bool, readers: str
) -> None:
    """The template refuses Readers for a bucket that it does not make."""
    limits(session, 1000)
    script = session.script("s3")
    script.add_client_error("head_bucket", "404", http_status_code=404)
    if is_there:
        script.add_response("head_bucket", {"ResponseMetadata": {}})
    else:
        script.add_client_error("head_bucket", "404", http_status_code=404)
    made, warnings = plan(ours, session, Request("photos", additions=("on-demand",)))
    assert made.effective["Readers"] == readers
    assert [line for line in warnings if "let CloudFront read the bucket" in line] == warnings[: int(is_there)]


def test_a_change_of_no_resource_is_nothing_to_do(ours: Account, session: Stubbed) -> None:
    """A hidden value always needs a change set, because CloudFormation does not show it."""
    script, parsed = session.script("cloudformation"), {"Parameters": {"Secret": {"NoEcho": True, "Default": ""}}}
    prepare = CloudFormation(session.client("cloudformation")).prepare
    stack, template = (
        Stack("s", STACK, "CREATE_COMPLETE", {"Secret": "****"}, {}),
        parameters.Template("t", "-", parsed),
    )
    script.add_response("get_template", {"TemplateBody": str(parsed)})
    assert prepare("s", stack, template, {}, CodeBucket(ours, "s"), ExitStack()) is None
    reason = "The submitted information didn't contain changes."
    script.add_response("get_template", {"TemplateBody": str(parsed)})
    script.add_response("create_change_set", {"Id": STACK, "StackId": STACK})
    script.add_response("describe_change_set", {"Status": "FAILED", "StatusReason": reason})
    assert prepare("s", stack, template, {"Secret": "1"}, CodeBucket(ours, "s"), ExitStack()) is None
    script.assert_no_pending_responses()


def test_a_large_template_goes_through_the_code_bucket(aws: Cloud) -> None:
    code = CodeBucket(Account(ID, "us-east-1", boto3.Session(region_name="us-east-1")), "thumbnailer")
    with ExitStack() as undo:
        code.make(undo)
        template = parameters.Template("big.yaml", "#" * (stacks.DIRECT_LIMIT + 1), {})
        (address,) = stacks._body(template, code).values()
        assert address == f"{aws.url}/{code.name}/templates/big.yaml"
        assert stacks._body(parameters.Template("s", "#", {}), code) == {"TemplateBody": "#"}
    assert code.name not in [one["Name"] for one in aws.s3.list_buckets()["Buckets"]]


def test_buckets_of_another_account_are_left_to_their_owner(ours: Account, session: Stubbed) -> None:
    """No request about a bucket is scripted, so none may be sent."""
    limits(session, 1000)
    sets = ("SourceAccount=210987654321", "CreateSourceBucket=false", "Trigger=queue")
    made, warnings = plan(ours, session, Request("photos", sets=sets))
    assert (made.effective["CreateSourceBucket"], made.effective["Trigger"], warnings) == ("false", "queue", [])


def test_ctrl_c_ends_with_130_and_says_that_aws_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(_: Request) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("handler.deploy.run.run_deploy", stopped)
    ended = CliRunner().invoke(app, ["deploy", "--bucket", "photos"])
    assert (ended.exit_code, "AWS finishes what it has begun" in ended.stderr) == (130, True)


# --- the zip ----------------------------------------------------------------------------------------------------------


def zip_for(path: Path, machine: str) -> Path:
    with ZipFile(path, "w") as archive:
        for name in ("handler/aws_lambda.py", f"PIL/_imaging.cpython-313-{machine}-linux-gnu.so"):
            archive.writestr(name, b"")
    return path


def test_a_zip_for_the_other_architecture_is_refused(tmp_path: Path) -> None:
    package = read_package(zip_for(tmp_path / "a.zip", "aarch64"))
    check_package(package, "python3.13", "arm64")
    with pytest.raises(DeployError, match=r"is for python3\.13 on arm64.*x86_64: add --set Runtime=python3\.13"):
        check_package(package, "python3.13", "x86_64")


def test_a_file_that_is_not_thumbnailer_s_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("main.py", b"")
    for name in ("a.zip", "b.zip", "none.zip"):
        with pytest.raises(DeployError, match="build it with `make zip`"):
            read_package(tmp_path / name)


def test_other_bytes_have_another_key(tmp_path: Path) -> None:
    first, second = (read_package(zip_for(tmp_path / f"{m}.zip", m)) for m in ("aarch64", "x86_64"))
    assert first.key != second.key
    assert first.key == read_package(first.path).key


# --- notifications ----------------------------------------------------------------------------------------------------

OTHER = {"QueueArn": f"arn:aws:sqs:us-east-1:{ID}:other", "Events": ["s3:ObjectTagging:*"]}
OLD = {"QueueArn": f"arn:aws:sqs:us-east-1:{ID}:thumbnailer-events", "Events": ["s3:ObjectCreated:*"]}


def test_notifications_of_a_deleted_stack_are_dropped_and_others_stay() -> None:
    function = {"LambdaFunctionArn": f"arn:aws:lambda:us-east-1:{ID}:function:thumbnailer-ZipFunction-1"}
    before = {"QueueConfigurations": [OTHER, OLD], "LambdaFunctionConfigurations": [function], "Topics": [1]}
    assert without_stack(before, "thumbnailer") == {"QueueConfigurations": [OTHER], "Topics": [1]}
    assert without_stack(before, "thumb") == before


def test_eventbridge_is_switched_on_once_and_off_if_the_deployment_fails(ours: Account, session: Stubbed) -> None:
    script = session.script("s3")
    asked = {"Bucket": "photos", "ExpectedBucketOwner": ID}
    before: dict[str, Any] = {"QueueConfigurations": [OTHER]}
    on = before | {"EventBridgeConfiguration": {}}
    script.add_response("get_bucket_notification_configuration", {"QueueConfigurations": [OTHER, OLD]}, asked)
    for configuration in (on, before):
        sent = asked | {"NotificationConfiguration": configuration}
        script.add_response("put_bucket_notification_configuration", {}, sent)
    with ExitStack() as undo:
        assert switch_eventbridge_on(ours, "photos", "thumbnailer", undo)
    script.add_response("get_bucket_notification_configuration", on, asked)
    assert not switch_eventbridge_on(ours, "photos", "thumbnailer", ExitStack())
    script.assert_no_pending_responses()


def test_a_notification_to_something_gone_is_a_sentence(ours: Account, session: Stubbed) -> None:
    script = session.script("s3")
    script.add_response("get_bucket_notification_configuration", {"QueueConfigurations": [OTHER]})
    script.add_client_error("put_bucket_notification_configuration", "InvalidArgument")
    with pytest.raises(DeployError, match="a queue, topic or function in them is gone"):
        switch_eventbridge_on(ours, "photos", "thumbnailer", ExitStack())


# --- additions and costs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, one in ADDITIONS.items() if (TEMPLATES / one.file).exists()])
def test_an_addition_gets_every_value_that_it_needs(name: str) -> None:
    main, addition = load_template(MAIN), load_template(ADDITIONS[name].file)
    values = {**main.defaults(), "SourceBucket": SOURCE, "ImageUri": "image"}
    given = values_from_main(ADDITIONS[name], {**values, **dict.fromkeys(main.parsed["Outputs"], "output")}, {})
    assert set(addition.parameters) - set(addition.defaults()) <= set(given)
    assert set(ADDITIONS[name].main) <= set(main.parameters)


def test_an_addition_keeps_a_value_that_the_main_stack_does_not_have() -> None:
    known = dict.fromkeys(load_template("fargate.yaml").parameters, "-") | {"ImageUri": ""}
    assert "ImageUri" not in values_from_main(ADDITIONS["fargate"], known, {"ImageUri": "image"})


def test_a_backfill_does_not_wait_for_the_mapping_that_a_worker_replaces() -> None:
    known = dict.fromkeys(load_template("backfill.yaml").parameters, "-") | {"DestinationBucketName": "-"}
    for consumer, mapping in (("lambda", "-"), ("none", "")):
        assert values_from_main(ADDITIONS["backfill"], known | {"Consumer": consumer}, {})["MappingId"] == mapping


def test_a_value_goes_to_every_template_unless_it_means_something_else_there() -> None:
    given = {"LogLevel": "DEBUG", "Consumer": "none", "fargate.Consumer": "worker", "BatchSize": "5"}
    assert ADDITIONS["fargate"].given(given) == {"LogLevel": "DEBUG", "Consumer": "worker"}


def test_the_costs_are_those_of_the_guide() -> None:
    """deploy/README.md has the same numbers."""
    one, ten = (guide_costs(n, seconds(1769, n), log_kb(1769, n))["together"] for n in (1, 10))
    lines = costs.cost_lines(load_template(MAIN).defaults(), 1)
    told = [float(number) for number in re.findall(r"\d+\.\d\d", lines[0])]
    assert told == pytest.approx([ten, one], abs=0.006)
    assert "1.04 USD of Lambda" in lines[1]
    assert "(757 a month)" in lines[1]


def test_only_new_and_changed_values_are_sent() -> None:
    template = parameters.Template("t", "", {"Parameters": {"A": {"Default": 1}, "B": {"Default": True}, "C": {}}})
    stack = Stack("s", STACK, "CREATE_COMPLETE", {"A": "2", "D": "gone"}, {})
    assert template.defaults() == {"A": "1", "B": "true"}
    assert stacks._parameters(stack, template, {"C": "3"}) == [
        {"ParameterKey": "C", "ParameterValue": "3"},
        {"ParameterKey": "A", "UsePreviousValue": True},
    ]
