"""One request through the service: status, headers, requests to the store, and shared work."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from handler.http.messages import _STATUSES, GREY_DOT
from handler.http.service import WAITING
from tests.http.service import Bench
from tests.support.pictures import opened
from tests.support.pipelines import until
from thumbnailer import errors
from thumbnailer.store.base import PutHeaders
from thumbnailer.wishes import query

OF_THE_MACHINE = (str(Path(__file__).parents[2]), str(Path.home()), sys.prefix, "site-packages")
BROKEN = b"\x89PNG\r\n\x1a\n" + bytes(60)


def test_a_picture_in_the_size_of_the_url(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        answer = await bench.get("/rocket.jpg", "w=200&h=100&fit=cover&fm=webp&q=80")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/webp")
        assert opened(answer.body).size == (200, 100)
        assert answer.headers["Content-Length"] == str(len(answer.body))
        assert answer.headers["Cache-Control"] == "public, max-age=86400, stale-while-revalidate=604800"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Vary" not in answer.headers
        assert bench.store.requests == ["GET"]

    serving(test)


def test_the_client_chooses_the_format_if_the_url_names_none(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        webp = await bench.get("/rocket.jpg", "w=64", accept="image/avif,image/webp,*/*")
        own = await bench.get("/rocket.jpg", "w=64", accept="*/*")
        assert (webp.headers["Content-Type"], own.headers["Content-Type"]) == ("image/webp", "image/jpeg")
        assert webp.headers["Vary"] == own.headers["Vary"] == "Accept"
        assert webp.headers["ETag"] != own.headers["ETag"]

    serving(test)


def test_a_known_picture_costs_one_head_and_no_decode(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        tag = (await bench.get("/rocket.jpg", "w=64")).headers["ETag"]
        bench.store.requests.clear()
        again = await bench.get("/rocket.jpg", "w=64", if_none_match=tag)
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
        assert bench.store.requests == ["HEAD"]
        await bench.store.put("photos", "rocket.jpg", BROKEN, PutHeaders("image/png"))
        changed = await bench.get("/rocket.jpg", "w=64", if_none_match=tag)
        assert changed.status == 422
        assert bench.store.requests == ["HEAD", "HEAD", "GET"]

    serving(test)


def test_a_head_request_has_the_headers_alone(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        get, head = [await bench.get("/rocket.jpg", "w=64", method) for method in ("GET", "HEAD")]
        assert head.body == b""
        assert head.headers == get.headers

    serving(test)


def test_other_methods_are_answered(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        options = await bench.get("/rocket.jpg", method="OPTIONS")
        assert (options.status, options.headers["Access-Control-Allow-Origin"]) == (204, "https://www.example.com")
        assert (await bench.get("/rocket.jpg", method="POST")).status == 405
        assert bench.store.requests == []

    serving(test, CORS="https://www.example.com")


def test_a_version_in_the_url_is_cached_for_ever(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        assert "immutable" in (await bench.get("/rocket.jpg", "w=64&v=1")).headers["Cache-Control"]
        assert bench.store.requests == ["GET"]

    serving(test)


@pytest.mark.parametrize(
    ("key", "query", "status", "reason"),
    [
        ("none.jpg", "w=64", 404, "not-found"),
        ("text.jpg", "w=64", 415, "not-an-image"),
        ("broken.png", "w=64", 422, "corrupt"),
        ("rocket.jpg", "w=0", 400, "bad-request"),
        ("rocket.jpg", "signature=00&w=64", 403, "not-allowed"),
    ],
)
def test_a_refusal_is_a_problem_in_json(
    serving: Callable[..., None], key: str, query: str, status: int, reason: str
) -> None:
    async def test(bench: Bench) -> None:
        answer = await bench.get(f"/{key}", query)
        assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert json.loads(answer.body)["reason"] == reason
        assert "/tmp" not in answer.body.decode()
        dot = await bench.get(f"/{key}", query, sec_fetch_dest="image")
        assert (dot.status, dot.headers["Content-Type"], dot.body) == (status, "image/png", GREY_DOT)

    serving(test, {"text.jpg": b"text", "broken.png": BROKEN})


def test_every_reason_has_a_status() -> None:
    """Reasons of the destination and of events cannot occur."""
    rejected = {kind.reason for kind in (*subclasses(errors.Rejected), *subclasses(errors.Skipped))}
    assert rejected - _STATUSES.keys() == set()


def subclasses(kind: type[errors.RecordError]) -> set[type[errors.RecordError]]:
    return {one for child in kind.__subclasses__() for one in {child, *subclasses(child)}}


def test_the_grey_dot_is_a_picture() -> None:
    assert opened(GREY_DOT).size == (1, 1)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.StoreDenied("denied"), 404),
        (errors.ObjectArchived("archived"), 409),
        (errors.StoreUnavailable("reset"), 502),
        (errors.StoreThrottled("slow down"), 503),
        (RuntimeError("a bug"), 503),
    ],
)
def test_an_error_of_the_source_has_its_status(serving: Callable[..., None], error: Exception, status: int) -> None:
    async def test(bench: Bench) -> None:
        bench.store.errors |= {"GET": error, "GET*": error}
        answer = await bench.get("/rocket.jpg", "w=64", if_none_match='"x"')
        assert answer.status == status
        assert ("Retry-After" in answer.headers) == (status >= 500)
        assert str(error) not in answer.body.decode() or status < 500
        assert [outcome.event.key for outcome in bench.refused] == ["rocket.jpg"]

    serving(test)


def test_a_missing_and_a_denied_key_look_the_same(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        missing = await bench.get("/none.jpg", "w=64")
        bench.store.errors["GET"] = errors.StoreDenied("denied")
        denied = await bench.get("/none.jpg", "w=64")
        assert (missing.status, missing.headers, missing.body) == (denied.status, denied.headers, denied.body)

    serving(test)


def test_only_renditions_are_for_everybody(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        assert (await bench.get("/rocket.jpg", "w=128&h=128")).status == 200
        assert (await bench.get("/rocket.jpg", "w=129&h=128")).status == 403
        assert (await bench.get("/rocket.jpg", "name=128x128")).status == 200

    serving(test, OPEN="off")


def test_a_destination_is_no_source(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        await bench.store.put("photos-resized", "a.jpg", b"x", PutHeaders("image/jpeg"))
        bench.store.requests.clear()
        assert (await bench.get("/photos-resized/a.jpg", "w=64")).status == 404
        assert bench.store.requests == []

    serving(test, SOURCES="photos,photos-*")


def test_a_hundred_clients_share_one_decode(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        shared: list[None] = []
        bench.service.shared = lambda: shared.append(None)
        bench.store.gate.clear()
        asking = [asyncio.create_task(bench.get("/rocket.jpg", "w=64")) for _ in range(100)]
        await until(lambda: bench.store.requests)
        asking[0].cancel()
        bench.store.gate.set()
        answers = await asyncio.gather(*asking[1:])
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        assert (bench.store.requests, len(shared)) == (["GET"], 99)

    serving(test)


def test_a_picture_is_made_for_a_client_who_left_and_its_error_is_seen(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        bench.store.gate.clear()
        asking = asyncio.create_task(bench.get("/none.jpg", "w=64"))
        await until(lambda: bench.store.requests)
        asking.cancel()
        bench.store.gate.set()
        await until(lambda: bench.refused)

    serving(test)


def test_too_many_pictures_are_refused_at_once(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        bench.store.gate.clear()
        most = WAITING * bench.app.tier.in_flight
        asking = [asyncio.create_task(bench.get("/rocket.jpg", f"w={side}")) for side in range(1, most + 1)]
        await until(lambda: len(bench.store.requests) == most)
        busy = await bench.get("/chelsea.png", "w=64")
        assert (busy.status, busy.headers["Retry-After"], busy.headers["Cache-Control"]) == (503, "1", "no-store")
        shared = asyncio.create_task(bench.get("/rocket.jpg", "w=1"))
        await asyncio.sleep(0)
        bench.store.gate.set()
        assert {answer.status for answer in await asyncio.gather(shared, *asking)} == {200}

    serving(test, IN_FLIGHT="3")


def test_a_picture_that_takes_too_long_is_given_up(serving: Callable[..., None]) -> None:
    async def test(bench: Bench) -> None:
        bench.store.gate.clear()
        answer = await bench.get("/rocket.jpg", "w=64")
        assert (answer.status, answer.headers["Cache-Control"]) == (504, "no-store")

    serving(test, REQUEST_TIMEOUT="1")


OPTIONS = st.sampled_from([*query.OPTIONS, *query.ALIASES, "url", "signature"])
VALUES = st.sampled_from(
    ["", "0", "-1", "1000000000", "NaN", "1e3", "64", "4096", "cover", "outside", "avif", "jxl", "101", "9.99", "card",
     "20200101T000000Z", "%00", "%ff", "%F0%9F%98%80", "http://169.254.169.254/", "../../etc/passwd", "00" * 32]
)  # fmt: skip
PARTS = st.sampled_from(
    ["rocket.jpg", "broken.png", "none", "..", ".", "", "%2e%2e", "etc", "passwd", "_any", "_failed", "64x64.webp",
     "card.auto", "unsafe", "fit-in", "300x200", "rs:fit:64:64", "plain", "s3:%2F%2Fphotos", "http:%2F%2Fx", "%00",
     "%ff", "photos", "filters:format(webp)", "eyJrZXkiOiJyb2NrZXQuanBnIn0", "a%20b", "\u00fc", "@webp"]
)  # fmt: skip
PATHS = st.lists(PARTS, max_size=6).map("/".join) | st.text(max_size=40)
QUERIES = st.lists(st.builds("{}={}".format, OPTIONS, VALUES), max_size=4).map("&".join) | st.text(max_size=40)


@pytest.mark.matrix(60)
@pytest.mark.parametrize("open_", ["on", "off"])
def test_any_path_and_query_has_a_proper_answer(serving: Callable[..., None], open_: str) -> None:
    async def test(bench: Bench) -> None:
        loop = asyncio.get_running_loop()

        @hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
        @given(PATHS, QUERIES, st.text(max_size=40))
        def ask(path: str, query: str, header: str) -> None:
            asked = bench.get(f"/{path}", query, accept=header, if_none_match=header)
            answer = asyncio.run_coroutine_threadsafe(asked, loop).result()
            assert 200 <= answer.status < 500
            if answer.status >= 400:
                text = answer.body.decode()
                assert not [word for word in ("Traceback", "/tmp", *OF_THE_MACHINE) if word in text], text

        await asyncio.to_thread(ask)

    serving(test, {"broken.png": BROKEN}, GRAMMARS="dit,imgproxy,thumbor,query", OFFERS="card=64x64", OPEN=open_)
