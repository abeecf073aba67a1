"""The SQS queue: a client whose requests take up to ten messages, reports of its errors, and batches for it."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

import aioboto3
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from thumbnailer.errors import SettingsError, ThumbnailerError
from thumbnailer.reporting.logs import LOGGER
from thumbnailer.reporting.metrics import Prometheus
from thumbnailer.store.s3 import NO_CREDENTIALS

T = TypeVar("T")

BATCH: Final = 10
"""The most messages in one request (SQS quotas)."""
LONGEST_INVISIBLE: Final = 43_200
"""Seconds: 12 hours (SQS quotas)."""
SEND_PAUSES: Final = (0.2, 1.0, 5.0)
"""Seconds after each attempt to send a batch of which SQS refused a part. botocore repeats whole requests only."""
CONNECTIONS: Final = 32
LINGER_SECONDS: Final = 0.5
GONE: Final = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
NOT_HELD: Final = ("ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue")
"""Error codes for a receipt whose message was deleted or received again."""


class QueueError(ThumbnailerError):
    """A request to the queue failed."""


class QueueMissing(QueueError):
    """The queue does not exist, or there are no credentials to ask for it."""


@dataclass(frozen=True, slots=True)
class Received:
    """A received message. The receipt is valid for the queue's visibility timeout. `sent` is epoch seconds."""

    id: str
    receipt: str
    body: str
    attributes: Mapping[str, str]
    sent: float


@dataclass(frozen=True, slots=True)
class QueueState:
    """The queue's visibility timeout in seconds, and the approximate numbers of visible and invisible messages."""

    visibility: int
    visible: int
    invisible: int


