"""Makes buckets, queue and dead-letter queue in the emulator of deploy/compose.yaml, as template.yaml does in AWS.

It runs in the emulator's image, which has boto3, and may run again. AWS_ENDPOINT_URL is the emulator's address.
"""

import json
from typing import Any, Final

import boto3
from botocore.config import Config

SOURCE: Final = "photos"
DESTINATION: Final = "photos-resized"
QUEUE: Final = "thumbnailer-events"
DEAD: Final = "thumbnailer-dead"
EVENTS: Final = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")


def main() -> None:
    s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))  # no name resolves to bucket.emulator
    sqs = boto3.client("sqs")
    redrive = json.dumps({"deadLetterTargetArn": _queue(sqs, DEAD, {}), "maxReceiveCount": 5})
    queue = _queue(sqs, QUEUE, {"VisibilityTimeout": "360", "RedrivePolicy": redrive})
    for bucket in (SOURCE, DESTINATION):
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_notification_configuration(
        Bucket=SOURCE, NotificationConfiguration={"QueueConfigurations": [{"QueueArn": queue, "Events": list(EVENTS)}]}
    )


def _queue(sqs: Any, name: str, attributes: dict[str, str]) -> str:
    """Makes a queue and returns its ARN."""
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    arn: str = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return arn


if __name__ == "__main__":
    main()
