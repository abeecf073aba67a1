"""`python -m tests.demo.screenshot [FILE]` makes docs/gallery.png from the real page with the samples."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import FloatRect, Page

from handler.demo.run import sample_keys
from tests.demo.running import ROOT, browser, running_demo

MOST_BYTES = 600_000
LOADED = """count => {
  const loaded = (image) => image.complete && image.naturalWidth > 0;
  const thumbnails = document.querySelectorAll(".thumbnail img").length;
  return thumbnails >= count && [...document.querySelectorAll(".frame img")].every(loaded);
}"""
Scheme = Literal["light", "dark"]


def wait_for_samples(page: Page) -> None:
    """Waits until every sample's card has loaded its pictures."""
    page.wait_for_function(LOADED, arg=len(sample_keys()), timeout=30_000)


def shoot(file: Path, width: int = 1280, cards: int = 6, scheme: Scheme = "light") -> None:
    """The page with all samples, down to the end of its first `cards` cards."""
    with tempfile.TemporaryDirectory() as tmp, running_demo(Path(tmp)) as demo, browser() as chromium:
        page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
        page.goto(demo.url)
        wait_for_samples(page)
        height = page.locator(".card").nth(cards - 1).evaluate("card => card.getBoundingClientRect().bottom") + 16
        clip: FloatRect = {"x": 0, "y": 0, "width": width, "height": height}
        file.write_bytes(small_png(page.screenshot(full_page=True, clip=clip)))


def small_png(png: bytes) -> bytes:
    """The same picture with as many colours as the size limit allows."""
    with Image.open(io.BytesIO(png)) as picture:
        for colours in (256, 128, 64):
            out = io.BytesIO()
            picture.convert("RGB").quantize(colours, kmeans=4).save(out, "PNG", optimize=True)
            if out.tell() <= MOST_BYTES:
                break
    return out.getvalue()


if __name__ == "__main__":
    shoot(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "gallery.png")
