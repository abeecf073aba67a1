"""The page of `thumbnailer serve --page` in Chromium: sliders change the picture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.demo.running import browser, no_browser
from tests.http.serving import SAMPLES, serve

WHY_NOT = no_browser()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """The open page. Any browser error fails the test."""
    complaints: list[str] = []
    with serve(str(SAMPLES), "--page", OPEN="on") as serving, browser() as chromium:
        page = chromium.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(serving.url)
        yield page
        page.close()
    assert complaints == []


def facts(page: Page, begin: str) -> None:
    expect(page.locator("#facts")).to_contain_text(begin, timeout=20_000)


def test_sliders_and_words_change_the_picture(page: Page) -> None:
    page.get_by_role("combobox", name="picture").select_option("rocket.jpg")
    facts(page, "480 \N{MULTIPLICATION SIGN} 320, image/webp")
    page.locator("input[name=w]").fill("200")
    facts(page, "200 \N{MULTIPLICATION SIGN} 133, image/webp")
    page.get_by_label("fit").select_option("cover")
    facts(page, "200 \N{MULTIPLICATION SIGN} 360")
    page.get_by_label("format").select_option("png")
    facts(page, "image/png")
    assert page.locator("#url").get_attribute("href") == "/rocket.jpg?w=200&h=360&fit=cover&fm=png&q=80"


def test_every_sample_can_be_chosen(page: Page) -> None:
    options = page.get_by_role("combobox", name="picture").locator("option").all_text_contents()
    assert {"rocket.jpg", "chelsea.png", "flower.avif"} <= set(options)
    assert not [name for name in options if name.endswith(".md")]
    for name in options:
        page.get_by_role("combobox", name="picture").select_option(name)
        facts(page, "image/")
