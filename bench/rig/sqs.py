"""An SQS queue in memory, and the same queue behind SQS's JSON protocol: `python -m bench.rig.sqs`.

The worker's correctness is tested against moto's SQS. moto takes milliseconds a request, as long as a small picture, so
a measurement would measure moto. This queue keeps three promises of SQS: a received message is hidden for the
visibility timeout, it reappears unless it is deleted, and after too many receives it goes to the dead letters.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import uvloop
from aiohttp import web

from bench.rig.processes import background
from handler.worker.sqs import BATCH, QueueState, Received

PATH: Final = "/000000000000/bench"
CONTENT_TYPE: Final = "application/x-amz-json-1.0"
NOT_HELD: Final = "ReceiptHandleIsInvalid"


# --- the queue ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Stored:
    """A message in the queue. `visible_at` is time.monotonic(); `receipt` is from the last receive."""

    id: str
    body: str
    sent: float
    visible_at: float
    receives: int = 0
    receipt: str = ""


class MemoryQueue:
    """Has the methods of handler.worker.sqs.Queue. Like that class it ignores expired receipts.

    A receive after `most_receives` moves the message to `dead`.
    """

    def __init__(self, visibility: float = 30, most_receives: int = 1000) -> None:
        self.visibility = visibility
        self.calls: Counter[str] = Counter()
        self.messages: dict[str, Stored] = {}
        self.dead: list[str] = []
        self._most_receives = most_receives
        self._by_time: list[tuple[float, int, str]] = []
        """when each message becomes visible; entries that are out of date stay until their time comes"""
        self._changed = asyncio.Event()
        self._numbers = count()

    def send(self, body: str) -> str:
        """Returns the message's id."""
        stored = Stored(f"m{next(self._numbers)}", body, time.time(), 0)
        self.messages[stored.id] = stored
        self._show_at(stored, time.monotonic())
        return stored.id

    async def receive(self, most: int, wait_seconds: float) -> list[Received]:
        self.called("receive")
        end = time.monotonic() + wait_seconds
        while not (taken := self._take(most)) and (left := end - time.monotonic()) > 0:
            await self._until_changed(left)
        return taken

    async def delete(self, receipts: Sequence[str]) -> list[str]:
        self.called("delete")
        assert len(receipts) <= BATCH
        for receipt in receipts:
            self.delete_one(receipt)
        return []

    async def hide(self, receipts: Mapping[str, int]) -> list[str]:
        self.called("hide")
        assert len(receipts) <= BATCH
        for receipt, seconds in receipts.items():
            self.hide_one(receipt, seconds)
        return []

    async def state(self) -> QueueState:
        self.called("state")
        now = time.monotonic()
        visible = sum(stored.visible_at <= now for stored in self.messages.values())
        return QueueState(round(self.visibility), visible, len(self.messages) - visible)

    def called(self, operation: str) -> None:
        """Runs at the start of each operation."""
        self.calls[operation] += 1

    def delete_one(self, receipt: str) -> bool:
        """Returns False if the receipt is not the message's last one."""
        stored = self._held(receipt)
        return stored is not None and self.messages.pop(stored.id) is stored

    def hide_one(self, receipt: str, seconds: float) -> bool:
        """Returns False if the receipt is not the message's last one."""
        stored = self._held(receipt)
        if stored is not None:
            self._show_at(stored, time.monotonic() + seconds)
        return stored is not None

    def _held(self, receipt: str) -> Stored | None:
        stored = self.messages.get(receipt.partition(".")[0])
        return stored if stored is not None and stored.receipt == receipt else None

    def _show_at(self, stored: Stored, moment: float) -> None:
        stored.visible_at = moment
        heapq.heappush(self._by_time, (moment, next(self._numbers), stored.id))
        self._changed.set()

    async def _until_changed(self, seconds: float) -> None:
        """Returns when a message changes or becomes visible, at the latest after `seconds`."""
        if self._by_time:
            seconds = min(seconds, max(0.0, self._by_time[0][0] - time.monotonic()))
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _take(self, most: int) -> list[Received]:
        now, taken = time.monotonic(), list[Received]()
        while self._by_time and self._by_time[0][0] <= now and len(taken) < most:
            moment, _, id_ = heapq.heappop(self._by_time)
            stored = self.messages.get(id_)
            if stored is None or stored.visible_at != moment:
                continue
            if stored.receives == self._most_receives:
                self.dead.append(self.messages.pop(id_).body)
                continue
            taken.append(self._handed_out(stored, now))
        return taken

    def _handed_out(self, stored: Stored, now: float) -> Received:
        stored.receives += 1
        stored.receipt = f"{stored.id}.{stored.receives}"
        self._show_at(stored, now + self.visibility)
        attributes = {"ApproximateReceiveCount": str(stored.receives), "SentTimestamp": str(round(stored.sent * 1000))}
        return Received(stored.id, stored.receipt, stored.body, attributes, stored.sent)


