from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbnailer.formats.details import JpegDetails, JxlDetails, TiffDetails
from thumbnailer.model import Details, EngineName, Format, ImageInfo
from thumbnailer.planning.capabilities import BOTH_ENGINES, INPUTS, OUTPUTS, InputFormat
from thumbnailer.planning.memory import (
    DECODERS,
    ENCODERS,
    MB,
    Wanted,
    Work,
    memory_estimate,
    quantities,
    salvage_estimate,
)

NATIVE, PILLOW, VIPS = EngineName.NATIVE, EngineName.PILLOW, EngineName.VIPS
JPEG = ImageInfo(Format.JPEG, 4000, 3000, channels=3, details=JpegDetails(3))


def uncropped(width: int, height: int, format_: Format, frames: int = 1) -> Wanted:
    return Wanted(width, height, format_, width * height, frames)


SMALL = uncropped(128, 96, Format.JPEG)

infos = st.builds(
    ImageInfo,
    st.sampled_from(list(INPUTS)),
    st.integers(8, 65535),
    st.integers(8, 65535),
    progressive=st.booleans(),
    has_alpha=st.booleans(),
    bit_depth=st.sampled_from([8, 16]),
    channels=st.sampled_from([1, 3, 4]),
)


def estimate(info: ImageInfo, engine: EngineName, shrink: int = 1, source_bytes: int = 0, *wanted: Wanted) -> int:
    return memory_estimate(engine, Work(info, shrink, source_bytes, wanted or (SMALL,)))


@given(infos, st.sampled_from(BOTH_ENGINES), st.sampled_from([1, 2, 4, 8]), st.integers(1, 4000), st.integers(1, 4000))
def test_more_work_needs_no_less_memory(
    info: ImageInfo, engine: EngineName, shrink: int, width: int, height: int
) -> None:
    wanted = uncropped(min(width, info.width), min(height, info.height), Format.JPEG)
    work = Work(info, shrink, 1 << 20, (wanted,))
    least = memory_estimate(engine, work)
    assert least >= wanted.encoded
    assert memory_estimate(engine, replace(work, source_bytes=2 << 20)) >= least
    assert memory_estimate(engine, replace(work, info=replace(info, details=Details(held=MB)))) >= least + MB
    assert salvage_estimate(work) >= memory_estimate(PILLOW, work)


@pytest.mark.parametrize("engine", BOTH_ENGINES)
def test_shrink_on_load_of_a_jpeg_needs_less(engine: EngineName) -> None:
    assert estimate(JPEG, engine, shrink=8) < estimate(JPEG, engine, shrink=2) < estimate(JPEG, engine)


def test_only_libvips_shrinks_a_webp() -> None:
    webp = replace(JPEG, format=Format.WEBP)
    assert estimate(webp, PILLOW, shrink=8) == estimate(webp, PILLOW)
    assert estimate(webp, VIPS, shrink=8) < estimate(webp, VIPS)


@pytest.mark.parametrize("engine", BOTH_ENGINES)
def test_a_jpeg_in_several_scans_needs_all_its_coefficients(engine: EngineName) -> None:
    sequential = estimate(JPEG, engine, shrink=8)
    assert estimate(replace(JPEG, progressive=True), engine, shrink=8) - sequential >= JPEG.pixels * 3 * 2 * 0.95
    assert estimate(replace(JPEG, details=JpegDetails(3, scans=3)), engine, shrink=8) == estimate(
        replace(JPEG, progressive=True), engine, 8
    )


def test_libvips_streams_a_png_but_not_an_interlaced_one() -> None:
    png = ImageInfo(Format.PNG, 4000, 3000, channels=3)
    assert estimate(png, VIPS) < estimate(png, PILLOW)
    assert estimate(replace(png, progressive=True), VIPS) > png.pixels * 3


def test_several_thumbnails_make_libvips_hold_the_picture() -> None:
    png = ImageInfo(Format.PNG, 4000, 3000, channels=3)
    assert estimate(png, VIPS, 1, 0, SMALL, SMALL) > png.pixels * 3 > estimate(png, VIPS)


@pytest.mark.parametrize("engine", BOTH_ENGINES)
def test_16_bits_of_grey_need_more_than_8(engine: EngineName) -> None:
    tiff = ImageInfo(Format.TIFF, 2000, 2000, channels=1)
    assert estimate(replace(tiff, bit_depth=16), engine) > estimate(tiff, engine)


@pytest.mark.parametrize("format_", sorted(format_ for format_, row in INPUTS.items() if row.animated))
def test_libvips_holds_every_frame_of_an_animation(format_: Format) -> None:
    roll = ImageInfo(format_, 500, 500, frames=50)
    assert estimate(roll, VIPS, 1, 0, uncropped(128, 128, format_, 50)) >= roll.pixels * 4 * 50


