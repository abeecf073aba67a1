"""`thumbnailer deploy` against MiniStack: from nothing to a thumbnail, an update, nothing to do, and away again.

MiniStack cannot show alarms and the dashboard (left out of the template), IAM, quotas, prices, S3's global names, the
minutes that AWS takes, and that EventBridge begins late.
"""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse
from typer.testing import CliRunner, Result

from deploy.packing import IndexUnreachable
from deploy.packing.build import build, write
from deploy.packing.target import MACHINES, target_for
from handler import backfill_aws
from handler.commands import app
from handler.deploy import parameters, stacks
from tests.support.ministack import ACCOUNT, MiniStack, possible_in_ministack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TEMPLATES = Path(__file__).parents[2] / "deploy"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
ARCHITECTURE = {machine: architecture for architecture, machine in MACHINES.items()}[platform.machine()]
BUCKET, CODE = "my-photos", "thumbnailer-code-123456789012-us-east-1"


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip for this Python, which is MiniStack's too."""
    try:
        built = build(target_for(HERE, ARCHITECTURE), (), tmp_path_factory.mktemp("built"))
    except IndexUnreachable as error:
        pytest.skip(str(error))
    return write(built, tmp_path_factory.mktemp("zip"))[0][0]


@pytest.fixture
def cloud(ministack: MiniStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MiniStack]:
    """MiniStack with the templates as it can take them."""
    for name in (parameters.MAIN, *(one.file for one in parameters.ADDITIONS.values())):
        (tmp_path / name).write_text(possible_in_ministack(yaml_parse((TEMPLATES / name).read_text())))
    monkeypatch.setattr(parameters, "TEMPLATES", tmp_path)
    monkeypatch.setattr(stacks, "POLL_SECONDS", 0.2)
    for name, value in ministack.env.items():
        monkeypatch.setenv(name, value)
    parameters.load_template.cache_clear()
    yield ministack
    parameters.load_template.cache_clear()


def deploy(zipped: Path, *arguments: str, answer: str = "") -> Result:
    packed = ["--zip", str(zipped), "--set", f"Runtime=python{HERE}", "--set", f"Architecture={ARCHITECTURE}"]
    return CliRunner().invoke(app, ["deploy", *packed, *arguments], input=answer, catch_exceptions=False)


def buckets(cloud: MiniStack) -> set[str]:
    return {one["Name"] for one in cloud.client("s3").list_buckets()["Buckets"]}


def test_from_nothing_to_a_thumbnail_and_back(cloud: MiniStack, zipped: Path) -> None:
    shown = deploy(zipped, "--bucket", BUCKET, "--dry-run")
    assert (shown.exit_code, "add      QueueMapping" in shown.output) == (0, True), shown.output
    assert buckets(cloud) == set()
    assert cloud.client("cloudformation").describe_stacks()["Stacks"] == []

    declined = deploy(zipped, "--bucket", BUCKET, answer="n\n")
    assert declined.exit_code == 1
    assert buckets(cloud) == set()

    first = deploy(zipped, "--bucket", BUCKET, answer="y\n")
    assert first.exit_code == 0, first.output
    assert "Thumbnail: s3://my-photos-resized/thumbnailer-sample.jpg" in first.output
    assert "A million pictures cost" in first.output
    head = cloud.client("s3").head_object(Bucket=f"{BUCKET}-resized", Key="thumbnailer-sample.jpg")
    assert "source-etag" in head["Metadata"]
    assert buckets(cloud) == {BUCKET, f"{BUCKET}-resized", CODE}

    again = deploy(zipped)
    assert (again.exit_code, "thumbnailer: nothing to do." in again.output) == (0, True), again.output

    update = deploy(zipped, "--yes", "--set", "Renditions=a=64x64,b=32x32:cover:webp")
    assert update.exit_code == 0, update.output
    assert "Thumbnail: s3://my-photos-resized/thumbnailer-sample.jpg/a.jpg" in update.output

    cloud.client("s3").put_object(Bucket=BUCKET, Key="kept.jpg", Body=b"no picture")
    removed = deploy(zipped, "--remove", "--yes")
    assert removed.exit_code == 0, removed.output
    assert f"left: the bucket {BUCKET}, which has content" in removed.output
    assert CODE not in buckets(cloud)
    assert cloud.client("cloudformation").describe_stacks()["Stacks"] == []
    assert deploy(zipped, "--remove", "--yes").exit_code == 0


def test_a_bucket_that_is_there_keeps_its_notifications(cloud: MiniStack, zipped: Path) -> None:
    s3, sqs = cloud.client("s3"), cloud.client("sqs")
    own = sqs.create_queue(QueueName="own")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=own, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    s3.create_bucket(Bucket=BUCKET)
    configuration: dict[str, Any] = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectTagging:*"]}]}
    s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration=configuration)

    assert deploy(zipped, "--bucket", BUCKET, "--yes").exit_code == 0
    after = s3.get_bucket_notification_configuration(Bucket=BUCKET)
    assert [one["QueueArn"] for one in after["QueueConfigurations"]] == [arn]
    assert "EventBridgeConfiguration" in after

    removed = deploy(zipped, "--remove", "--yes")
    assert f"left: the bucket {BUCKET}, which was there before" in removed.output
    left = s3.get_bucket_notification_configuration(Bucket=BUCKET)
    assert [one["QueueArn"] for one in left["QueueConfigurations"]] == [arn]
    assert "EventBridgeConfiguration" not in left


