"""Limits count what a picture costs: pixels decoded, scans of the picture itself, frames that are shown."""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from tests.bombs import MB, gif
from tests.bombs.heif import AVIF, HEIC, box, derived, file, full_box, picture
from tests.bombs.jpeg import with_segments
from tests.support.measured import measured
from tests.support.pictures import gradient, opened, saved
from tests.support.processing import EVERY_ENGINE, Processed, planned, process
from thumbnailer.engine import load_engine
from thumbnailer.model import EngineName, Status

NOISE = np.random.default_rng(5).bytes(600_000).replace(b"\xff", b"\xff\xda")
"""As the video of a motion photo: it has the bytes of a scan's marker, and of an end."""
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF encoder")
COLOURS = ("red", "green", "blue")


def animation(kind: str, frames: int, size: tuple[int, int] = (320, 180)) -> bytes:
    pictures = [Image.new("RGB", size, COLOURS[number % 3]) for number in range(frames)]
    return saved(pictures[0], kind, save_all=True, append_images=pictures[1:], duration=40)


def check(made: Processed, size: tuple[int, int]) -> None:
    outcome = made.outcome
    assert (outcome.status, outcome.damaged) == (Status.STORED, False), outcome.detail
    assert opened(made.thumbnails[0]).size == size


# --- animations ---------------------------------------------------------------------------------------------------


@pytest.mark.matrix(57)
@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_beyond_the_limits_is_a_still_of_its_first_frame(kind: str, engine: EngineName) -> None:
    made = process(animation(kind, 12), ENGINE=engine, MAX_FRAMES="10")
    check(made, (128, 72))
    assert made.outcome.first_frame_only
    assert made.outcome.detail == "only its first frame is shown: 12 frames; at most 10 are taken"
    still = opened(made.thumbnails[0])
    assert getattr(still, "n_frames", 1) == 1
    red, green, _ = still.convert("RGB").getpixel((64, 36))  # type: ignore[misc]
    assert red > 240 > 40 > green


@pytest.mark.matrix(57)
@pytest.mark.parametrize("memory_mb", [128, 1769])
def test_an_animation_of_large_frames_is_a_still_where_it_takes_too_long(memory_mb: int) -> None:
    made = process(gif.animation((1280, 720), 150, (1280, 720)), memory_mb)
    check(made, (128, 72))
    assert made.outcome.first_frame_only
    assert not process(animation("GIF", 3), memory_mb).outcome.first_frame_only


@pytest.mark.matrix(57)
def test_the_source_of_a_still_does_not_take_its_place() -> None:
    """A source that already fits is kept if no encoder makes it smaller, but not with all of its frames."""
    data = gif.animation((8, 8), 6, (8, 8), before=b"")
    made = process(data, MAX_FRAMES="5")
    check(made, (8, 8))
    assert opened(made.thumbnails[0]).n_frames == 1  # type: ignore[attr-defined]


@pytest.mark.matrix(57)
def test_a_still_of_many_frames_takes_the_memory_of_its_first_frame() -> None:
    one, many = (gif.animation((1000, 1000), frames, (1000, 1000)) for frames in (1, 1001))
    for engine in ("pillow", "vips"):
        costs = [measured(data, 512, {"THUMBNAILER_ENGINE": engine}) for data in (one, many)]
        assert costs[1].outcome.first_frame_only
        assert costs[1].growth <= costs[0].growth + 4 * MB, [cost.report for cost in costs]


# --- JPEG ---------------------------------------------------------------------------------------------------------


@cache
def progressive() -> bytes:
    return saved(gradient((512, 480)), "JPEG", progressive=True)


@EVERY_ENGINE
def test_a_jpeg_of_200_megapixels_is_taken_by_the_smallest_tier(engine: EngineName) -> None:
    check(process(large_jpeg(), 128, ENGINE=engine), (128, 96))


@cache
def large_jpeg() -> bytes:
    return saved(Image.new("L", (16_320, 12_240), 90), "JPEG", quality=30)


