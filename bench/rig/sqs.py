"""An SQS queue in memory, and the same queue behind SQS's JSON protocol.

The worker's correctness is tested against moto's SQS. moto takes milliseconds a request, as long as a small picture, so
a measurement would measure moto. This queue keeps two promises of SQS: a received message is hidden for the visibility
timeout, and it reappears unless it is deleted.
"""

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Final

from aiohttp import web

from bench.rig.processes import serve
from handler.worker.sqs import Received

FIELDS: Final = {"MessageId": "id", "ReceiptHandle": "receipt", "Body": "body", "Attributes": "attributes"}
"""of a message, and their names in Received"""


@dataclass(slots=True)
class Stored:
    """A message in the queue. `visible_at` is time.monotonic(); `receipt` is from the last receive."""

    id: str
    body: str
    sent: float
    visible_at: float = 0
    receives: int = 0
    receipt: str = ""


class MemoryQueue:
    """The messages of a queue. tests.support.queues adds the other methods of handler.worker.sqs.Queue."""

    def __init__(self, visibility: float = 30) -> None:
        self.visibility = visibility
        self.messages: dict[str, Stored] = {}
        self._changed = asyncio.Event()
        self._numbers = count()

    def send(self, body: str) -> str:
        """Returns the message's id."""
        stored = Stored(f"m{next(self._numbers)}", body, time.time())
        self.messages[stored.id] = stored
        self._changed.set()
        return stored.id

    async def receive(self, most: int, wait_seconds: float) -> list[Received]:
        end = time.monotonic() + wait_seconds
        while not (taken := list(islice(self.visible(), most))) and (left := end - time.monotonic()) > 0:
            await self._until_changed(left)
        return [self._handed_out(stored) for stored in taken]

    def visible(self) -> Iterator[Stored]:
        """The messages that a receive would return."""
        now = time.monotonic()
        return (stored for stored in self.messages.values() if stored.visible_at <= now)

    def delete_one(self, receipt: str) -> bool:
        """Returns False if the receipt is not the message's last one."""
        stored = self._held(receipt)
        return stored is not None and self.messages.pop(stored.id) is stored

    def hide_one(self, receipt: str, seconds: float) -> bool:
        """Returns False if the receipt is not the message's last one."""
        stored = self._held(receipt)
        if stored is not None:
            stored.visible_at = time.monotonic() + seconds
            self._changed.set()
        return stored is not None

    def _held(self, receipt: str) -> Stored | None:
        stored = self.messages.get(receipt.partition(".")[0])
        return stored if stored is not None and stored.receipt == receipt else None

    async def _until_changed(self, seconds: float) -> None:
        """Returns when a message changes or becomes visible, at the latest after `seconds`."""
        next_visible = min((stored.visible_at for stored in self.messages.values()), default=math.inf)
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, max(0.0, next_visible - time.monotonic()))):
                await self._changed.wait()

    def _handed_out(self, stored: Stored) -> Received:
        stored.receives += 1
        stored.receipt = f"{stored.id}.{stored.receives}"
        stored.visible_at = time.monotonic() + self.visibility
        attributes = {"ApproximateReceiveCount": str(stored.receives), "SentTimestamp": str(round(stored.sent * 1000))}
        return Received(stored.id, stored.receipt, stored.body, attributes, stored.sent)


class SqsServer:
    """Use `sqs_server`. `calls` counts the requests by operation."""

    url: str
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self.queue = MemoryQueue(visibility=60)
        self.calls: Counter[str] = Counter()

    def connection(self) -> asyncio.Protocol:
        return web.Server(self._respond)()

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        self.calls[operation] += 1
        result = await answer(self.queue, operation, json.loads(await request.content.read()))
        return web.Response(body=json.dumps(result), content_type="application/x-amz-json-1.0")

    def send(self, bodies: Sequence[str]) -> list[str]:
        """The messages' ids."""

        async def send() -> list[str]:
            return [self.queue.send(body) for body in bodies]

        return asyncio.run_coroutine_threadsafe(send(), self.loop).result()

    @property
    def left(self) -> int:
        """Messages that are not deleted."""
        return len(self.queue.messages)


async def answer(queue: MemoryQueue, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The response to one request. Raises HTTPBadRequest for an operation that this stand-in does not have."""
    match operation:
        case "ReceiveMessage":
            taken = await queue.receive(asked.get("MaxNumberOfMessages", 1), asked.get("WaitTimeSeconds", 0))
            return {"Messages": [{name: getattr(one, field) for name, field in FIELDS.items()} for one in taken]}
        case "DeleteMessageBatch":
            return _results({entry["Id"]: queue.delete_one(entry["ReceiptHandle"]) for entry in asked["Entries"]})
        case "ChangeMessageVisibilityBatch":
            pairs = ((entry, entry["ReceiptHandle"]) for entry in asked["Entries"])
            return _results({entry["Id"]: queue.hide_one(held, entry["VisibilityTimeout"]) for entry, held in pairs})
        case "GetQueueAttributes":
            visible = sum(1 for _ in queue.visible())
            values = {
                "VisibilityTimeout": round(queue.visibility),
                "ApproximateNumberOfMessages": visible,
                "ApproximateNumberOfMessagesNotVisible": len(queue.messages) - visible,
            }
            return {"Attributes": {name: str(value) for name, value in values.items()}}
        case _:
            raise web.HTTPBadRequest(text=f"this stand-in has no operation {operation}")


def _results(accepted: Mapping[str, bool]) -> dict[str, Any]:
    error = {"Code": "ReceiptHandleIsInvalid", "SenderFault": True}
    refused = [{"Id": id_, **error} for id_, ok in accepted.items() if not ok]
    return {"Successful": [{"Id": id_} for id_, ok in accepted.items() if ok], "Failed": refused}


@contextmanager
def sqs_server() -> Iterator[SqsServer]:
    """A queue in a thread of this process, whose cores are not the worker's."""
    server = SqsServer()
    with serve(server.connection) as (server.url, server.loop):
        yield server
