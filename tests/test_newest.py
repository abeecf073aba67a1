"""Newest wins: whatever the order of events and of the requests of their records, what stays is of what is there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, Final

import pytest
from PIL import Image

from tests.support.cloud import DESTINATION, SOURCE, Cloud
from tests.support.faults import Fault, Request, fault_proxy
from tests.support.interleaving import Change, Found, Stepped, explore
from tests.test_pipeline import CountingEngine, pipeline, run, settings
from thumbnailer.app import build, sized_tier
from thumbnailer.errors import ObjectMissing, RecordError, StoreDenied
from thumbnailer.model import EventKind, ObjectEvent, Status
from thumbnailer.pipeline import MOST_ROUNDS, Pipeline, Seen
from thumbnailer.planning.targets import SOURCE_ETAG
from thumbnailer.planning.tier import tier_for
from thumbnailer.settings import Machine, Settings, parse_settings
from thumbnailer.store.base import ObjectVersion, PutHeaders
from thumbnailer.store.memory import MemoryStore


def png(side: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (side, side), (side, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


OLD, NEW, NEWEST = png(8), png(9), png(10)
GONE: Final = None
ONE = settings(FAILED_PREFIX="")
TWO = settings(FAILED_PREFIX="", RENDITIONS="a=4x4:png,b=5x5:png")


def explored(changes: Sequence[Change], chosen: Settings = ONE, **more: Any) -> Found:
    return asyncio.run(explore(chosen, changes, **more))


# --- every order --------------------------------------------------------------------------------------------------


@pytest.mark.matrix(23)
@pytest.mark.matrix(24)
@pytest.mark.parametrize("lists", [True, False], ids=["404", "403"])
@pytest.mark.parametrize(
    ("changes", "orders"),
    [
        ([OLD, NEW], 100),
        ([OLD, GONE], 100),
        ([OLD, NEW, NEWEST], 2_000_000),
        ([OLD, GONE, NEW], 2_000_000),
        ([OLD, NEW, GONE], 2_000_000),
    ],
    ids=["overwritten", "removed", "overwritten twice", "removed and there again", "overwritten and removed"],
)
def test_in_every_order_what_stays_is_of_what_is_there(changes: Sequence[Change], orders: int, lists: bool) -> None:
    """With s3:ListBucket and without, where S3 answers 403 for what is not there."""
    found = explored(changes, lists=lists)
    assert found.wrong == ()
    assert found.orders > orders


@pytest.mark.parametrize("changes", [[OLD, NEW], [OLD, GONE]], ids=["overwritten", "removed"])
def test_in_every_order_of_two_renditions_both_are_of_what_is_there(changes: Sequence[Change]) -> None:
    found = explored(changes, TWO)
    assert found.wrong == ()
    assert found.orders > 5_000


@pytest.mark.parametrize("changes", [[OLD, NEW], [OLD, GONE]], ids=["overwritten", "removed"])
def test_in_every_order_a_record_may_be_killed_before_any_of_its_requests(changes: Sequence[Change]) -> None:
    found = explored(changes, kills=1)
    assert found.wrong == ()
    assert found.orders > 2_000


class Blind(Stepped):
    """Takes for granted that nothing has changed."""

    async def _is_still(self, *_: Any) -> bool:
        return True


class Careless(Stepped):
    """Leaves alone what it has not written itself."""

    def _withdraws(self, error: RecordError, wrote: bool, seen: Seen) -> bool:
        return wrote


@pytest.mark.parametrize("changes", [[OLD, NEW], [OLD, GONE], [OLD, GONE, NEW]])
def test_without_the_look_some_order_ends_wrong(changes: Sequence[Change]) -> None:
    assert explored(changes, kind=Blind).wrong


def test_where_a_created_record_that_finds_nothing_deletes_nothing_some_kill_leaves_an_orphan() -> None:
    assert explored([OLD, GONE], kind=Careless).wrong == ()
    assert explored([OLD, GONE], kind=Careless, kills=1).wrong


# --- single cases -------------------------------------------------------------------------------------------------


class Watched(MemoryStore):
    """Counts requests by verb; `meddle` happens to the source just before its n-th look."""

    def __init__(self, *meddle: Change | type[Exception]) -> None:
        super().__init__("photos", "photos-resized")
        self.requests: list[str] = []
        self.denied = False
        self._meddle = list(meddle)

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> Any:
        self.requests.append("GET")
        if self.denied:
            raise StoreDenied("403")
        async with super().open(bucket, key) as body:
            yield body

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        self.requests.append("HEAD")
        if self._meddle:
            change = self._meddle.pop(0)
            if isinstance(change, bytes):
                await super().put("photos", "x", change, PutHeaders("image/png"))
            elif change is GONE:
                await super().delete("photos", "x")
            else:
                self.denied = True
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

    async def made_from(self) -> str | None:
        try:
            async with super().open("photos-resized", "x") as body:
                return body.headers.metadata[SOURCE_ETAG]
        except ObjectMissing:
            return None

    async def source(self) -> str | None:
        found = await super().head("photos", "x")
        return found and found.etag


def ended(store: Watched, source: Change, kind: EventKind = EventKind.CREATED, **env: str) -> str:
    """How a record of "x" ends."""

    async def work() -> str:
        if source is not None:
            await MemoryStore.put(store, "photos", "x", source, PutHeaders("image/png"))
        pipe = Stepped(settings(**env), sized_tier(settings(**env), Machine(512, None)), store, *_unused_engines())
        size = None if source is None else len(source)
        outcome = await pipe.process(ObjectEvent(kind, "photos", "x", "some-version", size=size))
        await pipe.aclose()
        return ":".join(filter(None, (outcome.status, outcome.reason)))

    return run(work())


def _unused_engines() -> tuple[Any, Any]:
    pipe = pipeline(MemoryStore(), CountingEngine(), tier_for(512))
    return pipe._installed, pipe._load_engine


def thumbnail_and_source(store: Watched) -> tuple[str | None, str | None]:
    async def both() -> tuple[str | None, str | None]:
        return await store.made_from(), await store.source()

    return run(both())


@pytest.mark.matrix(24)
def test_a_source_that_changed_before_the_look_is_done_again() -> None:
    store = Watched(NEW)
    assert ended(store, OLD) == "stored"
    assert store.requests == ["GET", "PUT", "HEAD"] * 2
    made, source = thumbnail_and_source(store)
    assert made == source


def test_a_source_that_changes_again_and_again_comes_back() -> None:
    store = Watched(*(png(side) for side in range(20, 40)))
    assert ended(store, OLD) == "failed:source-unavailable"
    assert store.requests == ["GET", "PUT", "HEAD"] * MOST_ROUNDS


@pytest.mark.matrix(24)
@pytest.mark.matrix(25)
def test_a_source_that_is_gone_at_the_look_takes_its_thumbnail_with_it() -> None:
    store = Watched(GONE)
    assert ended(store, OLD) == "skipped:gone"
    assert store.requests == ["GET", "PUT", "HEAD", "GET", "DELETE", "HEAD"]
    assert thumbnail_and_source(store) == (None, None)


@pytest.mark.matrix(25)
def test_what_can_be_read_no_more_at_the_look_loses_its_thumbnail_and_comes_back() -> None:
    """Without s3:ListBucket that is a source that is gone; if it was a permission, the retry makes it again."""
    store = Watched(StoreDenied)
    assert ended(store, OLD) == "failed:source-unavailable"
    assert thumbnail_and_source(store)[0] is None
    assert store.requests == ["GET", "PUT", "HEAD", "GET", "DELETE", "HEAD"]
    store.denied = False
    assert ended(store, OLD) == "stored"
    made, source = thumbnail_and_source(store)
    assert made == source


def test_a_newer_source_that_is_no_picture_takes_the_older_ones_thumbnail_away() -> None:
    store = Watched(b"only text, no picture")
    assert ended(store, OLD, FAILED_PREFIX="") == "rejected:not-an-image"
    assert store.requests == ["GET", "PUT", "HEAD", "GET", "DELETE", "HEAD"]
    assert thumbnail_and_source(store)[0] is None


@pytest.mark.matrix(23)
def test_a_removal_looks_after_its_deletes_and_makes_the_thumbnails_of_what_is_there_again() -> None:
    store = Watched(NEW)
    assert ended(store, GONE, EventKind.REMOVED) == "stored"
    assert store.requests == ["GET", "DELETE", "HEAD", "GET", "PUT", "HEAD"]
    made, source = thumbnail_and_source(store)
    assert made == source != None  # noqa: E711


@pytest.mark.parametrize("denied", [False, True])
def test_a_removal_of_what_is_gone_costs_one_get_its_deletes_and_one_look(denied: bool) -> None:
    store = Watched()
    store.denied = denied
    assert ended(store, GONE, EventKind.REMOVED) == "deleted"
    assert store.requests == ["GET", "DELETE", "HEAD"]


def test_where_thumbnails_are_kept_nothing_is_ever_deleted() -> None:
    """The function may have no permission for it."""
    store = Watched(GONE)
    assert ended(store, OLD, ON_DELETE="keep") == "skipped:gone"
    assert ended(store, GONE, EventKind.REMOVED, ON_DELETE="keep") == "skipped:filtered"
    assert "DELETE" not in store.requests
    assert thumbnail_and_source(store)[0] is not None


@pytest.mark.parametrize("source", [b"only text, no picture", OLD[:30], b"", bytes(5000)])
def test_what_can_have_no_thumbnail_takes_an_older_versions_away(source: bytes) -> None:
    store = Watched()
    assert ended(store, OLD) == "stored"
    store.requests.clear()
    assert ended(store, source, FAILED_PREFIX="", MAX_BYTES="4999").startswith("rejected")
    assert store.requests == ["GET", "DELETE", "HEAD"]
    assert thumbnail_and_source(store)[0] is None


@pytest.mark.parametrize("size", [0, 10**13])
def test_a_late_event_of_an_older_version_says_nothing_of_the_newer_one(size: int) -> None:
    async def work() -> None:
        store = Watched()
        await MemoryStore.put(store, "photos", "x", NEW, PutHeaders("image/png"))
        pipe = Stepped(settings(), tier_for(512), store, *_unused_engines())
        outcome = await pipe.process(ObjectEvent(EventKind.CREATED, "photos", "x", "an-older-one", size=size))
        await pipe.aclose()
        assert outcome.status == "stored"
        assert await store.head("photos-resized", "_failed/x.json") is None

    run(work())


def test_the_outcome_tells_of_the_last_round_alone() -> None:
    """Bytes, size and defects are those of the version whose thumbnail is there."""

    async def work() -> None:
        store = Watched(NEW)
        await MemoryStore.put(store, "photos", "x", OLD, PutHeaders("image/png"))
        pipe = Stepped(settings(), tier_for(512), store, *_unused_engines())
        event = ObjectEvent(EventKind.CREATED, "photos", "x")
        outcome = await pipe.process(event)
        await pipe.aclose()
        assert outcome.info is not None
        assert (outcome.bytes_in, outcome.info.width, outcome.event) == (len(NEW), 9, event)

    run(work())


def test_no_put_is_under_way_any_more_when_a_record_has_ended() -> None:
    """One of two is refused at once, the other takes its time: the record waits for it: none comes after a look."""

    class Uneven(Watched):
        async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
            if key.endswith("/a.png"):
                raise StoreDenied("403")
            await asyncio.sleep(0.05)
            await super().put(bucket, key, data, headers)

    store = Uneven()
    assert ended(store, OLD, RENDITIONS="a=4x4:png,b=5x5:png") == "failed:destination-denied"
    assert store.requests == ["GET", "PUT"]


# --- over HTTP ----------------------------------------------------------------------------------------------------

KEYS: Final = 24
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
def test_over_http_events_late_twice_and_in_any_order_end_as_the_newest(
    aws: Cloud, transport: str, versioned: bool
) -> None:
    """Each key is overwritten or removed while the records of its earlier events run; each event comes twice."""
    if versioned:
        aws.s3.put_bucket_versioning(Bucket=SOURCE, VersioningConfiguration={"Status": "Enabled"})
    dice = random.Random(f"{transport} {versioned}")

    async def live(pipe: Pipeline, number: int) -> None:
        events = asyncio.TaskGroup()
        async with events:
            for change in HISTORIES[number % len(HISTORIES)]:
                event = await asyncio.to_thread(_change, aws, f"{number}", change)
                for _ in range(2):
                    events.create_task(_delivered(pipe, event, dice.uniform(0, 0.03)))
                await asyncio.sleep(dice.uniform(0, 0.3))

    async def work() -> None:
        chosen = parse_settings({"THUMBNAILER_TRANSPORT": transport, "THUMBNAILER_RENDITIONS": "4x4"})
        pipe = build(chosen, Machine(3008, None), aws.env | {"AWS_ENDPOINT_URL": proxy.url}).pipeline
        await asyncio.gather(*(live(pipe, number) for number in range(KEYS)))
        await pipe.aclose()

    def slowly(request: Request) -> Fault:
        """The first write of each thumbnail takes so long that later ones overtake it."""
        return Fault("pass", delay=1 if request.method in ("PUT", "DELETE") and request.attempt == 0 else 0)

    with fault_proxy(aws.url, slowly) as proxy:
        run(work())
    for number in range(KEYS):
        newest = HISTORIES[number % len(HISTORIES)][-1]
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
    """As a queue does: again until it does not come back."""
    await asyncio.sleep(delay)
    for _ in range(5):
        outcome = await pipe.process(event)
        if not outcome.status.comes_back:
            break
    assert outcome.status in (Status.STORED, Status.DELETED, Status.SKIPPED), outcome
