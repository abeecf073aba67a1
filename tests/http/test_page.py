"""The page of `thumbnailer serve --page` in Chromium: sliders change the picture. The README's way to a signed URL."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from bench.rig.processes import free_port
from tests.demo.running import ROOT, browser, no_browser
from tests.deploy.guides import blocks, section
from tests.http.serving import SAMPLES, serve
from tests.support.pictures import opened

WHY_NOT = no_browser()
in_the_browser = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


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


@in_the_browser
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


@in_the_browser
def test_every_sample_can_be_chosen(page: Page) -> None:
    options = page.get_by_role("combobox", name="picture").locator("option").all_text_contents()
    assert {"rocket.jpg", "chelsea.png", "flower.avif"} <= set(options)
    assert not [name for name in options if name.endswith(".md")]
    for name in options:
        page.get_by_role("combobox", name="picture").select_option(name)
        facts(page, "image/")


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="curl and openssl are needed")
def test_the_readme_leads_to_a_signed_url(tmp_path: Path) -> None:
    """Its commands after `make serve`, on a free port."""
    (block,) = blocks(section("On demand", (ROOT / "README.md").read_text()))
    first, _, script = block.replace("8081", port := str(free_port())).partition("\n")
    assert first.startswith("make serve ")
    script = script.replace("serve handler/demo/samples", f"serve {SAMPLES} --port {port}")
    script = script.replace(".venv/bin/thumbnailer", f"{sys.executable} -m handler.cli")
    script = f"trap 'kill $!; wait' EXIT\n{script}"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=env, timeout=60, check=True)
    picture = opened((tmp_path / "rocket.webp").read_bytes())
    assert (picture.format, picture.size) == ("WEBP", (300, 200))