def test_the_worker_is_added_updated_and_removed(cloud: MiniStack, zipped: Path) -> None:
    """Lambda consumes too: there is no Docker for the worker's image, and no scaling in MiniStack."""
    image = f"fargate.ImageUri={ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/thumbnailer:1"
    added = deploy(zipped, "--bucket", BUCKET, "--with", "fargate", "--set", image, "--set", "Consumer=lambda", "--yes")
    assert added.exit_code == 0, added.output
    described = cloud.client("cloudformation").describe_stacks(StackName="thumbnailer-fargate")["Stacks"][0]
    values = {one["ParameterKey"]: one["ParameterValue"] for one in described["Parameters"]}
    assert (values["SourceBucket"], values["QueueArn"].rpartition(":")[2]) == (BUCKET, "thumbnailer-events")

    again = deploy(zipped, "--yes")
    assert "thumbnailer-fargate: nothing to do." in again.output
    both = deploy(zipped, "--yes", "--set", "LogLevel=DEBUG")
    assert both.exit_code == 0
    assert "Deploying thumbnailer-fargate" in both.output

    assert deploy(zipped, "--remove", "--yes").exit_code == 0
    assert cloud.client("cloudformation").describe_stacks()["Stacks"] == []


def described(cloud: MiniStack, stack: str) -> tuple[dict[str, str], dict[str, str]]:
    """Parameters and outputs of a stack."""
    (one,) = cloud.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    values = {each["ParameterKey"]: each["ParameterValue"] for each in one["Parameters"]}
    return values, {each["OutputKey"]: each["OutputValue"] for each in one["Outputs"]}


def test_backfill_and_on_demand_are_added_used_and_removed(
    cloud: MiniStack, zipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MiniStack runs no CloudFront, so the function's URL stands alone."""
    monkeypatch.setattr(backfill_aws, "POLL_SECONDS", 0.2)
    added = deploy(zipped, "--bucket", BUCKET, "--with", "backfill", "--yes")
    assert added.exit_code == 0, added.output
    front = ("--set", "Front=none", "--set", "Offers=x300", "--set", f"UrlKeys={'ab' * 32}")
    assert "add      Function" in deploy(zipped, "--with", "on-demand", *front, "--dry-run").output
    more = deploy(zipped, "--with", "on-demand", *front, "--yes")
    assert "thumbnailer-backfill: nothing to do." in more.output
    main, outputs = described(cloud, "thumbnailer")
    outputs["DestinationBucket"] = outputs["DestinationBucketName"]
    for name, own in {"backfill": {"MemorySize"}, "on-demand": set[str]()}.items():
        values, _ = described(cloud, f"thumbnailer-{name}")  # the guides give the same by hand
        expected = {key: value for key, value in (main | outputs).items() if key in values and key not in own}
        assert values == values | expected

    again = deploy(zipped, "--yes", *front)
    assert again.output.count("nothing to do.") == 3, again.output
    assert f"thumbnailer-on-demand: {described(cloud, 'thumbnailer-on-demand')[1]['Address']}" in again.output
    rotated = deploy(zipped, "--yes", "--set", f"UrlKeys={'cd' * 32}")
    assert (rotated.output.count("nothing to do."), "modify   Function" in rotated.output) == (2, True), rotated.output

    cloud.client("s3").delete_object(Bucket=f"{BUCKET}-resized", Key="thumbnailer-sample.jpg")
    machine = ["backfill", f"s3://{BUCKET}", "--to", "aws:thumbnailer-backfill", "--limit-usd", "3", "--follow"]
    run = CliRunner().invoke(app, machine)
    assert (run.exit_code, "SUCCEEDED" in run.output) == (0, True), run.output

    removed = deploy(zipped, "--remove", "--yes")
    order = re.findall(r"deleting the stack thumbnailer(\S*)", removed.output)
    assert order == ["-on-demand", "-backfill", ""], removed.output
    assert cloud.client("cloudformation").describe_stacks()["Stacks"] == []


def test_a_deployment_that_fails_leaves_nothing(cloud: MiniStack, zipped: Path) -> None:
    """The last resource of the stack cannot be made."""
    path = parameters.TEMPLATES / "template.yaml"
    broken = json.loads(path.read_text())
    alarm = {"MetricName": "m", "Namespace": "n"}  # it compares with nothing
    broken["Resources"]["Broken"] = {"Type": "AWS::CloudWatch::Alarm", "DependsOn": "QueueMapping", "Properties": alarm}
    path.write_text(json.dumps(broken))
    failed = deploy(zipped, "--bucket", BUCKET, "--yes")
    assert failed.exit_code == 1
    assert "CloudFormation could not deploy thumbnailer" in failed.stderr
    assert "Broken" in failed.stderr
    assert buckets(cloud) == set()
    assert cloud.client("cloudformation").describe_stacks()["Stacks"] == []
