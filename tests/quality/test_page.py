"""The quality page: one self-contained file, worst picture first, usable on a phone and by keyboard."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.demo.running import browser, no_browser
from tests.tools.quality import SAMPLES, Comparison, expected_thumbnail, run
from tests.tools.scoring import LEAST_SSIM, MOST_MEAN, Score

WHY_NOT = no_browser()
ODD_NAME = "<b>text & all.jpg"
PICTURES = {"china.webp", "rocket.jpg", "retina.heic", "astronaut-alpha.png"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in PICTURES:
        shutil.copy(SAMPLES / name, folder)
    (folder / ODD_NAME).write_text("no picture")
    (folder / "LICENCES.md").write_text("no picture either")
    page = tmp_path_factory.mktemp("page") / "quality.html"
    run(folder, page, "96x96")
    return page


def test_the_page_shows_pictures_and_names_other_files(made: Path) -> None:
    text = made.read_text(encoding="utf-8")
    assert set(re.findall(r"<h2>(.*?)</h2>", text)) == PICTURES
    assert "&lt;b&gt;text &amp; all.jpg: not-an-image" in text
    assert ODD_NAME not in text
    assert "LICENCES" not in text


def test_the_page_is_self_contained(made: Path) -> None:
    text = made.read_text(encoding="utf-8")
    assert all(source.startswith("data:image/") for source in re.findall(r'src="(.{20})', text))
    assert not re.search(r"(href|url)\s*[=(]|https?://|@import", text)


def test_the_worst_picture_comes_first(made: Path) -> None:
    used = [float(number) for number in re.findall(r'data-used="(.*?)"', made.read_text(encoding="utf-8"))]
    assert used == sorted(used, reverse=True)
    assert len(used) == len(PICTURES)


def test_a_format_of_one_engine_has_one_thumbnail(made: Path) -> None:
    heic = made.read_text(encoding="utf-8").split("<h2>retina.heic</h2>")[1].split("</article>")[0]
    assert "Pillow and reference" in heic
    assert "libvips" not in heic


def test_thumbnails_of_another_program_are_compared(tmp_path: Path) -> None:
    """The other program rounds a side differently and names files by its own format."""
    pictures, expected = tmp_path / "pictures", tmp_path / "expected"
    for folder in (pictures, expected):
        folder.mkdir()
    shutil.copy(SAMPLES / "china.webp", pictures)
    with Image.open(SAMPLES / "china.webp") as image:
        image.resize((96, 65), Image.Resampling.LANCZOS).save(expected / "china.png")
    run(pictures, tmp_path / "page.html", "96x96", expected)
    scores = re.findall(r"(libvips|Pillow) and expected</th>\s*<td>[\d.]+</td>\s*<td[^>]*>([\d.]+)", text_of(tmp_path))
    assert [engine for engine, _ in scores] == ["libvips", "Pillow"]
    assert all(float(ssim) > 0.9 for _, ssim in scores)


def text_of(folder: Path) -> str:
    return (folder / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.jpg.png"])
def test_an_expected_thumbnail_is_found_by_the_name_of_its_picture(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"thumbnail")
    (tmp_path / "other.jpg").write_bytes(b"another")
    assert expected_thumbnail(tmp_path, "photo.jpg") == b"thumbnail"
    assert expected_thumbnail(tmp_path, "phot.jpg") is None
    assert expected_thumbnail(None, "photo.jpg") is None


@pytest.mark.parametrize(
    ("score", "of_reference", "used"),
    [
        (Score(0, 1), False, 0),
        (Score(MOST_MEAN, LEAST_SSIM), False, 1),
        (Score(2 * MOST_MEAN, 1), False, 2),
        (Score(2 * MOST_MEAN, 1), True, 0),
        (Score(0, 0.94), True, 2),
    ],
)
def test_a_miss_exceeds_the_bounds(score: Score, of_reference: bool, used: float) -> None:
    assert Comparison("x", score, of_reference).used == pytest.approx(used)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture
def page(made: Path, chromium: Browser) -> Iterator[Page]:
    page = chromium.new_page(viewport={"width": 360, "height": 700})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(made.as_uri())
    yield page
    page.close()
    assert complaints == []


def names(page: Page) -> list[str]:
    return page.locator("article:visible h2").all_inner_texts()


@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
def test_pictures_are_sorted_and_filtered_by_keyboard(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_label("Order")).to_be_focused()
    page.get_by_label("Order").select_option("by name")
    assert names(page) == sorted(PICTURES)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_label("only misses")).to_be_checked()
    misses = page.locator(".verdict.miss:visible").count()
    expect(page.locator("article:visible")).to_have_count(misses)
    expect(page.locator("#count")).to_have_text(f"{misses} picture{'' if misses == 1 else 's'}")


@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
def test_a_phone_shows_the_page_without_scrolling_sideways(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    unnamed = "[...document.images].filter((image) => !image.alt).length"
    assert page.evaluate(unnamed) == 0
