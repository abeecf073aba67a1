"""An AWS inside this process: moto's server on loopback with two buckets, a queue and a notification.

The demo never touches the user's own AWS: while the cloud runs, the environment holds only made-up endpoints and
credentials.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import aioboto3
from aiobotocore.config import AioConfig
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from thumbnailer.settings import SETTINGS, Section

PHOTOS: Final = "photos"
RESIZED: Final = "photos-resized"
REGION: Final = "us-east-1"
VISIBILITY_SECONDS: Final = 20

_USERS_TO_KEEP: Final = frozenset(
    setting.variable for setting in SETTINGS if setting.section in (Section.RENDITIONS, Section.LIMITS)
)
"""Settings that users can try out in the demo; the others (a destination, globs) would lead away from its buckets."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """Clients for the server at `endpoint_url`, whatever the environment says."""

    endpoint_url: str

    def client(self, service: str) -> AbstractAsyncContextManager[Any]:
        """An aioboto3 client."""
        session: Any = aioboto3.Session("demo", "demo", region_name=REGION)
        config = AioConfig(s3={"addressing_style": "path"}, max_pool_connections=32)
        client: AbstractAsyncContextManager[Any] = session.client(
            service, endpoint_url=self.endpoint_url, config=config
        )
        return client


@contextmanager
def moto_cloud() -> Iterator[Cloud]:
    """An empty cloud on a free port. Blocks for some tenths of a second at both ends."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request otherwise
    moto = _only_for_clients(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, moto, threaded=True, request_handler=MotoRequestHandler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Cloud(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _only_for_clients(moto: WSGIApplication) -> WSGIApplication:
    """Refuses browsers, other hosts (DNS rebinding), and moto's own routes, which reset, record and replay.

    The demo's clients of S3 and SQS are no browsers, and only browsers send Origin and Sec-Fetch-Site.
    """

    def guard(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        hosts = {f"{name}:{environ['SERVER_PORT']}" for name in ("127.0.0.1", "localhost")}
        browser = "HTTP_ORIGIN" in environ or "HTTP_SEC_FETCH_SITE" in environ
        if browser or environ.get("HTTP_HOST") not in hosts or environ["PATH_INFO"].startswith("/moto-api"):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"only the demo's own clients may ask"]
        return moto(environ, start_response)

    return guard


async def furnish(cloud: Cloud) -> tuple[str, str]:
    """Makes the buckets, the queue and the notification. Returns the URL and the ARN of the queue."""
    async with cloud.client("s3") as s3, cloud.client("sqs") as sqs:
        for bucket in (PHOTOS, RESIZED):
            await s3.create_bucket(Bucket=bucket)
        attributes = {"VisibilityTimeout": str(VISIBILITY_SECONDS)}
        url = (await sqs.create_queue(QueueName="thumbnails", Attributes=attributes))["QueueUrl"]
        answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        arn = answer["Attributes"]["QueueArn"]
        notify = {"Id": "thumbnails", "QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
        await s3.put_bucket_notification_configuration(
            Bucket=PHOTOS, NotificationConfiguration={"QueueConfigurations": [notify]}
        )
        return url, arn


@contextmanager
def environment_for(cloud: Cloud, renditions: str) -> Iterator[None]:
    """Points the worker at `cloud` alone, and restores the environment afterwards.

    The user's THUMBNAILER_RENDITIONS wins over `renditions`.
    """
    before = dict(os.environ)
    for name in before:
        if name.startswith(("AWS_", "THUMBNAILER_")) and name not in _USERS_TO_KEEP:
            del os.environ[name]
    os.environ.setdefault("THUMBNAILER_RENDITIONS", renditions)
    os.environ |= {
        "AWS_ENDPOINT_URL": cloud.endpoint_url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before