def test_tiles_strips_and_tags_are_in_the_estimate() -> None:
    """Tiles and strips of many rows, and large tags."""
    tiff = ImageInfo(Format.TIFF, 7000, 7000, channels=3)
    for engine in BOTH_ENGINES:
        assert estimate(replace(tiff, details=TiffDetails(held=100 * MB)), engine) >= estimate(tiff, engine) + 300 * MB
    assert estimate(replace(tiff, details=TiffDetails(band=4096)), VIPS) >= estimate(tiff, VIPS) + 7000 * 4096 * 3
    assert (
        estimate(replace(tiff, details=TiffDetails(block_rows=7000)), PILLOW)
        >= estimate(tiff, PILLOW) + tiff.pixels * 3
    )


@pytest.mark.parametrize("engine", BOTH_ENGINES)
def test_the_encoder_of_a_large_thumbnail_is_in_the_estimate(engine: EngineName) -> None:
    png = ImageInfo(Format.PNG, 4000, 3000)
    small, large = (estimate(png, engine, 1, 0, uncropped(side, side, Format.WEBP)) for side in (128, 3000))
    assert large - small >= 3000 * 3000 * 10


def test_complete_planes_of_a_jpeg_xl_are_in_the_estimate() -> None:
    def coded(samples: int, whole_planes: int, saved_frames: int = 0, bit_depth: int = 8) -> int:
        details = JxlDetails(samples, whole_planes=whole_planes, saved_frames=saved_frames)
        kind = {"has_alpha": samples == 4, "channels": samples, "bit_depth": bit_depth}
        return estimate(ImageInfo(Format.JXL, 4000, 3000, details=details, **kind), PILLOW)  # type: ignore[arg-type]

    pixels, by_groups = 4000 * 3000, coded(3, 0)
    assert by_groups < pixels * 10
    assert coded(3, 3) > 2 * by_groups
    assert coded(4, 1) > coded(4, 4) > 2.5 * by_groups
    assert coded(3, 0, saved_frames=1) >= by_groups + pixels * 3 * 4
    assert coded(3, 0, bit_depth=16) == by_groups  # libjxl hands out bytes


def test_a_grey_heic_needs_less_than_a_coloured_one() -> None:
    heic = ImageInfo(Format.HEIC, 4000, 3000, channels=3, details=Details(1.5))
    assert estimate(replace(heic, details=Details(1)), PILLOW) < estimate(heic, PILLOW) / 2


def test_pillow_holds_an_uncompressed_strip_beside_its_rows() -> None:
    panorama = ImageInfo(Format.TIFF, 40_000, 300, channels=3, details=TiffDetails(3, read_rows=128))
    rows_in_excess = 128 * 3 - 44 * 4
    assert (
        estimate(panorama, PILLOW)
        >= estimate(replace(panorama, details=TiffDetails(3)), PILLOW) + 39_000 * rows_in_excess
    )


@pytest.mark.parametrize("engine", BOTH_ENGINES)
def test_cropped_pixels_need_no_encoder(engine: EngineName) -> None:
    png = ImageInfo(Format.PNG, 4000, 3000, channels=3)
    whole = uncropped(3000, 2250, Format.AVIF)
    assert estimate(png, engine, 1, 0, replace(whole, encoded=512 * 512)) < estimate(png, engine, 1, 0, whole)


def test_every_engine_and_format_has_rows_and_the_last_row_is_for_every_file() -> None:
    rows = {(engine, format_) for format_, row in INPUTS.items() for engine in row.engines}
    assert DECODERS.keys() == rows | {(NATIVE, Format.JPEG)}
    assert ENCODERS.keys() == {(engine, format_) for format_ in OUTPUTS for engine in BOTH_ENGINES}
    assert all(rows[-1].when == "one" for rows in DECODERS.values())


def test_rows_refer_to_known_quantities() -> None:
    known = quantities(Work(JPEG, 1, 0, (SMALL,))).keys()
    assert all({*row.peak, *row.lasting, row.when} <= known for rows in DECODERS.values() for row in rows)


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_a_format_without_rows_is_estimated_at_the_most(bit_depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = Format("unknown")
    monkeypatch.setitem(INPUTS, unknown, InputFormat(BOTH_ENGINES))
    picture = ImageInfo(unknown, 4000, 3000, bit_depth=bit_depth)
    for engine in BOTH_ENGINES:
        known = (replace(picture, format=format_) for format_, row in INPUTS.items() if engine in row.engines)
        assert estimate(picture, engine, 1, MB) >= max(estimate(info, engine, 1, MB) for info in known)
