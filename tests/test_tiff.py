"""TIFFs of every number type, colour model and kind of extra sample, in both engines."""

from __future__ import annotations

import lzma
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from tests.bombs import tiff as pages
from tests.bombs.tiff import LONG, SHORT
from tests.support.pictures import opened, saved
from tests.support.processing import Processed, process
from tests.support.tiffs import BLACK_IS_ZERO, RGB, WHITE_IS_ZERO, YCBCR, tiff
from thumbnailer.model import EngineName, Status

Pixels = np.ndarray[Any, Any]
COLOURS = np.array([[(255, 0, 0), (40, 200, 90)], [(0, 0, 255), (250, 240, 10)]], np.uint8).repeat(40, 0).repeat(60, 1)
"""Four fields of 60 x 40."""
GREYS = np.array([[0, 80], [160, 255]], np.uint8).repeat(40, 0).repeat(60, 1)
CLEAR = np.array([[255, 128], [255, 255]], np.uint8).repeat(40, 0).repeat(60, 1)


def as_numbers(pixels: Pixels, kind: str) -> Pixels:
    """Bytes scaled to the range of another number type; floats are 0 to 1."""
    if kind[0] == "f":
        return (pixels / 255).astype(kind)
    limits = np.iinfo(kind)
    return (
        np.rint(limits.min + pixels / 255 * (float(limits.max) - limits.min)).clip(limits.min, limits.max).astype(kind)
    )


