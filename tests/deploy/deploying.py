"""The template deployed for real: to moto's CloudFormation, over HTTP.

moto makes buckets, queues, role, log group, function, mapping, rule and permission. It cannot do the types in `UNABLE`;
of a bucket it drops everything but name and encryption, of a queue the RedriveAllowPolicy, of a function package type,
architecture, storage and log group. What the way of a picture needs of that is put in place here through AWS's own
API, from the same translated template with the same parameters: never from a second description. The bucket policies
are left out: they refuse plain HTTP, which is what the emulator speaks. The rest is tested as data in test_template.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.deploy.stack import BASICS, Stack, translated
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
    """The event source mapping as the emulator tells of it; switched off in the emulator itself, see `_take_over`."""

    def environment(self) -> dict[str, str]:
        """The function's environment variables, as Lambda tells them."""
        function = self.cloud.client("lambda").get_function_configuration(FunctionName=self.outputs["FunctionName"])
        return dict(function["Environment"]["Variables"])


def deploy(
    cloud: Cloud, template: Mapping[str, Any] | None = None, name: str = "thumbnailer", **parameters: str
) -> Deployed:
    """Makes the stack. Raises ValueError where CloudFormation would refuse the parameters."""
    stack = Stack(BASICS | parameters, template or translated(), name)
    if refused := stack.refused():
        raise ValueError(f"refused: {refused}")
    client = cloud.client("cloudformation")
    client.create_stack(
        StackName=name,
        TemplateBody=json.dumps(_without_what_it_is_unable_to(stack.template)),
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
    """Reads the mapping and stops the emulator from running it: it would, through Docker, with no partial answers."""
    if mapping_id is None:
        return None
    client = cloud.client("lambda")
    configuration: dict[str, Any] = client.get_event_source_mapping(UUID=mapping_id)
    client.update_event_source_mapping(UUID=mapping_id, Enabled=False)
    return configuration


def _name(physical: str) -> str:
    """A queue's physical id is its URL."""
    return physical.rpartition("/")[2] if physical.startswith("http") else physical


def _without_what_it_is_unable_to(template: Mapping[str, Any]) -> dict[str, Any]:
    able = {id_: one for id_, one in template["Resources"].items() if one["Type"] not in UNABLE}
    bare = {id_: {key: value for key, value in one.items() if key != "Metadata"} for id_, one in able.items()}
    return {**template, "Resources": bare}


# --- what the emulator leaves out ---------------------------------------------------------------------------------


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
    """CloudFormation's words for it as S3's own."""
    if "EventBridgeConfiguration" in wanted:
        return {"EventBridgeConfiguration": {}} if wanted["EventBridgeConfiguration"]["EventBridgeEnabled"] else {}
    if "LambdaConfigurations" in wanted:
        return {
            "LambdaFunctionConfigurations": [
                {"LambdaFunctionArn": one["Function"], "Events": [one["Event"]]}
                for one in wanted["LambdaConfigurations"]
            ]
        }
    return {
        "QueueConfigurations": [
            {"QueueArn": one["Queue"], "Events": [one["Event"]]} for one in wanted["QueueConfigurations"]
        ]
    }


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
