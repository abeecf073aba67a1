"""Formats that are read by a library of their own, or only where a setting asks for them."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.ladder import CJXL
from tests import jpeg_xl, profiles
from tests.pictures import opened
from tests.processing import Processed, process
from thumbnailer.model import Status

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


needs_cjxl = pytest.mark.skipif(CJXL is None, reason="cjxl (Debian: libjxl-tools) is not installed")


def cjxl(source: Path, *options: str) -> bytes:
    assert CJXL
    made = source.with_suffix(".jxl")
    subprocess.run([CJXL, "-e", "3", *options, str(source), str(made)], check=True, capture_output=True)
    return made.read_bytes()


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
@pytest.mark.parametrize(
    ("colours", "space"),
    [
        (jpeg_xl.space(11, 13), profiles.P3),
        (jpeg_xl.space(1, 8), profiles.Space(profiles.SRGB_TO_XYZ, 1.0)),
        (jpeg_xl.space(11, 8), profiles.Space(profiles.P3.matrix, 1.0)),
    ],
    ids=["P3", "linear", "linear P3"],
)
def test_colours_that_a_jpeg_xl_says_without_a_profile_are_right(
    colours: tuple[jpeg_xl.Field, ...], space: profiles.Space
) -> None:
    colour = np.array([150, 120, 90], np.uint8)
    pixels = np.broadcast_to(colour, (jpeg_xl.HEIGHT, jpeg_xl.WIDTH, 3))
    made = process(jpeg_xl.lossless(pixels, colours), RENDITIONS="32x20:png")
    assert (made.outcome.status, made.outcome.engine) == (Status.STORED, "pillow")
    wanted = profiles.srgb(colour / 255, space) * 255
    assert np.abs(np.asarray(opened(made.thumbnails[0]))[10, 10] - wanted).max() < 1.5


@needs_jxl
def test_the_white_of_graphics_in_a_jpeg_xl_of_high_dynamic_range_is_white_and_so_is_what_is_brighter() -> None:
    for curve, white in ((16, 0.5807), (18, 0.75)):  # of PQ's signal 203 cd/m2, of HLG's three quarters
        pixels = np.full((jpeg_xl.HEIGHT, jpeg_xl.WIDTH, 3), 60, np.uint8)
        pixels[:, 20:40], pixels[:, 40:] = round(white * 255), 230
        made = process(jpeg_xl.lossless(pixels, jpeg_xl.space(9, curve)), RENDITIONS="64x40:png")
        dark, graphics, bright = np.asarray(opened(made.thumbnails[0])).astype(int)[20, [8, 30, 54], 0]
        assert dark < 128
        assert graphics >= 250
        assert bright == 255


@needs_cjxl
def test_a_profile_that_libjxl_cannot_return_to_leaves_linear_light(tmp_path: Path) -> None:
    """Where a picture is lossy and its space is one that only the profile tells."""
    colour = np.array([150, 120, 90], np.uint8)
    png = tmp_path / "a.png"
    pixels = np.ascontiguousarray(np.broadcast_to(colour, (64, 64, 3)))
    Image.fromarray(pixels).save(png, icc_profile=profiles.rgb_profile(profiles.PROPHOTO))
    made = process(cjxl(png, "-d", "0.5"), RENDITIONS="32x32:png")
    wanted = profiles.srgb(colour / 255, profiles.PROPHOTO) * 255
    assert np.abs(np.asarray(opened(made.thumbnails[0]))[10, 10] - wanted).max() < 4


@needs_cjxl
def test_of_an_animated_jpeg_xl_the_first_frame_is_shown(tmp_path: Path) -> None:
    gif = tmp_path / "a.gif"
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(gif, save_all=True, append_images=frames[1:], duration=100)
    made = process(cjxl(gif, "-d", "0"), RENDITIONS="20x20:png")
    assert made.outcome.info is not None
    assert made.outcome.info.frames == 2  # more than one
    assert opened(made.thumbnails[0]).convert("RGB").getpixel((10, 7)) == (255, 0, 0)


@needs_jxl
def test_a_jpeg_xl_that_breaks_off_is_corrupt() -> None:
    import pylibjxl

    noise = np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    data = pylibjxl.encode(noise, lossless=True, distance=0.0)
    assert process(data[: len(data) // 2]).outcome.reason == "corrupt"
