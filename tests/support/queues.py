"""A queue in memory that keeps SQS's promises: what is received is hidden for a while and comes back unless deleted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from handler.worker.sqs import BATCH, QueueError, QueueState, Received


@dataclass(slots=True)
class _Stored:
    id: str
    body: str
    sent: float
    visible_at: float
    receives: int = 0
    receipt: str = ""


@dataclass
class MemoryQueue:
    """`broken` holds the operations that fail; `calls` counts all; `hidden`: what was asked of visibility, in order."""

    visibility: float = 30
    most_receives: int = 1000
    broken: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    hidden: list[tuple[str, int]] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.messages: dict[str, _Stored] = {}
        self._numbers = count()

    def send(self, body: str) -> str:
        id_ = f"m{next(self._numbers)}"
        self.messages[id_] = _Stored(id_, body, time.time(), time.monotonic())
        return id_

    async def receive(self, most: int, wait_seconds: int) -> list[Received]:
        self._called("receive")
        until = time.monotonic() + wait_seconds
        while not (taken := self._take(most)) and time.monotonic() < until:
            await asyncio.sleep(0.002)
        return taken

    def _take(self, most: int) -> list[Received]:
        now, taken = time.monotonic(), []
        for stored in [stored for stored in self.messages.values() if stored.visible_at <= now][:most]:
            if stored.receives == self.most_receives:
                self.dead.append(self.messages.pop(stored.id).body)
                continue
            stored.receives += 1
            stored.visible_at, stored.receipt = now + self.visibility, f"{stored.id}.{stored.receives}"
            attributes = {"ApproximateReceiveCount": str(stored.receives)}
            taken.append(Received(stored.id, stored.receipt, stored.body, attributes, stored.sent))
        return taken

    async def delete(self, receipts: Sequence[str]) -> list[str]:
        self._called("delete")
        assert len(receipts) <= BATCH
        for receipt in receipts:
            if stored := self._held(receipt):
                del self.messages[stored.id]
        return []

    async def hide(self, receipts: Mapping[str, int]) -> list[str]:
        self._called("hide")
        assert len(receipts) <= BATCH
        for receipt, seconds in receipts.items():
            self.hidden.append((receipt, seconds))
            if stored := self._held(receipt):
                stored.visible_at = time.monotonic() + seconds
        return []

    async def state(self) -> QueueState:
        self._called("state")
        waiting = sum(stored.visible_at <= time.monotonic() for stored in self.messages.values())
        return QueueState(round(self.visibility), waiting, len(self.messages) - waiting)

    def _held(self, receipt: str) -> _Stored | None:
        return next((stored for stored in self.messages.values() if stored.receipt == receipt), None)

    def _called(self, operation: str) -> None:
        self.calls[operation] += 1
        if operation in self.broken:
            raise QueueError(f"{operation} is broken")
