"""Formats that are read by a library of their own, or only where a setting asks for them."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from shutil import which

import numpy as np
import pytest
from PIL import Image

from tests.pictures import opened
from tests.processing import Processed, process
from thumbnailer.model import EngineName, Status

needs_jxl = pytest.mark.skipif(find_spec("pylibjxl") is None, reason="pylibjxl (the extra `jxl`) is not installed")


def drawing(body: str, size: str = 'width="200" height="100"') -> bytes:
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"<svg {names} {size}>{body}</svg>".encode()


def svg(data: bytes, renditions: str = "100x100") -> Processed:
    return process(data, SVG="on", RENDITIONS=renditions)


@pytest.mark.matrix(14)
def test_an_svg_is_refused_unless_a_setting_takes_it() -> None:
    outcome = process(drawing("")).outcome
    assert (outcome.status, outcome.reason) == (Status.REJECTED, "unsupported-format")
    assert "THUMBNAILER_SVG=on" in str(outcome.detail)


@pytest.mark.parametrize("size", ['width="200" height="100"', 'viewBox="0 0 200 100"', 'width="150pt" height="75pt"'])
def test_an_svg_is_drawn_within_the_wish_and_never_larger_than_it_says(size: str) -> None:
    box = "" if "viewBox" in size or "pt" in size else 'viewBox="0 0 200 100"'
    made = svg(drawing('<rect width="100" height="100" fill="red"/>', f"{size} {box}"), "100x100,big=900x900")
    small, big = (opened(data).convert("RGBA") for data in made.thumbnails)
    assert (small.size, big.size) == ((100, 50), (200, 100))
    assert small.getpixel((20, 25)) == (255, 0, 0, 255)


def test_an_svg_without_any_size_is_refused_by_name() -> None:
    outcome = svg(drawing("<rect/>", size="")).outcome
    assert outcome.reason == "unsupported-format"
    assert "without a size" in str(outcome.detail)


@pytest.mark.matrix(14)
@pytest.mark.parametrize("address", ["file://{path}", "{path}", "{name}", "http://127.0.0.1:9/x.png"])
def test_an_svg_reads_no_file_and_opens_no_connection(address: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (200, 100), "red").save(secret)
    reference = address.format(path=secret, name=secret.name)
    made = svg(drawing(f'<image width="200" height="100" xlink:href="{reference}"/>'))
    assert made.outcome.status is Status.STORED
    assert np.asarray(opened(made.thumbnails[0]).convert("RGBA"))[..., 3].max() == 0


@pytest.mark.matrix(14)
def test_an_svg_with_entities_from_a_file_or_that_draws_for_ever_is_refused() -> None:
    outside = b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + drawing(
        "<text>&x;</text>"
    )
    uses = "".join(f'<g id="g{n}">' + f'<use xlink:href="#g{n - 1}"/>' * 10 + "</g>" for n in range(1, 9))
    endless = drawing(f'<defs><g id="g0"><rect width="9" height="9"/></g>{uses}</defs><use xlink:href="#g8"/>')
    for data in (outside, endless):
        assert svg(data).outcome.reason == "corrupt"


@pytest.mark.skipif(which("cjpeg") is None, reason="cjpeg (libjpeg-turbo-progs) is not installed")
@pytest.mark.parametrize("options", [[], ["-progressive"]], ids=["sequential", "progressive"])
@pytest.mark.parametrize("engine", ["auto", *EngineName])
def test_a_jpeg_in_arithmetic_coding_is_read_by_the_engine_that_can(options: list[str], engine: str) -> None:
    """Pillow's decoder takes a file piece by piece, which libjpeg cannot do with this coding."""
    noise = Image.fromarray(np.random.default_rng(5).integers(60, 200, (400, 400), dtype=np.uint8))
    source = BytesIO()
    noise.save(source, "PPM")
    command = ["cjpeg", "-arithmetic", "-quality", "95", *options]
    data = subprocess.run(command, input=source.getvalue(), capture_output=True, check=True).stdout
    assert len(data) > 100_000
    made = process(data, ENGINE=engine, RENDITIONS="100x100:png")
    assert (made.outcome.status, made.outcome.damaged, made.outcome.engine) == (Status.STORED, False, EngineName.VIPS)
    reference = noise.resize((100, 100), Image.Resampling.LANCZOS)
    wrong = np.abs(np.asarray(opened(made.thumbnails[0]).convert("L")).astype(int) - np.asarray(reference))
    assert wrong.mean() < 3


@needs_jxl
@pytest.mark.parametrize("shape", [(90, 120), (90, 120, 3), (90, 120, 4)], ids=["grey", "colour", "alpha"])
def test_a_jpeg_xl_is_read(shape: tuple[int, ...]) -> None:
    import pylibjxl

    pixels = np.full(shape, 200, dtype=np.uint8)
    pixels[:, :60] = 60
    made = process(pylibjxl.encode(pixels, lossless=True, distance=0.0), RENDITIONS="60x60:png")
    assert (made.outcome.status, made.outcome.info and made.outcome.info.format) == (Status.STORED, "jxl")
    image = np.asarray(opened(made.thumbnails[0]))
    assert image.shape[:2] == (45, 60)
    assert abs(int(image[20, 10].flat[0]) - 60) < 3
    assert abs(int(image[20, 50].flat[0]) - 200) < 3


@needs_jxl
def test_a_jpeg_xl_that_breaks_off_is_corrupt() -> None:
    import pylibjxl

    noise = np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    data = pylibjxl.encode(noise, lossless=True, distance=0.0)
    assert process(data[: len(data) // 2]).outcome.reason == "corrupt"
