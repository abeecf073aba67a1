"""The worker's consumer at work in a test: a queue that fails on demand, and records that end as their keys say."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from bench.rig.sqs import MemoryQueue, Stored
from handler.worker import consumer, receiver
from handler.worker.sqs import BATCH, Queue, QueueError, QueueState, Received
from thumbnailer.model import ObjectEvent, Outcome, Status


class FlakyQueue(MemoryQueue, Queue):
    """Operations in `broken` fail. `hidden` are all requested visibility timeouts, in order.

    A receive after `most_receives` moves the message to `dead`.
    """

    def __init__(self, visibility: float = 30, most_receives: int = 1000, broken: set[str] | None = None) -> None:
        super().__init__(visibility)
        self.calls: Counter[str] = Counter()
        self.dead: list[str] = []
        self._most_receives = most_receives
        self.broken = broken or set()
        self.hidden: list[tuple[str, int]] = []

    def called(self, operation: str) -> None:
        """Runs at the start of each operation."""
        self.calls[operation] += 1
        if operation in self.broken:
            raise QueueError(f"{operation} is broken")

    async def receive(self, most: int, wait_seconds: float) -> list[Received]:
        self.called("receive")
        return await super().receive(most, wait_seconds)

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
        self.hidden += receipts.items()
        return []

    async def state(self) -> QueueState:
        self.called("state")
        visible = len(list(self.visible()))
        return QueueState(round(self.visibility), visible, len(self.messages) - visible)

    def visible(self) -> Iterator[Stored]:
        for stored in list(super().visible()):
            if stored.receives < self._most_receives:
                yield stored
            else:
                self.dead.append(self.messages.pop(stored.id).body)


class Records:
    """Stands for the pipeline. Keys that begin with `wait` wait for `go`; keys with `fail` fail; all fail if `away`."""

    def __init__(self) -> None:
        self.away = False
        self.go = asyncio.Event()
        self.processed: list[tuple[str, bool]] = []
        """key, and whether the record was isolated"""
        self.at_once = self.most_at_once = 0

    async def process(self, event: ObjectEvent, deadline: float | None = None, isolated: bool = False) -> Outcome:
        assert deadline is not None
        self.processed.append((event.key, isolated))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await (self.go.wait() if event.key.startswith("wait") else asyncio.sleep(0))
        finally:
            self.at_once -= 1
        return Outcome(event, Status.FAILED if self.away or "fail" in event.key else Status.STORED)


def body(*keys: str) -> str:
    """A message's body as S3 sends it."""
    objects = [{"bucket": {"name": "photos"}, "object": {"key": key}} for key in keys]
    records = [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": object_} for object_ in objects]
    return json.dumps({"Records": records})


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def shorten_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the consumer's waits for networks and people by milliseconds."""
    monkeypatch.setattr(receiver, "LAST_POLL_SECONDS", 0.05)
    monkeypatch.setattr(receiver, "PAUSE_SECONDS", (0.01, 0.05))
    monkeypatch.setattr(consumer, "CLOSING_SECONDS", 0.2)
