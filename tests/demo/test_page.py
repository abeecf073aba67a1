"""The gallery in Chromium: samples and dropped files appear without a reload."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, FileChooser, Page, expect

from handler.demo.run import SAMPLES, sample_keys
from tests.demo.running import Demo, browser, no_browser, running_demo
from tests.demo.screenshot import wait_for_samples

WHY_NOT = no_browser()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

ODD_NAME = 'drop "me" & <b>50%+ü.jpg'
WAIT_MS = 30_000
DROP = """([name, type, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type }));
  for (const type of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running_demo(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture
def page(demo: Demo, chromium: Browser) -> Iterator[Page]:
    """The open page. Any browser error, such as a policy violation, fails the test."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto(demo.url)
    page.evaluate("window.notReloaded = true")
    yield page
    assert page.evaluate("window.notReloaded") is True
    page.close()
    assert complaints == []


def card(page: Page, key: str) -> Any:
    return page.locator(".card").filter(has=page.get_by_role("heading", name=key, exact=True))


def drop(page: Page, name: str, kind: str, data: bytes) -> None:
    page.evaluate(DROP, [name, kind, base64.b64encode(data).decode()])


def expect_thumbnail(page: Page, key: str) -> None:
    expect(card(page, key)).to_have_attribute("data-status", "stored", timeout=WAIT_MS)
    image = card(page, key).locator(".thumbnail img")
    expect(image).to_have_js_property("complete", True, timeout=WAIT_MS)
    assert image.evaluate("image => image.naturalWidth") > 0


def test_every_sample_has_a_card_with_its_thumbnail(page: Page) -> None:
    wait_for_samples(page)
    expect(page.locator("#total-pictures")).to_have_text(str(len(sample_keys())))
    assert sorted(page.locator(".card .key").all_inner_texts()) == sample_keys()


def test_an_original_the_browser_cannot_show_has_a_placeholder(page: Page) -> None:
    expect(card(page, "retina.heic").locator(".original .placeholder")).to_contain_text("this browser cannot show it")
    expect_thumbnail(page, "retina.heic")


def test_a_dropped_picture_appears_whatever_its_name(page: Page) -> None:
    """The page treats the name as text, never as markup or as part of an address."""
    wait_for_samples(page)
    drop(page, ODD_NAME, "image/jpeg", (SAMPLES / "rocket.jpg").read_bytes())
    expect_thumbnail(page, ODD_NAME)
    expect(page.locator("#veil")).to_be_hidden()
    assert page.locator(".card b").count() == 0
    assert card(page, ODD_NAME).locator(".original img").evaluate("image => image.naturalWidth") == 640


def test_a_dropped_text_file_is_rejected_with_its_reason(page: Page) -> None:
    drop(page, "note.jpg", "image/jpeg", b"Dear diary, today I was renamed.\n")
    note = card(page, "note.jpg")
    expect(note).to_have_attribute("data-status", "rejected", timeout=WAIT_MS)
    expect(note.locator(".why")).to_contain_text("not-an-image")


def test_the_button_takes_files_by_keyboard(page: Page) -> None:
    """The first Tab focuses the button, Enter opens the file chooser."""
    choosers: list[FileChooser] = []

    def opened(chooser: FileChooser) -> None:
        choosers.append(chooser)

    page.on("filechooser", opened)  # early: the browser needs a moment to intercept the chooser
    wait_for_samples(page)
    page.keyboard.press("Tab")
    expect(page.locator("#choose")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(100):
        if choosers:
            break
        page.wait_for_timeout(100)
    picture = (SAMPLES / "china.webp").read_bytes()
    choosers[0].set_files({"name": "chosen.webp", "mimeType": "image/webp", "buffer": picture})
    expect_thumbnail(page, "chosen.webp")


def test_several_files_at_once_all_appear(page: Page, tmp_path: Path) -> None:
    files = [tmp_path / f"several-{number}.png" for number in range(6)]
    for file in files:
        file.write_bytes((SAMPLES / "chelsea.png").read_bytes())
    page.locator("#files").set_input_files(files)
    for file in files:
        expect_thumbnail(page, file.name)


def test_page_fits_a_phone(page: Page) -> None:
    """The page has no horizontal overflow."""
    page.set_viewport_size({"width": 360, "height": 740})
    expect(card(page, "rocket.jpg")).to_be_visible()
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, scheme
