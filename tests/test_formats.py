"""Formats that are read by a library of their own, or only where a setting asks for them."""

from __future__ import annotations

import lzma
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.bombs.tiff import SHORT
from tests.pictures import opened
from tests.processing import Processed, process
from tests.tiffs import BLACK_IS_ZERO, RGB, WHITE_IS_ZERO, YCBCR, tiff
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


# TIFF: numbers, colours and samples of every kind

ENGINES = pytest.mark.parametrize("engine", list(EngineName))
Pixels = np.ndarray[Any, Any]
COLOURS = np.array([[(255, 0, 0), (40, 200, 90)], [(0, 0, 255), (250, 240, 10)]], np.uint8).repeat(40, 0).repeat(60, 1)
"""Four fields of 60 x 40."""
GREYS = np.array([[0, 80], [160, 255]], np.uint8).repeat(40, 0).repeat(60, 1)
CLEAR = np.array([[255, 128], [255, 255]], np.uint8).repeat(40, 0).repeat(60, 1)


def as_numbers(pixels: Pixels, kind: str) -> Pixels:
    """Bytes as other numbers: over all of their range, floats from 0 to 1."""
    if kind[0] == "f":
        return (pixels / 255).astype(kind)
    limits = np.iinfo(kind)
    return (
        np.rint(limits.min + pixels / 255 * (float(limits.max) - limits.min)).clip(limits.min, limits.max).astype(kind)
    )


def fields(made: Processed) -> Pixels:
    """The middle of each of the four fields, as the thumbnail has them."""
    assert made.outcome.status is Status.STORED, made.outcome.detail
    image = np.asarray(opened(made.thumbnails[0]).convert("RGBA")).astype(int)
    height, width = image.shape[:2]
    return image[height // 4 :: height // 2, width // 4 :: width // 2][:2, :2]


def shown(data: bytes, engine: EngineName, by: EngineName) -> Pixels:
    """What an engine makes of it, whichever is asked."""
    made = process(data, ENGINE=engine, RENDITIONS="60x60:png")
    assert made.outcome.engine is by, made.outcome.detail
    return fields(made)


def expected(pixels: Pixels, alpha: Pixels | None = None) -> Pixels:
    colours = pixels if pixels.ndim == 3 else np.dstack([pixels] * 3)
    whole = np.dstack([colours, np.full(colours.shape[:2], 255) if alpha is None else alpha])
    return whole[20::40, 30::60].astype(int)


@ENGINES
@pytest.mark.parametrize("kind", ["u4", "i1", "i2", "i4", "f2", "f4"])
@pytest.mark.parametrize(("pixels", "photometric"), [(GREYS, BLACK_IS_ZERO), (COLOURS, RGB)], ids=["grey", "colour"])
def test_numbers_of_every_kind_are_shown_over_their_range(
    pixels: Pixels, photometric: int, kind: str, engine: EngineName
) -> None:
    found = shown(tiff(as_numbers(pixels, kind), photometric), engine, EngineName.VIPS)
    assert np.abs(found - expected(pixels)).max() <= 1


@ENGINES
def test_floats_below_0_and_above_1_are_black_and_white(engine: EngineName) -> None:
    beyond = np.where(GREYS > 100, 7.5, -3).astype("f4")
    found = shown(tiff(beyond, BLACK_IS_ZERO), engine, EngineName.VIPS)
    assert np.abs(found - expected(np.where(GREYS > 100, 255, 0))).max() <= 1


@ENGINES
def test_twelve_bits_of_grey_are_as_bright_as_eight(engine: EngineName) -> None:
    first, second = (GREYS[:, at::2].astype(int) * 16 + 8 for at in (0, 1))
    packed = np.dstack([first >> 4, (first & 15) << 4 | second >> 8, second & 255]).astype(np.uint8).reshape(80, -1)
    data = tiff(packed, BLACK_IS_ZERO, more=[(256, SHORT, [120]), (258, SHORT, [12])])
    assert np.abs(shown(data, engine, EngineName.PILLOW) - expected(GREYS)).max() <= 1


@ENGINES
@pytest.mark.parametrize("compression", [1, 8])
def test_brightness_and_colour_differences_are_not_taken_for_colours(compression: int, engine: EngineName) -> None:
    pixels = np.asarray(Image.fromarray(COLOURS).convert("YCbCr"))
    data = tiff(pixels, YCBCR, compression=compression, more=[(530, SHORT, [1, 1])])
    assert np.abs(shown(data, engine, EngineName.PILLOW) - expected(COLOURS)).max() <= 3


@ENGINES
@pytest.mark.parametrize("extra", [(0,), (0, 0)])
def test_samples_of_unknown_meaning_are_no_alpha(extra: tuple[int, ...], engine: EngineName) -> None:
    data = tiff(np.dstack([COLOURS, *[CLEAR] * len(extra)]), RGB, extra=extra)
    assert np.abs(shown(data, engine, engine) - expected(COLOURS)).max() <= 1
    assert process(data, ENGINE=engine).outcome.outputs[0].format == "jpeg"


@ENGINES
@pytest.mark.parametrize("extra", [(), (2,), (2, 0)])
def test_alpha_is_kept_where_it_is_said_or_nothing_is(extra: tuple[int, ...], engine: EngineName) -> None:
    data = tiff(np.dstack([COLOURS, *[CLEAR] * max(1, len(extra))]), RGB, extra=extra)
    assert np.abs(shown(data, engine, engine) - expected(COLOURS, CLEAR)).max() <= 1
    assert process(data, ENGINE=engine).outcome.outputs[0].format == "png"


@ENGINES
@pytest.mark.parametrize(("pixels", "photometric"), [(GREYS, BLACK_IS_ZERO), (COLOURS, RGB)], ids=["grey", "colour"])
def test_premultiplied_alpha_is_divided_out(pixels: Pixels, photometric: int, engine: EngineName) -> None:
    alpha = CLEAR if pixels.ndim == 2 else CLEAR[:, :, np.newaxis]
    data = tiff(np.dstack([np.rint(pixels * (alpha / 255)).astype(np.uint8), CLEAR]), photometric, extra=(1,))
    assert np.abs(shown(data, engine, engine) - expected(pixels, CLEAR)).max() <= 2


@ENGINES
def test_white_is_zero_in_sixteen_bits_and_planes_of_sixteen_bits_are_right(engine: EngineName) -> None:
    inverted = tiff(65535 - as_numbers(GREYS, "u2"), WHITE_IS_ZERO)
    assert np.abs(shown(inverted, engine, EngineName.VIPS) - expected(GREYS)).max() <= 1
    planes = tiff(as_numbers(COLOURS, "u2"), RGB, planar=True)
    assert np.abs(shown(planes, engine, EngineName.VIPS) - expected(COLOURS)).max() <= 1


@ENGINES
def test_tiles_in_a_compression_that_an_engine_lacks_are_not_black(engine: EngineName) -> None:
    data = tiff(COLOURS, RGB, tile=32, compression=34925, compress=lzma.compress)
    made = process(data, ENGINE=engine, RENDITIONS="60x60:png")
    assert made.outcome.status is Status.REJECTED or np.abs(fields(made) - expected(COLOURS)).max() <= 1


def test_a_tiff_of_a_compression_that_no_engine_knows_is_refused_by_name() -> None:
    outcome = process(tiff(COLOURS, RGB, compression=34887, compress=bytes)).outcome
    assert (outcome.reason, outcome.detail) == ("unsupported-format", "TIFF with the compression LERC")
