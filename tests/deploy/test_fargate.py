"""The resources that deploy/fargate.yaml makes in an AWS account, tested as data."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import product
from typing import Any, Final

import pytest

from tests.deploy import stack as lambda_stack
from tests.deploy.fargate import (
    BASICS,
    DEAD,
    FARGATE,
    FARGATE_SIZES,
    GIVEN_NETWORK,
    QUEUE,
    container,
    environment,
    evaluate,
    rate_of,
    read_template,
    refusals,
    scaling_rate,
    worker,
)
from tests.deploy.policies import Request, decision, stack_request
from tests.deploy.stack import ACCOUNT, IMAGE, REGION, Stack, accepts, as_list
from tests.tools.parameters import ON_FARGATE, parameter
from thumbnailer.planning.tier import tier_for
from thumbnailer.settings import parse_settings

DECLARED: Final[Mapping[str, Any]] = read_template()["Parameters"]
ON_LAMBDA: Final[Mapping[str, Any]] = lambda_stack.source()["Parameters"]
KEY: Final = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
OTHER_KEY: Final = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/99999999-2222-3333-4444-555555555555"
TOPIC: Final = f"arn:aws:sns:{REGION}:{ACCOUNT}:ops"
EVERYTHING: Final = {
    "SourceKmsKeyArn": KEY,
    "Sse": "aws:kms",
    "KmsKeyId": OTHER_KEY,
    "AllowListBucket": "true",
    "AlarmTopicArn": TOPIC,
    "WatchQueue": "true",
    "MetricsCidr": "10.1.0.0/16",
    "EphemeralStorage": "50",
    "PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/bound",
    "RolePath": "/teams/pictures/",
}
SERVICE: Final = {
    "Cluster", "Service", "Scaling", "TaskDefinition", "LogGroup", "TaskRole", "ExecutionRole", "SecurityGroup",
}  # fmt: skip
AT_WORK: Final = {"BacklogPolicy", "StartPolicy", "StartAlarm", "NoTaskAlarm", "CpuAlarm"}
ENDPOINTS: Final = {"S3Endpoint", "SqsEndpoint", "EcrApiEndpoint", "EcrEndpoint", "LogsEndpoint"}
OWN_NETWORK: Final = {"Vpc", "Subnet1", "RouteTable", "Route1", "EndpointSecurityGroup"} | ENDPOINTS
GATEWAY: Final = {"InternetGateway", "GatewayAttachment", "RouteToInternet"}
SECOND_ZONE: Final = {"Subnet2", "Route2"}
ALL: Final = [
    {**network, **more, "Consumer": consumer}
    for network, more, consumer in product(({}, {"Zones": "1"}, GIVEN_NETWORK), ({}, EVERYTHING), ("worker", "none"))
]


# --- the file -----------------------------------------------------------------------------------------------------


def test_cfn_lint_reports_nothing() -> None:
    """No rule is switched off in the file."""
    code = "from cfnlint.runner import main; main()"
    command = [sys.executable, "-c", code, "--format", "json", "--include-checks", "I", "--", str(FARGATE)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert "cfn-lint" not in FARGATE.read_text()
    assert [f"{one['Rule']['Id']} {one['Message']}" for one in json.loads(told.stdout)] == []


def test_every_condition_mapping_and_parameter_is_used() -> None:
    template = read_template()
    text = json.dumps(template)
    for name in [*template["Conditions"], *template["Mappings"]]:
        assert text.count(f'"{name}"') > 1, name
    for name in template["Parameters"]:
        assert f'{{"Ref": "{name}"}}' in text or f"${{{name}}}" in text, name


def test_every_variant_can_be_resolved_and_has_exactly_its_resources() -> None:
    for parameters in ALL:
        made = worker(**parameters)
        text = json.dumps([resource.properties for resource in made.resources.values()])
        assert "Fn::" not in text
        assert made.outputs["ServiceName"]
        expected = set(SERVICE)
        if parameters["Consumer"] == "worker":
            expected |= AT_WORK
        if "VpcId" not in parameters:
            expected |= OWN_NETWORK | (SECOND_ZONE if parameters.get("Zones") != "1" else set())
        if "MetricsCidr" in parameters:
            expected |= {"Namespace", "Name", "DeadLetterAlarm", "AgeAlarm"}
        assert set(made.resources) == expected


def test_the_network_is_made_before_the_service() -> None:
    needs = read_template()["Resources"]["Service"]["Metadata"]["Needs"]
    ways = ENDPOINTS | {"Route1"}
    assert set(worker(Zones="1").resolve(needs)) == {f"worker-{one}" for one in ways}
    assert set(worker(Zones="2").resolve(needs)) == {f"worker-{one}" for one in ways | {"Route2"}}
    assert worker(**GIVEN_NETWORK).resolve(needs) == "none"
    resources = read_template()["Resources"]
    dependent = [one for one in resources.values() if "DependsOn" in one]
    assert not [one for one in dependent if one.get("Condition") != resources[one["DependsOn"]].get("Condition")]


# --- parameters: test_parameters.py compares them with the settings -----------------------------------------------

SETTINGS: Final = {parameter(setting): setting for setting in ON_FARGATE.settings()}
OF_THE_TASK: Final = {
    "THUMBNAILER_QUEUE_URL": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/thumbnailer-events",
    "THUMBNAILER_MEMORY_MB": "2048",
    "THUMBNAILER_WORKERS": "1",
    "THUMBNAILER_IN_FLIGHT": "16",
    "THUMBNAILER_SOURCES": "photos",  # a stack has one source bucket
    "THUMBNAILER_EXPECTED_OWNER": ACCOUNT,
}


def test_parameters_of_both_templates_are_checked_alike() -> None:
    def checks(template: Mapping[str, Any], name: str) -> dict[str, Any]:
        return {key: value for key, value in template[name].items() if key != "Description"}

    common = (set(DECLARED) & set(ON_LAMBDA)) - {"Consumer", "EphemeralStorage", "ImageUri"}
    assert [name for name in common if checks(DECLARED, name) != checks(ON_LAMBDA, name)] == []


def test_default_parameters_leave_settings_at_their_defaults_except_the_size_of_the_task() -> None:
    given = environment(worker())
    assert given.items() >= OF_THE_TASK.items()
    defaults = {one.variable: one.default for one in SETTINGS.values() if one.default}
    assert {name: value for name, value in given.items() if name not in OF_THE_TASK} == defaults
    parsed = parse_settings(given)
    assert (parsed.memory_mb, parsed.workers) == (2048, 1)


def test_every_parameter_reaches_its_variable_and_no_other() -> None:
    values = {
        "Destination": "thumbs",
        "Key": "t/{key}",
        "Sources": "photos, team-*",
        "Include": "*.jpg",
        "Exclude": "tmp/*",
        "ExpectedOwner": ACCOUNT,
        "FailedPrefix": "no/",
        "Renditions": "9x9",
        "CacheControl": "max-age=60",
        "KmsKeyId": KEY,
    }
    for name, setting in SETTINGS.items():
        declared = DECLARED[name]
        value = values.get(name) or str(declared.get("AllowedValues", [declared.get("MaxValue", "7")])[-1])
        others = {"Sse": "aws:kms"} if name == "KmsKeyId" else {}
        before, after = environment(worker(**others)), environment(worker(**others, **{name: value}))
        assert after == before | {setting.variable: value}, name


def test_only_queues_source_bucket_and_image_must_be_given() -> None:
    assert {name for name, declared in DECLARED.items() if "Default" not in declared} == set(BASICS)


GOOD_AND_BAD: Final[Mapping[str, tuple[list[str], list[str]]]] = {
    "QueueArn": ([QUEUE], ["", QUEUE + ".fifo", f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/x", QUEUE + ":x"]),
    "DeadLetterQueueArn": ([DEAD], ["", DEAD + ".fifo"]),
    "ImageUri": ([IMAGE, IMAGE[:-2] + "@sha256:" + "0" * 64], ["", IMAGE[:-2], "docker.io/x/y:1"]),
    "MessagesPerSecondPerTask": (["", "10", "0.5", "9999.999"], ["0", "0.000", "-1", "1e3", ".5", "10000"]),
    "AcceptableLatencySeconds": (["1", "86400"], ["0", "86401"]),
    "MinimumTasks": (["0", "500"], ["-1", "501"]),
    "MaximumTasks": (["1", "500"], ["0", "501"]),
    "VpcNetwork": (["10.0", "10.255", "172.16", "192.168"], ["", "10", "10.256", "10.01", "172.32", "8.8"]),
    "MetricsCidr": (["", "10.1.0.0/16", "10.0.0.7/32"], ["10.1.0.0", "0.0.0.0/0", "x/8"]),
    "SubnetIds": (["", "subnet-01234567", GIVEN_NETWORK["SubnetIds"]], ["subnet-x", "subnet-01234567,"]),
    "VpcId": (["", "vpc-01234567"], ["vpc", "subnet-01234567"]),
    "StopTimeout": (["5", "110"], ["0", "111", "120"]),
    "Port": (["1024", "65535"], ["80", "0", "65536"]),
    "EphemeralStorage": (["20", "200"], ["19", "201"]),
    "Architecture": (["x86_64", "arm64"], ["X86_64"]),
}  # fmt: skip


def test_a_parameter_accepts_what_makes_sense() -> None:
    for name, (good, bad) in GOOD_AND_BAD.items():
        assert [value for value in [*good, *bad] if accepts(DECLARED[name], value)] == good, name


def test_the_template_accepts_exactly_the_sizes_of_fargate() -> None:
    accepted: dict[int, set[int]] = {}
    for cpu, memory in product(DECLARED["Cpu"]["AllowedValues"], DECLARED["Memory"]["AllowedValues"]):
        if not refusals(Cpu=cpu, Memory=memory):
            accepted.setdefault(int(cpu), set()).add(int(memory))
    assert accepted == FARGATE_SIZES


def test_contradictions_are_refused() -> None:
    for parameters, rule in (
        ({"Cpu": "256", "Memory": "4096"}, "MemoryForAQuarterVcpu"),
        ({"Cpu": "4096", "Memory": "2048"}, "MemoryForFourVcpus"),
        ({"Destination": "photos"}, "ThumbnailsDoNotGoToTheSource"),
        ({"KmsKeyId": KEY}, "AKeyIsForKms"),
        ({"DeadLetterQueueArn": QUEUE}, "DeadLettersAreElsewhere"),
        ({"OnDemandBase": "0", "OnDemandWeight": "0", "SpotWeight": "0"}, "SomeTasksHaveAWeight"),
        ({"OnDemandWeight": "0"}, "ABaseHasAWeight"),
        ({"VpcId": GIVEN_NETWORK["VpcId"]}, "AVpcHasItsSubnets"),
        ({"SubnetIds": GIVEN_NETWORK["SubnetIds"]}, "SubnetsHaveTheirVpc"),
        ({"WorkFrom": "8"}, "HoursHaveABeginAndAnEnd"),
        ({"WorkUntil": "18"}, "HoursHaveABeginAndAnEnd"),
        ({"WorkFrom": "8", "WorkUntil": "8"}, "HoursHaveABeginAndAnEnd"),
    ):
        assert refusals(**parameters) == [rule], parameters


def test_rules_use_only_functions_that_cloudformation_allows_in_rules() -> None:
    """Fn::Select, Fn::Split and Fn::Sub, for instance, are not allowed there."""
    used = set(re.findall(r'"(Fn::\w+)"', json.dumps(read_template()["Rules"])))
    assert used <= {"Fn::And", "Fn::Contains", "Fn::Equals", "Fn::Not", "Fn::Or"}


# --- the task -----------------------------------------------------------------------------------------------------


def test_the_worker_runs_as_an_unprivileged_user_and_writes_only_to_tmp() -> None:
    made = worker()
    told = container(made)
    assert (told["User"], told["ReadonlyRootFilesystem"]) == ("10001:10001", True)
    assert told["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert told["MountPoints"] == [{"SourceVolume": "scratch", "ContainerPath": "/tmp", "ReadOnly": False}]
    assert made["TaskDefinition"]["Volumes"] == [{"Name": "scratch"}]
    assert "Privileged" not in told
    assert told["Command"] == ["thumbnailer", "worker"]


def test_the_image_declares_that_user_and_tmp() -> None:
    """Fargate copies a declared volume's permissions from the image; otherwise only root could write."""
    last = FARGATE.with_name("Containerfile").read_text().rpartition("\nFROM ")[2].splitlines()
    assert {'VOLUME ["/tmp"]', "USER 10001:10001"} <= set(last)
    assert "EntryPoint" not in container(worker())  # the image's own checks the processor


