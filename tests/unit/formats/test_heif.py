"""The boxes of HEIC and AVIF."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from tests.bombs import heif as heif_bombs
from tests.bombs.heif import box
from tests.support import facts
from tests.support.headers import ALPHA, HVC1, animated, clap, heif, needs_avif, saved, sized, whole
from thumbnailer.errors import Corrupt
from thumbnailer.formats import probe
from thumbnailer.formats.exif import build_credit
from thumbnailer.model import Credit, Format


@pytest.mark.parametrize(("kind", "expected"), [(b"av01", Format.AVIF), (b"hvc1", Format.HEIC)])
def test_the_primary_item_decides_between_avif_and_heic(kind: bytes, expected: Format) -> None:
    assert whole(heif(kind=kind)).format is expected


@pytest.mark.parametrize(("angle", "size"), [(0, (40, 30)), (1, (30, 40)), (2, (40, 30)), (3, (30, 40))])
def test_the_size_of_a_rotated_heif_is_upright(angle: int, size: tuple[int, int]) -> None:
    info = whole(heif(properties=box(b"irot", bytes((angle,))), links=b"\2\x01\x82"))
    assert (info.width, info.height) == size
    assert info.orientation == 1


def test_depth_and_profile_are_read_from_properties() -> None:
    properties = box(b"pixi", bytes(4), b"\3\x0a\x0a\x0a") + box(b"colr", b"prof", bytes(99))
    info = whole(heif(properties=properties, links=b"\3\1\2\3"))
    assert (info.bit_depth, info.icc, info.has_alpha) == (10, True, False)


GAIN_MAP = box(b"auxC", bytes(4), b"urn:com:apple:photo:2020:aux:hdrgainmap\0")


@pytest.mark.parametrize(
    ("items", "has_alpha"),
    [
        ((sized(HVC1, 64, 64), sized(HVC1, 64, 64, ALPHA, alpha_of=1)), True),
        ((sized(b"grid", 64, 64, made_of=(2,)), sized(HVC1, 64, 64), sized(HVC1, 64, 64, ALPHA, alpha_of=2)), True),
        ((sized(HVC1, 64, 64), sized(HVC1, 64, 64), sized(HVC1, 64, 64, ALPHA, alpha_of=2)), False),
        ((sized(HVC1, 64, 64), sized(HVC1, 64, 64, ALPHA)), False),
        ((sized(HVC1, 64, 64), sized(HVC1, 9000, 9000, ALPHA, alpha_of=3), sized(HVC1, 9000, 9000)), False),
        ((sized(HVC1, 64, 64), sized(HVC1, 64, 64, GAIN_MAP, alpha_of=1)), False),
    ],
    ids=["of the picture", "of a tile", "of another picture", "of nothing", "of a large picture", "a gain map"],
)
def test_only_alpha_of_the_shown_items_counts(items: tuple[heif_bombs.Item, ...], has_alpha: bool) -> None:
    info = whole(heif_bombs.file(heif_bombs.HEIC, *items))
    assert (info.has_alpha, info.channels) == (has_alpha, 3 + has_alpha)


@needs_avif
def test_the_frames_and_credit_of_an_avif_are_read() -> None:
    assert whole(animated("AVIF", 3)).frames == 3
    assert whole(saved("AVIF", "RGBA", color=(9, 9, 9, 9))).has_alpha
    assert whole(saved("AVIF", exif=build_credit(Credit(b"An artist")))).credit.artist == b"An artist"


def test_a_heif_without_size_or_items_is_corrupt() -> None:
    for data in (heif(links=b"\0"), heif(kind=b"grid"), box(b"ftyp", b"heic", bytes(4)), heif()[:-20]):
        with pytest.raises(Corrupt):
            whole(data)


@pytest.mark.parametrize(
    ("sides", "offsets", "crop"),
    [
        ((60, 1, 20, 1), (10, 1, -20, 1), (40, 10, 100, 30)),
        ((120, 1, 80, 1), (0, 1, 0, 1), (0, 0, 120, 80)),
        ((119, 1, 79, 1), (0, 1, 0, 1), (0, 0, 119, 79)),
        ((119, 1, 79, 1), (1, 2, 1, 2), (1, 1, 120, 80)),
        ((121, 2, 41, 2), (0, 1, 0, 1), (29, 29, 90, 50)),  # halves go up, as in libheif
        ((200, 1, 200, 1), (0, 1, 0, 1), (0, 0, 120, 80)),
    ],
)
def test_the_clean_aperture_is_the_size_and_cropped_pixels_cost_memory(
    sides: tuple[int, ...], offsets: tuple[int, ...], crop: tuple[int, int, int, int]
) -> None:
    aperture = heif_bombs.box(b"clap", struct.pack(">iIiIiIiI", *sides, *offsets))
    configuration = heif_bombs.box(b"av1C", b"\x81\0\x0c\0")
    plain = heif_bombs.Item(b"av01", b"", (heif_bombs.size_property(120, 80), configuration))
    turned = heif_bombs.box(b"irot", b"\1")
    data = heif_bombs.file(heif_bombs.AVIF, replace(plain, properties=(*plain.properties, aperture, turned)))
    info = whole(data)
    width, height = crop[2] - crop[0], crop[3] - crop[1]
    assert (info.width, info.height, facts.heif(info).crop) == (height, width, crop)
    uncropped = whole(heif_bombs.file(heif_bombs.AVIF, replace(plain, properties=(*plain.properties, turned))))
    boxes = info.details.held - uncropped.details.held - 6 * (120 * 80 - width * height)
    assert 0 < boxes <= 2 * len(aperture)


@needs_avif
def test_an_avif_item_coded_larger_than_stated_is_corrupt() -> None:
    ordinary = heif_bombs.picture(heif_bombs.AVIF, (64, 64))
    lying = heif_bombs.picture(heif_bombs.AVIF, (400, 400), (64, 64))
    tiles = heif_bombs.derived(b"grid", struct.pack(">BBBBHH", 0, 0, 0, 1, 128, 64), (128, 64), 2, 3)
    assert whole(heif_bombs.file(heif_bombs.AVIF, tiles, ordinary, ordinary)).complete
    for items in ((lying,), (tiles, ordinary, lying)):
        with pytest.raises(Corrupt, match="400"):
            whole(heif_bombs.file(heif_bombs.AVIF, *items))
    assert whole(heif_bombs.file(heif_bombs.AVIF, ordinary, lying)).complete, "no decoder looks at the second item"


@needs_avif
def test_an_avif_head_without_all_coded_data_is_incomplete() -> None:
    data = heif_bombs.file(heif_bombs.AVIF, heif_bombs.picture(heif_bombs.AVIF, (400, 400), (64, 64)))
    part = probe(data[:-20], len(data))
    assert (part.width, part.complete) == (64, False)


@needs_avif
def test_a_first_frame_coded_larger_than_stated_is_corrupt() -> None:
    data = animated("AVIF", 2)
    assert whole(data).complete
    large = heif_bombs.coded(heif_bombs.AVIF, (400, 400))[1]
    at = data.index(b"stco") + 12
    moved = data[:at] + struct.pack(">I", len(data)) + data[at + 4 :]
    size_at = data.index(b"stsz") + 12
    moved = moved[:size_at] + struct.pack(">I", len(large)) + moved[size_at + 4 :] + large
    with pytest.raises(Corrupt, match="400"):
        whole(moved)


@pytest.mark.parametrize(
    "items",
    [
        (sized(HVC1, 9000, 9000, clap(64, 64)),),
        (sized(b"grid", 128, 128, made_of=(2, 2)), sized(HVC1, 9000, 9000)),
        (sized(b"grid", 128, 128, made_of=(2, 3)), sized(HVC1, 64, 128), sized(HVC1, 9000, 9000)),
        (sized(b"grid", 128, 128, made_of=(2,) * 4000), sized(HVC1, 64, 64)),
        (sized(HVC1, 64, 64), sized(HVC1, 9000, 9000, ALPHA, alpha_of=1)),
        (sized(HVC1, 64, 64), sized(b"grid", 64, 64, ALPHA, made_of=(3,), alpha_of=1), sized(HVC1, 9000, 9000)),
        (sized(b"iden", 64, 64, made_of=(2,)), sized(b"iovl", 64, 64, made_of=(3,)), sized(HVC1, 9000, 9000)),
    ],
    ids=["a crop", "tiles", "one tile", "many tiles", "alpha", "tiles of alpha", "derived of derived"],
)
def test_a_heif_that_decodes_far_more_pixels_than_it_shows_is_corrupt(items: tuple[heif_bombs.Item, ...]) -> None:
    with pytest.raises(Corrupt, match="are decoded"):
        whole(heif_bombs.file(heif_bombs.HEIC, *items))


def test_tiles_beyond_the_picture_and_other_items_are_accepted() -> None:
    phone = sized(b"grid", 4032, 3024, made_of=tuple(range(2, 50)))
    tiles = [sized(HVC1, 512, 512)] * 48
    assert whole(heif_bombs.file(heif_bombs.HEIC, phone, *tiles, sized(HVC1, 9000, 9000))).width == 4032
    assert whole(heif_bombs.file(heif_bombs.HEIC, sized(HVC1, 1412, 1000, clap(1411, 1000)))).width == 1411
