"""`--to aws:STACK`: starts the state machine of deploy/backfill.yaml with the job as its input."""

import json
import time
from collections.abc import Mapping
from typing import Any, Final

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError

from thumbnailer.errors import SettingsError

POLL_SECONDS: Final = 5.0
OUTPUT: Final = "MachineArn"


def start_machine(stack: str, job: Mapping[str, Any], follow: bool) -> int:
    """Starts a run, and with `follow` waits for its end. Returns the exit code. Raises SettingsError."""
    try:
        (found,) = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        outputs = {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}
        if OUTPUT not in outputs:
            raise SettingsError(f"the stack {stack} has no output {OUTPUT}: name the stack of deploy/backfill.yaml")
        machines = boto3.client("stepfunctions")
        arn = machines.start_execution(stateMachineArn=outputs[OUTPUT], input=json.dumps(job))["executionArn"]
        typer.echo(f"Started {arn}")
        return _wait(machines, arn) if follow else 0
    except (ClientError, BotoCoreError) as error:
        raise SettingsError(f"the stack {stack} cannot be asked: {error}") from error


def _wait(machines: Any, arn: str) -> int:
    while (told := machines.describe_execution(executionArn=arn))["status"] == "RUNNING":
        time.sleep(POLL_SECONDS)
    typer.echo(" ".join(filter(None, (told["status"], told.get("error"), told.get("cause")))))
    return 0 if told["status"] == "SUCCEEDED" else 1
