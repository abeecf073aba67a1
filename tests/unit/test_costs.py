from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbnailer.costs import (
    ANIMATED,
    MB,
    PREFERENCE,
    Capability,
    engines_for,
    memory_estimate,
    pixels_of_work,
    shrink_on_load,
)
from thumbnailer.model import EngineName, Format, ImageInfo

PILLOW, VIPS = EngineName.PILLOW, EngineName.VIPS
EVERYTHING = frozenset(Format)
BOTH = {name: Capability(EVERYTHING, EVERYTHING) for name in EngineName}
JPEG = ImageInfo(Format.JPEG, 4000, 3000)
TO_JPEG = frozenset({Format.JPEG})

infos = st.builds(
    ImageInfo,
    st.sampled_from(list(PREFERENCE)),
    st.integers(1, 65535),
    st.integers(1, 65535),
    progressive=st.booleans(),
    bit_depth=st.sampled_from([8, 16]),
)


def test_the_faster_engine_comes_first() -> None:
    assert engines_for(JPEG, 1, TO_JPEG, None, BOTH) == (PILLOW, VIPS)
    assert engines_for(replace(JPEG, format=Format.PNG), 1, TO_JPEG, None, BOTH) == (VIPS, PILLOW)


def test_libvips_comes_first_for_a_webp_where_shrinking_while_loading_pays() -> None:
    webp = replace(JPEG, format=Format.WEBP)
    assert engines_for(webp, 8, TO_JPEG, None, BOTH) == (VIPS, PILLOW)
    assert engines_for(webp, 4, TO_JPEG, None, BOTH) == PREFERENCE[Format.WEBP]
    assert engines_for(webp, 8, TO_JPEG, PILLOW, BOTH) == (PILLOW, VIPS)


@pytest.mark.parametrize("format_", [Format.JPEG, Format.PNG, Format.TIFF])
@pytest.mark.parametrize("preferred", EngineName)
def test_the_preferred_engine_comes_first_and_the_other_stays(format_: Format, preferred: EngineName) -> None:
    engines = engines_for(replace(JPEG, format=format_), 1, TO_JPEG, preferred, BOTH)
    assert engines[0] is preferred
    assert set(engines) == set(EngineName)


def test_an_engine_that_is_not_installed_is_not_chosen() -> None:
    assert engines_for(JPEG, 1, TO_JPEG, PILLOW, {VIPS: BOTH[VIPS]}) == (VIPS,)
    assert engines_for(JPEG, 1, TO_JPEG, None, {}) == ()


def test_an_engine_must_read_the_source_and_write_every_output() -> None:
    reads_only = {PILLOW: Capability(TO_JPEG, frozenset()), VIPS: Capability(TO_JPEG, TO_JPEG)}
    assert engines_for(JPEG, 1, TO_JPEG, None, reads_only) == (VIPS,)
    assert engines_for(JPEG, 1, TO_JPEG | {Format.AVIF}, None, reads_only) == ()
    assert engines_for(replace(JPEG, format=Format.PNG), 1, TO_JPEG, None, reads_only) == ()


@pytest.mark.parametrize(
    ("reduction", "shrink"), [(0.5, 1), (1, 1), (3.99, 1), (4, 2), (7.99, 2), (8, 4), (15.99, 4), (16, 8), (1000, 8)]
)
def test_a_jpeg_is_shrunk_while_loading_to_no_less_than_twice_the_size_wanted(reduction: float, shrink: int) -> None:
    assert shrink_on_load(JPEG, reduction) == shrink


def test_a_still_webp_is_shrunk_while_loading_and_an_animated_one_is_not() -> None:
    webp = replace(JPEG, format=Format.WEBP)
    assert shrink_on_load(webp, 8) == 4
    assert shrink_on_load(replace(webp, frames=2), 8) == 1


def test_pillow_is_not_counted_on_to_shrink_a_webp() -> None:
    webp = replace(JPEG, format=Format.WEBP)
    assert memory_estimate(webp, PILLOW, 8, 1, 1) == memory_estimate(webp, PILLOW, 1, 1, 1)
    assert memory_estimate(webp, VIPS, 8, 1, 1) < memory_estimate(webp, VIPS, 1, 1, 1)


