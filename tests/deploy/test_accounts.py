"""What accounts ask of both templates: networks, bounded roles, gradual deployments, filters, limits, partitions."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy import fargate
from tests.deploy.fargate import FARGATE, worker
from tests.deploy.guides import commands
from tests.deploy.policies import Request, decision
from tests.deploy.stack import ACCOUNT, BASICS, IMAGE, REGION, TEMPLATE, Stack, dashboard, source

MOST_BYTES: Final = 1_000_000
MOST_BYTES_WITHOUT_A_BUCKET: Final = 51_200
MOST_PARAMETERS: Final = 200
"""CloudFormation's limits on a template, in S3 or sent with the command."""
BOUNDED: Final = {"PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/bound", "RolePath": "/teams/"}
GRADUAL: Final = {"Deployment": "Linear10PercentEvery2Minutes", "Release": "2026-11-30T12:00"}
NETWORK: Final = {"VpcId": "vpc-01234567", "SubnetIds": "subnet-01234567,subnet-89abcdef"}
PRICES: Final = tomllib.loads((TEMPLATE.parents[1] / "thumbnailer" / "backfill" / "prices.toml").read_text())


def pipeline(**parameters: str) -> Stack:
    """A stack of the function's template that CloudFormation would take."""
    made = Stack(BASICS | parameters)
    assert made.refused() == []
    return made


# --- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", [TEMPLATE, FARGATE], ids=["function", "worker"])
def test_both_templates_are_within_cloudformation_s_limits(template: Path) -> None:
    assert len(template.read_bytes()) <= MOST_BYTES
    declared = source() if template is TEMPLATE else fargate.read_template()
    assert len(declared["Parameters"]) <= MOST_PARAMETERS


def test_guides_send_large_templates_through_the_code_bucket() -> None:
    """`aws cloudformation deploy` sends at most 51,200 bytes itself."""
    for guide in TEMPLATE.parent.glob("*.md"):
        for command in commands(guide.read_text()):
            _, found, rest = command.partition("--template-file ")
            if found and len((TEMPLATE.parents[1] / rest.split()[0]).read_bytes()) > MOST_BYTES_WITHOUT_A_BUCKET:
                assert "--s3-bucket" in command, guide.name


# --- roles and network --------------------------------------------------------------------------------------------


def test_every_role_is_bounded_and_has_its_path() -> None:
    for given in (BOUNDED, {}):
        for made in (pipeline(**given), worker(**given)):
            roles = [one for one in made.template["Resources"].values() if one["Type"] == "AWS::IAM::Role"]
            assert len(roles) >= 2
            for role in roles:
                told = made.resolve({name: role["Properties"][name] for name in ("PermissionsBoundary", "Path")})
                assert told.get("PermissionsBoundary") == given.get("PermissionsBoundary")
                assert told["Path"] == given.get("RolePath", "/")


def test_the_role_of_every_function_may_connect_it_and_write_traces() -> None:
    """Network and tracing are the same for all functions."""
    made = pipeline(**NETWORK, Tracing="Active")
    for function in made.of_type("AWS::Lambda::Function"):
        role = function.properties["Role"].rpartition("/")[2].removeprefix("thumbnailer-")
        (document,) = [one["PolicyDocument"] for one in made[role]["Policies"]]
        for action in ("ec2:CreateNetworkInterface", "xray:PutTraceSegments"):
            assert decision(document, Request(action, "*")) == "allow", (function.id, action)


def test_the_function_may_be_in_a_vpc() -> None:
    made = pipeline(**NETWORK)
    assert made["ImageFunction"]["VpcConfig"] == {
        "SubnetIds": ["subnet-01234567", "subnet-89abcdef"],
        "SecurityGroupIds": ["thumbnailer-SecurityGroup"],
    }
    (rule,) = made["SecurityGroup"]["SecurityGroupEgress"]
    assert (rule["FromPort"], rule["ToPort"]) == (443, 443)
    assert "SecurityGroupIngress" not in made["SecurityGroup"]
    assert "SecurityGroup" not in pipeline().resources


def test_log_and_traces_are_as_the_parameters_say() -> None:
    told = pipeline(LogFormat="JSON", SystemLogLevel="WARN", Tracing="Active")["ImageFunction"]
    assert told["LoggingConfig"]["LogFormat"] == "JSON"
    assert told["LoggingConfig"]["SystemLogLevel"] == "WARN"
    assert told["TracingConfig"] == {"Mode": "Active"}
    assert "SystemLogLevel" not in pipeline(SystemLogLevel="WARN")["ImageFunction"]["LoggingConfig"]


