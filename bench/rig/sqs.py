"""A stand-in for SQS beside a measurement, `python -m bench.rig.sqs`: the JSON protocol, five operations, one queue.

moto speaks SQS as well, and is what correctness is tested against; it takes milliseconds a request, as much as a small
picture, and would be what is measured. This one makes no promise but these: what is received is hidden for the
visibility timeout, and comes back unless it is deleted.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import math
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import uvloop
from aiohttp import web

from bench.rig.processes import background

PATH: Final = "/000000000000/bench"
CONTENT_TYPE: Final = "application/x-amz-json-1.0"
LONG_POLL_STEP: Final = 0.02


@dataclass(slots=True)
class Held:
    """A message of the queue. `receipt` is that of the last receive."""

    id: str
    body: str
    sent_ms: int
    receives: int = 0
    receipt: str = ""


class MemorySqs:
    """The queue. Times are those of the loop's clock, in seconds."""

    def __init__(self, visibility: float) -> None:
        self.visibility = visibility
        self.calls: dict[str, int] = {}
        self._messages: dict[str, Held] = {}
        self._by_receipt: dict[str, str] = {}
        self._waiting: list[tuple[float, int, str]] = []
        self._numbers = count(1)

    async def answer(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        self.calls[operation] = self.calls.get(operation, 0) + 1
        match operation:
            case "ReceiveMessage":
                return await self._receive(asked.get("MaxNumberOfMessages", 1), asked.get("WaitTimeSeconds", 0))
            case "SendMessageBatch":
                return self._send(asked["Entries"])
            case "DeleteMessageBatch":
                return self._each(asked["Entries"], self._delete)
            case "ChangeMessageVisibilityBatch":
                return self._each(asked["Entries"], self._hide)
            case "GetQueueAttributes":
                return {"Attributes": self._attributes()}
            case _:
                raise web.HTTPBadRequest(text=f"{operation} is not among what this stand-in knows")

    async def _receive(self, most: int, wait_seconds: float) -> dict[str, Any]:
        taken = self._take(most)
        for _ in range(math.ceil(wait_seconds / LONG_POLL_STEP)):
            if taken:
                break
            await asyncio.sleep(LONG_POLL_STEP)  # what shows a message may be nothing but time
            taken = self._take(most)
        return {"Messages": [_shown(held) for held in taken]} if taken else {}

    def _take(self, most: int) -> list[Held]:
        now = time.monotonic()
        taken: list[Held] = []
        while self._waiting and self._waiting[0][0] <= now and len(taken) < most:
            _, _, receipt_or_id = heapq.heappop(self._waiting)
            held = self._messages.get(receipt_or_id.partition(".")[0])
            if held is None or receipt_or_id not in (held.id, held.receipt):
                continue  # deleted, or another receipt's time-out
            self._by_receipt.pop(held.receipt, None)
            held.receives += 1
            held.receipt = f"{held.id}.{held.receives}"
            self._by_receipt[held.receipt] = held.id
            self._show_at(now + self.visibility, held.receipt)
            taken.append(held)
        return taken

    def _show_at(self, moment: float, receipt_or_id: str) -> None:
        heapq.heappush(self._waiting, (moment, next(self._numbers), receipt_or_id))

    def _send(self, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        sent = []
        for entry in entries:
            held = Held(f"m{next(self._numbers)}", entry["MessageBody"], round(time.time() * 1000))
            self._messages[held.id] = held
            self._show_at(time.monotonic(), held.id)
            sent.append({"Id": entry["Id"], "MessageId": held.id, "MD5OfMessageBody": ""})
        return {"Successful": sent}

    def _each(self, entries: Sequence[Mapping[str, Any]], do: Any) -> dict[str, Any]:
        known = {entry["Id"]: do(entry) for entry in entries}
        failed = [
            {"Id": id_, "Code": "ReceiptHandleIsInvalid", "SenderFault": True} for id_, ok in known.items() if not ok
        ]
        return {"Successful": [{"Id": id_} for id_, ok in known.items() if ok], "Failed": failed}

    def _delete(self, entry: Mapping[str, Any]) -> bool:
        id_ = self._by_receipt.pop(entry["ReceiptHandle"], None)
        return id_ is not None and self._messages.pop(id_, None) is not None

    def _hide(self, entry: Mapping[str, Any]) -> bool:
        """The entry that was there before runs out as well, and shows the message too early: as it may on SQS."""
        known = entry["ReceiptHandle"] in self._by_receipt
        if known:
            self._show_at(time.monotonic() + entry["VisibilityTimeout"], entry["ReceiptHandle"])
        return known

    def _attributes(self) -> dict[str, str]:
        now = time.monotonic()
        visible = sum(moment <= now for moment, _, _ in self._waiting)
        return {
            "VisibilityTimeout": str(round(self.visibility)),
            "ApproximateNumberOfMessages": str(min(visible, len(self._messages))),
            "ApproximateNumberOfMessagesNotVisible": str(max(0, len(self._messages) - visible)),
        }


def _shown(held: Held) -> dict[str, Any]:
    attributes = {"ApproximateReceiveCount": str(held.receives), "SentTimestamp": str(held.sent_ms)}
    return {"MessageId": held.id, "ReceiptHandle": held.receipt, "Body": held.body, "Attributes": attributes}


async def _serve(visibility: float) -> None:
    queue = MemorySqs(visibility)

    async def answer(request: web.Request) -> web.Response:
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        answered = await queue.answer(operation, await request.json())
        return web.Response(body=json.dumps(answered), content_type=CONTENT_TYPE)

    app = web.Application(client_max_size=1 << 21)
    app.router.add_post("/{rest:.*}", answer)
    app.router.add_get("/calls", lambda _: _json(queue.calls))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)  # noqa: T201
    await asyncio.Event().wait()


async def _json(value: object) -> web.Response:
    return web.json_response(value)


@dataclass(frozen=True, slots=True)
class SqsServer:
    """`endpoint` is for AWS_ENDPOINT_URL_SQS, `queue_url` for THUMBNAILER_QUEUE_URL."""

    endpoint: str

    @property
    def queue_url(self) -> str:
        return self.endpoint + PATH

    def calls(self) -> dict[str, int]:
        """How often each operation was asked for."""
        found: dict[str, int] = self._told("/calls")
        return found

    def _told(self, path: str) -> Any:
        with urllib.request.urlopen(self.endpoint + path, timeout=10) as answer:  # noqa: S310
            return json.load(answer)

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