@EVERY_ENGINE
@pytest.mark.parametrize("behind", [NOISE, progressive() * 20, b"\n"])
def test_data_behind_a_progressive_jpeg_is_no_part_of_it(engine: EngineName, behind: bytes) -> None:
    made = process(progressive() + behind, 128, ENGINE=engine)
    check(made, (128, 120))
    assert made.thumbnails == process(progressive(), 128, ENGINE=engine).thumbnails


@EVERY_ENGINE
@pytest.mark.parametrize("marker", [0xE1, 0xE5])
def test_a_jpeg_header_of_twelve_megabytes_is_stepped_over(engine: EngineName, marker: int) -> None:
    """Cardboard Camera keeps a second picture and sound in XMP."""
    piece = b"http://ns.adobe.com/xmp/extension/\0".ljust(65_533, b"x")
    check(process(with_segments(progressive(), marker, piece, 190), 128, ENGINE=engine), (128, 120))


# --- HEIC and AVIF ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pytest.param(AVIF, marks=needs_avif), HEIC])
@pytest.mark.parametrize("padding", [9 * MB, 17 * MB])
def test_a_meta_box_behind_the_pixels_is_found(kind: str, padding: int) -> None:
    pytest.importorskip("pillow_heif")
    check(process(meta_last(kind, padding), 512), (128, 96))


def meta_last(kind: str, padding: int) -> bytes:
    """A picture of 320 x 240 whose pixels stand before its meta box."""
    item = picture(kind, (320, 240))
    start = len(file(kind, item)[: file(kind, item).index(b"meta") - 4])
    place = struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, start + 8 + padding, len(item.data))
    whole = file(kind, item, iloc=lambda _: full_box(b"iloc", place))
    meta, pixels = whole.index(b"meta") - 4, whole.rindex(b"mdat") - 4
    return whole[:meta] + box(b"mdat", bytes(padding), item.data) + whole[meta:pixels]


@needs_avif
@pytest.mark.parametrize("size", [0, 1, 7, 1 << 31])
def test_a_box_that_lies_about_its_size_is_corrupt(size: int) -> None:
    data = meta_last(AVIF, 1000)
    at = data.index(b"mdat") - 4
    assert process(data[:at] + struct.pack(">I", size) + data[at + 4 :]).outcome.reason == "corrupt"


def test_a_grid_of_tiles_is_decoded_tile_by_tile() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = gradient((1000, 760))
    data = saved(source, "HEIF", quality=90, tile_size=256, icc_profile=profile)
    assert (planned(data).shrink, planned(data).info.icc) == (2, True)
    made = process(data, RENDITIONS="64x64:png")
    check(made, (64, 49))
    assert difference(made.thumbnails[0], saved(source.resize((64, 49), Image.Resampling.LANCZOS), "PNG")) < 3


@pytest.mark.parametrize("turns", range(4))
def test_a_turned_grid_of_tiles_looks_like_one_decoded_as_a_whole(turns: int, tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    tile = picture(HEIC, (256, 256))
    grid = derived(b"grid", struct.pack(">BBBBHH", 0, 0, 1, 2, 760, 504), (760, 504), *range(2, 8))
    turn = box(b"irot", bytes((turns,)))
    path = tmp_path / "turned.heic"
    path.write_bytes(file(HEIC, replace(grid, properties=(*grid.properties, turn)), *[tile] * 6))
    plan = planned(path.read_bytes(), renditions="64x64:png")
    engine = load_engine(EngineName.PILLOW)
    by_tiles, whole = (engine.render(str(path), replace(plan, shrink=shrink)).pictures[0] for shrink in (4, 1))
    assert plan.shrink == 4
    assert difference(by_tiles, whole) < 2


def difference(one: bytes, other: bytes) -> float:
    """The mean, of 255."""
    first, second = (np.asarray(opened(data).convert("RGB"), int) for data in (one, other))
    return float(np.abs(first - second).mean())


def test_a_grid_of_tiles_fits_into_the_smallest_tier() -> None:
    """As phones write them: the whole of 6 MP would take 62 MB."""
    pytest.importorskip("pillow_heif").register_heif_opener()
    data = saved(gradient((2816, 2112)), "HEIF", quality=10, tile_size=512)
    cost = measured(data, 128)
    assert cost.outcome.status is Status.STORED
    assert cost.growth <= 16 * MB, cost.report