def test_the_task_is_what_the_parameters_say() -> None:
    made = worker(Architecture="arm64", Cpu="4096", Memory="16384", EphemeralStorage="60", Port="9000")
    task = made["TaskDefinition"]
    assert (task["Cpu"], task["Memory"], task["EphemeralStorage"]) == ("4096", "16384", {"SizeInGiB": "60"})
    assert task["RuntimePlatform"] == {"OperatingSystemFamily": "LINUX", "CpuArchitecture": "ARM64"}
    assert environment(made)["THUMBNAILER_WORKERS"] == "4"
    assert environment(made)["THUMBNAILER_MEMORY_MB"] == "16384"
    assert container(made)["PortMappings"] == [{"ContainerPort": "9000", "Protocol": "tcp"}]
    assert worker()["TaskDefinition"]["RuntimePlatform"]["CpuArchitecture"] == "X86_64"
    assert "EphemeralStorage" not in worker()["TaskDefinition"]


def threads_and_records(made: Stack) -> tuple[str, str]:
    given = environment(made)
    return given["THUMBNAILER_WORKERS"], given["THUMBNAILER_IN_FLIGHT"]


def test_a_task_gets_the_tier_of_its_own_processors() -> None:
    """It may see more processors: those of the machine that it shares."""
    for cpu, sizes in FARGATE_SIZES.items():
        size = {"Cpu": str(cpu), "Memory": str(max(sizes))}
        tier = tier_for(max(sizes), cpu / 1024)
        assert threads_and_records(worker(**size)) == (str(tier.workers), str(tier.in_flight)), cpu
        assert threads_and_records(worker(**size, Workers="3", InFlight="7")) == ("3", "7"), cpu


