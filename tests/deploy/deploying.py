"""Deploys the template to moto's CloudFormation, over HTTP.

moto makes buckets, queues, role, log group, function, mapping, rule and permission. It cannot make the types in
`UNABLE`. It drops all properties of a bucket but name and encryption, the RedriveAllowPolicy of a queue, and package
type, architecture, storage and log group of a function. This module sets what a picture's path needs through AWS's API,
from the same translated template and parameters. It leaves out bucket policies, because they refuse plain HTTP, which
moto speaks. test_template.py tests the rest as data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.deploy.stack import BASICS, Stack, translate
from tests.support.cloud import Cloud

UNABLE: Final = {
    "AWS::S3::BucketPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",  # able, but it refers to the alarms
}


@dataclass(frozen=True, slots=True)
class Deployed:
    """A running stack: `stack` resolves the template with the names that the emulator gave."""

    cloud: Cloud
    stack: Stack
    outputs: Mapping[str, str]
    mapping: Mapping[str, Any] | None
    """The event source mapping as the emulator reports it; disabled in the emulator, see `_take_over`."""

    def environment(self) -> dict[str, str]:
        """The function's environment variables, as Lambda reports them."""
        function = self.cloud.client("lambda").get_function_configuration(FunctionName=self.outputs["FunctionName"])
        return dict(function["Environment"]["Variables"])


def deploy(
    cloud: Cloud, template: Mapping[str, Any] | None = None, name: str = "thumbnailer", **parameters: str
) -> Deployed:
    """Makes the stack. Raises ValueError if CloudFormation would refuse the parameters."""
    stack = Stack(BASICS | parameters, template or translate(), name)
    if refused := stack.refused():
        raise ValueError(f"refused: {refused}")
    client = cloud.client("cloudformation")
    client.create_stack(
        StackName=name,
        TemplateBody=json.dumps(_possible_in_moto(stack.template)),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in stack.parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    described = client.describe_stacks(StackName=name)["Stacks"][0]
    made = client.describe_stack_resources(StackName=name)["StackResources"]
    names = {one["LogicalResourceId"]: _name(one["PhysicalResourceId"]) for one in made if "PhysicalResourceId" in one}
    deployed = Deployed(
        cloud,
        Stack(stack.parameters, stack.template, name, names),
        {one["OutputKey"]: one["OutputValue"] for one in described["Outputs"]},
        _take_over(cloud, names.get("QueueMapping")),
    )
    _complete(deployed)
    return deployed


def _take_over(cloud: Cloud, mapping_id: str | None) -> Mapping[str, Any] | None:
    """Reads the mapping and disables it: the emulator would use Docker and ignore partial batch responses."""
    if mapping_id is None:
        return None
    client = cloud.client("lambda")
    configuration: dict[str, Any] = client.get_event_source_mapping(UUID=mapping_id)
    client.update_event_source_mapping(UUID=mapping_id, Enabled=False)
    return configuration


def _name(physical: str) -> str:
    """A queue's physical id is its URL."""
    return physical.rpartition("/")[2] if physical.startswith("http") else physical


def _possible_in_moto(template: Mapping[str, Any]) -> dict[str, Any]:
    able = {id_: one for id_, one in template["Resources"].items() if one["Type"] not in UNABLE}
    bare = {id_: {key: value for key, value in one.items() if key != "Metadata"} for id_, one in able.items()}
    return {**template, "Resources": bare}


# --- parts that the emulator leaves out -------------------------------------------------------------------------------


def _complete(deployed: Deployed) -> None:
    for resource in deployed.stack.resources.values():
        if resource.type in _COMPLETIONS:
            _COMPLETIONS[resource.type](deployed.cloud, resource.id, resource.properties)


def _bucket(cloud: Cloud, id_: str, wanted: Mapping[str, Any]) -> None:
    name = wanted["BucketName"]
    cloud.s3.put_public_access_block(
        Bucket=name, PublicAccessBlockConfiguration=wanted["PublicAccessBlockConfiguration"]
    )
    cloud.s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=wanted["OwnershipControls"])
    rules = [
        {"ID": rule["Id"], "Filter": {"Prefix": ""}, **{key: rule[key] for key in rule if key != "Id"}}
        for rule in wanted["LifecycleConfiguration"]["Rules"]
    ]
    cloud.s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": rules})
    if "VersioningConfiguration" in wanted:
        cloud.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=wanted["VersioningConfiguration"])
    if "NotificationConfiguration" in wanted:
        cloud.s3.put_bucket_notification_configuration(
            Bucket=name, NotificationConfiguration=_notification(wanted["NotificationConfiguration"])
        )


def _notification(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """CloudFormation's notification configuration in the form of S3's API."""
    if "EventBridgeConfiguration" in wanted:
        return {"EventBridgeConfiguration": {}} if wanted["EventBridgeConfiguration"]["EventBridgeEnabled"] else {}
    if "LambdaConfigurations" in wanted:
        return {
            "LambdaFunctionConfigurations": [
                {"LambdaFunctionArn": one["Function"], **_event(one)} for one in wanted["LambdaConfigurations"]
            ]
        }
    return {"QueueConfigurations": [{"QueueArn": one["Queue"], **_event(one)} for one in wanted["QueueConfigurations"]]}


def _event(wanted: Mapping[str, Any]) -> dict[str, Any]:
    filtered = {"Filter": {"Key": {"FilterRules": wanted["Filter"]["S3Key"]["Rules"]}}} if "Filter" in wanted else {}
    return {"Events": [wanted["Event"]], **filtered}


def _queue_policy(cloud: Cloud, id_: str, wanted: Mapping[str, Any]) -> None:
    sqs = cloud.client("sqs")
    for url in wanted["Queues"]:
        own = sqs.get_queue_url(QueueName=url.rpartition("/")[2])["QueueUrl"]
        sqs.set_queue_attributes(QueueUrl=own, Attributes={"Policy": json.dumps(wanted["PolicyDocument"])})


def _async_invokes(cloud: Cloud, id_: str, wanted: Mapping[str, Any]) -> None:
    cloud.client("lambda").put_function_event_invoke_config(**wanted)


def _alarm(cloud: Cloud, id_: str, wanted: Mapping[str, Any]) -> None:
    values = {**wanted, "Threshold": float(wanted["Threshold"])}
    cloud.client("cloudwatch").put_metric_alarm(AlarmName=f"thumbnailer-{id_}", **values)


def _dashboard(cloud: Cloud, id_: str, wanted: Mapping[str, Any]) -> None:
    cloud.client("cloudwatch").put_dashboard(**wanted)


_COMPLETIONS: Final[Mapping[str, Callable[[Cloud, str, Mapping[str, Any]], None]]] = {
    "AWS::S3::Bucket": _bucket,
    "AWS::SQS::QueuePolicy": _queue_policy,
    "AWS::Lambda::EventInvokeConfig": _async_invokes,
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::CloudWatch::Dashboard": _dashboard,
}
