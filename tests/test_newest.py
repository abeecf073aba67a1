"""Newest wins: whatever the order of events and requests, the thumbnails end as those of the newest source."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any, Final

import pytest
from PIL import Image

import thumbnailer.pipeline as pipeline_
from tests.support.cloud import DESTINATION, SOURCE, Cloud
from tests.support.faults import Fault, Request, fault_proxy
from tests.support.interleaving import Change, Forged, Found, explore, upload_headers
from tests.support.pipelines import HangingEngine, created, pipeline, run, settings
from thumbnailer.app import build, sized_tier
from thumbnailer.errors import ObjectMissing, StoreDenied
from thumbnailer.machine import Machine
from thumbnailer.model import EventKind, ObjectEvent, Outcome, Status
from thumbnailer.newest import MOST_ROUNDS, Rounds
from thumbnailer.pipeline import Pipeline
from thumbnailer.planning.targets import SOURCE_ETAG
from thumbnailer.rendering import Refused
from thumbnailer.settings import Settings
from thumbnailer.store.base import ObjectVersion, PutHeaders
from thumbnailer.store.memory import MemoryStore


def png(side: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (side, side), (side, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


OLD, NEW, NEWEST = png(8), png(9), png(10)
GONE: Final = None
TEXT: Final = b"only text, no picture"
FORGED: Final = Forged(png(11))
ONE = settings(FAILED_PREFIX="")
TWO = settings(FAILED_PREFIX="", RENDITIONS="a=4x4:png,b=5x5:png")


def explored(changes: Sequence[Change], chosen: Settings = ONE, **options: Any) -> Found:
    return asyncio.run(explore(chosen, changes, **options))


# --- every order of requests --------------------------------------------------------------------------------------


@pytest.mark.matrix(23)
@pytest.mark.matrix(24)
@pytest.mark.parametrize(
    ("changes", "lists", "orders"),
    [
        pytest.param([OLD, NEW], True, 100, id="overwritten"),
        pytest.param([OLD, NEW, NEWEST], True, 2_000_000, id="overwritten twice", marks=pytest.mark.slow),
        pytest.param([OLD, GONE], True, 100, id="removed, 404"),
        pytest.param([OLD, GONE], False, 100, id="removed, 403"),
        pytest.param([OLD, GONE, NEW], True, 2_000_000, id="removed and uploaded again, 404"),
        pytest.param([OLD, GONE, NEW], False, 2_000_000, id="removed and uploaded again, 403", marks=pytest.mark.slow),
        pytest.param([OLD, NEW, GONE], True, 2_000_000, id="overwritten and removed, 404"),
        pytest.param([OLD, NEW, GONE], False, 2_000_000, id="overwritten and removed, 403", marks=pytest.mark.slow),
        pytest.param([OLD, FORGED], True, 100, id="replaced by a forged one", marks=pytest.mark.matrix(53)),
        pytest.param([OLD, FORGED, NEW], True, 2_000_000, id="forged and overwritten", marks=pytest.mark.matrix(53)),
        pytest.param(
            [OLD, FORGED, GONE],
            False,
            2_000_000,
            id="forged and removed, 403",
            marks=[pytest.mark.matrix(53), pytest.mark.slow],
        ),
    ],
)
def test_every_order_ends_with_the_newest_source(changes: Sequence[Change], lists: bool, orders: int) -> None:
    """Without s3:ListBucket, S3 answers 403 for a missing key."""
    found = explored(changes, lists=lists)
    assert found.wrong == ()
    assert found.orders > orders


@pytest.mark.parametrize("changes", [[OLD, NEW], [OLD, GONE]], ids=["overwritten", "removed"])
def test_every_order_ends_with_two_renditions_of_the_newest_source(changes: Sequence[Change]) -> None:
    found = explored(changes, TWO)
    assert found.wrong == ()
    assert found.orders > 5_000


@pytest.mark.parametrize("changes", [[OLD, NEW], [OLD, GONE], [OLD, FORGED]], ids=["overwritten", "removed", "forged"])
def test_a_record_may_be_killed_before_any_of_its_requests(changes: Sequence[Change]) -> None:
    found = explored(changes, kills=1)
    assert found.wrong == ()
    assert found.orders > 2_000


@pytest.mark.parametrize("changes", [[OLD, NEW], [OLD, GONE], [OLD, GONE, NEW]])
def test_some_order_ends_wrong_without_the_look(changes: Sequence[Change], monkeypatch: pytest.MonkeyPatch) -> None:
    async def confirm_everything(*_: object) -> bool:
        return True

    monkeypatch.setattr(Pipeline, "_is_current", confirm_everything)
    assert explored(changes).wrong


def test_some_kill_leaves_an_orphan_if_a_created_record_deletes_only_its_own_thumbnails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrote(rounds: Rounds, _: Refused) -> bool:
        return rounds._wrote

    monkeypatch.setattr(Rounds, "_withdraws", wrote)
    assert explored([OLD, GONE]).wrong == ()
    assert explored([OLD, GONE], kills=1).wrong


# --- requests on demand -------------------------------------------------------------------------------------------

OFFERS = {"FAILED_PREFIX": "", "SOURCES": "photos", "OFFERS": "offer=6x6:png", "REQUEST_TIMEOUT": "900"}
ASKED = settings(**OFFERS)


@pytest.mark.parametrize(("asks", "lists"), [(1, True), (1, False), pytest.param(2, True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("change", [NEW, GONE, FORGED], ids=["overwritten", "removed", "forged"])
def test_every_order_leaves_what_a_request_now_would_make_or_nothing(change: Change, asks: int, lists: bool) -> None:
    found = explored([change], ASKED, there=OLD, asks=asks, lists=lists)
    assert found.wrong == ()
    assert found.orders > 100


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_order_of_two_changes_and_a_request_ends_right() -> None:
    found = explored([OLD, NEW], ASKED, asks=1)
    assert found.wrong == ()
    assert found.orders > 10_000


def test_a_record_may_be_killed_while_a_client_asks() -> None:
    assert explored([NEW], ASKED, there=OLD, asks=1, kills=1, killed="record").wrong == ()


def test_a_killed_request_may_leave_an_older_picture() -> None:
    """No queue delivers it again: the next change of the source deletes the picture."""
    assert explored([NEW], ASKED, there=OLD, asks=1, kills=1, killed="request").wrong


def test_some_order_keeps_an_older_picture_without_the_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async def confirm_everything(*_: object) -> bool:
        return True

    monkeypatch.setattr(Pipeline, "_is_current", confirm_everything)
    assert explored([NEW], ASKED, there=OLD, asks=1).wrong


def test_some_order_keeps_an_older_picture_if_records_delete_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_, "any_keys", lambda *_: ())
    assert explored([NEW], ASKED, there=OLD, asks=1).wrong


# --- write-once sources -------------------------------------------------------------------------------------------

ONCE = settings(FAILED_PREFIX="", WRITE_ONCE="on")


@pytest.mark.parametrize("change", [OLD, FORGED], ids=["a picture", "forged"])
def test_every_order_ends_right_if_a_key_is_written_once(change: Change) -> None:
    for chosen in (ONCE, settings(FAILED_PREFIX="", WRITE_ONCE="on", RENDITIONS="a=4x4:png,b=5x5:png")):
        assert explored([change], chosen, kills=1).wrong == ()


@pytest.mark.parametrize("changes", [[OLD, NEW], [OLD, GONE]], ids=["overwritten", "removed"])
def test_write_once_gives_up_changes_while_thumbnails_are_made(changes: Sequence[Change]) -> None:
    assert explored(changes, ONCE).wrong


@pytest.mark.parametrize("renditions", ["a=4x4:png", "a=4x4:png,b=5x5:png,c=6x6:png"])
def test_a_source_written_once_costs_one_get_and_its_puts(renditions: str) -> None:
    store = WatchedStore(NEW)
    assert ended(store, OLD, WRITE_ONCE="on", RENDITIONS=renditions) == "stored"
    assert store.requests == ["GET", *["PUT"] * len(renditions.split(","))]


def test_removals_and_refusals_look_at_a_source_written_once() -> None:
    """They are rare. A removal may be late: its key may hold a newer source."""
    removed, late, text = WatchedStore(), WatchedStore(NEW), WatchedStore()
    assert ended(removed, GONE, EventKind.REMOVED, WRITE_ONCE="on") == "deleted"
    assert removed.requests == ["GET", "DELETE", "HEAD"]
    assert ended(late, GONE, EventKind.REMOVED, WRITE_ONCE="on") == "stored"
    assert late.requests == ["GET", "DELETE", "HEAD", "GET", "PUT", "HEAD"]
    assert ended(text, TEXT, WRITE_ONCE="on", FAILED_PREFIX="") == "rejected:not-an-image"
    assert text.requests == ["GET", "DELETE", "HEAD"]


# --- single cases -------------------------------------------------------------------------------------------------


class WatchedStore(MemoryStore):
    """Lists the requests by verb. Just before each look at `x`, the next of `changes` happens to it."""

    def __init__(self, *changes: Change | type[Exception]) -> None:
        super().__init__("photos", "photos-resized")
        self.requests: list[str] = []
        self.denied = False
        self._changes = list(changes)

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> Any:
        self.requests.append("GET")
        if self.denied:
            raise StoreDenied("403")
        async with super().open(bucket, key) as body:
            yield body

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        self.requests.append("HEAD")
        if self._changes:
            await self._change(self._changes.pop(0))
        if self.denied:
            raise StoreDenied("403")
        return await super().head(bucket, key)

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        if bucket == "photos-resized":
            self.requests.append("PUT")
        await super().put(bucket, key, data, headers)

    async def delete(self, bucket: str, key: str) -> None:
        if bucket == "photos-resized":
            self.requests.append("DELETE")
        await super().delete(bucket, key)

    async def thumbnail_and_source(self) -> tuple[str | None, str | None]:
        """The ETag that the thumbnail was made from, and the ETag of the source."""
        source = await super().head("photos", "x")
        try:
            async with super().open("photos-resized", "x") as body:
                return body.headers.metadata[SOURCE_ETAG], source and source.etag
        except ObjectMissing:
            return None, source and source.etag

    async def _change(self, change: Change | type[Exception]) -> None:
        if isinstance(change, bytes):
            await super().put("photos", "x", change, upload_headers(change))
        elif change is GONE:
            await super().delete("photos", "x")
        else:
            self.denied = True


def processed(store: WatchedStore, source: Change, event: ObjectEvent | None = None, **env: str) -> Outcome:
    """The outcome of a record of `x`, whose content is `source`."""

    async def work() -> Outcome:
        if source is not None:
            await MemoryStore.put(store, "photos", "x", source, upload_headers(source))
        pipe = pipeline(store, HangingEngine(), sized_tier(settings(**env), Machine(512, None)), **env)
        outcome = await pipe.process(event or created("x"))
        await pipe.aclose()
        return outcome

    return run(work())


def ended(store: WatchedStore, source: Change, kind: EventKind = EventKind.CREATED, **env: str) -> str:
    outcome = processed(store, source, ObjectEvent(kind, "photos", "x", "v", size=len(source or b"") or None), **env)
    return ":".join(filter(None, (outcome.status, outcome.reason)))


def is_thumbnail_of_source(store: WatchedStore) -> bool:
    made, source = run(store.thumbnail_and_source())
    return made is not None and made == source


def has_thumbnail(store: WatchedStore) -> bool:
    return run(store.thumbnail_and_source())[0] is not None


@pytest.mark.matrix(24)
def test_a_source_that_changed_before_the_look_is_rendered_again() -> None:
    store = WatchedStore(NEW)
    assert ended(store, OLD) == "stored"
    assert store.requests == ["GET", "PUT", "HEAD"] * 2
    assert is_thumbnail_of_source(store)


def test_a_source_that_changes_in_every_round_is_retried() -> None:
    store = WatchedStore(*(png(side) for side in range(20, 40)))
    assert ended(store, OLD) == "failed:source-unavailable"
    assert store.requests == ["GET", "PUT", "HEAD"] * MOST_ROUNDS


@pytest.mark.matrix(24)
@pytest.mark.matrix(25)
@pytest.mark.parametrize(
    ("change", "end"), [(GONE, "skipped:gone"), (TEXT, "rejected:not-an-image")], ids=["removed", "no picture"]
)
def test_a_change_before_the_look_that_leaves_no_picture_deletes_the_thumbnail(change: Change, end: str) -> None:
    store = WatchedStore(change)
    assert ended(store, OLD, FAILED_PREFIX="") == end
    assert store.requests == ["GET", "PUT", "HEAD", "GET", "DELETE", "HEAD"]
    assert not has_thumbnail(store)


@pytest.mark.matrix(25)
def test_a_source_that_became_unreadable_loses_its_thumbnail_and_is_retried() -> None:
    """Without s3:ListBucket the source is gone, or a permission is missing: the retry renders it again."""
    store = WatchedStore(StoreDenied)
    assert ended(store, OLD) == "failed:source-unavailable"
    assert not has_thumbnail(store)
    assert store.requests == ["GET", "PUT", "HEAD", "GET", "DELETE", "HEAD"]
    store.denied = False
    assert ended(store, OLD) == "stored"
    assert is_thumbnail_of_source(store)


@pytest.mark.matrix(23)
def test_a_removal_renders_the_source_that_was_uploaded_meanwhile() -> None:
    store = WatchedStore(NEW)
    assert ended(store, GONE, EventKind.REMOVED) == "stored"
    assert store.requests == ["GET", "DELETE", "HEAD", "GET", "PUT", "HEAD"]
    assert is_thumbnail_of_source(store)


@pytest.mark.parametrize("denied", [False, True])
def test_a_removal_costs_one_get_its_deletes_and_one_head(denied: bool) -> None:
    store = WatchedStore()
    store.denied = denied
    assert ended(store, GONE, EventKind.REMOVED) == "deleted"
    assert store.requests == ["GET", "DELETE", "HEAD"]


def test_nothing_is_ever_deleted_where_thumbnails_are_kept() -> None:
    """The function may have no permission for it."""
    store = WatchedStore(GONE)
    assert ended(store, OLD, ON_DELETE="keep") == "skipped:gone"
    assert ended(store, GONE, EventKind.REMOVED, ON_DELETE="keep") == "skipped:filtered"
    assert "DELETE" not in store.requests
    assert has_thumbnail(store)


@pytest.mark.parametrize("source", [TEXT, OLD[:30], b"", bytes(5000)])
def test_a_rejected_source_deletes_the_thumbnail_of_an_older_version(source: bytes) -> None:
    store = WatchedStore()
    assert ended(store, OLD) == "stored"
    store.requests.clear()
    assert ended(store, source, FAILED_PREFIX="", MAX_BYTES="4999").startswith("rejected")
    assert store.requests == ["GET", "DELETE", "HEAD"]
    assert not has_thumbnail(store)


@pytest.mark.matrix(42)
@pytest.mark.matrix(53)
def test_a_source_that_forges_the_mark_of_a_thumbnail_loses_the_thumbnail_it_had() -> None:
    store = WatchedStore()
    assert ended(store, OLD) == "stored"
    store.requests.clear()
    assert ended(store, FORGED) == "skipped:own-output"
    assert store.requests == ["GET", "DELETE", "HEAD"]
    assert not has_thumbnail(store)


def test_an_empty_object_in_place_of_a_folder_s_picture_deletes_its_thumbnail() -> None:
    store = WatchedStore()
    event = ObjectEvent(EventKind.CREATED, "photos", "x/")

    async def work() -> list[str]:
        pipe = pipeline(store, HangingEngine(), sized_tier(settings(), Machine(512, None)))
        outcomes = []
        for content in (OLD, b""):
            await MemoryStore.put(store, "photos", "x/", content, PutHeaders("image/png"))
            outcomes.append(await pipe.process(replace(event, size=len(content))))
        await pipe.aclose()
        return [f"{outcome.status} {outcome.reason}" for outcome in outcomes]

    assert run(work()) == ["stored None", "skipped folder-marker"]
    assert run(store.head("photos-resized", "x/")) is None


@pytest.mark.parametrize("size", [0, 10**13])
def test_the_size_in_a_late_event_is_not_used(size: int) -> None:
    store = WatchedStore()
    event = ObjectEvent(EventKind.CREATED, "photos", "x", "an-older-one", size=size)
    assert processed(store, NEW, event).status is Status.STORED
    assert run(store.head("photos-resized", "_failed/x.json")) is None


def test_the_outcome_describes_the_last_round_only() -> None:
    outcome = processed(WatchedStore(NEW), OLD)
    assert outcome.info is not None
    assert (outcome.bytes_in, outcome.info.width, outcome.event) == (len(NEW), 9, created("x"))


def test_no_put_runs_on_after_its_record_has_ended() -> None:
    """One PUT of two is refused at once. The record waits for the slow one: no write may follow the look."""

    class UnevenStore(WatchedStore):
        async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
            if key.endswith("/a.png"):
                raise StoreDenied("403")
            await asyncio.sleep(0.05)
            await super().put(bucket, key, data, headers)

    store = UnevenStore()
    assert ended(store, OLD, RENDITIONS="a=4x4:png,b=5x5:png") == "failed:destination-denied"
    assert store.requests == ["GET", "PUT"]


# --- loops --------------------------------------------------------------------------------------------------------


class EchoingStore(MemoryStore):
    """Like a bucket notification: each change of an object is an event."""

    def __init__(self, *buckets: str) -> None:
        super().__init__(*buckets)
        self.events: list[ObjectEvent] = []

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        await super().put(bucket, key, data, headers)
        self.events.append(ObjectEvent(EventKind.CREATED, bucket, key))

    async def delete(self, bucket: str, key: str) -> None:
        if await self.head(bucket, key) is not None:
            self.events.append(ObjectEvent(EventKind.REMOVED, bucket, key))
        await super().delete(bucket, key)


@pytest.mark.matrix(42)
@pytest.mark.matrix(53)
@pytest.mark.parametrize(
    ("destinations", "written"),
    [
        (["{bucket}-resized"], ["photos-resized"]),
        (["photos"], []),  # every bucket feeds the function
        (["photos-resized", "photos"], ["photos-resized"]),  # two stacks in a circle
        (["photos-resized", "small", "photos"], ["photos-resized", "small"]),
    ],
)
@pytest.mark.parametrize("source", [OLD, FORGED], ids=["ordinary", "forged"])
def test_no_chain_of_stacks_loops(source: bytes, destinations: list[str], written: list[str]) -> None:
    """A stack that takes a thumbnail for its source writes nothing: at most, it deletes what it made before."""
    store = EchoingStore("photos", "photos-resized", "small")
    puts = []

    async def work() -> None:
        stacks = [pipeline(store, HangingEngine(), sized_tier(settings(), Machine(512, None)), DESTINATION=one)
                  for one in destinations]  # fmt: skip
        await store.put("photos", "x", source, upload_headers(source))
        delivered = 0
        while store.events:
            event = store.events.pop(0)
            puts.extend([event.bucket] * (event.kind is EventKind.CREATED))
            for stack in stacks:
                await stack.process(event)
            delivered += 1
            assert delivered < 20
        for stack in stacks:
            await stack.aclose()

    run(work())
    assert puts == ["photos", *([] if source is FORGED else written)]


# --- over HTTP ----------------------------------------------------------------------------------------------------

HISTORIES: Final[tuple[tuple[Change, ...], ...]] = (
    (OLD, NEW),
    (OLD, NEW, NEWEST),
    (OLD, GONE),
    (OLD, GONE, NEW),
    (OLD, NEW, GONE),
    (OLD, NEW, OLD),
)


@pytest.mark.matrix(23)
@pytest.mark.matrix(24)
@pytest.mark.parametrize(
    ("transport", "versioned"), [("obstore", False), ("obstore", True), ("aioboto3", False), ("aioboto3", True)]
)
def test_late_and_repeated_events_over_http_end_with_the_newest_source(
    aws: Cloud, transport: str, versioned: bool
) -> None:
    """Each key changes while the records of its earlier events run. Each event arrives twice."""
    if versioned:
        aws.s3.put_bucket_versioning(Bucket=SOURCE, VersioningConfiguration={"Status": "Enabled"})
    dice = random.Random(f"{transport} {versioned}")

    async def live(pipe: Pipeline, number: int) -> None:
        async with asyncio.TaskGroup() as events:
            for change in HISTORIES[number]:
                event = await asyncio.to_thread(_change, aws, f"{number}", change)
                for _ in range(2):
                    events.create_task(_delivered(pipe, event, dice.uniform(0, 0.03)))
                await asyncio.sleep(dice.uniform(0, 0.15))

    async def work() -> None:
        chosen = settings(TRANSPORT=transport, RENDITIONS="4x4")
        pipe = build(chosen, Machine(3008, None), aws.env | {"AWS_ENDPOINT_URL": proxy.url}).pipeline
        await asyncio.gather(*(live(pipe, number) for number in range(len(HISTORIES))))
        await pipe.aclose()

    def slowly(request: Request) -> Fault:
        """Delays the first write of each thumbnail, so that later writes overtake it."""
        return Fault("pass", delay=0.5 if request.method in ("PUT", "DELETE") and request.attempt == 0 else 0)

    with fault_proxy(aws.url, slowly) as proxy:
        run(work())
    for number in range(len(HISTORIES)):
        newest = HISTORIES[number][-1]
        assert (f"{number}" in aws.thumbnails()) == (newest is not None), number
        if newest is not None:
            source = aws.s3.head_object(Bucket=SOURCE, Key=f"{number}")
            made = aws.s3.head_object(Bucket=DESTINATION, Key=f"{number}")["Metadata"]
            assert made[SOURCE_ETAG] == source["ETag"].strip('"'), number
            assert made.get("source-version-id") == source.get("VersionId"), number


def _change(aws: Cloud, key: str, change: Change) -> ObjectEvent:
    if change is None:
        aws.s3.delete_object(Bucket=SOURCE, Key=key)
        return ObjectEvent(EventKind.REMOVED, SOURCE, key)
    answer = aws.s3.put_object(Bucket=SOURCE, Key=key, Body=change)
    return ObjectEvent(EventKind.CREATED, SOURCE, key, answer.get("VersionId"), answer["ETag"].strip('"'), len(change))


async def _delivered(pipe: Pipeline, event: ObjectEvent, delay: float) -> None:
    """Like a queue: delivers a failed record again."""
    await asyncio.sleep(delay)
    for _ in range(5):
        outcome = await pipe.process(event)
        if not outcome.status.comes_back:
            break
    assert outcome.status in (Status.STORED, Status.DELETED, Status.SKIPPED), outcome
