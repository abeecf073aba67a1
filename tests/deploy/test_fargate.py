"""What deploy/fargate.yaml would make of an AWS account, looked at as data."""

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
    GIVEN_NETWORK,
    QUEUE,
    container,
    environment,
    refused,
    worker,
    written,
)
from tests.deploy.policies import Request, decision
from tests.deploy.stack import ACCOUNT, IMAGE, REGION, Stack, accepts, as_list
from thumbnailer.planning.tier import tier_for
from thumbnailer.settings import PREFIX, SETTINGS, Setting, parse_settings

DECLARED: Final[Mapping[str, Any]] = written()["Parameters"]
ON_LAMBDA: Final[Mapping[str, Any]] = lambda_stack.source()["Parameters"]
MOST_BYTES_WITHOUT_A_BUCKET: Final = 51_200
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
}
SERVICE: Final = {
    "Cluster", "Service", "Scaling", "TaskDefinition", "LogGroup", "TaskRole", "ExecutionRole", "SecurityGroup",
}  # fmt: skip
AT_WORK: Final = {"BacklogPolicy", "StartPolicy", "StartAlarm", "NoTaskAlarm", "CpuAlarm"}
ENDPOINTS: Final = {"S3Endpoint", "SqsEndpoint", "EcrApiEndpoint", "EcrEndpoint", "LogsEndpoint"}
OWN_NETWORK: Final = {"Vpc", "Subnet1", "RouteTable", "Route1", "EndpointSecurityGroup"} | ENDPOINTS
SECOND_ZONE: Final = {"Subnet2", "Route2"}
ALL: Final = [
    {**network, **more, "Consumer": consumer}
    for network, more, consumer in product(({}, {"Zones": "1"}, GIVEN_NETWORK), ({}, EVERYTHING), ("worker", "none"))
]
every_variant = pytest.mark.parametrize("parameters", ALL, ids=lambda one: f"{one['Consumer']}-{len(one)}")


# --- the file -----------------------------------------------------------------------------------------------------