def fields(made: Processed) -> Pixels:
    """The thumbnail's pixel in the middle of each of the four fields."""
    assert made.outcome.status is Status.STORED, made.outcome.detail
    image = np.asarray(opened(made.thumbnails[0]).convert("RGBA")).astype(int)
    height, width = image.shape[:2]
    return image[height // 4 :: height // 2, width // 4 :: width // 2][:2, :2]


def shown(data: bytes, engine: EngineName, by: EngineName) -> Pixels:
    """The fields as rendered by the engine `by` when `engine` is preferred."""
    made = process(data, ENGINE=engine, RENDITIONS="60x60:png")
    assert made.outcome.engine is by, made.outcome.detail
    return fields(made)


def expected(pixels: Pixels, alpha: Pixels | None = None) -> Pixels:
    colours = pixels if pixels.ndim == 3 else np.dstack([pixels] * 3)
    whole = np.dstack([colours, np.full(colours.shape[:2], 255) if alpha is None else alpha])
    return whole[20::40, 30::60].astype(int)


@pytest.mark.parametrize("kind", ["u4", "i1", "i2", "i4", "f2", "f4"])
@pytest.mark.parametrize(("pixels", "photometric"), [(GREYS, BLACK_IS_ZERO), (COLOURS, RGB)], ids=["grey", "colour"])
def test_samples_of_every_number_type_are_scaled_to_eight_bits(
    pixels: Pixels, photometric: int, kind: str, engine: EngineName
) -> None:
    found = shown(tiff(as_numbers(pixels, kind), photometric), engine, EngineName.VIPS)
    assert np.abs(found - expected(pixels)).max() <= 1


def test_floats_beyond_0_and_1_are_black_and_white(engine: EngineName) -> None:
    beyond = np.where(GREYS > 100, 7.5, -3).astype("f4")
    found = shown(tiff(beyond, BLACK_IS_ZERO), engine, EngineName.VIPS)
    assert np.abs(found - expected(np.where(GREYS > 100, 255, 0))).max() <= 1


def test_twelve_bits_of_grey_are_as_bright_as_eight(engine: EngineName) -> None:
    first, second = (GREYS[:, at::2].astype(int) * 16 + 8 for at in (0, 1))
    packed = np.dstack([first >> 4, (first & 15) << 4 | second >> 8, second & 255]).astype(np.uint8).reshape(80, -1)
    data = tiff(packed, BLACK_IS_ZERO, more=[(256, SHORT, [120]), (258, SHORT, [12])])
    assert np.abs(shown(data, engine, EngineName.PILLOW) - expected(GREYS)).max() <= 1


@pytest.mark.parametrize("compression", [1, 8])
def test_ycbcr_is_converted_to_rgb(compression: int, engine: EngineName) -> None:
    pixels = np.asarray(Image.fromarray(COLOURS).convert("YCbCr"))
    data = tiff(pixels, YCBCR, compression=compression, more=[(530, SHORT, [1, 1])])
    assert np.abs(shown(data, engine, EngineName.PILLOW) - expected(COLOURS)).max() <= 3


@pytest.mark.parametrize("extra", [(0,), (0, 0)])
def test_unspecified_extra_samples_are_no_alpha(extra: tuple[int, ...], engine: EngineName) -> None:
    data = tiff(np.dstack([COLOURS, *[CLEAR] * len(extra)]), RGB, extra=extra)
    assert np.abs(shown(data, engine, engine) - expected(COLOURS)).max() <= 1
    assert process(data, ENGINE=engine).outcome.outputs[0].format == "jpeg"


@pytest.mark.parametrize("extra", [(), (2,), (2, 0)])
def test_an_extra_sample_is_alpha_unless_stated_otherwise(extra: tuple[int, ...], engine: EngineName) -> None:
    data = tiff(np.dstack([COLOURS, *[CLEAR] * max(1, len(extra))]), RGB, extra=extra)
    assert np.abs(shown(data, engine, engine) - expected(COLOURS, CLEAR)).max() <= 1
    assert process(data, ENGINE=engine).outcome.outputs[0].format == "png"


@pytest.mark.parametrize(("pixels", "photometric"), [(GREYS, BLACK_IS_ZERO), (COLOURS, RGB)], ids=["grey", "colour"])
def test_premultiplied_colours_of_a_tiff_are_divided_by_alpha(
    pixels: Pixels, photometric: int, engine: EngineName
) -> None:
    alpha = CLEAR if pixels.ndim == 2 else CLEAR[:, :, np.newaxis]
    data = tiff(np.dstack([np.rint(pixels * (alpha / 255)).astype(np.uint8), CLEAR]), photometric, extra=(1,))
    by = engine if pillow_opens(data) else EngineName.VIPS
    assert np.abs(shown(data, engine, by) - expected(pixels, CLEAR)).max() <= 2


def pillow_opens(data: bytes) -> bool:
    """Pillow 12 cannot open grey with premultiplied alpha."""
    try:
        Image.open(BytesIO(data))
    except UnidentifiedImageError:
        return False
    return True


def test_inverted_grey_and_planes_of_sixteen_bits_are_right(engine: EngineName) -> None:
    inverted = tiff(65535 - as_numbers(GREYS, "u2"), WHITE_IS_ZERO)
    assert np.abs(shown(inverted, engine, EngineName.VIPS) - expected(GREYS)).max() <= 1
    planes = tiff(as_numbers(COLOURS, "u2"), RGB, planar=True)
    assert np.abs(shown(planes, engine, EngineName.VIPS) - expected(COLOURS)).max() <= 1


def test_tiles_in_an_unsupported_compression_are_not_black(engine: EngineName) -> None:
    data = tiff(COLOURS, RGB, tile=32, compression=34925, compress=lzma.compress)
    made = process(data, ENGINE=engine, RENDITIONS="60x60:png")
    assert made.outcome.status is Status.REJECTED or np.abs(fields(made) - expected(COLOURS)).max() <= 1


def test_a_tiff_with_an_unsupported_compression_is_rejected_by_name() -> None:
    outcome = process(tiff(COLOURS, RGB, compression=34887, compress=bytes)).outcome
    assert (outcome.reason, outcome.detail) == ("unsupported-format", "TIFF with the compression LERC")


PREVIEW, MASK, FULL = 1, 4, 0


def pages_of(*kinds: int) -> bytes:
    """Grey pages of 40 x 30, 50 x 30, ...; each is darker than the one before."""
    entries, pixels = [], b""
    for number, kind in enumerate(kinds):
        width = 40 + 10 * number
        place = (273, LONG, 1, pages.PIXELS_AT + len(pixels))
        entries.append(pages.changed(pages.grey(width, 30, width * 30), place, (254, LONG, 1, kind)))
        pixels += bytes([240 - 40 * number]) * (width * 30)
    return pages.tiff(pixels, *entries)


@pytest.mark.parametrize(
    ("kinds", "page"),
    [
        ((FULL, FULL), 0),
        ((PREVIEW, FULL), 1),
        ((PREVIEW, MASK, 2), 2),
        ((PREVIEW, PREVIEW), 0),
        ((FULL, PREVIEW), 0),
        ((PREVIEW,), 0),
    ],
)
def test_the_first_page_that_is_no_preview_is_shown(kinds: tuple[int, ...], page: int, engine: EngineName) -> None:
    made = process(pages_of(*kinds), ENGINE=engine, RENDITIONS="200x200:png")
    assert (made.outcome.status, made.outcome.engine, made.outcome.damaged) == (Status.STORED, engine, False)
    image = opened(made.thumbnails[0])
    assert image.size == (40 + 10 * page, 30)
    assert image.convert("L").getpixel((20, 15)) == 240 - 40 * page


def test_a_cut_page_behind_a_preview_is_shown_as_far_as_it_goes() -> None:
    data = saved(Image.new("L", (40, 300), 90), "TIFF")
    preview = pages.changed(pages.grey(4, 4, 16), (254, LONG, 1, PREVIEW))
    full = pages.changed(pages.grey(40, 300, 12_000), (273, LONG, 1, 1_000))
    at = pages.PIXELS_AT + len(pages.directory(preview))
    start = b"II*\0" + pages.PIXELS_AT.to_bytes(4, "little") + pages.directory(preview, at) + pages.directory(full)
    whole = start.ljust(1_000, b"\0") + bytes([90]) * 12_000
    assert len(data) > 12_000
    made = process(whole[:10_000], RENDITIONS="40x300:png")
    assert (made.outcome.status, made.outcome.damaged) == (Status.STORED, True)
    assert opened(made.thumbnails[0]).size == (40, 300)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("dpi", "size"), [((204, 98), (98, 120)), ((98, 204), (204, 58)), ((200, 200), (204, 120))])
def test_the_pixels_of_a_fax_are_not_square(
    dpi: tuple[int, int], size: tuple[int, int], orientation: int, engine: EngineName
) -> None:
    page = Image.new("1", (204, 120), 1)
    page.paste(0, (0, 0, 102, 60))
    data = saved(page, "TIFF", compression="group4", dpi=dpi, tiffinfo={274: orientation})
    made = process(data, ENGINE=engine, RENDITIONS="500x500:png")
    assert made.outcome.status is Status.STORED, made.outcome.detail
    image = opened(made.thumbnails[0]).convert("L")
    assert image.size == (size if orientation == 1 else size[::-1])
    width, height = image.size
    dark = (width // 4, height // 4) if orientation == 1 else (3 * width // 4, height // 4)
    assert image.getpixel(dark) == 0
    assert image.getpixel((width - 1 - dark[0], height - 1 - dark[1])) == 255


def test_the_resolution_of_other_tiffs_does_not_count() -> None:
    for data in (
        saved(Image.new("L", (80, 60)), "TIFF", dpi=(300, 72)),
        saved(Image.new("1", (80, 60)), "TIFF", dpi=(300, 1)),
    ):
        assert opened(process(data, RENDITIONS="80x80:png").thumbnails[0]).size == (80, 60)