def test_ecs_waits_ten_seconds_longer_than_the_worker_needs_to_stop() -> None:
    for seconds in DECLARED["StopTimeout"]["AllowedValues"]:
        assert int(seconds) + 10 == container(worker(StopTimeout=seconds))["StopTimeout"] <= 120


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A port that answers /healthz with `status`, and every other path with 404."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def health_check(port: int) -> int:
    """The exit code of the task's own health check."""
    kind, python, *rest = container(worker(Port=str(port)))["HealthCheck"]["Command"]
    assert (kind, python) == ("CMD", "python")
    environ = {"PATH": "/usr/bin:/bin"}
    return subprocess.run([sys.executable, *rest], env=environ, capture_output=True, timeout=30, check=False).returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (500, 1)])
def test_the_health_check_follows_the_worker_s_answer(status: int, code: int) -> None:
    with answering(status) as port:
        assert health_check(port) == code
    assert health_check(port) == 1  # no server


def test_the_log_is_non_blocking_and_kept_as_configured() -> None:
    made = worker(LogRetentionDays="7")
    options = container(made)["LogConfiguration"]["Options"]
    assert (options["mode"], options["awslogs-group"], options["awslogs-region"]) == (
        "non-blocking",
        "/ecs/worker",
        REGION,
    )
    assert made["LogGroup"] == {"LogGroupName": "/ecs/worker", "RetentionInDays": "7"}
    assert worker(LogKmsKeyArn=KEY)["LogGroup"]["KmsKeyId"] == KEY


