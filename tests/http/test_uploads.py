"""The page for uploads: who may open it, what its forms let through, and what Lambda answers."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from handler import aws_http
from handler.http.messages import HttpAnswer, HttpRequest
from handler.http.service import Service, make_page, make_site
from handler.http.uploads import FORM_SECONDS, link
from tests.http.events import EVENTS
from tests.http.forms import refusal
from tests.http.serving import COMMAND, KEY
from tests.support.cloud import Cloud
from tests.support.pipelines import built, run
from thumbnailer.errors import SettingsError, StoreRefused
from thumbnailer.store.aioboto3_ import Aioboto3Store
from thumbnailer.store.base import StoreConfig
from thumbnailer.store.memory import MemoryStore
from thumbnailer.wishes.signing import sign_url

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
PAGE: dict[str, Any] = {"SOURCES": "photos", "URL_KEYS": KEY, "PAGE": "on", "MAX_BYTES": "1000000"}
LINK = link("", bytes.fromhex(KEY), timedelta(days=1), NOW).removeprefix("/?")


class SigningStore(MemoryStore):
    """Signs forms as the real store does, with made-up credentials. Counts them."""

    def __init__(self) -> None:
        super().__init__("photos", "photos-resized")
        self.forms = 0
        self.error: Exception | None = None

    async def presigned_form(self, bucket: str, key: str, conditions: Any, seconds: int) -> Mapping[str, Any]:
        self.forms += 1
        if self.error:
            raise self.error
        store = Aioboto3Store(StoreConfig(region="eu-west-1"))
        try:
            return await store.presigned_form(bucket, key, conditions, seconds)
        finally:
            await store.aclose()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> SigningStore:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    return SigningStore()


def ask(store: SigningStore, *wishes: tuple[str, str, str], now: datetime = NOW, **env: Any) -> list[HttpAnswer]:
    """Answers to requests by method, path and query."""

    async def work() -> list[HttpAnswer]:
        app = built(store, **(PAGE | env))
        page = make_page(app)
        if page is not None:
            page._clock = now.timestamp  # type: ignore[attr-defined]
        service = Service(app, make_site(app.settings), clock=now.timestamp, page=page)
        answers = [await service.answer(HttpRequest(*wish)) for wish in wishes]
        await service.aclose()
        return answers

    return run(work())


class TestWhoMayUpload:
    def test_the_link_opens_the_page_and_gets_forms(self, store: SigningStore) -> None:
        page, head, form = ask(store, ("GET", "/", LINK), ("HEAD", "/", LINK), ("POST", "/uploads", LINK))
        assert (page.status, head.status, form.status, head.body) == (200, 200, 200, b"")
        assert json.loads(form.body)["url"] == "https://photos.s3.eu-west-1.amazonaws.com/"

    @pytest.mark.parametrize(
        ("query", "now", "status"),
        [
            ("", NOW, 403),
            (LINK.replace("signature", "other"), NOW, 403),
            (LINK[:-1] + "x", NOW, 403),
            (LINK.replace("expires=2026", "expires=2036"), NOW, 403),
            (f"{LINK}&w=3", NOW, 403),
            (link("", b"x" * 16, None, NOW).removeprefix("/?"), NOW, 403),
            (urlsplit(sign_url("/uploads", bytes.fromhex(KEY), None, NOW)).query, NOW, 403),
            (urlsplit(sign_url("/", bytes.fromhex(KEY), None, NOW)).query, NOW, 403),
            (LINK, NOW + timedelta(days=2), 410),
        ],
        ids=["none", "unsigned", "changed", "prolonged", "more", "other key", "picture", "root", "expired"],
    )
    def test_nobody_else_does(self, store: SigningStore, query: str, now: datetime, status: int) -> None:
        """The signature of a picture, even of one with the key `uploads`, is none of a link."""
        answers = ask(store, ("GET", "/", query), ("POST", "/uploads", query), now=now)
        assert [answer.status for answer in answers] == [status, status]
        assert store.forms == 0

    @given(
        st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "\u00e9"]),
        st.sampled_from(["/", "/uploads", "/_page/", "/_page/page.js"]) | st.text(max_size=20).map("/".__add__),
        st.text(max_size=60)
        | st.text(max_size=20).map(f"{LINK}&x=".__add__)
        | st.text(max_size=30).map("signature=".__add__),
    )
    @hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_no_request_fails_or_gets_a_form(self, store: SigningStore, method: str, path: str, query: str) -> None:
        (answer,) = ask(store, (method, path, query))
        assert answer.status < 500
        assert b"Traceback" not in answer.body
        assert store.forms == 0

    def test_it_is_off_by_default(self, store: SigningStore) -> None:
        wishes = (("GET", "/", LINK), ("POST", "/uploads", LINK), ("GET", "/_page/page.js", ""))
        assert [answer.status for answer in ask(store, *wishes, PAGE="off")] == [400, 405, 403]

    def test_a_missing_form_is_a_503_without_details(self, store: SigningStore) -> None:
        store.error = StoreRefused("/root/.aws/credentials")
        (answer,) = ask(store, ("POST", "/uploads", LINK))
        assert (answer.status, b"credentials" in answer.body) == (503, False)

    @pytest.mark.parametrize("env", [{"URL_KEYS": ""}, {"SOURCES": "photo*"}])
    def test_keys_and_a_bucket_are_needed(self, store: SigningStore, env: dict[str, Any]) -> None:
        with pytest.raises(SettingsError, match="THUMBNAILER_PAGE=on needs"):
            ask(store, **env)

    def test_a_server_without_keys_says_so(self) -> None:
        command = [*COMMAND, "serve", "s3://photos", "--page", "--port", "0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("THUMBNAILER_PAGE=on needs THUMBNAILER_URL_KEYS")

    @pytest.mark.parametrize("name", EVENTS)
    def test_lambda_answers_every_event(self, aws: Cloud, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable, value in PAGE.items():
            monkeypatch.setenv(f"THUMBNAILER_{variable}", value)
        query = link("", bytes.fromhex(KEY), timedelta(days=1), datetime.now(UTC)).removeprefix("/?")
        context = SimpleNamespace(aws_request_id="id", get_remaining_time_in_millis=lambda: 30_000)
        for method, path, kind in (("GET", "/", "text/html"), ("POST", "/uploads", "application/json")):
            answer = aws_http.handler(as_event(name, method, path, query), context)
            headers = answer.get("headers") or {key: text for key, (text,) in answer["multiValueHeaders"].items()}
            assert (answer["statusCode"], headers["Content-Type"].partition(";")[0]) == (200, kind)
        assert json.loads(base64.b64decode(answer["body"]))["url"] == f"{aws.url}/photos"
        aws_http.close()

    def test_a_function_without_the_page_does_not_import_it(self) -> None:
        code = "import sys, handler.aws_http; print([name for name in sys.modules if name.startswith('handler.http.')])"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert "handler.http.service" in loaded
        assert "handler.http.page" not in loaded
        assert "handler.http.uploads" not in loaded


def as_event(name: str, method: str, path: str, query: str) -> dict[str, Any]:
    """The event of another request."""
    entries = dict(entry.split("=") for entry in query.split("&"))
    event = EVENTS[name] | {"httpMethod": method, "path": path, "rawPath": path, "rawQueryString": query}
    if "http" in event["requestContext"]:
        event["requestContext"] = event["requestContext"] | {"http": {"method": method, "path": path}}
    for field in ("queryStringParameters", "multiValueQueryStringParameters"):
        if field in event:
            event[field] = {key: [value] if "multi" in field else value for key, value in entries.items()}
    return event


class TestForm:
    @pytest.fixture
    def form(self, store: SigningStore) -> dict[str, Any]:
        (answer,) = ask(store, ("POST", "/uploads", LINK))
        form: dict[str, Any] = json.loads(answer.body)
        form["fields"] |= {"key": form["fields"]["key"].replace("${filename}", "a.jpg"), "Content-Type": "image/jpeg"}
        return form

    def why_not(self, form: dict[str, Any], size: int = 1000, later: int = 0, **fields: str) -> str | None:
        changed = form["fields"] | {name.replace("_", "-"): value for name, value in fields.items()}
        return refusal(changed, size, "photos", "secret", datetime.now(UTC) + timedelta(seconds=later))

    def test_s3_takes_a_picture_below_the_random_prefix(self, form: dict[str, Any]) -> None:
        prefix = form["fields"]["key"].removesuffix("a.jpg")
        assert re.fullmatch(r"uploads/[A-Za-z0-9_-]{22}/", prefix)
        for name in ("a.jpg", 'x" <b>\N{LATIN SMALL LETTER U WITH DIAERESIS}.png', "../a", "${filename}"):
            assert self.why_not(form, key=prefix + name) is None
        assert self.why_not(form, size=1) is None
        assert self.why_not(form, size=1_000_000) is None
        assert self.why_not(form, later=FORM_SECONDS - 60) is None

    @pytest.mark.parametrize("changes", [
        {"size": 0}, {"size": 1_000_001}, {"Content_Type": "text/html"}, {"Content_Type": ""}, {"key": "a.jpg"},
        {"key": "uploads/a.jpg"}, {"acl": "public-read"}, {"x_amz_storage_class": "GLACIER"},
        {"success_action_redirect": "https://evil.example/"}, {"later": FORM_SECONDS + 60}, {"policy": "e30="},
    ], ids=str)  # fmt: skip
    def test_s3_refuses_everything_else(self, form: dict[str, Any], changes: dict[str, Any]) -> None:
        assert self.why_not(form, **changes)

    def test_every_key_is_another_one(self, store: SigningStore) -> None:
        forms = ask(store, *[("POST", "/uploads", LINK)] * 5)
        assert len({json.loads(form.body)["fields"]["key"] for form in forms}) == 5

    def test_the_tier_limits_the_size_to_what_s3_takes(self, store: SigningStore) -> None:
        (answer,) = ask(store, ("POST", "/uploads", LINK), MAX_BYTES=str(10**12))
        policy = json.loads(base64.b64decode(json.loads(answer.body)["fields"]["policy"]))
        assert ["content-length-range", 1, 5 * 1024**3] in policy["conditions"]


class TestDocument:
    def test_only_its_own_script_runs_and_sends_to_s3_alone(self, store: SigningStore) -> None:
        (answer,) = ask(store, ("GET", "/", LINK))
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["connect-src"] == "'self' https://photos.s3.eu-west-1.amazonaws.com"
        assert (answer.headers["Referrer-Policy"], answer.headers["Cache-Control"]) == ("no-referrer", "no-store")
        text = answer.body.decode()
        assert re.findall(r"<script[^>]*>", text) == ['<script src="_page/page.js" type="module">']
        assert not re.search(r"\son\w+=|<style|\sstyle=|javascript:", text)

    def test_nothing_of_the_request_is_in_it(self, store: SigningStore) -> None:
        signed = link("", bytes.fromhex(KEY), timedelta(days=3), NOW).removeprefix("/?")
        one, other = ask(store, ("GET", "/", LINK), ("GET", "/", signed))
        assert one.body == other.body

    def test_its_addresses_are_relative(self, store: SigningStore) -> None:
        """The path of a REST API begins with its stage."""
        answers = ask(store, ("GET", "/", LINK), *[("GET", f"/_page/{name}", "") for name in ("page.js", "cards.js")])
        assert not [one for one in answers if re.search(rb'(href=|src=|from |fetch\(|, )["`]/', one.body)]

    @pytest.mark.parametrize("path", ["/_page/", "/_page/page.html", "/_page/../page.py", "/_page/%2e%2e/page.py"])
    def test_other_files_are_not_served(self, store: SigningStore, path: str) -> None:
        (answer,) = ask(store, ("GET", path, ""))
        assert answer.status in (400, 403, 404)
