from __future__ import annotations

from dataclasses import replace

import pytest

from thumbnailer.formats.details import JpegDetails
from thumbnailer.model import Details, EngineName, Format, ImageInfo
from thumbnailer.planning.capabilities import (
    BOTH_ENGINES,
    FRAME_PIXELS,
    INPUTS,
    Capability,
    engines_for,
    pixels_of_work,
    shrink_on_load,
)

PILLOW, VIPS = EngineName.PILLOW, EngineName.VIPS
EVERYTHING = Format.all()
BOTH = {name: Capability(EVERYTHING, EVERYTHING) for name in BOTH_ENGINES}
JPEG = ImageInfo(Format.JPEG, 4000, 3000)
TO_JPEG = frozenset({Format.JPEG})
ODD_GIF = ImageInfo(Format.GIF, 90, 90, details=Details(first_engine=PILLOW))


def test_the_faster_engine_comes_first() -> None:
    assert engines_for(JPEG, 1, TO_JPEG, None, BOTH) == (PILLOW, VIPS)
    assert engines_for(replace(JPEG, format=Format.PNG), 1, TO_JPEG, None, BOTH) == (VIPS, PILLOW)


def test_libvips_comes_first_for_a_webp_at_the_largest_shrink() -> None:
    webp = replace(JPEG, format=Format.WEBP)
    assert engines_for(webp, 8, TO_JPEG, None, BOTH) == (VIPS, PILLOW)
    assert engines_for(webp, 4, TO_JPEG, None, BOTH) == INPUTS[Format.WEBP].engines
    assert engines_for(webp, 8, TO_JPEG, PILLOW, BOTH) == (PILLOW, VIPS)


@pytest.mark.parametrize("preferred", [None, *BOTH_ENGINES])
def test_pillow_comes_first_if_libvips_differs_from_browsers(preferred: EngineName | None) -> None:
    assert engines_for(ODD_GIF, 1, TO_JPEG, preferred, BOTH) == (PILLOW, VIPS)
    only_vips = {VIPS: BOTH[VIPS]}
    assert engines_for(ODD_GIF, 1, TO_JPEG, None, only_vips) == (VIPS,)


@pytest.mark.parametrize("format_", [Format.JPEG, Format.PNG, Format.TIFF])
@pytest.mark.parametrize("preferred", BOTH_ENGINES)
def test_the_preferred_engine_comes_first_and_the_other_stays(format_: Format, preferred: EngineName) -> None:
    engines = engines_for(replace(JPEG, format=format_), 1, TO_JPEG, preferred, BOTH)
    assert engines[0] is preferred
    assert set(engines) == set(BOTH_ENGINES)


def test_an_engine_that_is_not_installed_is_not_chosen() -> None:
    assert engines_for(JPEG, 1, TO_JPEG, PILLOW, {VIPS: BOTH[VIPS]}) == (VIPS,)
    assert engines_for(JPEG, 1, TO_JPEG, None, {}) == ()


def test_an_engine_must_read_the_source_and_write_every_output() -> None:
    reads_only = {PILLOW: Capability(TO_JPEG, frozenset()), VIPS: Capability(TO_JPEG, TO_JPEG)}
    assert engines_for(JPEG, 1, TO_JPEG, None, reads_only) == (VIPS,)
    assert engines_for(JPEG, 1, TO_JPEG | {Format.AVIF}, None, reads_only) == ()
    assert engines_for(replace(JPEG, format=Format.PNG), 1, TO_JPEG, None, reads_only) == ()


def test_an_engine_that_misreads_a_file_is_not_chosen() -> None:
    for left, other in ((VIPS, PILLOW), (PILLOW, VIPS)):
        info = ImageInfo(Format.TIFF, 4000, 3000, details=Details(misread_by=frozenset({other})))
        assert engines_for(info, 1, TO_JPEG, None, BOTH) == engines_for(info, 1, TO_JPEG, other, BOTH) == (left,)
        assert engines_for(info, 1, TO_JPEG, None, {other: BOTH[other]}) == ()


@pytest.mark.parametrize(
    ("reduction", "shrink"), [(0.5, 1), (1, 1), (3.99, 1), (4, 2), (7.99, 2), (8, 4), (15.99, 4), (16, 8), (1000, 8)]
)
def test_shrink_on_load_leaves_twice_the_wanted_size(reduction: float, shrink: int) -> None:
    assert shrink_on_load(JPEG, reduction) == shrink


def test_only_a_still_webp_shrinks_on_load() -> None:
    webp = replace(JPEG, format=Format.WEBP)
    assert shrink_on_load(webp, 8) == 4
    assert shrink_on_load(replace(webp, frames=2), 8) == 1


@pytest.mark.parametrize("format_", sorted(INPUTS.keys() - {Format.JPEG, Format.WEBP, Format.HEIC}))
def test_no_other_format_shrinks_on_load(format_: Format) -> None:
    assert shrink_on_load(replace(JPEG, format=format_), 1000) == 1


def test_every_format_names_each_engine_once() -> None:
    assert all(len(set(row.engines)) == len(row.engines) >= 1 for row in INPUTS.values())


def test_frames_and_many_scans_are_work() -> None:
    assert pixels_of_work(JPEG, 1) == JPEG.pixels
    assert pixels_of_work(replace(JPEG, progressive=True, details=JpegDetails(scans=10)), 1) == JPEG.pixels
    assert pixels_of_work(replace(JPEG, progressive=True, details=JpegDetails(scans=100)), 1) == 10 * JPEG.pixels
    assert pixels_of_work(ImageInfo(Format.GIF, 100, 100, frames=50), 50) == 50 * (2 * 100 * 100 + FRAME_PIXELS)
    assert pixels_of_work(ImageInfo(Format.GIF, 100, 100, frames=50), 1) == 100 * 100
    assert pixels_of_work(ImageInfo(Format.JXL, 100, 100), 1) == 4 * 100 * 100


def test_a_shrunken_decode_saves_up_to_three_quarters_of_the_work() -> None:
    assert [JPEG.pixels / pixels_of_work(JPEG, 1, shrink) for shrink in (1, 2, 4, 8)] == [1, 2, 4, 4]
    for whole in (replace(JPEG, progressive=True), replace(JPEG, format=Format.WEBP)):
        assert pixels_of_work(whole, 1, 8) == JPEG.pixels
