"""moto's S3 and SQS in the test process, over HTTP, and events in AWS's shapes."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote_plus

import boto3
from botocore.config import Config
from moto.s3.models import s3_backends
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer

SOURCE, DESTINATION = "photos", "photos-resized"


def _put_one_at_a_time() -> None:
    """Serialises PUTs: moto closes the bytes of an overwritten object although a response may still need them."""
    lock, put = threading.Lock(), S3Response.put_object

    def locked(self: S3Response) -> Any:
        with lock:
            return put(self)

    S3Response.put_object = locked  # type: ignore[method-assign]


_put_one_at_a_time()


class Cloud:
    """`env` points a process to this server."""

    def __enter__(self) -> Cloud:
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self.env = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.s3 = self.client("s3")
        return self

    def __exit__(self, *_: object) -> None:
        self.s3.close()
        self._server.stop()

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )

    def reset(self) -> None:
        """Empties the server and creates both buckets."""
        request = urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")
        urllib.request.urlopen(request, timeout=10).close()
        for bucket in (SOURCE, DESTINATION):
            self.s3.create_bucket(Bucket=bucket)

    def put(self, key: str, data: bytes, **more: Any) -> dict[str, Any]:
        """Stores an object in the source bucket. Returns the S3 event record that AWS would send."""
        answer = self.s3.put_object(Bucket=SOURCE, Key=key, Body=data, **more)
        return s3_record(key, len(data), answer["ETag"].strip('"'), answer.get("VersionId"))

    def fill(self, bucket: str, keys: Iterable[str], data: bytes = b"x") -> None:
        """Stores many objects at once, past HTTP."""
        backend = s3_backends["123456789012"]["aws"]
        for key in keys:
            backend.put_object(bucket, key, data)

    def thumbnail(self, key: str) -> Any:
        """The answer of `get_object` for a thumbnail, with its body as bytes."""
        answer = self.s3.get_object(Bucket=DESTINATION, Key=key)
        answer["Body"] = answer["Body"].read()
        return answer

    def thumbnails(self) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=DESTINATION)
        return [item["Key"] for item in listed.get("Contents", [])]


def s3_record(
    key: str, size: int, etag: str, version: str | None = None, name: str = "ObjectCreated:Put", bucket: str = SOURCE
) -> dict[str, Any]:
    """An S3 event record. Like AWS it form-encodes keys except for `/`."""
    item = {"key": quote_plus(key, safe="/"), "size": size, "eTag": etag, "sequencer": "0055AED6DCD90281E5"}
    if version:
        item["versionId"] = version
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-11-01T12:00:00.000Z",
        "eventName": name,
        "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": bucket}, "object": item},
    }


def sqs_event(*bodies: object) -> dict[str, Any]:
    """One SQS record a body. Bodies other than text become JSON."""
    return {
        "Records": [
            {
                "messageId": f"m{number}",
                "receiptHandle": "r",
                "body": body if isinstance(body, str) else json.dumps(body),
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:thumbnails",
                "awsRegion": "us-east-1",
            }
            for number, body in enumerate(bodies)
        ]
    }


def s3_event(*records: dict[str, Any]) -> dict[str, Any]:
    return {"Records": list(records)}