# --- the service --------------------------------------------------------------------------------------------------


def test_ecs_rolls_a_failed_deployment_back() -> None:
    deployment = worker()["Service"]["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["MinimumHealthyPercent"] == 100


def test_the_weights_divide_tasks_between_on_demand_and_spot() -> None:
    told = worker(OnDemandBase="2", OnDemandWeight="1", SpotWeight="3")
    assert told["Service"]["CapacityProviderStrategy"] == [
        {"CapacityProvider": "FARGATE", "Base": "2", "Weight": "1"},
        {"CapacityProvider": "FARGATE_SPOT", "Weight": "3"},
    ]
    assert set(told["Cluster"]["CapacityProviders"]) == {"FARGATE", "FARGATE_SPOT"}
    assert "LaunchType" not in told["Service"]


def test_by_default_the_first_task_is_on_demand_and_most_others_on_spot() -> None:
    """AWS places no tasks with a provider of weight 0, so the on-demand provider has one."""
    on_demand, spot = worker()["Service"]["CapacityProviderStrategy"]
    assert on_demand["Base"] == "1"
    assert 0 < 10 * int(on_demand["Weight"]) < int(spot["Weight"])


@pytest.mark.parametrize(("weight", "other"), [("OnDemandWeight", {"OnDemandBase": "0"}), ("SpotWeight", {})])
def test_all_tasks_can_be_on_demand_or_on_spot(weight: str, other: dict[str, str]) -> None:
    assert refusals(**{weight: "0"}, **other) == []


def test_tasks_run_only_in_the_hours_of_work() -> None:
    made = worker(WorkFrom="8", WorkUntil="18", Timezone="Europe/Berlin", MinimumTasks="0", MaximumTasks="7")
    work, rest = made["Scaling"]["ScheduledActions"]
    assert (work["Schedule"], rest["Schedule"]) == ("cron(0 8 * * ? *)", "cron(0 18 * * ? *)")
    assert {work["Timezone"], rest["Timezone"]} == {"Europe/Berlin"}
    assert work["ScalableTargetAction"] == {"MinCapacity": "0", "MaxCapacity": "7"}
    assert rest["ScalableTargetAction"] == {"MinCapacity": 0, "MaxCapacity": 0}
    assert "NoTaskAlarm" not in made.resources  # events wait every night
    for always in (worker(), worker(WorkFrom="8", WorkUntil="18", Consumer="none")):
        assert "ScheduledActions" not in always["Scaling"]


def test_an_update_of_the_stack_does_not_change_the_number_of_tasks() -> None:
    assert "DesiredCount" not in worker()["Service"]
    assert worker(Consumer="none")["Service"]["DesiredCount"] == 0


# --- network ------------------------------------------------------------------------------------------------------


def network(made: Stack) -> dict[str, Any]:
    found: dict[str, Any] = made["Service"]["NetworkConfiguration"]["AwsvpcConfiguration"]
    return found


@pytest.mark.parametrize(("zones", "subnets"), [("1", ["Subnet1"]), ("2", ["Subnet1", "Subnet2"])])
def test_the_stack_s_own_network_reaches_only_the_services_that_the_worker_needs(
    zones: str, subnets: list[str]
) -> None:
    made = worker(Zones=zones, VpcNetwork="10.7")
    assert network(made)["Subnets"] == [f"worker-{subnet}" for subnet in subnets]
    assert network(made)["AssignPublicIp"] == "DISABLED"
    assert not made.of_type("AWS::EC2::InternetGateway") + made.of_type("AWS::EC2::NatGateway")
    assert not made.of_type("AWS::EC2::Route")
    endpoints = {
        one.properties["ServiceName"].rpartition(f"{REGION}.")[2]: one.properties
        for one in made.of_type("AWS::EC2::VPCEndpoint")
    }
    assert {name: one["VpcEndpointType"] for name, one in endpoints.items()} == {
        "s3": "Gateway", "sqs": "Interface", "ecr.api": "Interface", "ecr.dkr": "Interface", "logs": "Interface",
    }  # fmt: skip
    for one in endpoints.values():
        if one["VpcEndpointType"] == "Interface":
            assert one["SubnetIds"] == network(made)["Subnets"]
            assert one["PrivateDnsEnabled"] is True
    routed = [one.properties for one in made.of_type("AWS::EC2::SubnetRouteTableAssociation")]
    assert [one["SubnetId"] for one in routed] == network(made)["Subnets"]
    assert {one["RouteTableId"] for one in routed} == set(endpoints["s3"]["RouteTableIds"])
    ranges = [made[subnet]["CidrBlock"] for subnet in subnets]
    assert (made["Vpc"]["CidrBlock"], ranges) == ("10.7.0.0/22", ["10.7.0.0/23", "10.7.2.0/23"][: len(subnets)])


def test_the_stack_s_public_network_has_a_gateway_in_place_of_endpoints() -> None:
    made = worker(AssignPublicIp="true")
    assert set(made.resources) & (OWN_NETWORK | SECOND_ZONE | GATEWAY) == (
        OWN_NETWORK | SECOND_ZONE | GATEWAY
    ) - ENDPOINTS - {"EndpointSecurityGroup"} | {"S3Endpoint"}
    assert network(made)["AssignPublicIp"] == "ENABLED"
    assert made["RouteToInternet"]["DestinationCidrBlock"] == "0.0.0.0/0"
    assert made["RouteToInternet"]["RouteTableId"] == made["Route1"]["RouteTableId"] == made["Route2"]["RouteTableId"]
    written = made.template["Resources"]
    assert written["RouteToInternet"]["Condition"] == written["GatewayAttachment"]["Condition"]
    assert "SecurityGroupIngress" not in made["SecurityGroup"]
    assert "worker-RouteToInternet" in made.resolve(written["Service"]["Metadata"]["Needs"])


def test_a_given_network_is_used() -> None:
    made = worker(**GIVEN_NETWORK, AssignPublicIp="true")
    assert network(made)["Subnets"] == GIVEN_NETWORK["SubnetIds"].split(",")
    assert network(made)["AssignPublicIp"] == "ENABLED"
    assert made["SecurityGroup"]["VpcId"] == made.outputs["VpcId"] == GIVEN_NETWORK["VpcId"]


def test_only_metrics_are_let_in_and_only_tls_goes_out() -> None:
    for parameters in ALL:
        made = worker(**parameters)
        (out,) = made["SecurityGroup"]["SecurityGroupEgress"]
        assert (out["FromPort"], out["ToPort"], out["IpProtocol"]) == (443, 443, "tcp")
        let_in = made["SecurityGroup"].get("SecurityGroupIngress", [])
        scraped = [(one["FromPort"], one["ToPort"], one["CidrIp"]) for one in let_in]
        assert scraped == ([("8080", "8080", "10.1.0.0/16")] if "MetricsCidr" in parameters else [])
        if "VpcId" not in parameters:
            (heard,) = made["EndpointSecurityGroup"]["SecurityGroupIngress"]
            assert (heard["FromPort"], heard["ToPort"], heard["SourceSecurityGroupId"]) == (
                443,
                443,
                "worker-SecurityGroup",
            )


# --- permissions --------------------------------------------------------------------------------------------------

PHOTO: Final = "arn:aws:s3:::photos/a/b.jpg"
THUMBNAIL: Final = "arn:aws:s3:::photos-resized/a/b.jpg"
OWN_TASK: Final = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/worker-Cluster/0123"
LOG: Final = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/ecs/worker:log-stream:x"
REPOSITORY: Final = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/thumbnailer"
MAY: Final = {
    ("s3:GetObject", PHOTO), ("s3:PutObject", THUMBNAIL), ("s3:DeleteObject", THUMBNAIL),
    ("sqs:ReceiveMessage", QUEUE), ("sqs:DeleteMessage", QUEUE), ("sqs:ChangeMessageVisibility", QUEUE),
    ("sqs:GetQueueAttributes", QUEUE), ("ecs:UpdateTaskProtection", OWN_TASK),
}  # fmt: skip
MORE: Final = {
    ("kms:Decrypt", KEY), ("kms:GenerateDataKey", OTHER_KEY), ("s3:ListBucket", "arn:aws:s3:::photos"),
}  # fmt: skip
PULL: Final = {
    (f"ecr:{verb}", REPOSITORY) for verb in ("BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer")
}
TO_START: Final = PULL | {("logs:CreateLogStream", LOG), ("logs:PutLogEvents", LOG)}
ACTIONS: Final = {action for action, _ in MAY | MORE | TO_START} | {
    "s3:GetObjectVersion", "s3:DeleteObjectVersion", "s3:PutObjectAcl", "s3:PutBucketPolicy", "sqs:SendMessage",
    "sqs:PurgeQueue", "sqs:SetQueueAttributes", "kms:Encrypt", "logs:CreateLogGroup", "iam:PassRole", "ecs:StopTask",
    "ecs:RunTask", "ecs:UpdateService", "ecr:PutImage", "sts:AssumeRole",
}  # fmt: skip
RESOURCES: Final = {resource for _, resource in MAY | MORE | TO_START} | {
    DEAD, f"{QUEUE}-2", "arn:aws:s3:::photos-resized", "arn:aws:s3:::photos-private/x",
    "arn:aws:s3:::photos-resized-2/x",
    OWN_TASK.replace("worker-Cluster", "other"), LOG.replace("worker", "other"), REPOSITORY + "-2",
}  # fmt: skip


def policy(made: Stack, role: str) -> dict[str, Any]:
    (only,) = made[role]["Policies"]
    document: dict[str, Any] = only["PolicyDocument"]
    return document


def allowed_requests(document: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Every action tried on every resource."""
    return {one for one in product(ACTIONS, RESOURCES) if decision(document, stack_request(*one)) == "allow"}


@pytest.mark.parametrize("more", [{}, EVERYTHING], ids=["plain", "everything"])
def test_the_role_allows_what_the_worker_does_and_nothing_else(more: Mapping[str, str]) -> None:
    assert allowed_requests(policy(worker(**more), "TaskRole")) == MAY | (MORE if more else set())


def test_on_delete_keep_gives_no_permission_to_delete() -> None:
    assert allowed_requests(policy(worker(OnDelete="keep"), "TaskRole")) == MAY - {("s3:DeleteObject", THUMBNAIL)}


@pytest.mark.parametrize("image", [IMAGE, IMAGE[:-2] + "@sha256:" + "0" * 64], ids=["tag", "digest"])
def test_ecs_may_pull_the_image_and_write_the_log_and_nothing_else(image: str) -> None:
    document = policy(worker(ImageUri=image), "ExecutionRole")
    assert allowed_requests(document) == TO_START
    assert decision(document, Request("ecr:GetAuthorizationToken", "*")) == "allow"


def test_the_image_may_be_in_another_account_region_and_path() -> None:
    made = worker(ImageUri="999999999999.dkr.ecr.eu-west-1.amazonaws.com/team/thumbs/it:v1.2")
    there = "arn:aws:ecr:eu-west-1:999999999999:repository/team/thumbs/it"
    assert decision(policy(made, "ExecutionRole"), Request("ecr:BatchGetImage", there)) == "allow"


def test_only_the_login_to_ecr_names_no_resource() -> None:
    for role in ("TaskRole", "ExecutionRole"):
        for statement in policy(worker(**EVERYTHING), role)["Statement"]:
            assert all("*" not in action for action in as_list(statement["Action"]))
            assert "*" not in as_list(statement["Resource"]) or statement["Action"] == "ecr:GetAuthorizationToken"
        assert "ManagedPolicyArns" not in worker()[role]


@pytest.mark.parametrize("role", ["TaskRole", "ExecutionRole"])
@pytest.mark.parametrize(
    ("service", "account", "expected"),
    [
        ("ecs-tasks.amazonaws.com", ACCOUNT, "allow"),
        ("ecs-tasks.amazonaws.com", "999999999999", "nothing"),
        ("lambda.amazonaws.com", ACCOUNT, "nothing"),
    ],
)
def test_only_ecs_tasks_of_this_account_may_assume_the_roles(
    role: str, service: str, account: str, expected: str
) -> None:
    (statement,) = worker()[role]["AssumeRolePolicyDocument"]["Statement"]
    document = {"Statement": [statement | {"Resource": "*"}]}  # a trust policy names none
    context = {"aws:SourceAccount": account, "aws:SourceArn": f"arn:aws:ecs:{REGION}:{account}:task/x/y"}
    assert decision(document, Request("sts:AssumeRole", "*", ("Service", service), context)) == expected


def test_the_s3_endpoint_lets_the_worker_s_role_and_image_layers_through() -> None:
    document = worker()["S3Endpoint"]["PolicyDocument"]
    ours = {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/worker-TaskRole"}
    theirs = {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/other"}
    layer = f"arn:aws:s3:::prod-{REGION}-starport-layer-bucket/x"
    for action, resource, context, expected in (
        ("s3:GetObject", PHOTO, ours, "allow"),
        ("s3:GetObjectVersion", PHOTO, ours, "nothing"),
        ("s3:PutObject", THUMBNAIL, ours, "allow"),
        ("s3:PutObject", THUMBNAIL, theirs, "nothing"),
        ("s3:GetObject", PHOTO, theirs, "nothing"),
        ("s3:GetObject", layer, theirs, "allow"),
        ("s3:PutObject", layer, theirs, "nothing"),
    ):
        request = Request(action, resource, ("AWS", "*"), context)
        assert decision(document, request) == expected


@pytest.mark.parametrize(
    ("endpoint", "role", "may"),
    [
        ("SqsEndpoint", "TaskRole", {one for one in MAY if one[0].startswith("sqs:")}),
        ("LogsEndpoint", "ExecutionRole", TO_START - PULL),
        ("EcrApiEndpoint", "ExecutionRole", PULL),
        ("EcrEndpoint", "ExecutionRole", PULL),
    ],
)
def test_an_interface_endpoint_lets_only_what_its_role_needs_through(
    endpoint: str, role: str, may: set[tuple[str, str]]
) -> None:
    document = worker()[endpoint]["PolicyDocument"]
    for name, expected in ((role, may), ("other", set())):
        context = {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/worker-{name}"}
        through = {
            (action, resource)
            for action, resource in product(ACTIONS, {resource for _, resource in MAY | TO_START})
            if decision(document, Request(action, resource, ("AWS", "*"), context)) == "allow"
        }
        assert {action for action, _ in through} == {action for action, _ in expected}
        assert through >= expected
        login = Request("ecr:GetAuthorizationToken", "*", ("AWS", "*"), context)
        assert (decision(document, login) == "allow") == (name == role and endpoint.startswith("Ecr"))


# --- scaling ------------------------------------------------------------------------------------------------------


def read(metrics: list[dict[str, Any]]) -> dict[str, tuple[str, str, str]]:
    stats = {one["Id"]: one["MetricStat"] for one in metrics if "MetricStat" in one}
    return {id_: (one["Metric"]["Namespace"], one["Metric"]["MetricName"], one["Stat"]) for id_, one in stats.items()}


@pytest.mark.parametrize(
    ("visible", "tasks", "rate", "seconds"),
    [(6000, 10, "10", 60), (6000, 10, "2.5", 240), (0, 3, "10", 0), (600, None, "10", 60), (600, 0, "10", 60)],
)
def test_scaling_tracks_the_seconds_of_backlog(visible: float, tasks: float | None, rate: str, seconds: float) -> None:
    made = worker(MessagesPerSecondPerTask=rate, AcceptableLatencySeconds="90")
    policy_ = made["BacklogPolicy"]["TargetTrackingScalingPolicyConfiguration"]
    metrics = policy_["CustomizedMetricSpecification"]["Metrics"]
    assert evaluate(metrics, visible=visible, tasks=tasks) == pytest.approx(seconds)
    assert policy_["TargetValue"] == "90"
    assert read(metrics) == {
        "visible": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Average"),
        "tasks": ("ECS/ContainerInsights", "RunningTaskCount", "Average"),
    }


def test_the_default_rate_grows_with_the_task() -> None:
    rates = [rate_of(cpu) for cpu in FARGATE_SIZES]
    assert rates == sorted(set(rates))
    assert scaling_rate(worker(Cpu="256", Memory="512", MessagesPerSecondPerTask="3.5")) == pytest.approx(3.5)


def test_twice_a_size_that_was_not_measured_counts_for_half_as_much_again() -> None:
    for cpu in (2048, 4096, 8192, 16384):
        assert rate_of(cpu) == pytest.approx(1.5 * rate_of(cpu // 2), rel=0.02), cpu


@pytest.mark.parametrize("minimum", ["0", "2"])
def test_with_consumer_none_no_task_can_start_even_during_the_update(minimum: str) -> None:
    """CloudFormation updates the service, then the bounds, and removes alarms and policies last."""
    at_work, at_rest = (worker(Consumer=consumer, MinimumTasks=minimum) for consumer in ("worker", "none"))
    assert (at_rest["Scaling"]["MinCapacity"], at_rest["Scaling"]["MaxCapacity"]) == (0, 0)
    bounds = {"MinCapacity", "MaxCapacity"}
    differing = {key for key, value in at_work["Scaling"].items() if at_rest["Scaling"][key] != value}
    assert differing <= bounds  # so CloudFormation updates it and does not replace it
    assert "MaxCapacity" in differing


def test_the_number_of_tasks_is_bounded_and_reported_by_container_insights() -> None:
    made = worker(MinimumTasks="2", MaximumTasks="40")
    assert made["Scaling"]["ResourceId"] == "service/worker-Cluster/worker-Service"
    assert (made["Scaling"]["MinCapacity"], made["Scaling"]["MaxCapacity"]) == ("2", "40")
    assert made["Cluster"]["ClusterSettings"] == [{"Name": "containerInsights", "Value": "enabled"}]


@pytest.mark.parametrize(
    ("visible", "tasks", "vain"), [(1, 0, 1), (1, None, 1), (0, 0, 0), (0, None, 0), (1, 1, 0), (500, 3, 0)]
)
def test_the_first_task_starts_when_messages_wait_and_no_task_runs(
    visible: float, tasks: float | None, vain: float
) -> None:
    made = worker(MinimumTasks="0")
    for alarm in ("StartAlarm", "NoTaskAlarm"):
        told = made[alarm]
        assert evaluate(told["Metrics"], visible=visible, tasks=tasks) == vain
        assert (told["ComparisonOperator"], told["Threshold"]) == ("GreaterThanOrEqualToThreshold", 1)
    assert made["StartAlarm"]["AlarmActions"] == ["worker-StartPolicy"]
    step = made["StartPolicy"]["StepScalingPolicyConfiguration"]
    assert step["AdjustmentType"] == "ExactCapacity"
    assert step["StepAdjustments"] == [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]


# --- alarms -------------------------------------------------------------------------------------------------------


def test_missing_data_is_no_alarm_and_alarms_go_to_the_topic() -> None:
    for parameters in ALL:
        alarms = {one.id: one.properties for one in worker(**parameters).of_type("AWS::CloudWatch::Alarm")}
        for name, alarm in alarms.items():
            assert alarm["TreatMissingData"] == "notBreaching"
            assert len(alarm["AlarmDescription"]) > 20
            if name != "StartAlarm":
                topic = [TOPIC] if "AlarmTopicArn" in parameters else None
                assert alarm.get("AlarmActions") == alarm.get("OKActions") == topic


def test_the_alarm_for_no_task_waits_ten_minutes() -> None:
    made = worker()
    assert (made["StartAlarm"]["EvaluationPeriods"], made["NoTaskAlarm"]["EvaluationPeriods"]) == (1, 10)


@pytest.mark.parametrize(("tasks", "cpu", "busy"), [(10, 97, 97), (9, 97, 0), (10, 12, 12)])
def test_busy_tasks_raise_an_alarm_only_at_the_maximum(tasks: float, cpu: float, busy: float) -> None:
    alarm = worker(MaximumTasks="10", CpuAlarmPercent="85")["CpuAlarm"]
    assert evaluate(alarm["Metrics"], cpu=cpu, tasks=tasks) == busy
    assert alarm["Threshold"] == "85"
    assert read(alarm["Metrics"])["cpu"] == ("AWS/ECS", "CPUUtilization", "Average")


def test_watch_queue_adds_alarms_for_dead_letters_and_old_events() -> None:
    made = worker(WatchQueue="true", AgeAlarmSeconds="600")
    dead, age = made["DeadLetterAlarm"], made["AgeAlarm"]
    assert (dead["MetricName"], dead["Threshold"]) == ("ApproximateNumberOfMessagesVisible", 0)
    assert dead["Dimensions"] == [{"Name": "QueueName", "Value": "thumbnailer-dead"}]
    assert (age["MetricName"], age["Threshold"]) == ("ApproximateAgeOfOldestMessage", "600")
    assert age["Dimensions"] == [{"Name": "QueueName", "Value": "thumbnailer-events"}]


def test_every_metric_belongs_to_this_service_and_its_queues() -> None:
    made = worker(**EVERYTHING)
    service = frozenset({("ClusterName", "worker-Cluster"), ("ServiceName", "worker-Service")})
    queues = {frozenset({("QueueName", name)}) for name in ("thumbnailer-events", "thumbnailer-dead")}
    for one in lambda_stack.alarm_series(made):
        assert one.dimensions in (queues if one.namespace == "AWS/SQS" else {service})
    metrics = made["BacklogPolicy"]["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"][
        "Metrics"
    ]
    looked_at = [one["MetricStat"]["Metric"]["Dimensions"] for one in metrics if "MetricStat" in one]
    sets = [frozenset((part["Name"], part["Value"]) for part in one) for one in looked_at]
    assert sets == [frozenset({("QueueName", "thumbnailer-events")}), service]


# --- with the Lambda ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", ["queue", "eventbridge"])
def test_the_lambda_stack_s_outputs_are_valid_parameters_of_the_worker(trigger: str) -> None:
    pipeline = Stack(lambda_stack.BASICS | {"Trigger": trigger, "Consumer": "none"})
    assert pipeline.refused() == []
    outputs = pipeline.outputs
    made = worker(QueueArn=outputs["QueueArn"], DeadLetterQueueArn=outputs["DeadLetterQueueArn"])
    assert environment(made)["THUMBNAILER_QUEUE_URL"] == outputs["QueueUrl"]
    assert pipeline["QueueMapping"]["Enabled"] is False


def test_by_default_the_lambda_empties_the_queue() -> None:
    assert Stack(lambda_stack.BASICS)["QueueMapping"]["Enabled"] is True


def test_consumer_none_changes_only_the_mapping() -> None:
    with_, without = (Stack(lambda_stack.BASICS | {"Consumer": consumer}) for consumer in ("lambda", "none"))
    assert set(with_.resources) == set(without.resources)
    differing = {id_ for id_, one in with_.resources.items() if one != without.resources[id_]}
    assert differing == {"QueueMapping"}


def test_both_stacks_can_have_the_same_name() -> None:
    named = ("QueueName", "LogGroupName", "DashboardName", "BucketName")
    names = [
        {one.properties[key] for one in made.resources.values() for key in named if key in one.properties}
        for made in (Stack(lambda_stack.BASICS, name="worker"), worker())
    ]
    assert not names[0] & names[1]
