"""The resources that deploy/backfill.yaml makes in an AWS account, tested as data."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from itertools import product
from typing import Any, Final

import pytest

from deploy.packing.strip import first_match
from handler import invocation, steps
from tests.deploy.backfill import (
    AS_ZIP,
    BACKFILL,
    DEAD,
    MAPPING,
    QUEUE,
    backfill,
    followers,
    levels,
    machine,
    read_template,
    refusals,
    translate,
)
from tests.deploy.policies import Request, decision, stack_request
from tests.deploy.stack import ACCOUNT, REGION, Stack, as_list, policies

MOST_BYTES_WITHOUT_A_BUCKET: Final = 51_200
KEY: Final = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
EVERYTHING: Final = {
    "KmsKeyId": KEY,
    "MappingId": MAPPING,
    "ReconcileSchedule": "rate(7 days)",
    "ReconcileMode": "mend",
    "AlarmTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:ops",
}
ALWAYS: Final = {"LogGroup", "StepsRole", "MachineRole", "Machine", "RunAlarm"}
SCHEDULED: Final = {"ScheduleRole", "Schedule", "ReconcileAlarm"}
TYPES: Final = {"Pass", "Task", "Parallel", "Choice", "Map", "Wait", "Succeed", "Fail"}


# --- the file -----------------------------------------------------------------------------------------------------


def test_cfn_lint_reports_nothing() -> None:
    """No rule is switched off in the file. E3601 checks the state machine."""
    code = "from cfnlint.runner import main; main()"
    command = [sys.executable, "-c", code, "--format", "json", "--include-checks", "I", "--", str(BACKFILL)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert "cfn-lint" not in BACKFILL.read_text()
    assert [f"{one['Rule']['Id']} {one['Message']}" for one in json.loads(told.stdout)] == []


def test_the_template_is_small_enough_to_deploy_without_a_bucket() -> None:
    assert len(BACKFILL.read_bytes()) <= MOST_BYTES_WITHOUT_A_BUCKET


def test_sam_adds_no_resources() -> None:
    assert set(translate()["Resources"]) == set(read_template()["Resources"])


def test_every_condition_and_parameter_is_used() -> None:
    text = json.dumps(translate())
    for name in translate()["Conditions"]:
        assert text.count(f'"{name}"') > 1, name
    for name in translate()["Parameters"]:
        assert f'{{"Ref": "{name}"}}' in text or f"${{{name}}}" in text, name


@pytest.mark.parametrize("more", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("package", [{}, AS_ZIP], ids=["image", "zip"])
def test_each_variant_has_exactly_its_resources(package: Mapping[str, str], more: Mapping[str, str]) -> None:
    made = backfill(**package, **more)
    function = "ZipFunction" if package else "ImageFunction"
    assert set(made.resources) == ALWAYS | {function} | (SCHEDULED if more else set())
    assert "Fn::" not in json.dumps([resource.properties for resource in made.resources.values()])
    assert made.outputs["MachineArn"]


def test_the_thumbnails_bucket_is_never_the_source() -> None:
    assert refusals(DestinationBucket="photos") == ["ThumbnailsAreNoSources"]


def test_the_function_is_the_door_of_the_steps() -> None:
    """Its variables are exactly those that the steps read; the settings are the pipeline function's own."""
    assert callable(steps.handler)
    zipped, image = backfill(**AS_ZIP)["ZipFunction"], backfill()["ImageFunction"]
    assert zipped["Handler"] == "handler.steps.handler"
    assert image["ImageConfig"]["Command"][-1] == "handler.steps.handler"
    assert set(image["Environment"]["Variables"]) == set(invocation.VARIABLES)


def test_zips_keep_what_the_steps_ask_aws_for() -> None:
    for service in ("s3", "sqs", "lambda", "stepfunctions"):
        assert first_match(f"botocore/data/{service}/2012-11-05/service-2.json.gz") is None, service


# --- the state machine --------------------------------------------------------------------------------------------


def test_all_eight_types_of_states_are_in_the_machine() -> None:
    assert {state["Type"] for _, level in levels(machine()) for state in level["States"].values()} == TYPES


def test_every_path_ends_and_every_state_is_reached() -> None:
    for name, level in levels(machine()):
        states = level["States"]
        reached, waiting = set(), [level["StartAt"]]
        while waiting:
            if (one := waiting.pop()) not in reached:
                reached.add(one)
                waiting += followers(states[one])
        assert reached == set(states), name
        ends = {one for one, state in states.items() if not followers(state)}
        kinds = {"Succeed", "Fail"} if not name else {"Pass", "Task"}
        for one in ends:
            assert states[one]["Type"] in kinds, one
            assert not name or states[one]["End"] is True, one
        for one in set(states) - ends:
            assert _reaches(one, ends, states), f"{one} never ends"


