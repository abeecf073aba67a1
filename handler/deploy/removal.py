"""Takes away what a deployment made, and says what stays."""

from collections.abc import Iterator
from typing import Final

from botocore.exceptions import ClientError

from handler.deploy.account import Account, code_of, has_bucket
from handler.deploy.code import CodeBucket
from handler.deploy.parameters import ADDITIONS, is_foreign
from handler.deploy.source import sample_key, switch_off, thumbnail_of_sample
from handler.deploy.stacks import CloudFormation, Stack

SWITCHED_ON: Final = "switched-eventbridge-on"
"""A key in the code bucket: this deployment switched EventBridge on in the source bucket."""


def find_stacks(cloudformation: CloudFormation, name: str) -> list[Stack]:
    """The stacks of a deployment in the order of their removal: additions first."""
    names = [*(f"{name}-{addition}" for addition in ADDITIONS), name]
    return [stack for each in names if (stack := cloudformation.find(each))]


def remove(account: Account, cloudformation: CloudFormation, code: CodeBucket, stacks: list[Stack]) -> Iterator[str]:
    """Removes stacks, empty buckets and the code bucket; yields a line for each step. Raises DeploymentFailed."""
    main = next((stack for stack in stacks if stack.name == code.stack), None)
    values = main.values if main else {}
    made = _buckets(account, main) if main and values and not is_foreign(values) else {}
    for bucket in made:
        key = sample_key(values) if bucket == values["SourceBucket"] else thumbnail_of_sample(values)[1]
        account.client("s3").delete_object(Bucket=bucket, Key=key)
    for stack in stacks:
        yield f"deleting the stack {stack.name}"
        cloudformation.delete(stack.id)
        if (stack.values.get("Front"), stack.values.get("ApiLogRole")) == ("api", "true"):
            yield "left: the role by which API Gateway writes logs, for all APIs of the account in the region"
    has_code = code.exists()
    for bucket, is_made in made.items():
        if bucket == values["SourceBucket"]:
            switch_off(account, bucket, code.stack, has_code and code.has(SWITCHED_ON))
        yield _remove_bucket(account, bucket, is_made)
    if has_code:
        code.remove()
        yield f"deleted the bucket {code.name} with zips and templates"
    if image := values.get("ImageUri"):
        repository = image.partition("/")[2].partition("@")[0].partition(":")[0]
        yield f"left: the images (`aws ecr delete-repository --force --repository-name {repository}` deletes them)"


def _buckets(account: Account, main: Stack) -> dict[str, bool]:
    """Those of source and destination that are there; True if the stack made the bucket.

    A stack whose first deployment failed has no outputs, and made none.
    """
    buckets = {
        main.values["SourceBucket"]: main.values["CreateSourceBucket"] == "true" and bool(main.outputs),
        thumbnail_of_sample(main.values)[0]: main.values["CreateDestinationBucket"] == "true" and bool(main.outputs),
    }
    return {name: is_made for name, is_made in buckets.items() if has_bucket(account, name)}


def _remove_bucket(account: Account, bucket: str, is_made: bool) -> str:
    """S3 deletes empty buckets only; a bucket that was there before the stack stays in any case."""
    if not is_made:
        return f"left: the bucket {bucket}, which was there before"
    try:
        account.client("s3").delete_bucket(Bucket=bucket)
    except ClientError as error:
        if code_of(error) != "BucketNotEmpty":
            raise
        return f"left: the bucket {bucket}, which has content (`aws s3 rb --force s3://{bucket}` deletes both)"
    return f"deleted the empty bucket {bucket}"
