"""Pictures that the destination holds: thumbnails, and offers that were made on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.http.service import Bench
from tests.support.pictures import opened
from tests.support.pipelines import created, until
from thumbnailer import errors
from thumbnailer.model import EventKind, ObjectEvent
from thumbnailer.store.base import PutHeaders

KEY = "rocket.jpg"
OFFER = "_any/rocket.jpg/300x200-cover-q70.webp"
OFFERS: dict[str, Any] = {"OPEN": "off", "OFFERS": "card=300x200:cover:webp:q70,wide=400x", "RENDITIONS": "64x64"}
MISS = ["GET*", "GET", "PUT*", "HEAD"]


async def ask(bench: Bench, query: str, *expected: str, **headers: str) -> Any:
    bench.store.requests.clear()
    answer = await bench.get(f"/{KEY}", query, **headers)
    assert bench.store.requests == list(expected)
    return answer


def test_each_kind_of_answer_has_its_requests(serving: Callable[..., None]) -> None:
    """`*` stands for the destination. docs/on-demand.md has this table."""

    async def test(bench: Bench) -> None:
        made = await ask(bench, "name=card", *MISS)
        kept = await ask(bench, "name=card", "GET*")
        assert (made.status, made.headers, made.body) == (kept.status, kept.headers, kept.body)
        assert (opened(kept.body).format, opened(kept.body).size) == ("WEBP", (300, 200))
        by_size = await ask(bench, "w=300&h=200&fit=cover", "GET*")
        assert by_size.body == kept.body
        known = await ask(bench, "name=card", "HEAD", if_none_match=kept.headers["ETag"])
        assert known.status == 304
        missing = await ask(bench, "name=64x64", "GET*", "GET")
        await bench.app.pipeline.process(created(KEY))
        stored = await ask(bench, "name=64x64", "GET*")
        assert (missing.status, missing.headers, missing.body) == (stored.status, stored.headers, stored.body)
        assert "Vary" not in stored.headers
        bench.store.requests.clear()
        assert (await bench.get("/none.jpg", "name=card")).status == 404
        assert bench.store.requests == ["GET*", "GET"]

    serving(test, **OFFERS)


def test_other_sizes_are_not_kept(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        for _ in range(2):
            await ask(bench, "w=301&h=200&fit=cover&fm=webp", "GET")
        assert bench.store.kept() == {}

    serving(test, **OFFERS | {"OPEN": "on"})


def test_an_offer_without_a_format_is_kept_in_each_negotiated_one(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        for accept, kind in (("image/webp", "image/webp"), ("*/*", "image/jpeg")):
            for expected in (MISS, ["GET*"]):
                answer = await ask(bench, "name=wide", *expected, accept=accept)
                assert (answer.headers["Content-Type"], answer.headers["Vary"]) == (kind, "Accept")
        assert (await ask(bench, "name=wide", "GET*")).headers["Content-Type"] == "image/jpeg"
        assert bench.store.kept() == {
            "_any/rocket.jpg/400x.webp": "image/webp",
            "_any/rocket.jpg/400x.auto": "image/jpeg",
        }

    serving(test, **OFFERS)


def test_a_kept_picture_carries_the_caching_of_answers(serving: Callable[..., None]) -> None:
    """An edge may answer it from S3."""

    async def test(bench: Bench) -> None:
        answer = await bench.get(f"/{KEY}", "name=card")
        assert bench.store.puts["photos-resized", OFFER].cache_control == answer.headers["Cache-Control"]

    serving(test, **OFFERS)


def test_an_edge_may_ask_by_the_kept_key(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        by_name = await bench.get(f"/{KEY}", "name=card")
        assert (await bench.get(f"/{OFFER}")).body == by_name.body
        assert (await bench.get("/_any/rocket.jpg/400x.webp")).headers["Content-Type"] == "image/webp"
        assert (await bench.get("/_any/rocket.jpg/400x.auto")).headers["Content-Type"] == "image/jpeg"
        for name in ("400x.avif", "401x.webp", "300x200.webp", "x", ""):  # no format that is negotiated, or no offer
            assert (await bench.get(f"/_any/rocket.jpg/{name}")).status == 400
        assert (await bench.get("/_any/400x.webp")).status == 400

    serving(test, **OFFERS)


@pytest.mark.parametrize("kind", [EventKind.CREATED, EventKind.REMOVED])
def test_an_event_of_the_source_deletes_what_is_kept(serving: Callable[..., None], kind: EventKind) -> None:
    async def test(bench: Bench) -> None:
        for query in ("name=card", "name=wide"):
            await bench.get(f"/{KEY}", query, accept="image/webp")
        assert len(bench.store.kept()) == 2
        if kind is EventKind.REMOVED:
            await bench.store.delete("photos", KEY)
        await bench.app.pipeline.process(ObjectEvent(kind, "photos", KEY))
        assert list(bench.store.kept()) == ([KEY] if kind is EventKind.CREATED else [])

    serving(test, **OFFERS)


@pytest.mark.parametrize("env", [{"ON_DELETE": "keep"}, {"ANY_PREFIX": ""}], ids=str)
def test_nothing_is_kept_that_no_event_would_delete(serving: Callable[..., None], env: dict[str, str]) -> None:
    async def test(bench: Bench) -> None:
        for _ in range(2):
            assert (await ask(bench, "name=card", "GET")).status == 200
        await bench.app.pipeline.process(created(KEY))
        assert "DELETE*" not in bench.store.requests

    serving(test, **OFFERS | env)


def test_records_without_offers_send_no_more_requests(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        bench.store.requests.clear()
        await bench.app.pipeline.process(created(KEY))
        assert bench.store.requests == ["GET", "PUT*", "HEAD"]

    serving(test)


def test_a_picture_that_cannot_be_kept_is_answered(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        bench.store.errors["PUT*"] = errors.StoreDenied("denied")
        answer = await ask(bench, "name=card", *MISS)
        assert (answer.status, opened(answer.body).size, answer.kept) == (200, (300, 200), None)

    serving(test, **OFFERS)


def test_a_picture_without_a_look_is_not_kept(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        bench.store.errors["HEAD"] = errors.StoreUnavailable("reset")
        answer = await ask(bench, "name=card", *MISS, "DELETE*")
        assert (answer.status, bench.store.kept()) == (502, {})

    serving(test, **OFFERS)


def test_a_picture_is_not_kept_if_the_time_ends_before_the_look(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        bench.store.before["HEAD"] = asyncio.sleep(30)
        answer = await ask(bench, "name=card", *MISS, "DELETE*")
        assert (answer.status, bench.store.kept()) == (504, {})

    serving(test, **OFFERS, REQUEST_TIMEOUT="1")


def test_a_source_that_changes_before_its_answer_is_made_again(
    serving: Callable[..., None], samples: dict[str, bytes]
) -> None:
    async def test(bench: Bench) -> None:
        bench.store.before["PUT*"] = bench.store.upload(KEY, samples["chelsea.png"])
        changed = await ask(bench, "name=wide", *MISS, "GET", "PUT*", "HEAD")
        assert changed.headers["Content-Type"] == "image/png"
        assert (await ask(bench, "name=wide", "GET*")).body == changed.body
        bench.store.before["PUT*"] = bench.store.delete("photos", KEY)
        gone = await ask(bench, "name=card", *MISS, "GET", "DELETE*", "HEAD")
        assert (gone.status, OFFER in bench.store.kept()) == (404, False)

    serving(test, **OFFERS)


def test_a_kept_picture_of_an_older_source_is_not_answered_to_who_knows_it(
    serving: Callable[..., None], samples: dict[str, bytes]
) -> None:
    """The event of the change has not come yet. If-None-Match costs a HEAD, which tells the newer version."""

    async def test(bench: Bench) -> None:
        old = await bench.get(f"/{KEY}", "name=wide")
        await bench.store.upload(KEY, samples["chelsea.png"])
        again = await ask(bench, "name=wide", "HEAD", *MISS, if_none_match=old.headers["ETag"])
        assert (again.status, again.headers["Content-Type"]) == (200, "image/png")

    serving(test, **OFFERS)


def test_a_url_with_a_version_gets_the_source_as_it_is(serving: Callable[..., None], samples: dict[str, bytes]) -> None:
    """Its answer is cached for a year."""

    async def test(bench: Bench) -> None:
        await ask(bench, "name=wide&v=1", "HEAD", *MISS)
        assert "immutable" not in str(bench.store.puts["photos-resized", "_any/rocket.jpg/400x.auto"].cache_control)
        await ask(bench, "name=wide&v=1", "HEAD", "GET*")
        await bench.store.upload(KEY, samples["chelsea.png"])
        newer = await ask(bench, "name=wide&v=2", "HEAD", *MISS)
        assert newer.headers["Content-Type"] == "image/png"
        assert "immutable" in newer.headers["Cache-Control"]

    serving(test, **OFFERS)


def test_kept_pictures_are_answered_while_others_wait(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        await bench.get(f"/{KEY}", "name=card")
        bench.store.requests.clear()
        bench.store.gate.clear()
        asking = [asyncio.create_task(bench.get(f"/{KEY}", f"w={side}")) for side in (10, 11)]
        await until(lambda: len(bench.store.requests) == 2)
        assert (await bench.get(f"/{KEY}", "w=12")).status == 503
        assert (await bench.get(f"/{KEY}", "name=card")).status == 200
        bench.store.gate.set()
        assert {answer.status for answer in await asyncio.gather(*asking)} == {200}

    serving(test, **OFFERS | {"OPEN": "on", "IN_FLIGHT": "1"})


@pytest.mark.parametrize(
    "headers", [PutHeaders("image/webp"), PutHeaders("application/json", metadata={"source-etag": "x"})], ids=str
)
def test_an_object_that_is_no_thumbnail_is_not_answered(serving: Callable[..., None], headers: PutHeaders) -> None:
    async def test(bench: Bench) -> None:
        await bench.store.put("photos-resized", OFFER, b"other", headers)
        assert (await ask(bench, "name=card", *MISS)).headers["Content-Type"] == "image/webp"

    serving(test, **OFFERS)


def test_thumbnails_that_share_a_key_are_not_answered(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        await ask(bench, "name=64x64", "GET")

    serving(test, **OFFERS, KEY="{stem}")


def test_one_of_several_thumbnails_is_found_by_the_end_of_its_key(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        await bench.app.pipeline.process(created(KEY))
        for name in ("a", "b"):
            await ask(bench, f"name={name}", "GET*")

    serving(test, **OFFERS | {"RENDITIONS": "a=64x64,b=32x32:png"})


def test_a_hundred_clients_share_a_picture_and_one_may_leave(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        bench.store.gate.clear()
        bench.store.requests.clear()
        asking = [asyncio.create_task(bench.get(f"/{KEY}", "name=card")) for _ in range(100)]
        await until(lambda: bench.store.requests)
        asking[0].cancel()
        bench.store.gate.set()
        answers = await asyncio.gather(*asking[1:])
        assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}
        assert bench.store.requests == MISS

    serving(test, **OFFERS)


def test_sources_under_the_prefix_of_kept_pictures_are_left_alone(serving: Callable[..., None]) -> None:
    """Their thumbnails could stand for a kept picture."""

    async def test(bench: Bench) -> None:
        await bench.store.upload(OFFER, b"picture")
        outcome = await bench.app.pipeline.process(created(OFFER))
        assert (outcome.status, outcome.reason) == ("skipped", "filtered")

    serving(test, **OFFERS)
