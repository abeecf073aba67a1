"""Takes away what a deployment made, and says what stays."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from handler.deploy.account import Account, code_of, has_bucket
from handler.deploy.code import CodeBucket
from handler.deploy.parameters import ADDITIONS, settings_of
from handler.deploy.source import SAMPLE_KEY, switch_off, thumbnail_of_sample
from handler.deploy.stacks import CloudFormation, Stack

SWITCHED_ON: Final = "switched-eventbridge-on"
"""A key in the code bucket: this deployment switched EventBridge on in the source bucket."""


def find_stacks(cloudformation: CloudFormation, name: str) -> list[Stack]:
    """The stacks of a deployment in the order of their removal: additions first."""
    names = [*(f"{name}-{addition}" for addition in ADDITIONS), name]
    return [stack for each in names if (stack := cloudformation.find(each))]


def remove(account: Account, cloudformation: CloudFormation, name: str, stacks: list[Stack]) -> Iterator[str]:
    """Removes stacks, empty buckets and the code bucket; yields a line for each step. Raises DeploymentFailed."""
    code = CodeBucket(account, name)
    has_code = code.exists()
    values = next((stack.values for stack in stacks if stack.name == name and stack.values), {})
    _delete_samples(account, values)
    for stack in stacks:
        yield f"deleting the stack {stack.name}"
        cloudformation.delete(stack.id)
    if values and has_bucket(account, values["SourceBucket"]):
        switch_off(account, values["SourceBucket"], name, has_code and code.has(SWITCHED_ON))
    if has_code:
        code.remove()
        yield f"deleted the bucket {code.name} with zips and templates"
    yield from _remove_buckets(account, values)
    yield from _left(values)


def _buckets(values: Mapping[str, str]) -> dict[str, bool]:
    """Source and destination; True if the stack made the bucket."""
    if not values:
        return {}
    source = values["SourceBucket"]
    return {
        source: values.get("CreateSourceBucket") == "true",
        settings_of(values).destination_bucket(source): values.get("CreateDestinationBucket") == "true",
    }


def _delete_samples(account: Account, values: Mapping[str, str]) -> None:
    s3 = account.client("s3")
    if values and has_bucket(account, values["SourceBucket"]):
        s3.delete_object(Bucket=values["SourceBucket"], Key=SAMPLE_KEY)
        bucket, key = thumbnail_of_sample(values["SourceBucket"], settings_of(values))
        if has_bucket(account, bucket):
            s3.delete_object(Bucket=bucket, Key=key)


def _remove_buckets(account: Account, values: Mapping[str, str]) -> Iterator[str]:
    """S3 deletes empty buckets only; a bucket that was there before the stack stays in any case."""
    for bucket, is_made in _buckets(values).items():
        if not has_bucket(account, bucket):
            continue
        if not is_made:
            yield f"left: the bucket {bucket}, which was there before"
        elif _is_deleted(account.client("s3"), bucket):
            yield f"deleted the empty bucket {bucket}"
        else:
            yield f"left: the bucket {bucket}, which has content (`aws s3 rb --force s3://{bucket}` deletes both)"


def _is_deleted(s3: Any, bucket: str) -> bool:
    try:
        s3.delete_bucket(Bucket=bucket)
    except ClientError as error:
        if code_of(error) != "BucketNotEmpty":
            raise
        return False
    return True


def _left(values: Mapping[str, str]) -> Iterator[str]:
    if image := values.get("ImageUri"):
        repository = image.partition("/")[2].partition("@")[0].partition(":")[0]
        yield f"left: the images (`aws ecr delete-repository --force --repository-name {repository}` deletes them)"