class Queue:
    """One queue. Every method raises QueueError after three attempts by botocore."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    async def receive(self, most: int, wait_seconds: int) -> list[Received]:
        """Up to ten messages. Waits up to 20 s for the first."""
        answer = await self._ask(
            "receive_message",
            MaxNumberOfMessages=most,
            WaitTimeSeconds=wait_seconds,
            AttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
        )
        return [_parse_message(message) for message in answer.get("Messages", [])]

    async def send_batch(self, bodies: Sequence[str], group: str) -> None:
        """Sends at most ten messages. SQS serves messages without a group first, once a group has 30 in flight."""
        entries = [{"Id": str(n), "MessageBody": body, "MessageGroupId": group} for n, body in enumerate(bodies)]
        for pause in SEND_PAUSES:
            failed = (await self._ask("send_message_batch", Entries=entries)).get("Failed", [])
            refused = {entry["Id"] for entry in failed}
            entries = [entry for entry in entries if entry["Id"] in refused]
            if not entries:
                return
            await asyncio.sleep(pause)
        raise QueueError(f"send_message_batch {self._url}: {failed[0].get('Code')}: {failed[0].get('Message', '')}")

    async def delete(self, receipts: Sequence[str]) -> list[str]:
        """Deletes at most ten messages. Returns an error text for each refused one, which then reappears."""
        entries = [{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(receipts)]
        return _refused_receipts(await self._ask("delete_message_batch", Entries=entries))

    async def hide(self, receipts: Mapping[str, int]) -> list[str]:
        """Makes at most ten messages visible after that many seconds. Returns an error text for each refused one."""
        entries = [
            {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": min(LONGEST_INVISIBLE, seconds)}
            for number, (receipt, seconds) in enumerate(receipts.items())
        ]
        return _refused_receipts(await self._ask("change_message_visibility_batch", Entries=entries))

    async def state(self) -> QueueState:
        names = ["VisibilityTimeout", "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = (await self._ask("get_queue_attributes", AttributeNames=names))["Attributes"]
        return QueueState(*(int(attributes[name]) for name in names))

    async def _ask(self, operation: str, **arguments: Any) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = await getattr(self._client, operation)(QueueUrl=self._url, **arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in GONE:
                raise QueueMissing(f"there is no such queue: {self._url}: {error}") from error
            raise QueueError(f"{operation} {self._url}: {error}") from error
        except NoCredentialsError as error:
            raise QueueMissing(NO_CREDENTIALS) from error
        except Exception as error:  # botocore, the network and credential providers raise anything
            raise QueueError(f"{operation} {self._url}: {type(error).__name__}: {error}") from error
        return answer


def _parse_message(message: Mapping[str, Any]) -> Received:
    attributes = message.get("Attributes", {})
    sent = float(attributes.get("SentTimestamp", "0")) / 1000
    return Received(message["MessageId"], message["ReceiptHandle"], message.get("Body", ""), attributes, sent)


def _refused_receipts(answer: Mapping[str, Any]) -> list[str]:
    """An expired receipt is no error: another worker has the message and does the same work."""
    return [
        f"{failed.get('Code')}: {failed.get('Message', '')}"
        for failed in answer.get("Failed", [])
        if not str(failed.get("Code", "")).endswith(NOT_HELD)
    ]


@asynccontextmanager
async def open_queue(url: str, env: Mapping[str, str]) -> AsyncIterator[Queue]:
    """Takes endpoint, region and credentials from the environment, or the region from the queue's address.

    botocore does not read AWS_REGION. Raises SettingsError if there is no region.
    """
    named = re.fullmatch(r"sqs\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?", urlsplit(url).hostname or "")
    region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or (named and named[1])
    if not region:
        raise SettingsError("AWS_REGION is not set, and the queue's address has no region in it")
    config = AioConfig(
        max_pool_connections=CONNECTIONS, connect_timeout=5, read_timeout=30, retries={"mode": "standard"}
    )
    try:
        session = aioboto3.Session()
    except BotoCoreError as error:  # a profile that does not exist
        raise SettingsError(f"AWS's settings are invalid: {error}") from error
    async with session.client("sqs", region_name=region, config=config) as client:
        yield Queue(client, url)


class ReportingQueue:
    """Logs and counts errors, never raises them: `receive` and `state` return None instead.

    Entries that SQS refuses need no retry: their messages reappear.
    """

    def __init__(self, queue: Queue, metrics: Prometheus) -> None:
        self._queue = queue
        self._metrics = metrics

    async def receive(self, most: int, wait_seconds: int) -> list[Received] | None:
        return await self._try(self._queue.receive(most, wait_seconds))

    async def delete(self, receipts: Sequence[str]) -> None:
        deleted = self._count_accepted(len(receipts), await self._try(self._queue.delete(receipts)))
        self._metrics.count("thumbnailer_messages_deleted", deleted)

    async def hide(self, receipts: dict[str, int]) -> int:
        """The number of messages whose visibility timeout the queue changed."""
        return self._count_accepted(len(receipts), await self._try(self._queue.hide(receipts)))

    async def state(self) -> QueueState | None:
        return await self._try(self._queue.state())

    async def _try(self, request: Awaitable[T]) -> T | None:
        try:
            return await request
        except QueueError as error:
            self._report(str(error))
            return None

    def _count_accepted(self, entries: int, refused: list[str] | None) -> int:
        if refused is None:
            return 0
        for entry in refused:
            self._report(entry)
        return entries - len(refused)

    def _report(self, detail: str) -> None:
        self._metrics.count("thumbnailer_queue_errors")
        LOGGER.warning("queue-error", extra={"line": {"detail": detail[:500]}})


class Batches(Generic[T]):
    """Sends items when there are ten, or half a second after the first. `send` handles its own errors."""

    def __init__(self, send: Callable[[list[T]], Awaitable[None]]) -> None:
        self._send = send
        self._waiting: list[T] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def add(self, item: T) -> None:
        self._waiting.append(item)
        if len(self._waiting) == BATCH:
            self._send_now()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._send_now)

    async def flush(self) -> None:
        """Sends the waiting items. Returns when every batch was sent."""
        self._send_now()
        if self._sending:
            await asyncio.wait(self._sending)

    def _send_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            batch, self._waiting = self._waiting, []
            task = asyncio.ensure_future(self._send(batch))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
