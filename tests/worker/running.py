"""A cloud in one process and workers in others."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

SOURCE, DESTINATION = "photos", "photos-resized"
THUMBNAILER = str(Path(sys.executable).parent / "thumbnailer")
AS_INSTALLED = (THUMBNAILER, "worker")
HASTY = (sys.executable, "-m", "tests.worker.hasty")
"""Failed messages are retried within seconds."""
HANG_SECONDS = 120.0


def until(condition: Callable[[], Any], seconds: float = HANG_SECONDS) -> Any:
    """The condition's first true result. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.05)
    return result


@dataclass(frozen=True, slots=True)
class Depth:
    """Numbers of visible, held and dead-lettered messages."""

    visible: int
    held: int
    dead: int


class Cloud:
    """An S3 and SQS at `url`, emptied first: two buckets, a queue and its dead-letter queue. `env` is for workers."""

    def __init__(self, url: str, visibility: int = 30, most_receives: int = 5) -> None:
        self.url = url
        urllib.request.urlopen(f"{url}/moto-api/reset", data=b"", timeout=10).close()
        self.s3, self.sqs = self.client("s3"), self.client("sqs")
        for bucket in (SOURCE, DESTINATION):
            self.s3.create_bucket(Bucket=bucket)
        self.dead_url = self.sqs.create_queue(QueueName="dead")["QueueUrl"]
        redrive = {"deadLetterTargetArn": self._arn(self.dead_url), "maxReceiveCount": most_receives}
        attributes = {"VisibilityTimeout": str(visibility), "RedrivePolicy": json.dumps(redrive)}
        self.queue_url = self.sqs.create_queue(QueueName="thumbnails", Attributes=attributes)["QueueUrl"]

    @cached_property
    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "THUMBNAILER_"))}
        return kept | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
            "THUMBNAILER_QUEUE_URL": self.queue_url,
            "THUMBNAILER_PORT": "0",
        }

    def client(self, service: str) -> Any:
        config = Config(s3={"addressing_style": "path"}, max_pool_connections=32, retries={"total_max_attempts": 1})
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=config,
        )

    def notify(self) -> None:
        """Sends the source bucket's events to the queue, as the template does."""
        configuration = {"QueueArn": self._arn(self.queue_url), "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
        self.s3.put_bucket_notification_configuration(
            Bucket=SOURCE, NotificationConfiguration={"QueueConfigurations": [configuration]}
        )
        self.sqs.purge_queue(QueueUrl=self.queue_url)  # S3's test event

    def put(self, key: str, data: bytes) -> str:
        """The ETag."""
        return str(self.s3.put_object(Bucket=SOURCE, Key=key, Body=data)["ETag"]).strip('"')

    def send(self, bodies: Sequence[str]) -> None:
        for start in range(0, len(bodies), 10):
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[start : start + 10])]
            assert not self.sqs.send_message_batch(QueueUrl=self.queue_url, Entries=entries).get("Failed")

    def depth(self) -> Depth:
        waiting, held = self._depth(self.queue_url)
        return Depth(waiting, held, sum(self._depth(self.dead_url)))

    def dead_bodies(self) -> list[str]:
        bodies: list[str] = []
        while messages := self.sqs.receive_message(QueueUrl=self.dead_url, MaxNumberOfMessages=10).get("Messages"):
            bodies += [message["Body"] for message in messages]
        return bodies

    def keys(self, bucket: str = DESTINATION) -> set[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {found["Key"] for page in pages for found in page.get("Contents", [])}

    def thumbnail(self, key: str) -> tuple[bytes, str]:
        """The thumbnail's bytes, and the ETag of its source."""
        answer = self.s3.get_object(Bucket=DESTINATION, Key=key)
        return answer["Body"].read(), answer["Metadata"]["source-etag"]

    def _depth(self, url: str) -> tuple[int, int]:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return int(attributes[names[0]]), int(attributes[names[1]])

    def _arn(self, url: str) -> str:
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(answer["Attributes"]["QueueArn"])


@contextmanager
def moto() -> Iterator[str]:
    """The URL of moto's server, in a process of its own so that its work is not the test's."""
    command = [sys.executable, "-m", "tests.worker.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdin
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.stdin.close()


def event(key: str, name: str = "ObjectCreated:Put", **object_: object) -> str:
    """A message's body as S3 sends it."""
    s3 = {"bucket": {"name": SOURCE}, "object": {"key": key, **object_}}
    return json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": name, "s3": s3}]})


class WorkerProcess:
    """`thumbnailer worker`. Its log goes to a file."""

    def __init__(self, env: Mapping[str, str], log: Path, command: Sequence[str] = AS_INSTALLED) -> None:
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                env=dict(env),
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def text(self) -> str:
        return self.log.read_text()

    def port(self) -> int:
        found = until(lambda: re.search(r'"port":(\d+)', self.text) or self._process.poll() is not None)
        assert found is not True, self.text
        return int(found[1])

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port()}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """Summed over its labels."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}(\{{| )", line))

    def terminate(self) -> int:
        """Sends SIGTERM and returns the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self._process.kill()
        self.wait()

    def wait(self) -> int:
        return self._process.wait(HANG_SECONDS)

    @property
    def ended(self) -> int | None:
        return self._process.poll()


@contextmanager
def worker(env: Mapping[str, str], log: Path, command: Sequence[str] = AS_INSTALLED) -> Iterator[WorkerProcess]:
    process = WorkerProcess(env, log, command)
    try:
        yield process
    finally:
        if process.ended is None:
            process.kill()
