"""Uploads in Chromium, from the signed link to the thumbnail, against an S3 that checks the forms."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from moto.s3.responses import S3Response
from playwright.sync_api import Browser, FilePayload, Page, expect

from tests.demo.running import browser, no_browser
from tests.http.forms import checked
from tests.http.serving import COMMAND, KEY, serve
from tests.support.cloud import Cloud

WHY_NOT = no_browser()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

WAIT_MS = 30_000
HOSTILE_NAME = 'a "b" & <img src=x onerror=alert(1)>50%+\N{GREEK SMALL LETTER ALPHA}$&${filename}.jpg'


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def forms() -> Iterator[list[dict[str, str]]]:
    """The forms that S3 received, after the check that moto leaves out."""
    with pytest.MonkeyPatch.context() as patch:
        received: list[dict[str, str]] = []
        patch.setattr(S3Response, "_bucket_response_post", checked(S3Response._bucket_response_post, received))
        yield received


@pytest.fixture(scope="module")
def address(forms: list[dict[str, str]], cloud: Cloud) -> Iterator[str]:
    """The link that `thumbnailer page` prints."""
    cloud.reset()
    with serve("s3://photos", "--page", URL_KEYS=KEY, MAX_BYTES="1000000", **cloud.env) as serving:
        env = os.environ | {"THUMBNAILER_URL_KEYS": KEY}
        command = [*COMMAND, "page", serving.url]
        yield subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    """The open page. Any violation of its policy fails the test."""
    page = chromium.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if "Policy" in message.text else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto(address)
    yield page
    page.close()
    assert complaints == []


def upload(page: Page, name: str, data: bytes, kind: str = "image/jpeg") -> Any:
    """The picture's card."""
    page.locator("#files").set_input_files(FilePayload(name=name, mimeType=kind, buffer=data))
    return page.locator(".card").filter(has=page.get_by_role("heading", name=name, exact=True))


@pytest.mark.parametrize("name", ["rocket.jpg", HOSTILE_NAME])
def test_an_upload_shows_its_thumbnail(
    page: Page, forms: list[dict[str, str]], cloud: Cloud, samples: dict[str, bytes], name: str
) -> None:
    card = upload(page, name, samples["rocket.jpg"])
    expect(card).to_have_attribute("data-status", "stored", timeout=WAIT_MS)
    for picture, width in (("original", 640), ("thumbnail", 128)):
        image = card.locator(f".{picture} img")
        expect(image).to_have_js_property("complete", True, timeout=WAIT_MS)
        assert image.evaluate("image => image.naturalWidth") == width
    expect(page.get_by_role("status").filter(has_text=f"{name}: stored")).to_have_count(1)
    key = forms[-1]["key"]
    assert re.fullmatch(r"uploads/[A-Za-z0-9_-]{22}/" + re.escape(name.replace("${", "_{")), key)
    assert cloud.s3.get_object(Bucket="photos", Key=key)["Body"].read() == samples["rocket.jpg"]
    assert page.locator(".card img[src=x]").count() == 0


def test_a_refused_upload_says_why(page: Page, forms: list[dict[str, str]], cloud: Cloud) -> None:
    before, sent = cloud.s3.list_objects_v2(Bucket="photos")["KeyCount"], len(forms)
    large = upload(page, "large.jpg", bytes(1_000_001))
    expect(large.locator(".why")).to_contain_text("at most", timeout=WAIT_MS)
    assert len(forms) == sent
    for name, data, kind, why in (
        ("page.jpg", b"<script>", "text/html", '"$Content-Type", "image/"'),
        ("empty.jpg", b"", "image/jpeg", "content-length-range"),
    ):
        expect(upload(page, name, data, kind).locator(".why")).to_contain_text(why, timeout=WAIT_MS)
    assert cloud.s3.list_objects_v2(Bucket="photos")["KeyCount"] == before


def test_no_picture_is_rejected_with_its_reason(page: Page) -> None:
    card = upload(page, "note.jpg", b"Dear diary, today I was renamed.\n")
    expect(card).to_have_attribute("data-status", "rejected", timeout=WAIT_MS)
    expect(card.locator(".why")).to_contain_text("not-an-image")


def test_a_link_that_ended_uploads_nothing(page: Page, forms: list[dict[str, str]]) -> None:
    sent = len(forms)
    page.evaluate("history.replaceState(null, '', '?expires=20200101T000000Z&signature=00')")
    card = upload(page, "late.jpg", b"x")
    expect(card.locator(".why")).to_contain_text("signature is wrong", timeout=WAIT_MS)
    assert len(forms) == sent
