"""deploy/fargate.yaml deployed with the Lambda's stack to moto's CloudFormation, over HTTP.

moto makes cluster, service, task definition, roles, log group and network, and starts no task. Of the service it drops
the capacity providers, of the task its size and roles. It keeps None in a list where a condition leaves an item out,
and a log group's ARN lacks the `:*`. Resources that moto cannot make from a template (`UNABLE`) are made through AWS's
API from the same template and parameters.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from ast import literal_eval
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.deploying import Deployed, deploy
from tests.deploy.fargate import BASICS, NAME, container, read_template, worker
from tests.deploy.running import DEAD, EVENTS, take_over_buckets
from tests.deploy.stack import ACCOUNT, Stack
from tests.support.cloud import Cloud
from tests.worker.running import until
from tests.worker.running import worker as working

UNABLE: Final = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::CloudWatch::Alarm",
    "AWS::ServiceDiscovery::Service",
}


@pytest.fixture
def pipeline(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    """The Lambda's stack; the worker empties its queue."""
    take_over_buckets(aws, monkeypatch)
    return deploy(aws, Consumer="none")


def deploy_worker(pipeline: Deployed, **parameters: str) -> tuple[Stack, dict[str, str]]:
    """The worker's stack with the names that the emulator gave, and the outputs as the emulator tells them."""
    queues = {name: pipeline.outputs[name] for name in ("QueueArn", "DeadLetterQueueArn")}
    stack = worker(**BASICS | queues | parameters)
    resources = {
        id_: {key: value for key, value in one.items() if key != "Metadata"}
        for id_, one in stack.template["Resources"].items()
        if one["Type"] not in UNABLE
    }
    client = pipeline.cloud.client("cloudformation")
    client.create_stack(
        StackName=NAME,
        TemplateBody=json.dumps({**stack.template, "Resources": resources}),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in stack.parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    made = client.describe_stack_resources(StackName=NAME)["StackResources"]
    names = {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in made if "PhysicalResourceId" in one}
    names["Service"] = names["Service"].rpartition("/")[2]
    told = client.describe_stacks(StackName=NAME)["Stacks"][0]["Outputs"]
    return Stack(stack.parameters, read_template(), NAME, names), {one["OutputKey"]: one["OutputValue"] for one in told}


def service(pipeline: Deployed, outputs: dict[str, str]) -> dict[str, Any]:
    ecs = pipeline.cloud.client("ecs")
    (found,) = ecs.describe_services(cluster=outputs["ClusterName"], services=[outputs["ServiceName"]])["services"]
    told: dict[str, Any] = found
    return told


def test_the_emulator_and_the_tests_resolve_the_template_alike(pipeline: Deployed) -> None:
    stack, outputs = deploy_worker(pipeline)
    assert outputs == stack.outputs


def test_the_lambda_s_mapping_is_disabled(pipeline: Deployed) -> None:
    assert pipeline.mapping is not None
    assert pipeline.mapping["State"] == "Disabled"


def test_the_service_s_task_is_the_worker(pipeline: Deployed) -> None:
    stack, outputs = deploy_worker(pipeline, Architecture="arm64", Cpu="2048", Memory="8192")
    told = service(pipeline, outputs)
    assert told["status"] == "ACTIVE"
    ecs = pipeline.cloud.client("ecs")
    task = ecs.describe_task_definition(taskDefinition=told["taskDefinition"])["taskDefinition"]
    (made,) = task["containerDefinitions"]
    wanted = container(stack)
    assert (made["image"], made["command"]) == (wanted["Image"], wanted["Command"])
    environment = {one["name"]: str(one["value"]) for one in made["environment"] if one}
    assert environment == {one["Name"]: str(one["Value"]) for one in wanted["Environment"]}
    url = pipeline.cloud.client("sqs").get_queue_url(QueueName=EVENTS)["QueueUrl"]
    assert environment["THUMBNAILER_QUEUE_URL"].endswith(f"/{ACCOUNT}/{EVENTS}")
    assert url.endswith(f"/{ACCOUNT}/{EVENTS}")


def test_the_roles_have_the_template_s_policies(pipeline: Deployed) -> None:
    stack, _ = deploy_worker(pipeline)
    iam = pipeline.cloud.client("iam")
    for role in ("TaskRole", "ExecutionRole"):
        (wanted,) = stack[role]["Policies"]
        told = iam.get_role_policy(RoleName=stack.ref(role), PolicyName=wanted["PolicyName"])["PolicyDocument"]
        document = literal_eval(told.replace(":/ecs/worker'", ":/ecs/worker:*'"))
        document["Statement"] = [one for one in document["Statement"] if one is not None]
        assert document == wanted["PolicyDocument"]
        assert not iam.list_attached_role_policies(RoleName=stack.ref(role))["AttachedPolicies"]


def test_the_network_reaches_only_s3_and_four_endpoints(pipeline: Deployed) -> None:
    stack, outputs = deploy_worker(pipeline)
    ec2 = pipeline.cloud.client("ec2")
    within = [{"Name": "vpc-id", "Values": [outputs["VpcId"]]}]
    endpoints = ec2.describe_vpc_endpoints(Filters=within)["VpcEndpoints"]
    assert sorted(one["VpcEndpointType"] for one in endpoints) == ["Gateway"] + ["Interface"] * 4
    assert {one["CidrBlock"] for one in ec2.describe_subnets(Filters=within)["Subnets"]} == {
        "10.0.0.0/23",
        "10.0.2.0/23",
    }
    (table,) = ec2.describe_route_tables(RouteTableIds=[stack.ref("RouteTable")])["RouteTables"]
    ways = {route.get("GatewayId", "") for route in table["Routes"]}
    assert "local" in ways
    assert all(way == "local" or way.startswith("vpce-") for way in ways)


def test_the_public_network_leads_to_the_internet_without_endpoints_that_cost(pipeline: Deployed) -> None:
    stack, outputs = deploy_worker(pipeline, AssignPublicIp="true")
    ec2 = pipeline.cloud.client("ec2")
    within = [{"Name": "vpc-id", "Values": [outputs["VpcId"]]}]
    assert [one["VpcEndpointType"] for one in ec2.describe_vpc_endpoints(Filters=within)["VpcEndpoints"]] == ["Gateway"]
    (table,) = ec2.describe_route_tables(RouteTableIds=[stack.ref("RouteTable")])["RouteTables"]
    ways = {route.get("DestinationCidrBlock"): route.get("GatewayId", "") for route in table["Routes"]}
    assert ways["0.0.0.0/0"].startswith("igw-")


def test_the_api_accepts_scaling_and_alarms(pipeline: Deployed) -> None:
    """As far as the API's description and the emulator check them."""
    stack, outputs = deploy_worker(pipeline, WatchQueue="true", MinimumTasks="0", MaximumTasks="20")
    client = pipeline.cloud.client("application-autoscaling")
    target = dict(stack["Scaling"])
    of_the_service = {key: target[key] for key in ("ServiceNamespace", "ScalableDimension", "ResourceId")}
    bounds = {key: int(target[key]) for key in ("MinCapacity", "MaxCapacity")}
    client.register_scalable_target(**of_the_service, **bounds)
    for action in worker(WorkFrom="8", WorkUntil="18")["Scaling"]["ScheduledActions"]:
        capacity = {key: int(value) for key, value in action["ScalableTargetAction"].items()}
        client.put_scheduled_action(**of_the_service, **action | {"ScalableTargetAction": capacity})
    for id_ in ("BacklogPolicy", "StartPolicy"):
        policy = {key: value for key, value in stack[id_].items() if key != "ScalingTargetId"}
        tracking = policy.get("TargetTrackingScalingPolicyConfiguration")
        if tracking:
            tracking["TargetValue"] = float(tracking["TargetValue"])
        client.put_scaling_policy(**of_the_service, **policy)
    (registered,) = client.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    assert registered["ResourceId"] == f"service/{outputs['ClusterName']}/{outputs['ServiceName']}"
    assert (registered["MinCapacity"], registered["MaxCapacity"]) == (0, 20)
    policies = client.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"]
    assert {one["PolicyType"] for one in policies} == {"TargetTrackingScaling", "StepScaling"}
    cloudwatch = pipeline.cloud.client("cloudwatch")
    for alarm in stack.of_type("AWS::CloudWatch::Alarm"):
        values = {**alarm.properties, "Threshold": float(alarm.properties["Threshold"])}
        cloudwatch.put_metric_alarm(AlarmName=f"worker-{alarm.id}", **values)
    assert len(cloudwatch.describe_alarms(AlarmNamePrefix="worker-")["MetricAlarms"]) == 5


def test_the_redrive_policy_moves_dead_letters(pipeline: Deployed) -> None:
    """The redrive policy belongs to the queue and applies to every consumer."""
    stack, _ = deploy_worker(pipeline)
    sqs = pipeline.cloud.client("sqs")
    url = sqs.get_queue_url(QueueName=EVENTS)["QueueUrl"]
    told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn", "RedrivePolicy"])["Attributes"]
    assert told["QueueArn"] == stack.parameters["QueueArn"]
    assert json.loads(told["RedrivePolicy"])["deadLetterTargetArn"] == stack.parameters["DeadLetterQueueArn"]
    assert stack.parameters["DeadLetterQueueArn"].endswith(f":{DEAD}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def healthy(stack: Stack) -> bool:
    """The result of the task's health check."""
    _, _, *rest = container(stack)["HealthCheck"]["Command"]
    return subprocess.run([sys.executable, *rest], capture_output=True, timeout=30, check=False).returncode == 0


def test_the_worker_with_the_task_s_environment_takes_over_the_lambda_s_queue(
    pipeline: Deployed, tmp_path: Path, samples: dict[str, bytes]
) -> None:
    """Bucket and queue are of one template, the worker's environment and command of the other."""
    cloud = pipeline.cloud
    stack, _ = deploy_worker(pipeline, Port=str(free_port()), Renditions="card=64x64:cover:webp", Key="t/{stem}.{ext}")
    given = {one["Name"]: str(one["Value"]) for one in container(stack)["Environment"]}
    emulator = {name: value for name, value in cloud.env.items() if name != "AWS_REGION"}
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), **emulator, **given}
    command = container(stack)["Command"]
    assert command == ["thumbnailer", "worker"]  # as tests.worker.running starts it
    cloud.put("a/coffee.jpg", samples["coffee-rotated-by-exif.jpg"])
    with working(env, tmp_path / "log") as process:
        until(lambda: cloud.thumbnails() == ["t/coffee.webp"])
        assert process.port() == int(stack.parameters["Port"])
        assert healthy(stack)
        sqs = cloud.client("sqs")
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        url = sqs.get_queue_url(QueueName=EVENTS)["QueueUrl"]
        until(lambda: set(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()) == {"0"})
        assert process.terminate() == 0
    assert not healthy(stack)
