"""The source bucket's notifications, and a sample picture that goes through."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Final

from botocore.exceptions import ClientError

from handler.deploy import DeployError
from handler.deploy.account import Account, code_of
from handler.deploy.parameters import ROOT, settings_of
from thumbnailer.model import Format
from thumbnailer.renditions import target_key

SAMPLE: Final = ROOT / "handler" / "demo" / "samples" / "coffee-rotated-by-exif.jpg"
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
    kept = without_stack(before, stack)
    _put(account, bucket, {**kept, _EVENTBRIDGE: {}})
    undo.callback(_put, account, bucket, kept)
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
        ours = (f":{stack}-events", f":function:{stack}-")
        others = [one for one in kept.pop(kind, ()) if not any(own in one[name] for own in ours)]
        kept |= {kind: others} if others else {}
    return kept


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


def sample_key(values: Mapping[str, str]) -> str:
    """The sample's key, which the filters of a stack with these parameters let through."""
    return f"{values.get('KeyPrefix', '')}thumbnailer-sample{values.get('KeySuffix') or '.jpg'}"


def thumbnail_of_sample(values: Mapping[str, str]) -> tuple[str, str]:
    """Bucket and key."""
    settings = settings_of(values)
    first = settings.renditions[0]
    key = target_key(settings.key, sample_key(values), first, first.format or Format.JPEG)
    return settings.destination_bucket(values["SourceBucket"]), key


def send_sample(account: Account, values: Mapping[str, str], patience: float) -> bool:
    """Whether a new thumbnail of the sample came within `patience` seconds."""
    s3, source = account.client("s3"), {"Bucket": values["SourceBucket"], "Key": sample_key(values)}
    s3.put_object(**source, Body=SAMPLE.read_bytes(), ContentType="image/jpeg")
    sent = s3.head_object(**source)["LastModified"]
    bucket, key = thumbnail_of_sample(values)
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if (written := _written(s3, bucket, key)) and written >= sent:
            return True
        time.sleep(POLL_SECONDS)
    return False


def _written(s3: Any, bucket: str, key: str) -> Any:
    try:
        return s3.head_object(Bucket=bucket, Key=key)["LastModified"]
    except ClientError as error:
        if code_of(error) not in ("404", "403"):  # 403 stands for 404 where listing is not allowed
            raise
        return None
