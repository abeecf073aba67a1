"""deploy/buckets.md: AWS accepts its commands, and its policies allow what they are for and nothing else."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest

from tests.deploy.guides import blocks, section
from tests.deploy.policies import Decision, Request, decision
from tests.deploy.stack import ACCOUNT, BASICS, TEMPLATE, Stack, translate
from tests.support.cloud import Cloud

TEXT: Final = TEMPLATE.with_name("buckets.md").read_text()
OTHER: Final = "111122223333"
ROLE: Final = f"arn:aws:iam::{ACCOUNT}:role/thumbnailer-Role"


def statements(title: str) -> list[dict[str, Any]]:
    """The JSON blocks of a section."""
    texts = re.findall(r"^```json\n(.*?)^```", section(title, TEXT), re.DOTALL | re.MULTILINE)
    names = {"DESTINATION": "photos-resized", "SOURCE": "photos", "YOUR ACCOUNT": ACCOUNT, "ROLE": ROLE}
    for name, value in names.items():
        texts = [re.sub(rf"\b{name}\b", value, text) for text in texts]
    return [json.loads(text) for text in texts]


def test_cloudfront_accepts_the_distribution(aws: Cloud) -> None:
    """The JSON is in single quotes, which end around each variable."""
    (script,) = blocks(section("From the bucket to the browser", TEXT))
    written = script.partition("--distribution-config '")[2].rstrip().removesuffix("'")
    values = {"$name": "photos-resized", "$region": "us-east-1", "$control": "E1"}
    for variable, value in values.items():
        written = written.replace(variable, value)
    made = aws.client("cloudfront").create_distribution(DistributionConfig=json.loads(written.replace("'", "")))
    (origin,) = made["Distribution"]["DistributionConfig"]["Origins"]["Items"]
    assert origin["DomainName"] == "photos-resized.s3.us-east-1.amazonaws.com"
    pairs = dict(re.findall(r"(\w+)=(\w+)(?=,|\)|$)", script.partition("access-control-config ")[2].split("\n")[0]))
    control = aws.client("cloudfront").create_origin_access_control(
        OriginAccessControlConfig=pairs | {"Name": "photos-resized"}
    )
    assert control["OriginAccessControl"]["OriginAccessControlConfig"]["OriginAccessControlOriginType"] == "s3"


def test_the_statement_for_cloudfront_is_the_template_s() -> None:
    document = Stack(BASICS | {"Readers": "cloudfront"})["DestinationBucketPolicy"]["PolicyDocument"]
    assert statements("From the bucket to the browser") == [document["Statement"][1]]


@pytest.mark.parametrize(
    ("place", "bucket", "allowed"),
    [(0, "photos", {"s3:GetObject"}), (1, "photos-resized", {"s3:PutObject", "s3:DeleteObject"})],
)
def test_owners_of_other_accounts_let_the_role_in_and_nobody_else(place: int, bucket: str, allowed: set[str]) -> None:
    policy = {"Statement": [statements("A source bucket of another account")[place]]}

    def answer(action: str, name: str, role: str) -> Decision:
        return decision(policy, Request(action, f"arn:aws:s3:::{name}/a.jpg", ("AWS", role)))

    actions = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:GetObjectVersion")
    assert {action for action in actions if answer(action, bucket, ROLE) == "allow"} == allowed
    assert {answer(action, bucket, f"{ROLE}2") for action in allowed} == {"nothing"}
    assert {answer(action, f"{bucket}2", ROLE) for action in allowed} == {"nothing"}


def test_the_pattern_takes_events_of_the_destination() -> None:
    (pattern,) = statements("Other programs that wait for thumbnails")
    assert pattern["detail"]["bucket"] == {"name": ["photos-resized"]}
    assert pattern["detail"]["object"]["key"] == [{"anything-but": {"prefix": "_failed/"}}]
    assert translate()["Parameters"]["FailedPrefix"]["Default"] == "_failed/"


def test_the_guide_names_existing_parameters_and_outputs() -> None:
    declared = translate()
    assert set(re.findall(r"\b([A-Z][a-z]+[A-Za-z]*)=", TEXT)) - {
        "OutputKey", "Name", "SigningProtocol", "SigningBehavior", "OriginAccessControlOriginType",
    } <= set(declared["Parameters"])  # fmt: skip
    for parameters in (
        {"SourceAccount": OTHER, "CreateSourceBucket": "false", "Trigger": "queue"},
        {"DestinationAccount": OTHER, "CreateDestinationBucket": "false"},
        {"ExpectedOwner": OTHER, "CreateSourceBucket": "false", "CreateDestinationBucket": "false"},
    ):
        assert Stack(BASICS | parameters).refused() == [], parameters
    assert {"SourceNotification", "DestinationBucketName", "RoleArn"} <= set(declared["Outputs"])


def test_the_lengths_of_names_are_those_of_aws() -> None:
    made = Stack(BASICS | {"Trigger": "eventbridge", "SourceBucket": "b" * 55}, name="s" * 57)
    assert len(made["DestinationBucket"]["BucketName"]) == 63
    assert len(made["Rule"]["Name"]) == 64
    assert len(Stack(BASICS, name="s" * 73)["Queue"]["QueueName"]) == 80
