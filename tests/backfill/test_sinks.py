"""Batches of the queue that SQS refuses in part, and the lease of a destination."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from handler import backfill_lease
from handler.backfill import _Backfill
from handler.backfill_lease import KEY, OtherRun, hold_lease
from handler.backfill_sinks import DecodersStuck, Here
from handler.worker import sqs
from handler.worker.sqs import Queue, QueueError
from tests.support.listings import listed
from tests.support.pipelines import pipeline_with_stuck_decodes, read, run, settings
from thumbnailer.backfill.job import Job
from thumbnailer.backfill.verdicts import Finding, Verdict
from thumbnailer.execution import threads
from thumbnailer.store.base import PutHeaders
from thumbnailer.store.memory import MemoryStore

BUCKET = "photos-resized"


class PickyClient:
    """Refuses each entry whose body is in `refusals`, as often as that says."""

    def __init__(self, refusals: dict[str, int]) -> None:
        self.refusals = refusals
        self.sent: list[str] = []
        self.groups: set[str] = set()

    async def send_message_batch(self, QueueUrl: str, Entries: list[Mapping[str, str]]) -> Mapping[str, Any]:  # noqa: N803
        failed = []
        for entry in Entries:
            self.groups.add(entry["MessageGroupId"])
            if self.refusals.get(entry["MessageBody"], 0) > 0:
                self.refusals[entry["MessageBody"]] -= 1
                failed.append({"Id": entry["Id"], "Code": "InternalError", "Message": "try again"})
            else:
                self.sent.append(entry["MessageBody"])
        return {"Failed": failed} if failed else {}


def send(client: PickyClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqs, "SEND_PAUSES", (0.0, 0.0, 0.0))
    run(Queue(client, "http://queue").send_batch(["a", "b", "c"], "backfill-1"))


def test_entries_that_sqs_refuses_are_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    client = PickyClient({"b": 2})
    send(client, monkeypatch)
    assert client.sent == ["a", "c", "b"]
    assert client.groups == {"backfill-1"}


def test_an_entry_that_sqs_keeps_refusing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QueueError, match="InternalError: try again"):
        send(PickyClient({"b": 9}), monkeypatch)


# --- the lease ----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill_lease, "RENEW_SECONDS", 0.05)


@pytest.mark.matrix(61)
def test_a_second_run_at_once_ends_with_a_sentence() -> None:
    async def work() -> None:
        store, stop = MemoryStore(BUCKET), asyncio.Event()
        async with hold_lease(store, BUCKET, stop):
            with pytest.raises(OtherRun, match="wait for its end, then run this again"):
                async with hold_lease(store, BUCKET, asyncio.Event()):
                    pass
        assert not stop.is_set()
        assert await store.head(BUCKET, KEY) is None

    run(work())


def test_the_lease_of_a_killed_run_is_taken_over() -> None:
    async def work() -> None:
        store = MemoryStore(BUCKET)
        await store.put(BUCKET, KEY, b"a killed run", PutHeaders("application/json"))
        async with hold_lease(store, BUCKET, asyncio.Event()):
            assert b"killed" not in await read(store, KEY, BUCKET)

    run(work())


def test_a_run_whose_lease_is_taken_stops() -> None:
    async def work() -> None:
        store, stop = MemoryStore(BUCKET), asyncio.Event()
        async with hold_lease(store, BUCKET, stop):
            await store.put(BUCKET, KEY, b"another run", PutHeaders("application/json"))
            await stop.wait()
        assert b"another run" in await read(store, KEY, BUCKET)

    run(work())


# --- this process -------------------------------------------------------------------------------------------------


def test_a_run_ends_when_every_decoder_is_stuck(samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "STUCK_SECONDS", 0.0)

    async def work() -> None:
        pipe, engine = await pipeline_with_stuck_decodes(samples["chelsea.png"], workers=2, stuck=2)
        sink = Here(pipe, "photos", 60, lambda _: None)
        with pytest.raises(DecodersStuck, match="run this again"):
            await sink.send([Finding(Verdict.MISSING, listed("good-0"), "good-0")])
        engine.let_go.set()
        await pipe.aclose()

    run(work())


class Pages:
    """In place of a Run: work in pages of these sizes."""

    def __init__(self, *sizes: int) -> None:
        self._sizes = sizes

    async def work(self) -> AsyncGenerator[list[Finding], None]:
        for number, size in enumerate(self._sizes):
            yield [Finding(Verdict.MISSING, listed(f"{number}-{n}"), f"{number}-{n}") for n in range(size)]


@pytest.mark.parametrize(
    ("most", "sizes", "left"), [(100, [10, 8], 0), (18, [10, 8], 0), (12, [10, 2], 6), (10, [10], 8), (3, [3], 15)]
)
def test_batches_are_full_across_pages_and_end_at_most(most: int, sizes: list[int], left: int) -> None:
    async def work() -> None:
        one = _Backfill(Job("photos"), settings(), None, None)
        one._run = Pages(1, 0, 4, 12, 1)  # type: ignore[assignment]
        batches = [batch async for batch in one._batches(most)]
        assert [len(batch) for batch in batches] == sizes
        assert one._left == left

    run(work())