def test_cfn_lint_has_nothing_to_say() -> None:
    """And nothing is switched off in the file."""
    code = "from cfnlint.runner import main; main()"
    command = [sys.executable, "-c", code, "--format", "json", "--include-checks", "I", "--", str(FARGATE)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert "cfn-lint" not in FARGATE.read_text()
    assert [f"{one['Rule']['Id']} {one['Message']}" for one in json.loads(told.stdout)] == []


def test_it_can_be_deployed_without_a_bucket_for_it() -> None:
    assert len(FARGATE.read_bytes()) <= MOST_BYTES_WITHOUT_A_BUCKET


def test_every_condition_mapping_and_parameter_is_used() -> None:
    template = written()
    text = json.dumps(template)
    for name in [*template["Conditions"], *template["Mappings"]]:
        assert text.count(f'"{name}"') > 1, name
    for name in template["Parameters"]:
        assert f'{{"Ref": "{name}"}}' in text or f"${{{name}}}" in text, name


@every_variant
def test_every_variant_can_be_resolved_and_has_exactly_its_resources(parameters: dict[str, str]) -> None:
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


def test_what_a_task_needs_to_start_is_made_before_the_service() -> None:
    needs = written()["Resources"]["Service"]["Metadata"]["Needs"]
    ways = ENDPOINTS | {"Route1"}
    assert set(worker(Zones="1").resolve(needs)) == {f"worker-{one}" for one in ways}
    assert set(worker(Zones="2").resolve(needs)) == {f"worker-{one}" for one in ways | {"Route2"}}
    assert worker(**GIVEN_NETWORK).resolve(needs) == "none"
    assert not [one for one in written()["Resources"].values() if "DependsOn" in one]


# --- parameters ---------------------------------------------------------------------------------------------------


def parameter(setting: Setting) -> str:
    return "".join(word.capitalize() for word in setting.variable.removeprefix(PREFIX).split("_"))


FROM_OTHERS: Final = {"THUMBNAILER_QUEUE_URL": "QueueArn", "THUMBNAILER_MEMORY_MB": "Memory"}
"""Settings that are no parameters, with the parameter they follow from."""
BY_PARAMETER: Final = {parameter(one): one for one in SETTINGS if one.variable not in FROM_OTHERS}
WORKERS_OWN: Final = {name for name, one in BY_PARAMETER.items() if one.worker_only}


def test_every_setting_is_a_parameter_or_follows_from_one() -> None:
    assert set(BY_PARAMETER) | set(FROM_OTHERS.values()) <= set(DECLARED)
    assert {"StopTimeout", "RecordTimeout", "Port"} == WORKERS_OWN


def test_settings_are_checked_as_the_lambda_s_word_for_word() -> None:
    """What that accepts is held against the settings themselves in test_parameters.py."""
    for name in set(BY_PARAMETER) - WORKERS_OWN:
        assert DECLARED[name] == ON_LAMBDA[name], name


def test_what_both_templates_have_is_checked_alike() -> None:
    for name in (set(DECLARED) & set(ON_LAMBDA)) - {"Consumer", "EphemeralStorage", "ImageUri"}:
        told, there = (
            {key: value for key, value in one[name].items() if key != "Description"} for one in (DECLARED, ON_LAMBDA)
        )
        assert told == there, name


@pytest.mark.parametrize("name", sorted(WORKERS_OWN))
def test_what_only_the_worker_has_accepts_no_more_than_the_setting(name: str) -> None:
    setting, declared = BY_PARAMETER[name], DECLARED[name]
    assert str(declared["Default"]) == setting.default
    ends = declared.get("AllowedValues") or [declared["MinValue"], declared["MaxValue"]]
    for value in ends:
        setting.parse(str(value))


def test_left_alone_every_setting_is_as_it_is_but_for_the_size_of_the_task() -> None:
    given = environment(worker())
    of_the_task = {
        "THUMBNAILER_QUEUE_URL": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/thumbnailer-events",
        "THUMBNAILER_MEMORY_MB": "2048",
        "THUMBNAILER_WORKERS": "1",
        "THUMBNAILER_IN_FLIGHT": "16",
        "THUMBNAILER_SOURCES": "photos",  # a stack has one source bucket
    }
    assert given.items() >= of_the_task.items()
    defaults = {one.variable: one.default for one in BY_PARAMETER.values() if one.default}
    assert {name: value for name, value in given.items() if name not in of_the_task} == defaults


def test_the_worker_takes_the_settings() -> None:
    parsed = parse_settings(environment(worker()))
    assert (parsed.memory_mb, parsed.workers) == (2048, 1)


@pytest.mark.parametrize("name", BY_PARAMETER)
def test_every_parameter_reaches_its_variable_and_no_other(name: str) -> None:
    declared = DECLARED[name]
    values = {
        "Sources": "photos, team-*",
        "ExpectedOwner": ACCOUNT,
        "Include": "*.jpg",
        "Exclude": "tmp/*",
        "CacheControl": "max-age=60",
        "KmsKeyId": KEY,
        "Key": "t/{key}",
    }
    value = values.get(name) or str(declared.get("AllowedValues", [declared.get("MaxValue", "7")])[-1])
    if not accepts(declared, value):
        value = {"Renditions": "9x9", "Destination": "thumbs", "FailedPrefix": "no/"}[name]
    others = {"Sse": "aws:kms"} if name == "KmsKeyId" else {}
    before, after = environment(worker(**others)), environment(worker(**others, **{name: value}))
    variable = PREFIX + re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()
    assert after[variable] == value
    assert {key: one for key, one in after.items() if key != variable} == {
        key: one for key, one in before.items() if key != variable
    }


@pytest.mark.parametrize("name", DECLARED)
def test_every_parameter_is_described_and_checked(name: str) -> None:
    declared = DECLARED[name]
    assert len(declared["Description"]) > 10
    if declared["Type"] == "Number":
        assert "AllowedValues" in declared or {"MinValue", "MaxValue"} <= set(declared)
    else:
        assert "AllowedValues" in declared or {"AllowedPattern", "ConstraintDescription"} <= set(declared)
    if "Default" in declared:
        assert accepts(declared, str(declared["Default"]))


def test_queues_source_bucket_and_image_must_be_given_and_nothing_else() -> None:
    assert {name for name, declared in DECLARED.items() if "Default" not in declared} == set(BASICS)


def test_every_parameter_is_in_one_group_of_the_console_s_form() -> None:
    groups = written()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(DECLARED)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("QueueArn", [QUEUE], ["", QUEUE + ".fifo", f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/x", QUEUE + ":x"]),
        ("DeadLetterQueueArn", [DEAD], ["", DEAD + ".fifo"]),
        ("ImageUri", [IMAGE, IMAGE[:-2] + "@sha256:" + "0" * 64], ["", IMAGE[:-2], "docker.io/x/y:1"]),
        ("MessagesPerSecondPerTask", ["", "10", "0.5", "9999.999"], ["0", "0.000", "-1", "1e3", ".5", "10000"]),
        ("AcceptableLatencySeconds", ["1", "86400"], ["0", "86401"]),
        ("MinimumTasks", ["0", "500"], ["-1", "501"]),
        ("MaximumTasks", ["1", "500"], ["0", "501"]),
        ("VpcNetwork", ["10.0", "10.255", "172.16", "192.168"], ["", "10", "10.256", "10.01", "172.32", "8.8"]),
        ("MetricsCidr", ["", "10.1.0.0/16", "10.0.0.7/32"], ["10.1.0.0", "0.0.0.0/0", "x/8"]),
        ("SubnetIds", ["", "subnet-01234567", GIVEN_NETWORK["SubnetIds"]], ["subnet-x", "subnet-01234567,"]),
        ("VpcId", ["", "vpc-01234567"], ["vpc", "subnet-01234567"]),
        ("StopTimeout", ["5", "110"], ["0", "111", "120"]),
        ("Port", ["1024", "65535"], ["80", "0", "65536"]),
        ("EphemeralStorage", ["20", "200"], ["19", "201"]),
        ("Architecture", ["x86_64", "arm64"], ["X86_64"]),
    ],
)  # fmt: skip
def test_a_parameter_takes_what_makes_sense(name: str, good: list[str], bad: list[str]) -> None:
    assert [value for value in good if not accepts(DECLARED[name], value)] == []
    assert [value for value in bad if accepts(DECLARED[name], value)] == []


GB: Final = 1024
FARGATE_SIZES: Final = {
    256: {512, GB, 2 * GB},
    512: set(range(GB, 4 * GB + 1, GB)),
    1024: set(range(2 * GB, 8 * GB + 1, GB)),
    2048: set(range(4 * GB, 16 * GB + 1, GB)),
    4096: set(range(8 * GB, 30 * GB + 1, GB)),
    8192: set(range(16 * GB, 60 * GB + 1, 4 * GB)),
    16384: set(range(32 * GB, 120 * GB + 1, 8 * GB)),
}
"""Memory by Cpu, as AWS documents them (platform version 1.4.0)."""


@pytest.mark.parametrize("cpu", FARGATE_SIZES)
def test_cpu_and_memory_are_taken_where_fargate_has_that_size_and_nowhere_else(cpu: int) -> None:
    taken = {int(memory) for memory in DECLARED["Memory"]["AllowedValues"] if not refused(Cpu=str(cpu), Memory=memory)}
    assert taken == FARGATE_SIZES[cpu]


def test_there_is_no_other_cpu_or_memory() -> None:
    assert {int(cpu) for cpu in DECLARED["Cpu"]["AllowedValues"]} == set(FARGATE_SIZES)
    assert {int(one) for one in DECLARED["Memory"]["AllowedValues"]} == set().union(*FARGATE_SIZES.values())


@pytest.mark.parametrize(
    ("parameters", "rule"),
    [
        ({"Cpu": "256", "Memory": "4096"}, "MemoryForAQuarterVcpu"),
        ({"Cpu": "4096", "Memory": "2048"}, "MemoryForFourVcpus"),
        ({"Destination": "photos"}, "ThumbnailsDoNotGoToTheSource"),
        ({"KmsKeyId": KEY}, "AKeyIsForKms"),
        ({"DeadLetterQueueArn": QUEUE}, "DeadLettersAreElsewhere"),
        ({"OnDemandBase": "0", "OnDemandWeight": "0", "SpotWeight": "0"}, "SomeTasksHaveAWeight"),
        ({"OnDemandWeight": "0"}, "ABaseHasAWeight"),
        ({"VpcId": GIVEN_NETWORK["VpcId"]}, "AVpcHasItsSubnets"),
        ({"SubnetIds": GIVEN_NETWORK["SubnetIds"]}, "SubnetsHaveTheirVpc"),
        ({"AssignPublicIp": "true"}, "APublicAddressNeedsPublicSubnets"),
    ],
)
def test_contradictions_are_refused(parameters: dict[str, str], rule: str) -> None:
    assert refused(**parameters) == [rule]


def test_rules_use_no_function_that_cloudformation_does_not_know_there() -> None:
    """Of what the template uses elsewhere, Fn::Select, Fn::Split, Fn::Sub and the like are not for rules."""
    used = set(re.findall(r'"(Fn::\w+)"', json.dumps(written()["Rules"])))
    assert used <= {"Fn::And", "Fn::Contains", "Fn::Equals", "Fn::Not", "Fn::Or"}


# --- the task -----------------------------------------------------------------------------------------------------


def test_the_worker_is_a_user_without_rights_who_can_write_to_tmp_alone() -> None:
    made = worker()
    told = container(made)
    assert (told["User"], told["ReadonlyRootFilesystem"]) == ("10001:10001", True)
    assert told["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert told["MountPoints"] == [{"SourceVolume": "scratch", "ContainerPath": "/tmp", "ReadOnly": False}]
    assert made["TaskDefinition"]["Volumes"] == [{"Name": "scratch"}]
    assert "Privileged" not in told
    assert told["Command"] == ["thumbnailer", "worker"]


def test_the_image_has_that_user_and_gives_its_tmp_to_fargate() -> None:
    """Fargate copies a volume's permissions from the image where that declares it; else only root could write."""
    last = FARGATE.with_name("Containerfile").read_text().rpartition("\nFROM ")[2].splitlines()
    assert {'VOLUME ["/tmp"]', "USER 10001:10001"} <= set(last)
    assert "EntryPoint" not in container(worker())  # the image's own looks whether the processor will do


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


@pytest.mark.parametrize("cpu", FARGATE_SIZES)
def test_a_task_is_told_the_tier_of_its_own_processors(cpu: int) -> None:
    """And not of those of the machine below, which it may see."""
    memory = max(FARGATE_SIZES[cpu])
    given = environment(worker(Cpu=str(cpu), Memory=str(memory)))
    tier = tier_for(memory, cpu / 1024)
    assert (given["THUMBNAILER_WORKERS"], given["THUMBNAILER_IN_FLIGHT"]) == (str(tier.workers), str(tier.in_flight))
    own = environment(worker(Cpu=str(cpu), Memory=str(memory), Workers="3", InFlight="7"))
    assert (own["THUMBNAILER_WORKERS"], own["THUMBNAILER_IN_FLIGHT"]) == ("3", "7")


@pytest.mark.parametrize("seconds", DECLARED["StopTimeout"]["AllowedValues"])
def test_ecs_waits_longer_than_the_worker_takes_to_stop_and_no_longer_than_it_can(seconds: str) -> None:
    made = worker(StopTimeout=seconds)
    assert int(seconds) + 10 == container(made)["StopTimeout"] <= 120
    assert environment(made)["THUMBNAILER_STOP_TIMEOUT"] == seconds


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A port where /healthz is answered with `status`, and all else with 404."""

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


def checked(port: int) -> int:
    """The exit code of the task's own health check."""
    kind, python, *rest = container(worker(Port=str(port)))["HealthCheck"]["Command"]
    assert (kind, python) == ("CMD", "python")
    environ = {"PATH": "/usr/bin:/bin"}
    return subprocess.run([sys.executable, *rest], env=environ, capture_output=True, timeout=30, check=False).returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (500, 1)])