def _reaches(start: str, ends: set[str], states: Mapping[str, Any]) -> bool:
    found, waiting = {start}, [start]
    while waiting:
        new = [one for one in followers(states[waiting.pop()]) if one not in found]
        found.update(new)
        waiting += new
    return bool(found & ends)


def test_every_task_is_retried_and_every_failure_ends_with_a_cause() -> None:
    tasks = [state for _, level in levels(machine()) for state in level["States"].values() if state["Type"] == "Task"]
    assert len(tasks) == 6
    assert len({json.dumps(task["Retry"]) for task in tasks}) == 1
    top = machine()["States"]
    assert all("CausePath" in state for state in top.values() if state["Type"] == "Fail")
    for name, state in top.items():
        if state["Type"] in {"Task", "Parallel", "Map"}:
            assert [one["ErrorEquals"] for one in state["Catch"]] == [["States.ALL"]], name


def test_each_step_of_the_machine_is_a_step_of_the_function() -> None:
    text = json.dumps(machine())
    assert set(re.findall(r'"step": "(\w+)"', text)) == set(steps.STEPS)


def test_only_a_number_within_the_limit_feeds() -> None:
    """A limit that is text or missing ends in OverLimit, which sends nothing."""
    decide = machine()["States"]["Decide"]
    feeds = [one for one in decide["Choices"] if one["Next"] == "Feed"]
    assert feeds == [{"Variable": "$.sum.estimate.usd", "NumericLessThanEqualsPath": "$.job.limit_usd", "Next": "Feed"}]
    assert decide["Default"] == "OverLimit"


# --- roles --------------------------------------------------------------------------------------------------------

PHOTO: Final = "arn:aws:s3:::photos/a/b.jpg"
OTHER: Final = "999999999999"
THUMBNAIL: Final = "arn:aws:s3:::photos-resized/a/b.jpg"
RUN: Final = "arn:aws:s3:::photos-resized/_runs/1/shards.json"
LOG: Final = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/backfill:log-stream:x"
PIPELINE: Final = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:thumbnailer-ImageFunction"
STEPS: Final = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:backfill-ImageFunction"
MAPPED: Final = f"arn:aws:lambda:{REGION}:{ACCOUNT}:event-source-mapping:{MAPPING}"
MACHINE: Final = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:backfill"
CHILD: Final = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:backfill/Survey:1"
EXECUTION: Final = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:backfill:1"
OF_STEPS: Final = {
    ("s3:ListBucket", "arn:aws:s3:::photos"),
    ("s3:ListBucket", "arn:aws:s3:::photos-resized"),
    ("s3:GetObject", PHOTO),
    ("s3:GetObject", THUMBNAIL),
    ("s3:GetObject", RUN),
    ("s3:PutObject", RUN),
    ("sqs:SendMessage", QUEUE),
    *((f"sqs:{verb}", queue) for verb, queue in (("GetQueueAttributes", QUEUE), ("GetQueueAttributes", DEAD))),
    *(
        (f"sqs:{verb}", DEAD)
        for verb in ("StartMessageMoveTask", "ReceiveMessage", "DeleteMessage", "ListQueueTags", "TagQueue")
    ),
    ("lambda:GetFunctionConfiguration", PIPELINE),
    ("states:ListExecutions", MACHINE),
    ("logs:CreateLogStream", LOG),
    ("logs:PutLogEvents", LOG),
}
OF_STEPS_WITH_EVERYTHING: Final = {
    ("lambda:GetEventSourceMapping", MAPPED), ("kms:Decrypt", KEY), ("kms:GenerateDataKey", KEY),
}  # fmt: skip
OF_MACHINE: Final = {
    ("lambda:InvokeFunction", STEPS),
    ("s3:GetObject", RUN),
    ("states:StartExecution", MACHINE),
    *((f"states:{verb}", arn) for verb in ("DescribeExecution", "StopExecution") for arn in (CHILD, EXECUTION)),
}
ACTIONS: Final = {action for action, _ in OF_STEPS | OF_STEPS_WITH_EVERYTHING | OF_MACHINE} | {
    "s3:DeleteObject", "s3:GetObjectVersion", "s3:PutObjectAcl", "sqs:PurgeQueue", "sqs:SetQueueAttributes",
    "lambda:UpdateFunctionCode", "lambda:UpdateEventSourceMapping", "states:UpdateStateMachine", "iam:PassRole",
    "logs:CreateLogGroup", "kms:Encrypt",
}  # fmt: skip
RESOURCES: Final = {
    resource for _, resource in OF_STEPS | OF_STEPS_WITH_EVERYTHING | OF_MACHINE
} | {
    "arn:aws:s3:::photos-resized-2/_runs/x", f"{QUEUE}-2", f"{DEAD}-2", f"{PIPELINE}2",
    f"{STEPS}2", f"{MACHINE}-2", EXECUTION.replace("backfill", "backfill-2"), CHILD.replace("backfill", "backfill2"),
    LOG.replace("backfill", "other"),
}  # fmt: skip