@pytest.mark.parametrize("format_", sorted(set(Format) - {Format.JPEG, Format.WEBP}))
def test_no_other_format_is_shrunk_while_loading(format_: Format) -> None:
    assert shrink_on_load(replace(JPEG, format=format_), 1000) == 1


@given(infos, st.sampled_from(EngineName), st.sampled_from([1, 2, 4, 8]), st.integers(1, 5), st.integers(1, 10**7))
def test_more_work_is_never_estimated_at_less_memory(
    info: ImageInfo, engine: EngineName, shrink: int, frames: int, output: int
) -> None:
    estimate = memory_estimate(info, engine, shrink, frames, output)
    assert estimate >= 8 * MB + output * 4
    assert memory_estimate(replace(info, width=info.width + 8), engine, shrink, frames, output) >= estimate
    assert memory_estimate(replace(info, height=info.height + 8), engine, shrink, frames, output) >= estimate
    assert memory_estimate(info, engine, shrink, frames + 1, output) >= estimate
    assert memory_estimate(info, engine, shrink, frames, output + 1) > estimate
    assert memory_estimate(info, engine, min(8, shrink * 2), frames, output) <= estimate


def test_a_progressive_jpeg_needs_all_its_coefficients() -> None:
    sequential, progressive = (memory_estimate(replace(JPEG, progressive=p), PILLOW, 8, 1, 1) for p in (False, True))
    assert progressive - sequential >= JPEG.pixels * 3 * 2


def test_libvips_streams_a_png_but_not_an_interlaced_one() -> None:
    png = ImageInfo(Format.PNG, 4000, 3000)
    assert memory_estimate(png, VIPS, 1, 1, 1) < memory_estimate(png, PILLOW, 1, 1, 1)
    assert memory_estimate(replace(png, progressive=True), VIPS, 1, 1, 1) > png.pixels * 4


@pytest.mark.parametrize("engine", EngineName)
def test_16_bits_need_more_than_8(engine: EngineName) -> None:
    tiff = ImageInfo(Format.TIFF, 2000, 2000)
    assert memory_estimate(replace(tiff, bit_depth=16), engine, 1, 1, 1) > memory_estimate(tiff, engine, 1, 1, 1)


@pytest.mark.parametrize("format_", sorted(ANIMATED))
def test_libvips_holds_every_frame_of_an_animation(format_: Format) -> None:
    roll = ImageInfo(format_, 500, 500, frames=50)
    assert memory_estimate(roll, VIPS, 1, 50, 1) >= roll.pixels * 4 * 50


def test_no_format_is_preferred_in_an_engine_twice() -> None:
    assert all(len(set(engines)) == len(engines) >= 1 for engines in PREFERENCE.values())


def test_frames_and_scans_beyond_the_ordinary_are_work_and_an_ordinary_picture_is_its_pixels() -> None:
    assert pixels_of_work(JPEG, 1) == JPEG.pixels
    assert pixels_of_work(replace(JPEG, progressive=True, scans=10), 1) == JPEG.pixels
    assert pixels_of_work(replace(JPEG, progressive=True, scans=100), 1) == 10 * JPEG.pixels
    assert pixels_of_work(ImageInfo(Format.GIF, 100, 100, frames=50), 50) == 2 * 50 * 100 * 100
    assert pixels_of_work(ImageInfo(Format.GIF, 100, 100, frames=50), 1) == 100 * 100


def test_what_a_file_forces_into_memory_is_in_the_estimate() -> None:
    """Tiles of many rows, tags and whole files, and scans that make a decoder keep every coefficient."""
    tiff = ImageInfo(Format.TIFF, 7000, 7000)
    plain = memory_estimate(tiff, VIPS, 1, 1, 0)
    assert memory_estimate(replace(tiff, band=4096), VIPS, 1, 1, 0) >= plain + 7000 * 4096 * 3 * 2
    assert memory_estimate(replace(tiff, held=100 * MB), VIPS, 1, 1, 0) >= plain + 300 * MB
    assert memory_estimate(replace(JPEG, scans=3), PILLOW, 8, 1, 0) >= memory_estimate(JPEG, PILLOW, 8, 1, 0) + 60 * MB