# --- SQS's JSON protocol ------------------------------------------------------------------------------------------


async def answer(queue: MemoryQueue, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The response to one request. Raises HTTPBadRequest for an operation that this stand-in does not have."""
    match operation:
        case "ReceiveMessage":
            taken = await queue.receive(asked.get("MaxNumberOfMessages", 1), asked.get("WaitTimeSeconds", 0))
            return {"Messages": [_message(received) for received in taken]} if taken else {}
        case "SendMessageBatch":
            ids = {entry["Id"]: queue.send(entry["MessageBody"]) for entry in asked["Entries"]}
            return {"Successful": [{"Id": id_, "MessageId": sent, "MD5OfMessageBody": ""} for id_, sent in ids.items()]}
        case "DeleteMessageBatch":
            return _results({entry["Id"]: queue.delete_one(entry["ReceiptHandle"]) for entry in asked["Entries"]})
        case "ChangeMessageVisibilityBatch":
            pairs = ((entry, entry["ReceiptHandle"]) for entry in asked["Entries"])
            return _results({entry["Id"]: queue.hide_one(held, entry["VisibilityTimeout"]) for entry, held in pairs})
        case "GetQueueAttributes":
            state = await queue.state()
            return {
                "Attributes": {
                    "VisibilityTimeout": str(state.visibility),
                    "ApproximateNumberOfMessages": str(state.visible),
                    "ApproximateNumberOfMessagesNotVisible": str(state.invisible),
                }
            }
        case _:
            raise web.HTTPBadRequest(text=f"this stand-in has no operation {operation}")


def _message(received: Received) -> dict[str, Any]:
    return {
        "MessageId": received.id,
        "ReceiptHandle": received.receipt,
        "Body": received.body,
        "Attributes": received.attributes,
    }


def _results(accepted: Mapping[str, bool]) -> dict[str, Any]:
    refused = [{"Id": id_, "Code": NOT_HELD, "SenderFault": True} for id_, ok in accepted.items() if not ok]
    return {"Successful": [{"Id": id_} for id_, ok in accepted.items() if ok], "Failed": refused}


async def _serve(visibility: float) -> None:
    queue, requests = MemoryQueue(visibility), Counter[str]()

    async def respond(request: web.Request) -> web.Response:
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        requests[operation] += 1
        result = await answer(queue, operation, await request.json())
        return web.Response(body=json.dumps(result), content_type=CONTENT_TYPE)

    async def calls(_: web.Request) -> web.Response:
        return web.json_response(requests)

    app = web.Application(client_max_size=1 << 21)
    app.router.add_post("/{rest:.*}", respond)
    app.router.add_get("/calls", calls)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)  # noqa: T201
    await asyncio.Event().wait()


# --- its process --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SqsServer:
    """A queue in another process: `endpoint` is for AWS_ENDPOINT_URL_SQS, `queue_url` for THUMBNAILER_QUEUE_URL."""

    endpoint: str

    @property
    def queue_url(self) -> str:
        return self.endpoint + PATH

    def calls(self) -> dict[str, int]:
        """The number of requests by SQS operation."""
        with urllib.request.urlopen(f"{self.endpoint}/calls", timeout=10) as answer:  # noqa: S310
            found: dict[str, int] = json.load(answer)
        return found

    def ask(self, operation: str, **asked: object) -> dict[str, Any]:
        headers = {"X-Amz-Target": f"AmazonSQS.{operation}", "Content-Type": CONTENT_TYPE}
        request = urllib.request.Request(self.queue_url, json.dumps(asked).encode(), headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
        return found

    def send(self, bodies: Sequence[str]) -> list[str]:
        """The messages' ids."""
        sent: list[str] = []
        entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
        for start in range(0, len(entries), 1000):
            answer = self.ask("SendMessageBatch", Entries=entries[start : start + 1000])
            sent += [each["MessageId"] for each in answer["Successful"]]
        return sent

    def left(self) -> int:
        """Messages that are not deleted."""
        attributes = self.ask("GetQueueAttributes")["Attributes"]
        return sum(int(attributes[f"ApproximateNumberOfMessages{which}"]) for which in ("", "NotVisible"))


@contextmanager
def sqs_server(visibility: float = 60, core: int | None = None) -> Iterator[SqsServer]:
    """In a process of its own, on a core of its own if one is named. Raises NotStarted."""
    command = [sys.executable, "-m", "bench.rig.sqs", "--visibility", str(visibility)]
    with background("the queue", command, core) as program:
        program.wait_until(lambda: "\n" in program.output())
        yield SqsServer(json.loads(program.output().splitlines()[0])["url"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visibility", type=float, default=60)
    uvloop.run(_serve(parser.parse_args().visibility))


if __name__ == "__main__":
    main()