# --- gradual deployments ------------------------------------------------------------------------------------------


def test_a_gradual_deployment_moves_an_alias_and_goes_back_on_an_alarm() -> None:
    made = pipeline(**GRADUAL)
    assert made["Version"]["Description"] == GRADUAL["Release"]  # a new description is a new version
    assert made["QueueMapping"]["FunctionName"] == made.ref("Alias")
    assert made["DeploymentGroup"]["DeploymentConfigName"] == "CodeDeployDefault.LambdaLinear10PercentEvery2Minutes"
    alarms = made["DeploymentGroup"]["AlarmConfiguration"]
    assert alarms["Enabled"]
    assert [alarm["Name"] for alarm in alarms["Alarms"]] == [
        made.ref("ErrorRateAlarm"), made.ref("FailedRecordsAlarm"),
    ]  # fmt: skip
    assert "DEPLOYMENT_STOP_ON_ALARM" in made["DeploymentGroup"]["AutoRollbackConfiguration"]["Events"]
    update = made.template["Resources"]["Alias"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
    assert set(update) == {"ApplicationName", "DeploymentGroupName"}


def test_codedeploy_may_move_the_alias_and_nothing_else() -> None:
    made = pipeline(**GRADUAL)
    (document,) = [one["PolicyDocument"] for one in made["DeploymentRole"]["Policies"]]
    function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:thumbnailer-ImageFunction"
    actions = ("GetAlias", "UpdateAlias", "GetProvisionedConcurrencyConfig", "UpdateFunctionCode", "InvokeFunction")
    allowed = {
        (action, resource)
        for action in actions
        for resource in (function, f"{function}:live", f"{function}:other", f"{function}2:live")
        if decision(document, Request(f"lambda:{action}", resource)) == "allow"
    }
    assert allowed == {(action, f"{function}:live") for action in actions[:3]}
    (trust,) = made["DeploymentRole"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "codedeploy.amazonaws.com"}


def test_all_at_once_makes_no_alias_and_no_deployments() -> None:
    kinds = {resource.type for resource in pipeline(Release="1").resources.values()}
    assert not {
        kind for kind in kinds if "CodeDeploy" in kind or kind in ("AWS::Lambda::Alias", "AWS::Lambda::Version")
    }
    assert pipeline()["QueueMapping"]["FunctionName"] == "thumbnailer-ImageFunction"


# --- filters ------------------------------------------------------------------------------------------------------

FILTERS: Final[list[tuple[dict[str, str], list[dict[str, str]]]]] = [
    ({}, []),
    ({"KeyPrefix": "in/"}, [{"Name": "prefix", "Value": "in/"}]),
    ({"KeySuffix": ".jpg"}, [{"Name": "suffix", "Value": ".jpg"}]),
    (
        {"KeyPrefix": "in/", "KeySuffix": ".jpg"},
        [{"Name": "prefix", "Value": "in/"}, {"Name": "suffix", "Value": ".jpg"}],
    ),
]


@pytest.mark.parametrize(("given", "rules"), FILTERS)
@pytest.mark.parametrize(("trigger", "kind"), [("queue", "Queue"), ("direct", "Lambda")])
def test_the_bucket_sends_only_events_of_wanted_keys(
    trigger: str, kind: str, given: dict[str, str], rules: list[dict[str, str]]
) -> None:
    made = pipeline(Trigger=trigger, **given)
    sent = made["SourceBucketResource"]["NotificationConfiguration"][f"{kind}Configurations"]
    assert len(sent) == 4
    assert [one.get("Filter") for one in sent] == 4 * [{"S3Key": {"Rules": rules}} if rules else None]


@pytest.mark.parametrize(("given", "rules"), FILTERS)
def test_the_owner_of_another_bucket_sets_the_same_notification(
    given: dict[str, str], rules: list[dict[str, str]]
) -> None:
    own = pipeline(**given)["SourceBucketResource"]["NotificationConfiguration"]["QueueConfigurations"]
    (told,) = json.loads(pipeline(CreateSourceBucket="false", **given).outputs["SourceNotification"])[
        "QueueConfigurations"
    ]
    assert [(one["Queue"], one["Event"]) for one in own] == [(told["QueueArn"], event) for event in told["Events"]]
    assert told.get("Filter") == ({"Key": {"FilterRules": rules}} if rules else None)


@pytest.mark.parametrize(
    ("given", "pattern"),
    [({}, None), ({"KeyPrefix": "in/"}, "in/*"), ({"KeyPrefix": "in/", "KeySuffix": ".jpg"}, "in/*.jpg")],
)
def test_the_rule_takes_only_events_of_wanted_keys(given: dict[str, str], pattern: str | None) -> None:
    detail = pipeline(Trigger="eventbridge", **given)["Rule"]["EventPattern"]["detail"]
    assert detail.get("object") == ({"key": [{"wildcard": pattern}]} if pattern else None)


# --- alarms by e-mail and costs -----------------------------------------------------------------------------------


def test_alarms_go_to_the_given_address() -> None:
    made = pipeline(AlarmEmail="ops@example.com", CostAlarmUsd="5")
    assert made["AlarmTopic"]["Subscription"] == [{"Protocol": "email", "Endpoint": "ops@example.com"}]
    for alarm in made.of_type("AWS::CloudWatch::Alarm"):
        assert alarm.properties["AlarmActions"] == alarm.properties["OKActions"] == [made.ref("AlarmTopic")]
    assert "AlarmTopic" not in pipeline().resources


def usd(expression: str, **metrics: float) -> float:
    """The value that CloudWatch computes."""
    return float(eval(expression, {"FILL": lambda value, _: value}, metrics))


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_alarm_and_dashboard_compute_the_cost_of_the_invocations(architecture: str) -> None:
    made = pipeline(Architecture=architecture, MemorySize="2048", MaximumConcurrency="7", CostAlarmUsd="5")
    gb_second = PRICES[f"lambda_{architecture.removesuffix('_64')}_gb_second"]["usd"]
    request = PRICES["lambda_request"]["usd"] / PRICES["lambda_request"]["per"]
    (of_alarm,) = [one["Expression"] for one in made["CostAlarm"]["Metrics"] if "Expression" in one]
    (chart,) = [one["properties"] for one in dashboard(made)["widgets"] if "Cost" in one["properties"]["title"]]
    now, most = (one[0]["expression"] for one in chart["metrics"] if isinstance(one[0], dict))
    for expression in (of_alarm, now):
        assert usd(expression, duration=3_000_000, invocations=1000) == pytest.approx(
            3000 * 2 * gb_second + 1000 * request
        )
    assert usd(most, invocations=5) == pytest.approx(7 * 3600 * 2 * gb_second)
    assert {part["MetricStat"]["Period"] for part in made["CostAlarm"]["Metrics"] if "MetricStat" in part} == {86400}
    assert made["CostAlarm"]["Threshold"] == "5"
    assert "CostAlarm" not in pipeline().resources


def test_the_most_that_the_default_function_can_cost_a_day_is_told() -> None:
    made = pipeline()
    memory = int(made["ImageFunction"]["MemorySize"]) / 1024
    concurrency = int(made["QueueMapping"]["ScalingConfig"]["MaximumConcurrency"])
    most = 86_400 * concurrency * memory * PRICES["lambda_x86_gb_second"]["usd"]
    assert f"at most {most:.2f} a day" in source()["Parameters"]["CostAlarmUsd"]["Description"]


# --- other partitions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("partition", "host"),
    [
        ("aws", "console.aws.amazon.com"),
        ("aws-cn", "console.amazonaws.cn"),
        ("aws-us-gov", "console.amazonaws-us-gov.com"),
    ],
)
def test_the_dashboard_s_address_is_its_partition_s(partition: str, host: str) -> None:
    assert Stack(BASICS, partition=partition).outputs["DashboardUrl"].startswith(f"https://{host}/cloudwatch/home?")


@pytest.mark.parametrize("tag", [":v1", "@sha256:" + "0" * 64])
def test_images_may_be_in_china(tag: str) -> None:
    image = f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn/team/thumbnailer{tag}"
    made: dict[str, Any] = {"ImageUri": image}
    assert pipeline(**made).refused() == worker(**made).refused() == []
    stack = Stack(fargate.BASICS | made, fargate.read_template(), partition="aws-cn")
    (document,) = [one["PolicyDocument"] for one in stack["ExecutionRole"]["Policies"]]
    repository = f"arn:aws-cn:ecr:cn-north-1:{ACCOUNT}:repository/team/thumbnailer"
    assert decision(document, Request("ecr:BatchGetImage", repository)) == "allow"
    assert IMAGE.count(".cn") == 0