def test_the_health_check_asks_the_worker(status: int, code: int) -> None:
    with answering(status) as port:
        assert checked(port) == code
    assert checked(port) == 1  # nobody answers


def test_the_log_cannot_hold_up_the_work_and_is_kept_as_long_as_asked() -> None:
    made = worker(LogRetentionDays="7")
    options = container(made)["LogConfiguration"]["Options"]
    assert (options["mode"], options["awslogs-group"], options["awslogs-region"]) == (
        "non-blocking",
        "/ecs/worker",
        REGION,
    )
    assert made["LogGroup"] == {"LogGroupName": "/ecs/worker", "RetentionInDays": "7"}


# --- the service --------------------------------------------------------------------------------------------------


def test_a_deployment_that_fails_is_taken_back() -> None:
    deployment = worker()["Service"]["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["MinimumHealthyPercent"] == 100


def test_tasks_are_on_spot_by_the_weights_but_for_the_first_ones() -> None:
    told = worker(OnDemandBase="2", OnDemandWeight="1", SpotWeight="3")
    assert told["Service"]["CapacityProviderStrategy"] == [
        {"CapacityProvider": "FARGATE", "Base": "2", "Weight": "1"},
        {"CapacityProvider": "FARGATE_SPOT", "Weight": "3"},
    ]
    assert set(told["Cluster"]["CapacityProviders"]) == {"FARGATE", "FARGATE_SPOT"}
    assert "LaunchType" not in told["Service"]


def test_by_default_the_first_task_is_on_demand_and_few_others_are() -> None:
    """Its provider has a weight: with none, AWS's text says, a provider cannot be used to place tasks."""
    on_demand, spot = worker()["Service"]["CapacityProviderStrategy"]
    assert on_demand["Base"] == "1"
    assert 0 < 10 * int(on_demand["Weight"]) < int(spot["Weight"])


@pytest.mark.parametrize(("weight", "other"), [("OnDemandWeight", {"OnDemandBase": "0"}), ("SpotWeight", {})])
def test_all_tasks_can_be_of_one_kind(weight: str, other: dict[str, str]) -> None:
    assert refused(**{weight: "0"}, **other) == []


def test_an_update_of_the_stack_leaves_the_number_of_tasks_to_scaling() -> None:
    assert "DesiredCount" not in worker()["Service"]
    assert worker(Consumer="none")["Service"]["DesiredCount"] == 0


# --- network ------------------------------------------------------------------------------------------------------


def network(made: Stack) -> dict[str, Any]:
    found: dict[str, Any] = made["Service"]["NetworkConfiguration"]["AwsvpcConfiguration"]
    return found


@pytest.mark.parametrize(("zones", "subnets"), [("1", ["Subnet1"]), ("2", ["Subnet1", "Subnet2"])])
def test_a_network_made_here_has_no_way_out_but_to_what_the_worker_needs(zones: str, subnets: list[str]) -> None:
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


def test_a_network_that_is_there_is_taken() -> None:
    made = worker(**GIVEN_NETWORK, AssignPublicIp="true")
    assert network(made)["Subnets"] == GIVEN_NETWORK["SubnetIds"].split(",")
    assert network(made)["AssignPublicIp"] == "ENABLED"
    assert made["SecurityGroup"]["VpcId"] == made.outputs["VpcId"] == GIVEN_NETWORK["VpcId"]


@every_variant
def test_nothing_is_let_in_but_who_reads_metrics_and_only_tls_goes_out(parameters: dict[str, str]) -> None:
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


def allowed(document: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Every action tried on every resource."""
    return {one for one in product(ACTIONS, RESOURCES) if decision(document, Request(*one)) == "allow"}


@pytest.mark.parametrize("more", [{}, EVERYTHING], ids=["plain", "everything"])
def test_the_worker_can_do_what_it_does_and_nothing_else(more: Mapping[str, str]) -> None:
    assert allowed(policy(worker(**more), "TaskRole")) == MAY | (MORE if more else set())


def test_who_keeps_thumbnails_needs_no_permission_to_delete() -> None:
    assert allowed(policy(worker(OnDelete="keep"), "TaskRole")) == MAY - {("s3:DeleteObject", THUMBNAIL)}


@pytest.mark.parametrize("image", [IMAGE, IMAGE[:-2] + "@sha256:" + "0" * 64], ids=["tag", "digest"])
def test_ecs_can_fetch_that_image_and_write_that_log_and_nothing_else(image: str) -> None:
    document = policy(worker(ImageUri=image), "ExecutionRole")
    assert allowed(document) == TO_START
    assert decision(document, Request("ecr:GetAuthorizationToken", "*")) == "allow"


def test_an_image_may_lie_in_another_account_and_region_and_deeper() -> None:
    made = worker(ImageUri="999999999999.dkr.ecr.eu-west-1.amazonaws.com/team/thumbs/it:v1.2")
    there = "arn:aws:ecr:eu-west-1:999999999999:repository/team/thumbs/it"
    assert decision(policy(made, "ExecutionRole"), Request("ecr:BatchGetImage", there)) == "allow"


def test_no_statement_is_for_everything_but_the_login_to_ecr() -> None:
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
def test_the_roles_are_for_tasks_of_this_account(role: str, service: str, account: str, expected: str) -> None:
    (statement,) = worker()[role]["AssumeRolePolicyDocument"]["Statement"]
    document = {"Statement": [statement | {"Resource": "*"}]}  # a trust policy names none
    context = {"aws:SourceAccount": account, "aws:SourceArn": f"arn:aws:ecs:{REGION}:{account}:task/x/y"}
    assert decision(document, Request("sts:AssumeRole", "*", ("Service", service), context)) == expected


def test_through_the_endpoint_of_s3_the_worker_s_role_and_layers_of_images_pass() -> None:
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


# --- scaling ------------------------------------------------------------------------------------------------------


def computed(metrics: list[dict[str, Any]], **values: float | None) -> float:
    """What CloudWatch would compute of metrics; None stands for one without a value."""
    (written_,) = [one["Expression"] for one in metrics if one.get("ReturnData", True)]
    functions = {
        "IF": lambda test, one, other: one if test else other,
        "FILL": lambda value, filling: filling if value is None else value,
    }
    return float(eval(written_.replace(" AND ", " and "), functions, values))


def read(metrics: list[dict[str, Any]]) -> dict[str, tuple[str, str, str]]:
    stats = {one["Id"]: one["MetricStat"] for one in metrics if "MetricStat" in one}
    return {id_: (one["Metric"]["Namespace"], one["Metric"]["MetricName"], one["Stat"]) for id_, one in stats.items()}


@pytest.mark.parametrize(
    ("visible", "tasks", "rate", "seconds"),
    [(6000, 10, "10", 60), (6000, 10, "2.5", 240), (0, 3, "10", 0), (600, None, "10", 60), (600, 0, "10", 60)],
)
def test_scaling_holds_the_seconds_of_backlog_at_what_is_acceptable(
    visible: float, tasks: float | None, rate: str, seconds: float
) -> None:
    made = worker(MessagesPerSecondPerTask=rate, AcceptableLatencySeconds="90")
    policy_ = made["BacklogPolicy"]["TargetTrackingScalingPolicyConfiguration"]
    metrics = policy_["CustomizedMetricSpecification"]["Metrics"]
    assert computed(metrics, visible=visible, tasks=tasks) == pytest.approx(seconds)
    assert policy_["TargetValue"] == "90"
    assert read(metrics) == {
        "visible": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Average"),
        "tasks": ("ECS/ContainerInsights", "RunningTaskCount", "Average"),
    }


def rate_reckoned_with(made: Stack) -> float:
    """Messages a second and task, as they are in what scaling computes."""
    tracking = made["BacklogPolicy"]["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"]
    return 1 / computed(tracking["Metrics"], visible=1, tasks=1)


def rate_of(cpu: int) -> float:
    """The one that a task of that size is reckoned with by default."""
    return rate_reckoned_with(worker(Cpu=str(cpu), Memory=str(min(FARGATE_SIZES[cpu]))))


def test_by_default_a_larger_task_is_reckoned_with_a_higher_rate() -> None:
    rates = [rate_of(cpu) for cpu in FARGATE_SIZES]
    assert rates == sorted(set(rates))
    assert rate_reckoned_with(worker(Cpu="256", Memory="512", MessagesPerSecondPerTask="3.5")) == pytest.approx(3.5)


@pytest.mark.parametrize("cpu", [2048, 4096, 8192, 16384])
def test_of_what_was_not_measured_twice_the_size_is_taken_for_half_as_much_again(cpu: int) -> None:
    assert rate_of(cpu) == pytest.approx(1.5 * rate_of(cpu // 2), rel=0.02)


@pytest.mark.parametrize("minimum", ["0", "2"])
def test_without_a_consumer_nothing_can_start_a_task_not_even_in_the_middle_of_the_update(minimum: str) -> None:
    """CloudFormation updates the service, then the bounds, and removes alarms and policies last of all."""
    at_work, at_rest = (worker(Consumer=consumer, MinimumTasks=minimum) for consumer in ("worker", "none"))
    assert (at_rest["Scaling"]["MinCapacity"], at_rest["Scaling"]["MaxCapacity"]) == (0, 0)
    bounds = {"MinCapacity", "MaxCapacity"}
    differing = {key for key, value in at_work["Scaling"].items() if at_rest["Scaling"][key] != value}
    assert differing <= bounds  # so it is updated, and not made anew
    assert "MaxCapacity" in differing


def test_the_number_of_tasks_is_bounded_and_insights_tells_it() -> None:
    made = worker(MinimumTasks="2", MaximumTasks="40")
    assert made["Scaling"]["ResourceId"] == "service/worker-Cluster/worker-Service"
    assert (made["Scaling"]["MinCapacity"], made["Scaling"]["MaxCapacity"]) == ("2", "40")
    assert made["Cluster"]["ClusterSettings"] == [{"Name": "containerInsights", "Value": "enabled"}]


@pytest.mark.parametrize(
    ("visible", "tasks", "vain"), [(1, 0, 1), (1, None, 1), (0, 0, 0), (0, None, 0), (1, 1, 0), (500, 3, 0)]
)
def test_the_first_task_is_started_when_something_waits_and_none_runs(
    visible: float, tasks: float | None, vain: float
) -> None:
    made = worker(MinimumTasks="0")
    for alarm in ("StartAlarm", "NoTaskAlarm"):
        told = made[alarm]
        assert computed(told["Metrics"], visible=visible, tasks=tasks) == vain
        assert (told["ComparisonOperator"], told["Threshold"]) == ("GreaterThanOrEqualToThreshold", 1)
    assert made["StartAlarm"]["AlarmActions"] == ["worker-StartPolicy"]
    step = made["StartPolicy"]["StepScalingPolicyConfiguration"]
    assert step["AdjustmentType"] == "ExactCapacity"
    assert step["StepAdjustments"] == [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]


# --- alarms -------------------------------------------------------------------------------------------------------


@every_variant
def test_silence_is_no_alarm_and_alarms_go_where_they_should(parameters: dict[str, str]) -> None:
    alarms = {one.id: one.properties for one in worker(**parameters).of_type("AWS::CloudWatch::Alarm")}
    for name, alarm in alarms.items():
        assert alarm["TreatMissingData"] == "notBreaching"
        assert len(alarm["AlarmDescription"]) > 20
        if name != "StartAlarm":
            topic = [TOPIC] if "AlarmTopicArn" in parameters else None
            assert alarm.get("AlarmActions") == alarm.get("OKActions") == topic


def test_that_no_task_runs_is_told_after_one_had_ten_minutes_to_start() -> None:
    made = worker()
    assert (made["StartAlarm"]["EvaluationPeriods"], made["NoTaskAlarm"]["EvaluationPeriods"]) == (1, 10)


@pytest.mark.parametrize(("tasks", "cpu", "busy"), [(10, 97, 97), (9, 97, 0), (10, 12, 12)])
def test_busy_tasks_are_an_alarm_where_no_more_may_be_started(tasks: float, cpu: float, busy: float) -> None:
    alarm = worker(MaximumTasks="10", CpuAlarmPercent="85")["CpuAlarm"]
    assert computed(alarm["Metrics"], cpu=cpu, tasks=tasks) == busy
    assert alarm["Threshold"] == "85"
    assert read(alarm["Metrics"])["cpu"] == ("AWS/ECS", "CPUUtilization", "Average")


def test_dead_letters_and_old_events_are_alarms_on_wish() -> None:
    made = worker(WatchQueue="true", AgeAlarmSeconds="600")
    dead, age = made["DeadLetterAlarm"], made["AgeAlarm"]
    assert (dead["MetricName"], dead["Threshold"]) == ("ApproximateNumberOfMessagesVisible", 0)
    assert dead["Dimensions"] == [{"Name": "QueueName", "Value": "thumbnailer-dead"}]
    assert (age["MetricName"], age["Threshold"]) == ("ApproximateAgeOfOldestMessage", "600")
    assert age["Dimensions"] == [{"Name": "QueueName", "Value": "thumbnailer-events"}]


def test_every_metric_is_of_this_service_and_its_queues() -> None:
    made = worker(**EVERYTHING)
    service = frozenset({("ClusterName", "worker-Cluster"), ("ServiceName", "worker-Service")})
    queues = {frozenset({("QueueName", name)}) for name in ("thumbnailer-events", "thumbnailer-dead")}
    for one in lambda_stack.alarmed(made):
        assert one.dimensions in (queues if one.namespace == "AWS/SQS" else {service})
    metrics = made["BacklogPolicy"]["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"][
        "Metrics"
    ]
    looked_at = [one["MetricStat"]["Metric"]["Dimensions"] for one in metrics if "MetricStat" in one]
    sets = [frozenset((part["Name"], part["Value"]) for part in one) for one in looked_at]
    assert sets == [frozenset({("QueueName", "thumbnailer-events")}), service]


# --- beside the Lambda --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", ["queue", "eventbridge"])
def test_the_lambda_stack_s_outputs_are_what_the_worker_asks_for(trigger: str) -> None:
    pipeline = Stack(lambda_stack.BASICS | {"Trigger": trigger, "Consumer": "none"})
    assert pipeline.refused() == []
    outputs = pipeline.outputs
    made = worker(QueueArn=outputs["QueueArn"], DeadLetterQueueArn=outputs["DeadLetterQueueArn"])
    assert environment(made)["THUMBNAILER_QUEUE_URL"] == outputs["QueueUrl"]
    assert pipeline["QueueMapping"]["Enabled"] is False


def test_by_default_the_lambda_empties_the_queue_itself() -> None:
    assert Stack(lambda_stack.BASICS)["QueueMapping"]["Enabled"] is True


def test_without_a_queue_nobody_else_can_empty_it() -> None:
    assert Stack(lambda_stack.BASICS | {"Trigger": "direct", "Consumer": "none"}).refused() == [
        "WhoElseConsumesNeedsAQueue"
    ]


def test_a_queue_without_consumer_keeps_all_else() -> None:
    with_, without = (Stack(lambda_stack.BASICS | {"Consumer": consumer}) for consumer in ("lambda", "none"))
    assert set(with_.resources) == set(without.resources)
    differing = {id_ for id_, one in with_.resources.items() if one != without.resources[id_]}
    assert differing == {"QueueMapping"}


def test_both_stacks_can_have_one_name() -> None:
    named = ("QueueName", "LogGroupName", "DashboardName", "BucketName")
    names = [
        {one.properties[key] for one in made.resources.values() for key in named if key in one.properties}
        for made in (Stack(lambda_stack.BASICS, name="worker"), worker())
    ]
    assert not names[0] & names[1]
