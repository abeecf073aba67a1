"""`--to aws:STACK`: the stack's state machine gets the job, and its end is the command's."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from handler import backfill_aws
from handler.commands import start_backfill
from thumbnailer.backfill.job import parse_job
from thumbnailer.errors import SettingsError

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:backfill"


class Aws:
    """CloudFormation and Step Functions; an execution runs for one look and then ends as `status`."""

    def __init__(self) -> None:
        self.outputs = [{"OutputKey": "MachineArn", "OutputValue": MACHINE}]
        self.status = "SUCCEEDED"
        self.inputs: list[dict[str, Any]] = []
        self._looks = 0

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803
        if StackName == "none":
            raise ClientError({"Error": {"Code": "ValidationError", "Message": "no such stack"}}, "DescribeStacks")
        return {"Stacks": [{"Outputs": self.outputs}]}

    def start_execution(self, stateMachineArn: str, input: str) -> dict[str, str]:  # noqa: N803
        assert stateMachineArn == MACHINE
        self.inputs.append(json.loads(input))
        return {"executionArn": f"{MACHINE}:1"}

    def describe_execution(self, executionArn: str) -> dict[str, str]:  # noqa: N803
        self._looks += 1
        return {"status": "RUNNING"} if self._looks < 2 else {"status": self.status, "cause": "9 USD"}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    made = Aws()
    monkeypatch.setattr(boto3, "client", lambda service: made)
    monkeypatch.setattr(backfill_aws, "POLL_SECONDS", 0.0)
    return made


def start(to: str = "aws:backfill", follow: bool = False, **given: Any) -> int:
    return start_backfill("s3://photos/2024/", {"limit_usd": None, **given}, to, None, None, asks=False, follow=follow)


def test_the_machine_gets_the_job(aws: Aws) -> None:
    assert start(limit_usd="8", compare="etag", retry_failed=True) == 0
    (given,) = aws.inputs
    assert given["limit_usd"] == 8.0
    assert parse_job("photos", given) == parse_job("photos", {**given, "prefix": "2024/"})


@pytest.mark.parametrize(("status", "code"), [("SUCCEEDED", 0), ("FAILED", 1)])
def test_follow_waits_for_the_end(aws: Aws, status: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    aws.status = status
    assert start(follow=True) == code
    assert f"{status} 9 USD" in capsys.readouterr().out


def test_a_stack_without_machine_is_named(aws: Aws) -> None:
    aws.outputs = []
    with pytest.raises(SettingsError, match=r"name the stack of deploy/backfill\.yaml"):
        start()
    with pytest.raises(SettingsError, match="the stack none cannot be asked"):
        start("aws:none")
