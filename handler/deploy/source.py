"""The source bucket's notifications, and a sample picture that goes through."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Final

from botocore.exceptions import ClientError

from handler.deploy import DeployError
from handler.deploy.account import Account, code_of
from handler.deploy.parameters import ROOT
from thumbnailer.model import Format
from thumbnailer.renditions import target_key
from thumbnailer.settings import Settings

SAMPLE: Final = ROOT / "handler" / "demo" / "samples" / "coffee-rotated-by-exif.jpg"
SAMPLE_KEY: Final = "thumbnailer-sample.jpg"
POLL_SECONDS: Final = 1.0
_EVENTBRIDGE: Final = "EventBridgeConfiguration"
_TARGETS: Final = {"QueueConfigurations": "QueueArn", "LambdaFunctionConfigurations": "LambdaFunctionArn"}


def switch_eventbridge_on(account: Account, bucket: str, stack: str, undo: ExitStack) -> bool:
    """Switches EventBridge on and keeps the bucket's other notifications; returns whether that was a change.

    Notifications to a deleted stack of that name are dropped: S3 refuses targets that do not exist. Raises DeployError.
    """
    before = _notifications(account, bucket)
    if _EVENTBRIDGE in before:
        return False
    _put(account, bucket, {**without_stack(before, stack), _EVENTBRIDGE: {}})
    undo.callback(_put, account, bucket, without_stack(before, stack))
    return True


def switch_off(account: Account, bucket: str, stack: str, eventbridge: bool) -> None:
    """Drops notifications to a deleted stack; with `eventbridge` those to EventBridge too."""
    before = _notifications(account, bucket)
    after = without_stack(before, stack)
    if eventbridge:
        after.pop(_EVENTBRIDGE, None)
    if after != before:
        _put(account, bucket, after)


def without_stack(configuration: Mapping[str, Any], stack: str) -> dict[str, Any]:
    """A bucket's notifications without those to a stack's queue or function."""
    kept = dict(configuration)
    for kind, name in _TARGETS.items():
        others = [one for one in configuration.get(kind, ()) if not _is_of(one[name], stack)]
        kept = {key: value for key, value in kept.items() if key != kind} | ({kind: others} if others else {})
    return kept


def _is_of(arn: str, stack: str) -> bool:
    return arn.endswith(f":{stack}-events") or f":function:{stack}-" in arn


def _notifications(account: Account, bucket: str) -> dict[str, Any]:
    answer = account.client("s3").get_bucket_notification_configuration(Bucket=bucket, ExpectedBucketOwner=account.id)
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


def _put(account: Account, bucket: str, configuration: Mapping[str, Any]) -> None:
    try:
        account.client("s3").put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration=configuration, ExpectedBucketOwner=account.id
        )
    except ClientError as error:
        if code_of(error) != "InvalidArgument":
            raise
        raise DeployError(
            f"S3 refuses the notifications that the bucket {bucket} has already, because a queue, topic or function in "
            f"them is gone: `aws s3api get-bucket-notification-configuration --bucket {bucket}` shows them; remove it."
        ) from error


# --- the sample -------------------------------------------------------------------------------------------------------


def send_sample(account: Account, bucket: str, settings: Settings, patience: float) -> tuple[str, str] | None:
    """Bucket and key of a sample's new thumbnail, None if none came within `patience` seconds."""
    s3 = account.client("s3")
    s3.put_object(Bucket=bucket, Key=SAMPLE_KEY, Body=SAMPLE.read_bytes(), ContentType="image/jpeg")
    sent = s3.head_object(Bucket=bucket, Key=SAMPLE_KEY)["LastModified"]
    destination, key = thumbnail_of_sample(bucket, settings)
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if (written := _written(s3, destination, key)) and written >= sent:
            return destination, key
        time.sleep(POLL_SECONDS)
    return None


def thumbnail_of_sample(bucket: str, settings: Settings) -> tuple[str, str]:
    first = settings.renditions[0]
    return settings.destination_bucket(bucket), target_key(settings.key, SAMPLE_KEY, first, first.format or Format.JPEG)


def _written(s3: Any, bucket: str, key: str) -> Any:
    try:
        return s3.head_object(Bucket=bucket, Key=key)["LastModified"]
    except ClientError as error:
        if code_of(error) not in ("404", "403"):  # 403 stands for 404 where listing is not allowed
            raise
        return None