def role(made: Stack, name: str) -> dict[str, Any]:
    told = made[name]
    assert set(told) == {"AssumeRolePolicyDocument", "Policies"}  # no managed policy
    (only,) = told["Policies"]
    document: dict[str, Any] = only["PolicyDocument"]
    return document


def allowed(document: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Every action tried on every resource."""
    return {one for one in product(ACTIONS, RESOURCES) if decision(document, stack_request(*one)) == "allow"}


def test_the_roles_allow_what_they_do_and_nothing_else() -> None:
    plain, full = backfill(), backfill(**EVERYTHING)
    assert allowed(role(plain, "StepsRole")) == OF_STEPS
    assert allowed(role(full, "StepsRole")) == OF_STEPS | OF_STEPS_WITH_EVERYTHING
    assert allowed(role(plain, "MachineRole")) == OF_MACHINE
    assert allowed(role(full, "MachineRole")) == OF_MACHINE | {("kms:Decrypt", KEY)}
    assert allowed(role(full, "ScheduleRole")) == {("states:StartExecution", MACHINE)}


@pytest.mark.matrix(44)
@pytest.mark.parametrize(
    ("given", "of_source", "of_destination"),
    [
        ({}, ACCOUNT, ACCOUNT),
        ({"ExpectedOwner": OTHER}, OTHER, OTHER),
        ({"DestinationAccount": OTHER}, ACCOUNT, OTHER),
    ],
    ids=["own account", "another account", "destination elsewhere"],
)
def test_a_bucket_of_the_same_name_in_another_account_is_of_no_use(
    given: dict[str, str], of_source: str, of_destination: str
) -> None:
    document = role(backfill(**given), "StepsRole")
    for action, resource, account in (
        ("s3:GetObject", PHOTO, of_source),
        ("s3:GetObject", THUMBNAIL, of_destination),
        ("s3:PutObject", RUN, of_destination),
    ):
        asked = [Request(action, resource, context={"aws:ResourceAccount": one}) for one in (ACCOUNT, OTHER, "3" * 12)]
        allowed_ = [one.context["aws:ResourceAccount"] for one in asked if decision(document, one) == "allow"]
        assert allowed_ == [account], action


def test_each_role_is_assumed_by_its_service_alone() -> None:
    made = backfill(**EVERYTHING)
    services = {"StepsRole": "lambda", "MachineRole": "states", "ScheduleRole": "scheduler"}
    for name, service in services.items():
        (trust,) = made[name]["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": f"{service}.amazonaws.com"}
        if service != "lambda":
            assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}


def test_no_statement_has_a_wildcard() -> None:
    for path, document in policies(backfill(**EVERYTHING)).items():
        for statement in document["Statement"]:
            assert not {"NotAction", "NotResource", "NotPrincipal"} & set(statement), path
            assert "*" not in as_list(statement.get("Resource", [])), path
            assert not [action for action in as_list(statement["Action"]) if "*" in action], path


# --- on a schedule ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "limit"), [("report", 0), ("mend", 2.5)])
def test_a_scheduled_run_only_reports_unless_it_may_mend(mode: str, limit: float) -> None:
    made = backfill(
        ReconcileSchedule="cron(0 3 ? * SUN *)", ReconcileMode=mode, ReconcileLimitUsd="2.50", ReconcileMost="25"
    )
    target = made["Schedule"]["Target"]
    assert json.loads(target["Input"]) == {"mode": "reconcile", "most": 25, "limit_usd": limit}
    assert target["RoleArn"] == made.attribute("ScheduleRole", "Arn")
    assert made["Schedule"]["FlexibleTimeWindow"] == {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 60}


def test_without_a_schedule_nothing_runs_by_itself() -> None:
    assert read_template()["Parameters"]["ReconcileSchedule"]["Default"] == ""
    assert not set(backfill().resources) & SCHEDULED


def test_alarms_watch_failed_runs_and_what_stays_missing() -> None:
    made = backfill(**EVERYTHING)
    run, reconcile = made["RunAlarm"], made["ReconcileAlarm"]
    assert (run["Namespace"], run["MetricName"]) == ("AWS/States", "ExecutionsFailed")
    assert (reconcile["Namespace"], reconcile["MetricName"]) == ("Thumbnailer", steps.STILL_MISSING)
    assert reconcile["Dimensions"] == [{"Name": "FunctionName", "Value": "backfill-ImageFunction"}]
    assert reconcile["TreatMissingData"] == "ignore"  # the next run may be a week later
    for alarm in (run, reconcile):
        assert alarm["Threshold"] == 0
        assert alarm["AlarmActions"] == alarm["OKActions"] == [EVERYTHING["AlarmTopicArn"]]
