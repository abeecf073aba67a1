"""The directories of a TIFF."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.bombs.tiff import LONG, directory
from tests.support import facts, tiffs
from tests.support.headers import TIFF_SIZE, TIFF_START, animated, ifd, saved, tiff_of, whole
from tests.support.reading import with_hidden_metadata
from thumbnailer.errors import Corrupt, NeedMoreBytes, UnsupportedFormat
from thumbnailer.formats import probe
from thumbnailer.model import EngineName


def test_the_pages_of_a_tiff_are_counted() -> None:
    assert whole(animated("TIFF", 3)).frames == 3


def test_a_loop_of_directories_ends() -> None:
    assert whole(TIFF_START + ifd(*TIFF_SIZE, after=8)).frames == 1


def tiff_chain(pages: int, *entries: tuple[int, int, int]) -> bytes:
    size = len(ifd(*TIFF_SIZE, *entries))
    links = [*(8 + size * (index + 1) for index in range(pages - 1)), 0]
    return TIFF_START + b"".join(ifd(*TIFF_SIZE, *entries, after=after) for after in links)


def test_more_than_ten_thousand_pages_are_corrupt() -> None:
    some = tuple((60_000 + index, 4, 1) for index in range(10))
    assert whole(tiff_chain(10_000, *some)).frames == 10_000
    with pytest.raises(Corrupt):
        whole(tiff_chain(10_001, *some))


def test_too_many_tags_are_corrupt() -> None:
    many = tuple((60_000 + index, 4, 1) for index in range(511))
    assert whole(tiff_chain(200, *many[1:])).frames == 200
    with pytest.raises(Corrupt, match="entries"):
        whole(tiff_chain(1, *many))


def test_decoders_see_the_first_page_alone() -> None:
    """To count the pages, libtiff reads all their tags: 2,000 pages of 60 tags took 0.76 s."""
    assert whole(with_hidden_metadata(tiff_chain(3, (60_000, 4, 1)))).frames == 1
    alone = tiff_chain(1, (60_000, 4, 1))
    assert with_hidden_metadata(alone) == alone


def tiff_with(tag: int, kind: int, count: int, times: int = 1, size: int = 1 << 20) -> bytes:
    """A file of `size` bytes with a tag of `count` values, repeated `times` times, at the start of the file."""
    fields = b"".join(struct.pack("<HHII", tag + index, kind, count, 8) for index in range(times))
    directory = struct.pack("<H", 2 + times) + ifd(*TIFF_SIZE)[2:-4] + fields + bytes(4)
    return (TIFF_START + directory).ljust(size, b"\0")


def test_the_bytes_of_tags_are_counted_and_overlapping_tags_corrupt() -> None:
    assert whole(tiff_with(700, 7, 1 << 19)).details.held == 1 << 19
    assert whole(tiff_with(700, 3, 1 << 18)).details.held == 1 << 19
    assert whole(tiff_with(700, 7, 1 << 21)).details.held == 0
    with pytest.raises(Corrupt, match="tags"):
        whole(tiff_with(60_000, 7, 1 << 19, times=100))


def test_the_rows_that_tiles_or_planes_hold_in_memory_are_counted() -> None:
    assert facts.tiff(whole(tiff_of((278, 4, 30)))).band == 1
    assert facts.tiff(whole(tiff_of((322, 4, 16), (323, 4, 16)))).band == 16
    assert facts.tiff(whole(tiff_of((322, 4, 16), (323, 4, 4096)))).band == 30
    assert facts.tiff(whole(tiff_of((278, 4, 30), (284, 4, 2)))).band == 30


def test_huge_tiles_and_pixels_of_many_samples_are_rejected() -> None:
    assert whole(tiff_of((322, 4, 1024), (323, 4, 1024))).width == 40
    with pytest.raises(Corrupt, match="tiles"):
        whole(tiff_of((322, 4, 16_384), (323, 4, 16_384)))
    assert whole(tiff_of((277, 4, 5), (258, 4, 8))).width == 40
    with pytest.raises(UnsupportedFormat, match="samples"):
        whole(tiff_of((277, 4, 1000)))


BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR, EXTRA, FORMAT = 258, 259, 262, 277, 284, 338, 339


TILED = ((322, 4, 16), (323, 4, 16))


@pytest.mark.parametrize(
    ("entries", "name"),
    [
        ([(COMPRESSION, 4, 34712)], "JPEG 2000"),
        ([(COMPRESSION, 4, 34887)], "LERC"),
        ([(COMPRESSION, 4, 4711)], "compression number 4711"),
        ([(PHOTOMETRIC, 4, 9), (BITS, 4, 8), (SAMPLES, 4, 3)], "ICC L"),
        ([(PHOTOMETRIC, 4, 2), (BITS, 4, 12), (SAMPLES, 4, 3)], "unsigned samples of 12 bits, 3 a pixel"),
        ([(PHOTOMETRIC, 4, 1), (BITS, 4, 64), (FORMAT, 4, 3)], "float samples of 64 bits"),
        ([(PHOTOMETRIC, 4, 1), (BITS, 4, 32), (FORMAT, 4, 6)], "complex samples"),
        ([(PHOTOMETRIC, 4, 0), (BITS, 4, 32), (FORMAT, 4, 3)], "float samples of 32 bits"),
        ([(PHOTOMETRIC, 4, 2), (BITS, 4, 16), (SAMPLES, 4, 3), (PLANAR, 4, 2), *TILED], "in planes of tiles"),
        ([(PHOTOMETRIC, 4, 1), (BITS, 4, 8), (SAMPLES, 4, 2), (PLANAR, 4, 2)], "in planes"),
        ([(PHOTOMETRIC, 4, 2), (BITS, 4, 32), (SAMPLES, 4, 4), (EXTRA, 4, 1)], "premultiplied alpha"),
    ],
)
def test_a_tiff_that_no_engine_reads_is_rejected_by_name(entries: list[tuple[int, int, int]], name: str) -> None:
    with pytest.raises(UnsupportedFormat, match=name):
        whole(tiff_of(*entries))


def camera(maker: bytes, *inner: tuple[tuple[int, int, int], ...], kind: int = 1) -> bytes:
    """A TIFF of 40 x 30 with directories in its first one; kind 1 is a preview."""
    entries = [(254, LONG, 1, kind), (256, LONG, 1, 40), (257, LONG, 1, 30)]
    size = len(directory([(0, LONG, 1, 0)] * (len(entries) + 1 + bool(maker))))
    text_at = 8 + size + 4 * len(inner)
    position = text_at + len(maker)
    places = []
    for sub in inner:
        places.append(position)
        position += len(ifd(*sub))
    offsets_at = places[0] if len(inner) == 1 else 8 + size
    entries += [(330, LONG, len(inner), offsets_at)]
    entries += [(271, 2, len(maker), text_at)] if maker else []
    offsets = struct.pack(f"<{len(places)}I", *places)
    return TIFF_START + directory(entries) + offsets + maker + b"".join(ifd(*sub) for sub in inner)


PREVIEW_WITHIN, SENSOR_WITHIN = ((254, 4, 1),), ((254, 4, 0), (PHOTOMETRIC, 4, 32803))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (camera(b"NIKON CORPORATION\0", PREVIEW_WITHIN, SENSOR_WITHIN), "^NIKON NEF raw$"),
        (camera(b"SONY\0\0", SENSOR_WITHIN), "^SONY ARW raw$"),
        (camera(b"Hasselblad\0", SENSOR_WITHIN, kind=0), "^HASSELBLAD 3FR raw$"),
        (camera(b"Unknown Co\0", ((PHOTOMETRIC, 4, 34892),)), "^UNKNOWN raw$"),
        (camera(b"", SENSOR_WITHIN), "^CAMERA raw$"),
        (camera(b"", ((254, 4, 0),)), "sub-directory"),
        (tiff_of((PHOTOMETRIC, 4, 32803), (COMPRESSION, 4, 65535)), "^CAMERA raw$"),
    ],
)
def test_a_raw_that_begins_like_a_tiff_is_rejected_by_name(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedFormat, match=name):
        whole(data)


@pytest.mark.parametrize(
    "data",
    [
        camera(b"NIKON CORPORATION\0", PREVIEW_WITHIN, kind=0),  # a scanner
        camera(b"NIKON CORPORATION\0", PREVIEW_WITHIN),
        camera(b"NIKON CORPORATION\0", SENSOR_WITHIN)[:-30],  # the directory within is not there
        camera(b"", SENSOR_WITHIN, kind=0),  # a picture with smaller copies
    ],
)
def test_other_tiffs_with_sub_directories_are_read(data: bytes) -> None:
    assert whole(data).width == 40


def test_a_directory_of_a_camera_beyond_the_bytes_at_hand_is_waited_for() -> None:
    data = camera(b"SONY\0\0", SENSOR_WITHIN)
    with pytest.raises(NeedMoreBytes):
        probe(data[:-30], len(data))


@pytest.mark.parametrize(
    ("extra", "alpha"), [((), True), ((0,), False), ((1,), True), ((2,), True), ((0, 2), False), ((2, 0), True)]
)
def test_the_first_extra_sample_is_alpha_unless_the_tiff_says_otherwise(extra: tuple[int, ...], alpha: bool) -> None:
    pixels = np.zeros((30, 40, 3 + max(1, len(extra))), np.uint8)
    assert whole(tiffs.tiff(pixels, tiffs.RGB, extra=extra)).has_alpha is alpha


def test_the_kind_of_samples_is_read() -> None:
    """Pillow misreads 32-bit, signed and float samples, and it does not invert 16 bits."""
    for kind, misread in (("u1", False), ("u2", False), ("u4", True), ("i1", True), ("i2", True), ("f4", True)):
        info = whole(tiffs.tiff(np.zeros((30, 40, 3), kind), tiffs.RGB))
        assert info.details.misread_by == ({EngineName.PILLOW} if misread else set()), kind
    for kind, planar, misread in (("u1", False, False), ("u2", False, True), ("u1", True, True), ("u2", True, True)):
        info = whole(tiffs.tiff(np.zeros((30, 40), kind), tiffs.WHITE_IS_ZERO, planar=planar))
        assert info.details.misread_by == ({EngineName.PILLOW} if misread else set()), (kind, planar)
    for kind, misread in (("u1", False), ("u2", True)):
        info = whole(tiffs.tiff(np.zeros((30, 40, 3), kind), tiffs.RGB, planar=True))
        assert info.details.misread_by == ({EngineName.PILLOW} if misread else set()), kind


def test_ycbcr_without_subsampling_is_found() -> None:
    pixels = np.zeros((30, 40, 3), np.uint8)
    for subsampling, compression, expected in (([1, 1], 1, True), ([2, 1], 1, False), ([1, 1], 7, False)):
        more = [(530, 3, subsampling)]
        data = tiffs.tiff(pixels, tiffs.YCBCR, compression=compression, compress=bytes, more=more)
        assert facts.tiff(whole(data)).plain_ycbcr is expected
        assert whole(data).details.misread_by == ({EngineName.VIPS} if expected else set())
    assert not facts.tiff(whole(tiffs.tiff(pixels, tiffs.YCBCR))).plain_ycbcr


@pytest.mark.parametrize(("share", "missing_from"), [(1.0, None), (0.9, 48), (0.5, 32), (0.3, 16), (0.2, 0)])
def test_the_first_row_with_missing_tiles_is_found(share: float, missing_from: int | None) -> None:
    data = tiffs.tiff(np.zeros((64, 32), np.uint8), tiffs.BLACK_IS_ZERO, tile=16)
    cut = data[: len(data) - 64 * 32 + int(64 * 32 * share)]
    assert facts.tiff(whole(cut)).missing_from == missing_from
    assert facts.tiff(probe(cut, len(data))).missing_from is None


def test_a_row_is_missing_if_any_plane_misses_it() -> None:
    data = tiffs.tiff(np.zeros((64, 32, 3), np.uint8), tiffs.RGB, planar=True)
    assert facts.tiff(whole(data)).missing_from is None
    assert facts.tiff(whole(data[: -32 * 10])).missing_from == 54
    assert facts.tiff(whole(data[: -32 * 100])).missing_from == 0


def test_a_tiff_head_without_its_tile_offsets_is_incomplete() -> None:
    data = tiffs.tiff(np.zeros((64, 32), np.uint8), tiffs.BLACK_IS_ZERO, tile=16)
    before_tables = data[: -64 * 32 - 8]
    assert not probe(before_tables, len(data)).complete
    assert whole(data).complete


def test_big_tiff_is_read() -> None:
    fields = b"".join(struct.pack("<HHQQ", tag, 4, 1, value) for tag, _, value in TIFF_SIZE)
    data = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 2) + fields + bytes(8)
    assert (whole(data).width, whole(data).height) == (40, 30)


@pytest.mark.parametrize(("mode", "depth", "alpha"), [("RGBA", 8, True), ("I;16", 16, False), ("1", 1, False)])
def test_alpha_and_depth_of_a_tiff_are_read(mode: str, depth: int, alpha: bool) -> None:
    info = whole(saved("TIFF", mode))
    assert (info.bit_depth, info.has_alpha) == (depth, alpha)


def test_a_directory_beyond_the_head_needs_more_bytes() -> None:
    far = b"II*\0" + struct.pack("<I", 1 << 20) + bytes(100)
    with pytest.raises(NeedMoreBytes):
        probe(far, 2 << 20)
    with pytest.raises(NeedMoreBytes):
        probe(far)
    with pytest.raises(Corrupt):
        whole(far)


def test_a_tiff_head_without_its_credit_is_incomplete() -> None:
    data = TIFF_START + b"\3\0" + ifd(*TIFF_SIZE)[2:-4] + struct.pack("<HHII", 0x013B, 2, 9, 1 << 20) + bytes(4)
    assert not probe(data, 2 << 20).complete
    assert whole(data).complete


@pytest.mark.parametrize(
    "data", [TIFF_START + ifd(), TIFF_START + ifd((256, 4, 40)), TIFF_START + b"\xff\xff", b"MM\0*\0\0\0\0"]
)
def test_a_tiff_without_a_first_page_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        whole(data)
