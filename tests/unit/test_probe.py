from __future__ import annotations

import contextlib
import io
import mmap
import random
import struct
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from tests.bombs import heif as heif_bombs
from tests.bombs import icons, webp
from tests.support import facts, jpeg_xl, tiffs
from tests.support.corpus import Row, needs_corpus, rows
from tests.support.gifs import Painted
from tests.support.gifs import gif as gif_of
from thumbnailer.errors import Corrupt, NeedMoreBytes, NotAnImage, Rejected, UnsupportedFormat
from thumbnailer.formats import probe
from thumbnailer.formats.colour_space import BT2100_PRIMARIES, LINEAR, P3_PRIMARIES, ColourSpace, Curve, profile_for
from thumbnailer.formats.exif import build_credit
from thumbnailer.formats.ico import with_best_icon_alone
from thumbnailer.model import Credit, EngineName, Format, ImageInfo

HEAD = 64 << 10
TOO_MANY_PIXELS = 178_956_970
CPU_BOUND = 2.0
"""MATRIX.md's "Bound", in seconds."""

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF encoder")
needs_jp2 = pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow has no JPEG 2000 encoder")


def saved(kind: str, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, **({"color": options.pop("color")} if "color" in options else {})).save(file, kind, **options)
    return file.getvalue()


def animated(kind: str, frames: int, **options: Any) -> bytes:
    pictures = [Image.new("RGB", (40, 30), (80 * index, 0, 0)) for index in range(frames)]
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], **options)
    return file.getvalue()


def whole(data: bytes) -> ImageInfo:
    return probe(data, len(data))


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x013B] = "An artist"
    block[0x8298] = "(c) someone"
    return block.tobytes()


def chunk(kind: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png(*chunks: bytes, ihdr: bytes = struct.pack(">IIBBBBB", 40, 30, 8, 2, 0, 0, 0)) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + b"".join(chunks)


def segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


def frame(marker: int = 0xC0, precision: int = 8, width: int = 40, height: int = 30) -> bytes:
    return segment(marker, struct.pack(">BHHB", precision, height, width, 1) + b"\1\x11\0")


def jpeg(*segments: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments) + b"\xff\xda"


def box(kind: bytes, *payload: bytes) -> bytes:
    content = b"".join(payload)
    return struct.pack(">I", 8 + len(content)) + kind + content


def heif(*, kind: bytes = b"av01", properties: bytes = b"", links: bytes = b"\1\1", brand: bytes = b"mif1") -> bytes:
    """A file of one item, 1, whose properties are an `ispe` of 40 x 30 and the given ones."""
    ispe = box(b"ispe", bytes(4), struct.pack(">II", 40, 30))
    ipma = box(b"ipma", struct.pack(">IIH", 0, 1, 1), links)
    infe = box(b"infe", struct.pack(">IHH", 2 << 24, 1, 0), kind, b"\0")
    meta = box(
        b"meta",
        bytes(4),
        box(b"pitm", struct.pack(">IH", 0, 1)),
        box(b"iinf", struct.pack(">IH", 0, 1), infe),
        box(b"iprp", box(b"ipco", ispe, properties), ipma),
    )
    return box(b"ftyp", brand, bytes(4), b"mif1") + meta


def ifd(*entries: tuple[int, int, int], after: int = 0) -> bytes:
    """A little-endian directory of LONG entries."""
    fields = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return struct.pack("<H", len(entries)) + fields + struct.pack("<I", after)


TIFF_START = b"II*\0\x08\0\0\0"
TIFF_SIZE = ((256, 4, 40), (257, 4, 30))


# What it is


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("JPEG", Format.JPEG),
        ("PNG", Format.PNG),
        ("GIF", Format.GIF),
        ("WEBP", Format.WEBP),
        ("TIFF", Format.TIFF),
        ("BMP", Format.BMP),
        pytest.param("JPEG2000", Format.JP2, marks=needs_jp2),
        pytest.param("AVIF", Format.AVIF, marks=needs_avif),
    ],
)
def test_each_format_is_known_by_its_bytes(kind: str, expected: Format) -> None:
    info = whole(saved(kind))
    assert (info.format, info.width, info.height) == (expected, 40, 30)
    assert (info.orientation, info.frames, info.complete) == (1, 1, True)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "empty object"),
        (b"\n", "1 byte"),
        (b"hello, this is a text of some length", "text"),
        (b"\xff\xfeh\0e\0l\0l\0o\0", "text"),
        (b"  <!DOCTYPE html>\n<html><svg/></html>", "HTML"),
        (b"<html><body>404</body></html>", "HTML"),
        (b"<?xml version='1.0'?><feed/>", "XML"),
        (b"PK\3\4" + bytes(60), "a ZIP archive"),
        (box(b"ftyp", b"isom", bytes(4), b"mp42"), "an MP4 video"),
        (box(b"ftyp", b"qt  ", bytes(4)), "a QuickTime movie"),
        (b"\0\1\0\0\0\x0a" + bytes(60), "a font"),
        (bytes(range(0x80, 0xC0)) + bytes(64), "unknown content"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(data: bytes, name: str) -> None:
    with pytest.raises(NotAnImage, match=f"^{name}$"):
        whole(data)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"%PDF-1.4\n", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS"),
        (b"\xc5\xd0\xd3\xc6" + bytes(30), "EPS"),
        (b"8BPS\0\1", "PSD"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"<?xml version='1.0'?>\n<image><read filename='/etc/passwd'/></image>", "ImageMagick MSL"),
        (b"push graphic-context\nviewbox 0 0 640 480\n", "ImageMagick MVG"),
        (b"\0\0\2\0\1\0" + bytes(30), "CUR"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(30), "Canon CR2 raw"),
        (box(b"ftyp", b"crx ", bytes(4), b"isom"), "Canon CR3 raw"),
        (TIFF_START + ifd(*TIFF_SIZE, (50706, 1, 1)), "DNG raw"),
        (jpeg(frame(0xC3)), "lossless JPEG"),
        (jpeg(frame(0xC5)), "hierarchical JPEG"),
        (jpeg(frame(0xF7)), "JPEG-LS"),
        (heif(kind=b"avc1"), "avc1"),
    ],
)
def test_a_picture_of_a_format_not_read_is_refused_by_name(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedFormat, match=name):
        whole(data)


@pytest.mark.parametrize("data", [b"x" * HEAD, b"\x93" * HEAD, b"\0" * HEAD, b"<a " * 30_000, b"x" * 32])
def test_an_unknown_head_is_decided_at_once(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        probe(data, 1 << 30)
    with pytest.raises(NotAnImage):
        probe(data)


def test_a_few_unknown_bytes_are_not_decided() -> None:
    with pytest.raises(NeedMoreBytes):
        probe(b"\x93" * 31)
    with pytest.raises(NotAnImage):
        probe(b"\x93" * 31, 31)


def test_a_damaged_png_signature_is_corrupt_and_not_unknown() -> None:
    with pytest.raises(Corrupt):
        whole(png(chunk(b"IEND")).replace(b"\r\n\x1a\n", b"\n\x1a\n", 1))


def test_bytes_views_and_mapped_files_are_taken_alike(tmp_path: Path) -> None:
    data = saved("PNG")
    (tmp_path / "picture").write_bytes(data)
    with (tmp_path / "picture").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert probe(mapped, len(data)) == probe(memoryview(data), len(data)) == whole(data)


def test_a_mapped_file_can_be_closed_while_the_error_is_kept(tmp_path: Path) -> None:
    icon = b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 1, 1, 0, 0, 1, 32, 99, 22) + png(ihdr=bytes(13))
    (tmp_path / "icon").write_bytes(icon)
    with (tmp_path / "icon").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with pytest.raises(Corrupt):
            probe(mapped, len(icon))
        mapped.close()


# JPEG


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_and_credit_are_read_wherever_the_format_keeps_them(kind: str, orientation: int) -> None:
    info = whole(saved(kind, exif=exif(orientation)))
    assert (info.width, info.height, info.orientation) == (40, 30, orientation)
    assert info.credit == Credit(b"An artist", b"(c) someone")


def test_the_first_exif_segment_of_a_jpeg_counts() -> None:
    first, second = (segment(0xE1, exif(orientation)) for orientation in (6, 3))
    assert whole(jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0"), first, second, frame())).orientation == 6


def test_exif_between_frame_and_scan_is_read() -> None:
    assert whole(jpeg(frame(), segment(0xE1, exif(6)))).orientation == 6


@pytest.mark.parametrize(
    ("marker", "progressive"), [(0xC0, False), (0xC1, False), (0xC2, True), (0xC9, False), (0xCA, True)]
)
def test_progressive_follows_from_the_frame_marker(marker: int, progressive: bool) -> None:
    assert whole(jpeg(frame(marker))).progressive is progressive


def test_twelve_bit_samples_are_told_of() -> None:
    assert whole(jpeg(frame(0xC1, precision=12))).bit_depth == 12


@pytest.mark.parametrize("junk", [b"\xff" * 40, b"\xff\0", b"\0junk", b"\xff\xd0", b"\xff\1"])
def test_what_libjpeg_skips_between_segments_is_skipped(junk: bytes) -> None:
    assert whole(jpeg(junk, segment(0xFE, b"a comment"), junk, frame())).width == 40


@pytest.mark.parametrize(
    "data",
    [
        jpeg(),
        jpeg(frame(height=0)),
        jpeg(frame(width=0)),
        jpeg(frame(precision=9)),
        jpeg(b"\xff\xd8", frame()),
        jpeg(b"\xff\xd9", frame()),
        jpeg(b"\xff\xe0\0\1", frame()),
        jpeg(b"\xff\x02", frame()),
        jpeg(segment(0xC0, b"\x08\0\1\0\1\3")),
        b"\xff\xd8",
        b"\xff\xd8\xff\xe0\xff\xff",
        jpeg(b"x" * HEAD, frame()),
    ],
)
def test_an_impossible_jpeg_header_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        whole(data)


def test_more_than_eight_megabytes_before_the_frame_are_refused_however_much_is_at_hand() -> None:
    padding = segment(0xE2, bytes(65_533))
    with pytest.raises(NeedMoreBytes):
        probe(jpeg(padding * 120)[:HEAD], 50 << 20)
    assert whole(jpeg(padding * 120, frame())).width == 40
    with pytest.raises(Corrupt):
        whole(jpeg(padding * 130, frame()))


# PNG


@pytest.mark.parametrize(
    ("mode", "alpha", "depth"),
    [("1", False, 1), ("L", False, 8), ("LA", True, 8), ("RGB", False, 8), ("RGBA", True, 8), ("I;16", False, 16)],
)
def test_alpha_and_depth_of_a_png_follow_from_its_colour_type(mode: str, alpha: bool, depth: int) -> None:
    info = whole(saved("PNG", mode))
    assert (info.has_alpha, info.bit_depth) == (alpha, depth)


def test_a_transparent_colour_counts_as_alpha() -> None:
    assert whole(saved("PNG", "P", transparency=0)).has_alpha


def test_an_interlaced_png_is_progressive() -> None:
    assert whole(png(chunk(b"IDAT"), ihdr=struct.pack(">IIBBBBB", 40, 30, 8, 2, 0, 0, 1))).progressive


def test_the_frames_of_an_apng_are_told() -> None:
    assert whole(animated("PNG", 3)).frames == 3


def test_exif_behind_the_pixels_is_seen_when_all_is_at_hand() -> None:
    data = png(chunk(b"IDAT", bytes(99)), chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0")), chunk(b"IEND"))
    assert whole(data).orientation == 6
    part = probe(data[:80], len(data))
    assert (part.orientation, part.complete) == (1, False)


def test_a_png_whose_pixels_are_out_of_reach_is_incomplete() -> None:
    data = png(chunk(b"iTXt", bytes(2 * HEAD)), chunk(b"tRNS", bytes(6)), chunk(b"IDAT"))
    assert not probe(data[:HEAD], len(data)).complete
    assert whole(data).complete


@pytest.mark.parametrize("kind", [b"teXt", b"IDAT"])
def test_a_png_of_a_million_tiny_chunks_is_corrupt(kind: bytes) -> None:
    data = png(chunk(kind) * 1_000_000)
    before = time.process_time()
    with pytest.raises(Corrupt, match="chunks"):
        whole(data)
    assert time.process_time() - before < CPU_BOUND


def test_a_png_of_as_many_chunks_as_encoders_write_is_read() -> None:
    assert whole(png(chunk(b"tEXt") * 250, chunk(b"IDAT") * 150_000, chunk(b"IEND"))).complete


@pytest.mark.parametrize(
    "ihdr",
    [
        struct.pack(">IIBBBBB", 0, 30, 8, 2, 0, 0, 0),
        struct.pack(">IIBBBBB", 40, 1 << 31, 8, 2, 0, 0, 0),
        struct.pack(">IIBBBBB", 40, 30, 4, 2, 0, 0, 0),
        struct.pack(">IIBBBBB", 40, 30, 8, 1, 0, 0, 0),
        struct.pack(">IIBBBBB", 40, 30, 8, 2, 1, 0, 0),
        struct.pack(">IIBBBBB", 40, 30, 8, 2, 0, 0, 2),
        bytes(5),
    ],
)
def test_an_impossible_png_header_is_corrupt(ihdr: bytes) -> None:
    with pytest.raises(Corrupt):
        whole(png(ihdr=ihdr))


def test_a_png_header_that_fails_its_checksum_is_corrupt() -> None:
    data = bytearray(png())
    data[-1] ^= 1
    with pytest.raises(Corrupt):
        whole(bytes(data))


# GIF and WebP


def test_the_frames_of_a_gif_are_counted() -> None:
    info = whole(animated("GIF", 3))
    assert (info.frames, info.complete) == (3, True)


def test_a_gif_cut_within_its_animation_is_incomplete_while_more_exists() -> None:
    data = animated("GIF", 3, loop=0)
    part = data[: data.rindex(b",")]
    assert not probe(part, len(data)).complete
    assert not probe(part).complete
    assert whole(part).complete


def test_a_transparent_gif_has_alpha() -> None:
    assert whole(saved("GIF", "P", transparency=0)).has_alpha
    assert not whole(saved("GIF", "P")).has_alpha


def test_a_gif_grows_to_hold_its_first_frame() -> None:
    data = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 10, 65_535, 5, 0x40)
    info = whole(data + b"\2\0;")
    assert (info.width, info.height, info.progressive) == (65_535, 15, True)


@pytest.mark.parametrize(
    "data", [b"GIF89a" + bytes(7) + b";", b"GIF89a\1\0\1\0\0\0\0;", b"GIF88a" + bytes(40), b"GIF89a\1"]
)
def test_a_gif_without_size_or_picture_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        whole(data)


def test_a_gif_of_a_hundred_thousand_frames_is_counted_in_bounded_time() -> None:
    one = b"!\xf9\4\0\0\0\0\0," + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\2\1\0\0"
    data = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + one * 100_000 + b";"
    before = time.process_time()
    assert whole(data).frames == 100_000
    assert time.process_time() - before < CPU_BOUND


def test_all_layouts_of_webp_are_read() -> None:
    assert not whole(saved("WEBP", "RGB")).has_alpha
    assert not whole(saved("WEBP", "RGB", lossless=True)).has_alpha
    assert whole(saved("WEBP", "RGBA", color=(9, 9, 9, 9))).has_alpha
    assert whole(saved("WEBP", "RGBA", color=(9, 9, 9, 9), lossless=True)).has_alpha


def test_the_frames_of_a_webp_are_counted() -> None:
    data = animated("WEBP", 3)
    assert (whole(data).frames, whole(data).complete) == (3, True)
    assert not probe(data[: data.rindex(b"ANMF")], len(data)).complete


def test_a_webp_that_announces_exif_is_incomplete_until_it_is_seen() -> None:
    data = saved("WEBP", exif=exif(6))
    part = probe(data[: data.rindex(b"EXIF") + 20], len(data))
    assert (part.complete, part.orientation, part.width) == (False, 1, 40)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", pytest.param("AVIF", marks=needs_avif)])
def test_an_embedded_profile_is_noticed(kind: str) -> None:
    profile = pytest.importorskip("PIL.ImageCms").ImageCmsProfile
    srgb = profile(pytest.importorskip("PIL.ImageCms").createProfile("sRGB")).tobytes()
    assert whole(saved(kind, icc_profile=srgb)).icc
    assert not whole(saved(kind)).icc


# TIFF


def test_the_pages_of_a_tiff_are_counted() -> None:
    assert whole(animated("TIFF", 3)).frames == 3


def test_a_loop_of_directories_ends() -> None:
    assert whole(TIFF_START + ifd(*TIFF_SIZE, after=8)).frames == 1


def tiff_chain(pages: int, *entries: tuple[int, int, int]) -> bytes:
    size = len(ifd(*TIFF_SIZE, *entries))
    links = [*(8 + size * (index + 1) for index in range(pages - 1)), 0]
    return TIFF_START + b"".join(ifd(*TIFF_SIZE, *entries, after=after) for after in links)


def test_ten_thousand_pages_are_counted_and_more_refused() -> None:
    assert whole(tiff_chain(10_000)).frames == 10_000
    with pytest.raises(Corrupt):
        whole(tiff_chain(10_001))


def test_tags_whose_number_makes_libtiff_slow_are_refused() -> None:
    many = tuple((60_000 + index, 4, 1) for index in range(4_000))
    assert whole(tiff_chain(2, *many)).frames == 2
    with pytest.raises(Corrupt, match="tags"):
        whole(tiff_chain(3, *many))


def tiff_with(tag: int, kind: int, count: int, times: int = 1, size: int = 1 << 20) -> bytes:
    """A value of `count` at the start of the file, said `times` times, in a file of `size`."""
    fields = b"".join(struct.pack("<HHII", tag + index, kind, count, 8) for index in range(times))
    directory = struct.pack("<H", 2 + times) + ifd(*TIFF_SIZE)[2:-4] + fields + bytes(4)
    return (TIFF_START + directory).ljust(size, b"\0")


def test_the_bytes_of_a_tiffs_tags_are_told_and_refused_where_they_overlap() -> None:
    assert whole(tiff_with(700, 7, 1 << 19)).details.held == 1 << 19
    assert whole(tiff_with(700, 3, 1 << 18)).details.held == 1 << 19
    assert whole(tiff_with(700, 7, 1 << 21)).details.held == 0
    with pytest.raises(Corrupt, match="tags"):
        whole(tiff_with(60_000, 7, 1 << 19, times=100))


def tiff_of(*entries: tuple[int, int, int]) -> bytes:
    return TIFF_START + ifd(*TIFF_SIZE, *entries)


def test_the_rows_that_tiles_or_planes_force_into_memory_are_told() -> None:
    assert facts.tiff(whole(tiff_of((278, 4, 30)))).band == 1
    assert facts.tiff(whole(tiff_of((322, 4, 16), (323, 4, 16)))).band == 16
    assert facts.tiff(whole(tiff_of((322, 4, 16), (323, 4, 4096)))).band == 30
    assert facts.tiff(whole(tiff_of((278, 4, 30), (284, 4, 2)))).band == 30


def test_a_tile_far_larger_than_its_picture_and_a_pixel_of_a_thousand_samples_are_refused() -> None:
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
def test_a_tiff_of_a_kind_that_no_engine_reads_is_refused_by_name(
    entries: list[tuple[int, int, int]], name: str
) -> None:
    with pytest.raises(UnsupportedFormat, match=name):
        whole(tiff_of(*entries))


@pytest.mark.parametrize(
    ("extra", "alpha"), [((), True), ((0,), False), ((1,), True), ((2,), True), ((0, 2), False), ((2, 0), True)]
)
def test_the_first_sample_beyond_the_colours_is_alpha_if_a_tiff_says_so_or_says_nothing(
    extra: tuple[int, ...], alpha: bool
) -> None:
    pixels = np.zeros((30, 40, 3 + max(1, len(extra))), np.uint8)
    assert whole(tiffs.tiff(pixels, tiffs.RGB, extra=extra)).has_alpha is alpha


def test_what_the_samples_of_a_tiff_are_is_read() -> None:
    """Pillow misreads samples of 32 bits, signed ones and floats, and it does not invert 16 bits."""
    for kind, misread in (("u1", False), ("u2", False), ("u4", True), ("i1", True), ("i2", True), ("f4", True)):
        info = whole(tiffs.tiff(np.zeros((30, 40, 3), kind), tiffs.RGB))
        assert info.details.misread_by == ({EngineName.PILLOW} if misread else set()), kind
    for kind, planar, misread in (("u1", False, False), ("u2", False, True), ("u1", True, True), ("u2", True, True)):
        info = whole(tiffs.tiff(np.zeros((30, 40), kind), tiffs.WHITE_IS_ZERO, planar=planar))
        assert info.details.misread_by == ({EngineName.PILLOW} if misread else set()), (kind, planar)
    for kind, misread in (("u1", False), ("u2", True)):
        info = whole(tiffs.tiff(np.zeros((30, 40, 3), kind), tiffs.RGB, planar=True))
        assert info.details.misread_by == ({EngineName.PILLOW} if misread else set()), kind


def test_colour_differences_of_full_size_are_told_from_smaller_ones() -> None:
    pixels = np.zeros((30, 40, 3), np.uint8)
    for subsampling, compression, expected in (([1, 1], 1, True), ([2, 1], 1, False), ([1, 1], 7, False)):
        more = [(530, 3, subsampling)]
        data = tiffs.tiff(pixels, tiffs.YCBCR, compression=compression, compress=bytes, more=more)
        assert facts.tiff(whole(data)).plain_ycbcr is expected
        assert whole(data).details.misread_by == ({EngineName.VIPS} if expected else set())
    assert not facts.tiff(whole(tiffs.tiff(pixels, tiffs.YCBCR))).plain_ycbcr


@pytest.mark.parametrize(("share", "missing_from"), [(1.0, None), (0.9, 48), (0.5, 32), (0.3, 16), (0.2, 0)])
def test_the_row_from_which_on_tiles_are_missing_is_told(share: float, missing_from: int | None) -> None:
    data = tiffs.tiff(np.zeros((64, 32), np.uint8), tiffs.BLACK_IS_ZERO, tile=16)
    cut = data[: len(data) - 64 * 32 + int(64 * 32 * share)]
    assert facts.tiff(whole(cut)).missing_from == missing_from
    assert facts.tiff(probe(cut, len(data))).missing_from is None


def test_a_row_of_planes_is_there_when_the_last_plane_has_it() -> None:
    data = tiffs.tiff(np.zeros((64, 32, 3), np.uint8), tiffs.RGB, planar=True)
    assert facts.tiff(whole(data)).missing_from is None
    assert facts.tiff(whole(data[: -32 * 10])).missing_from == 54
    assert facts.tiff(whole(data[: -32 * 100])).missing_from == 0


def test_places_of_tiles_out_of_reach_make_a_tiff_incomplete() -> None:
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


def test_a_directory_out_of_reach_asks_for_more_only_if_there_is_more() -> None:
    far = b"II*\0" + struct.pack("<I", 1 << 20) + bytes(100)
    with pytest.raises(NeedMoreBytes):
        probe(far, 2 << 20)
    with pytest.raises(NeedMoreBytes):
        probe(far)
    with pytest.raises(Corrupt):
        whole(far)


def test_credit_out_of_reach_makes_a_tiff_incomplete() -> None:
    data = TIFF_START + b"\3\0" + ifd(*TIFF_SIZE)[2:-4] + struct.pack("<HHII", 0x013B, 2, 9, 1 << 20) + bytes(4)
    assert not probe(data, 2 << 20).complete
    assert whole(data).complete


@pytest.mark.parametrize(
    "data", [TIFF_START + ifd(), TIFF_START + ifd((256, 4, 40)), TIFF_START + b"\xff\xff", b"MM\0*\0\0\0\0"]
)
def test_a_tiff_without_a_first_page_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        whole(data)


# BMP and ICO


def bmp(width: int, height: int, bits: int = 24, compression: int = 0) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + bytes(12) + header


def test_a_bmp_may_have_its_rows_from_the_top_down() -> None:
    assert (whole(bmp(40, -30)).width, whole(bmp(40, -30)).height) == (40, 30)


def test_an_os2_bmp_is_read() -> None:
    data = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 40, 30, 1, 24)
    assert (whole(data).width, whole(data).height) == (40, 30)


def test_an_alpha_mask_counts_as_alpha() -> None:
    header = struct.pack("<IiiHHIIiiII", 108, 40, 30, 1, 32, 3, 0, 0, 0, 0, 0) + struct.pack(
        "<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000
    )
    assert whole(b"BM" + bytes(12) + header + bytes(52)).has_alpha


def masked(bits: int, *masks: int) -> bytes:
    return bmp(40, 30, bits, 3) + struct.pack(f"<{len(masks)}I", *masks)


def test_a_bmp_with_masks_that_pillow_does_not_know_is_refused_by_name() -> None:
    for bits_a_pixel, known in (
        (16, (0xF800, 0x7E0, 0x1F)),
        (16, (0x7C00, 0x3E0, 0x1F)),
        (32, (0xFF0000, 0xFF00, 0xFF)),
    ):
        assert whole(masked(bits_a_pixel, *known)).width == 40
    for bits_a_pixel, unknown in ((16, (0xF00, 0xF0, 0xF)), (32, (0x3FF00000, 0xFFC00, 0x3FF))):
        with pytest.raises(UnsupportedFormat, match="colour masks"):
            whole(masked(bits_a_pixel, *unknown))


def test_a_bmp_with_the_short_header_of_os2_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedFormat, match="OS/2"):
        whole(b"BM" + bytes(12) + struct.pack("<IIIHH", 16, 40, 30, 1, 24))


@pytest.mark.parametrize("data", [bmp(-40, 30), bmp(0, 30), bmp(40, 0), bmp(40, 30, bits=7), bmp(40, 30)[:20]])
def test_an_impossible_bmp_header_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        whole(data)


def test_an_icon_is_as_large_as_its_largest_picture() -> None:
    info = whole(saved("ICO", "RGBA", (256, 256), sizes=[(16, 16), (256, 256), (32, 32)]))
    assert (info.format, info.width, info.height, info.has_alpha) == (Format.ICO, 256, 256, True)


def test_a_png_in_an_icon_is_measured_itself() -> None:
    huge = png(ihdr=struct.pack(">IIBBBBB", 50_000, 50_000, 8, 6, 0, 0, 0))
    icon = b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(huge), 22) + huge
    assert whole(icon).pixels == 50_000**2
    with pytest.raises(NeedMoreBytes):
        probe(icon[:30], len(icon))


# HEIF, JPEG 2000, JPEG XL


@pytest.mark.parametrize(("kind", "expected"), [(b"av01", Format.AVIF), (b"hvc1", Format.HEIC)])
def test_the_primary_item_decides_between_avif_and_heic(kind: bytes, expected: Format) -> None:
    assert whole(heif(kind=kind)).format is expected


@pytest.mark.parametrize(("angle", "size"), [(0, (40, 30)), (1, (30, 40)), (2, (40, 30)), (3, (30, 40))])
def test_the_size_of_a_turned_heif_is_that_after_turning(angle: int, size: tuple[int, int]) -> None:
    info = whole(heif(properties=box(b"irot", bytes((angle,))), links=b"\2\x01\x82"))
    assert (info.width, info.height) == size
    assert info.orientation == 1


def test_depth_profile_and_alpha_of_a_heif_are_properties() -> None:
    alpha = box(b"auxC", bytes(4), b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
    properties = box(b"pixi", bytes(4), b"\3\x0a\x0a\x0a") + box(b"colr", b"prof", bytes(99)) + alpha
    info = whole(heif(properties=properties, links=b"\3\1\2\3"))
    assert (info.bit_depth, info.icc, info.has_alpha) == (10, True, True)


@needs_avif
def test_the_frames_and_credit_of_an_avif_are_read() -> None:
    assert whole(animated("AVIF", 3)).frames == 3
    assert whole(saved("AVIF", "RGBA", color=(9, 9, 9, 9))).has_alpha
    assert whole(saved("AVIF", exif=build_credit(Credit(b"An artist")))).credit.artist == b"An artist"


def test_a_heif_without_size_or_items_is_corrupt() -> None:
    for data in (heif(links=b"\0"), heif(kind=b"grid"), box(b"ftyp", b"heic", bytes(4)), heif()[:-20]):
        with pytest.raises(Corrupt):
            whole(data)


@needs_jp2
def test_both_layouts_of_jpeg_2000_are_read() -> None:
    packed = saved("JPEG2000", "RGBA")
    bare = saved("JPEG2000", no_jp2=True)
    assert whole(packed).has_alpha
    assert bare.startswith(b"\xff\x4f\xff\x51")
    assert (whole(bare).width, whole(bare).height, whole(bare).has_alpha) == (40, 30, False)


def bits(*fields: tuple[int, int]) -> bytes:
    """The start of a JPEG XL, and zeros behind it."""
    return jpeg_xl.bits(*fields) + bytes(64)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        (((1, 1), (4, 5), (1, 3)), (40, 40)),
        (((1, 1), (4, 5), (0, 3), (9, 5)), (80, 40)),
        (((0, 1), (0, 2), (29, 9), (3, 3)), (40, 30)),
        (((0, 1), (3, 2), (99_999, 30), (7, 3)), (200_000, 100_000)),
    ],
)
def test_each_way_to_write_the_size_of_a_jpeg_xl_is_read(
    fields: tuple[tuple[int, int], ...], size: tuple[int, int]
) -> None:
    info = whole(bits(*fields, (1, 1)))
    assert (info.format, info.width, info.height) == (Format.JXL, *size)


def test_the_metadata_of_a_jpeg_xl_is_read() -> None:
    size = ((0, 1), (0, 2), (29, 9), (3, 3))
    # Not all default, extra fields: orientation 6, no intrinsic size, no preview, animation; 10 bits; one alpha.
    animation = ((0, 2), (0, 2), (0, 2), (0, 1))
    fields = (*size, (0, 1), (1, 1), (5, 3), (0, 1), (0, 1), (1, 1), *animation, (0, 1), (1, 2), (1, 1), (1, 2), (1, 1))
    info = whole(bits(*fields))
    assert (info.width, info.height, info.orientation) == (30, 40, 1)
    assert (info.frames, info.bit_depth, info.has_alpha) == (2, 10, True)


def test_a_jpeg_xl_of_more_channels_than_pictures_have_is_refused() -> None:
    size = ((0, 1), (0, 2), (29, 9), (3, 3))
    # Not all default, no extra fields, 8 bits; then as many plain alpha channels as two bits and four more can say.
    plain = (*size, (0, 1), (0, 1), (0, 1), (0, 2), (1, 1))
    assert whole(bits(*plain, (2, 2), (6, 4), *[(1, 1)] * 8)).has_alpha
    with pytest.raises(UnsupportedFormat, match="9 channels"):
        whole(bits(*plain, (2, 2), (7, 4), *[(1, 1)] * 9))
    with pytest.raises(UnsupportedFormat, match="4096 channels"):
        whole(bits(*plain, (3, 2), (4095, 12)))


AT_ONCE: tuple[jpeg_xl.Field, ...] = ((0, 2), (0, 1), (0, 2), (0, 2), (0, 1), (0, 2))
"""No flags, no YCbCr, not upsampled, one pass, not cropped, in place of what there was."""


@pytest.mark.parametrize(
    ("frame", "channels", "whole_planes", "saved_frames"),
    [
        (((1, 1),), 0, 0, 0),  # all default: VarDCT
        (((0, 1), (0, 2), (0, 1), *AT_ONCE, (1, 1)), 0, 0, 0),
        (((0, 1), (0, 2), (1, 1), *AT_ONCE, (0, 2), (1, 1)), 0, 3, 0),  # modular
        (((0, 1), (0, 2), (1, 1), *AT_ONCE, (0, 2), (0, 1)), 0, 3, 1),  # and another is laid over it
        (((0, 1), (2, 2), (1, 1)), 0, 3, 1),  # something that the picture takes parts from
        (((1, 1),), 1, 1, 0),
        (((1, 1),), 3, 3, 0),
    ],
)
def test_how_the_first_frame_of_a_jpeg_xl_is_coded_is_read(
    frame: tuple[jpeg_xl.Field, ...], channels: int, whole_planes: int, saved_frames: int
) -> None:
    count = ((channels, 2),) if channels < 2 else ((2, 2), (channels - 2, 4))
    plain = ((0, 1), (0, 1), (0, 1), (0, 2), (1, 1), *count, *[(1, 1)] * channels, (0, 1), *jpeg_xl.SRGB)
    info = whole(jpeg_xl.bits(*jpeg_xl.SIZE, *plain, (0, 2), (1, 1)) + jpeg_xl.bits(*frame)[2:] + bytes(8))
    assert (facts.jxl(info).whole_planes, facts.jxl(info).saved_frames, info.details.samples) == (
        whole_planes,
        saved_frames,
        3 + channels,
    )


def test_the_colours_of_a_jpeg_xl_that_no_profile_says_are_read() -> None:
    def profile(colours: tuple[jpeg_xl.Field, ...], xyb: bool = False) -> bytes:
        return facts.jxl(whole(jpeg_xl.header(colours, xyb) + bytes(8))).profile

    assert profile(jpeg_xl.SRGB) == profile(jpeg_xl.space(1, 13)) == b""
    assert profile(jpeg_xl.space(11, 13)) == profile_for(ColourSpace(primaries=P3_PRIMARIES))
    assert profile(jpeg_xl.space(1, 8)) == profile_for(ColourSpace(curve=LINEAR))
    assert profile(jpeg_xl.space(9, 16)) == profile_for(ColourSpace(primaries=BT2100_PRIMARIES, curve=Curve.PQ))
    icc = ((0, 1), (1, 1), (0, 2))
    assert profile(icc) == b""  # its own
    assert profile(icc, xyb=True) == profile_for(ColourSpace(curve=LINEAR))
    with pytest.raises(Corrupt, match="gamma of 0"):
        profile(((0, 1), (0, 1), (0, 2), (1, 2), (1, 2), (1, 1), (0, 24), (1, 2)))
    nowhere = ((0, 2), (0, 19), (0, 2), (0, 19)) * 3
    with pytest.raises(Corrupt, match="colour"):
        profile(((0, 1), (0, 1), (0, 2), (1, 2), (2, 2), (0, 4), *nowhere, (0, 1), *jpeg_xl.enum(13), (1, 2)))


def test_a_jpeg_xl_codestream_may_be_split_over_boxes() -> None:
    stream = bits((0, 1), (0, 2), (29, 9), (3, 3), (1, 1))
    start = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl ", bytes(4), b"jxl ")
    parts = box(b"jxlp", bytes(4), stream[:3]) + box(b"jxlp", b"\x80\0\0\1", stream[3:])
    assert whole(start + parts).width == 40
    with pytest.raises(NeedMoreBytes):
        probe((start + parts)[: len(start) + 15], len(start + parts))


# SVG


@pytest.mark.parametrize(
    ("root", "size"),
    [
        ('width="40" height="30"', (40, 30)),
        ("width='40px' height='0.5in'", (40, 48)),
        ('width="100%" height="100%" viewBox="0 0 40 30"', (40, 30)),
        ('width="80" viewBox="0,0,40,30"', (80, 60)),
    ],
)
def test_the_size_of_an_svg_is_read_from_its_root(root: str, size: tuple[int, int]) -> None:
    prologue = '<?xml version="1.0"?>\n<!-- <html> -->\n<!DOCTYPE svg [<!ENTITY a "b>">]>\n'
    for text in (f"<svg {root}/>", f"{prologue}<svg:svg {root}></svg:svg>"):
        info = whole(text.encode())
        assert (info.format, info.width, info.height) == (Format.SVG, *size)


@pytest.mark.parametrize("root", ['viewBox="0 0 1e9 x"', 'stroke-width="3"', 'width="50%" height="9"', ""])
def test_an_svg_without_a_size_of_its_own_is_refused(root: str) -> None:
    with pytest.raises(UnsupportedFormat, match="size"):
        whole(f"<svg {root}/>".encode())


def test_an_svg_in_utf_16_is_read() -> None:
    assert whole('<svg width="40" height="30"/>'.encode("utf-16")).width == 40


# Any bytes


def seeds() -> list[bytes]:
    made = [saved(kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")]
    made += [animated(kind, 3) for kind in ("PNG", "GIF", "WEBP", "TIFF")]
    made += [
        heif(),
        heif(kind=b"grid"),
        bits((1, 1), (4, 5), (1, 3), (1, 1)),
        b"<?xml?><svg width='1' viewBox='0 0 1 1'>",
    ]
    made += [jpeg(segment(0xE1, exif(6)), frame()), saved("ICO", "RGBA", (64, 64)), saved("WEBP", exif=exif(6))]
    return made + corpus_heads()


def corpus_heads() -> list[bytes]:
    return [row.read()[:8192] for row in rows() if row.bytes]


SEEDS = seeds()


def outcome(data: bytes, total: int | None) -> ImageInfo | None:
    """What the probe says; anything but the four errors escapes."""
    try:
        return probe(data, total)
    except (NotAnImage, UnsupportedFormat, Corrupt):
        return None
    except NeedMoreBytes:
        assert total is None or len(data) < total
        return None


def check(info: ImageInfo | None) -> None:
    if info is not None and info.format is not Format.SVG:
        assert info.width > 0
        assert info.height > 0
        assert 1 <= info.orientation <= 8
        assert info.frames >= 1


@given(st.binary(max_size=400), st.sampled_from([None, 0, 400, 1 << 40]))
@settings(max_examples=500, deadline=None)
@example(b"", None)
def test_any_bytes_end_in_a_value_or_one_of_four_errors(data: bytes, total: int | None) -> None:
    check(outcome(data, total))


@pytest.mark.parametrize("seed", range(20))
def test_mutated_pictures_end_in_a_value_or_one_of_four_errors(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(300):
        data = mutated(dice, bytearray(dice.choice(SEEDS)))
        for total in (None, len(data), len(data) + 99, 1 << 40):
            check(outcome(data, total))


def mutated(dice: random.Random, data: bytearray) -> bytes:
    """Some bytes of the header changed, a piece of it gone or doubled, or the end cut off."""
    reach = min(len(data), dice.choice((16, 64, 512, 8192)))
    for _ in range(dice.randrange(1, 9)):
        data[dice.randrange(reach)] = dice.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, dice.randrange(256)))
    start = dice.randrange(reach)
    piece = slice(start, start + dice.randrange(64))
    change = dice.choice(("none", "gone", "doubled", "cut"))
    if change in ("gone", "doubled"):
        data[piece] = data[piece] * (2 if change == "doubled" else 0)
    return bytes(data[:start] if change == "cut" else data)


@pytest.mark.parametrize("picture", range(len(SEEDS) - len(corpus_heads())))
def test_every_cut_of_a_picture_asks_for_more_or_agrees_with_the_whole(picture: int) -> None:
    data = SEEDS[picture]
    full = outcome(data, len(data))
    for end in range(min(len(data), 700)):
        part = outcome(data[:end], len(data))
        assert part is None or full is None or (part.width, part.height) == (full.width, full.height)


def hostile() -> dict[str, bytes]:
    """Inputs that make a careless walk long; each is at most 10 MB."""
    size = 8 << 20
    start = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0)
    many = struct.pack(">I", 8) + b"free"
    webp = b"RIFF" + struct.pack("<I", size) + b"WEBPVP8X" + struct.pack("<IIIH", 10, 0x0A, 0, 0)
    meta = struct.pack(">II", 0, 0)[:4] + many * (size // 8)
    return {
        "jpeg segments": b"\xff\xd8" + b"\xff\xe0\0\2" * (size // 4),
        "jpeg standalone": b"\xff\xd8" + b"\xff\xd0" * (size // 2),
        "jpeg junk": b"\xff\xd8" + (b"\0" * 60_000 + b"\xff\xe0\0\2") * 130,
        "gif extensions": start + b"!\xfe\0" * (size // 3),
        "gif junk": start + b"\0" * size,
        "gif blocks": start + b"!\xfe" + b"\1a" * (size // 2),
        "webp chunks": webp + b"ANMF\0\0\0\0" * (size // 8),
        "heif boxes": box(b"ftyp", b"heic", bytes(4)) + many * (size // 8),
        "heif meta": box(b"ftyp", b"heic", bytes(4)) + box(b"meta", meta),
        "heif items": heif(properties=many * 16_000),
        "tiff entries": TIFF_START + struct.pack("<H", 65_535) + bytes(12 * 65_535),
        "svg comments": b"<!---->" * 9_000 + b"<svg>",
        "svg attributes": b"<svg" + b" width" * 10_000 + b">",
        "svg spaces": b"<svg " + b" " * 60_000,
        "markup": b"<!DOCTYPE [" * 6_000,
    }


@pytest.mark.parametrize("name", hostile())
def test_the_cost_of_a_hostile_header_is_bounded(name: str) -> None:
    data = hostile()[name]
    before = time.process_time()
    check(outcome(data, len(data)))
    check(outcome(data[:HEAD], len(data)))
    assert time.process_time() - before < CPU_BOUND


# The corpus


FORMATS = {"HEIF": Format.HEIC}
APPLIED_BY_PILLOW = (Format.TIFF, Format.AVIF)
"""Where MANIFEST has Pillow's size, which differs: of a TIFF it is that after the orientation tag, of an AVIF that
before irot. README.md of the corpus warns of it."""


def corpus(*expectations: str) -> pytest.MarkDecorator:
    chosen = [row for row in rows() if row.expect in expectations]
    return pytest.mark.parametrize("row", chosen or [None], ids=[row.file for row in chosen] or ["none"])


@needs_corpus
@corpus("thumbnail", "thumbnail-animated")
def test_a_good_corpus_file_has_the_format_and_size_of_the_manifest(row: Row) -> None:
    info = whole(row.read())
    assert info.format is (FORMATS.get(row.format) or Format(row.format.lower()))
    size = (info.width, info.height)
    turned = info.format in APPLIED_BY_PILLOW and size == (row.height, row.width)
    assert turned or size == (row.width, row.height)
    assert info.complete


@needs_corpus
@corpus("thumbnail", "thumbnail-animated")
def test_a_good_corpus_file_has_the_frames_and_orientation_its_notes_state(row: Row) -> None:
    info = whole(row.read())
    assert info.frames == (row.frames or info.frames)
    assert info.orientation == (row.orientation or info.orientation)
    if row.expect == "thumbnail-animated":
        assert info.frames > 1


@needs_corpus
@corpus("thumbnail", "thumbnail-animated", "either", "reject-corrupt", "reject-too-large")
def test_the_head_of_a_corpus_file_says_what_the_whole_says_or_asks_for_more(row: Row) -> None:
    data = row.read()
    try:
        part = probe(data[:HEAD], len(data))
    except NeedMoreBytes:
        assert len(data) > HEAD
        return
    except Rejected as refused:
        with pytest.raises(type(refused)):
            whole(data)
        return
    full = whole(data)
    assert (part.format, part.width, part.height) == (full.format, full.width, full.height)


@needs_corpus
@corpus("reject-not-image")
def test_a_corpus_file_that_is_no_picture_is_refused(row: Row) -> None:
    with pytest.raises(NotAnImage):
        probe(row.read()[:HEAD], row.bytes)


@needs_corpus
@corpus("reject-too-large")
def test_a_corpus_bomb_shows_its_size_or_is_refused(row: Row) -> None:
    with contextlib.suppress(Rejected):
        assert probe(row.read()[:HEAD], row.bytes).pixels > TOO_MANY_PIXELS


@needs_corpus
@corpus("either", "reject-corrupt")
def test_a_doubtful_corpus_file_ends_in_a_value_or_is_refused(row: Row) -> None:
    with contextlib.suppress(Rejected):
        whole(row.read())


# What makes decoders slow or large


def test_the_scans_of_a_jpeg_are_counted_where_there_may_be_many() -> None:
    picture = Image.linear_gradient("L").convert("RGB")
    plain, progressive = (io.BytesIO() for _ in range(2))
    picture.save(plain, "JPEG")
    picture.save(progressive, "JPEG", progressive=True)
    assert facts.jpeg(whole(plain.getvalue())).scans == 1
    assert facts.jpeg(whole(progressive.getvalue())).scans == progressive.getvalue().count(b"\xff\xda") == 10


def test_a_jpeg_of_more_segments_than_any_use_is_corrupt() -> None:
    assert whole(jpeg(segment(0xE1, b"Exif\0\0") * 250, frame())).width == 40
    with pytest.raises(Corrupt, match="segments"):
        whole(jpeg(segment(0xE1, b"Exif\0\0") * 500, frame()))


GIF_START = b"GIF89a" + struct.pack("<HHBBB", 100, 100, 0, 0, 0)


def gif_frame(width: int, height: int, left: int = 0) -> bytes:
    return b"," + struct.pack("<HHHHB", left, 0, width, height, 0) + b"\2\0"


def test_a_frame_may_go_beyond_a_gifs_canvas_a_little_and_not_far() -> None:
    assert whole(GIF_START + gif_frame(100, 100) + gif_frame(110, 100, 20) + b";").frames == 2
    with pytest.raises(Corrupt, match="frame"):
        whole(GIF_START + gif_frame(100, 100) + gif_frame(8000, 8000) + b";")


def test_more_extensions_in_a_row_than_any_gif_has_are_corrupt() -> None:
    extension = b"!\xfe\0"
    assert whole(GIF_START + (extension * 9_000 + gif_frame(100, 100)) * 3 + b";").frames == 3
    with pytest.raises(Corrupt, match="extensions"):
        whole(GIF_START + extension * 10_001 + gif_frame(100, 100) + b";")


def test_a_webp_of_more_chunks_than_any_use_is_corrupt_in_its_frames_too() -> None:
    assert whole(webp.with_chunks(250)).complete
    for flood in (webp.with_chunks(1000), webp.with_chunks_in_its_frame(1000)):
        with pytest.raises(Corrupt, match="chunks"):
            whole(flood)


def test_what_a_decoder_takes_into_memory_as_a_whole_is_told() -> None:
    plain, tagged = saved("WEBP"), saved("WEBP", xmp=bytes(100_000))
    assert whole(plain).details.held < 50
    assert 100_000 <= whole(tagged).details.held < 100_100
    assert probe(plain, 1 << 20).details.held >= (1 << 20) - len(plain)
    assert whole(heif()).details.held == len(heif())
    assert whole(saved("PNG")).details.held == 0


def test_a_long_bmp_in_runs_is_refused_because_it_is_decoded_in_python() -> None:
    assert probe(bmp(40, 30, bits=8, compression=1), 2 << 20).width == 40
    with pytest.raises(UnsupportedFormat, match="run-length"):
        probe(bmp(40, 30, bits=8, compression=1), 3 << 20)
    assert probe(bmp(40, 30), 3 << 20).width == 40


@pytest.mark.parametrize(
    "listed",
    [
        [(16, 16, 32), (32, 32, 4), (32, 32, 32), (32, 32, 8)],
        [(32, 32, 24), (32, 32, 32)],
        [(32, 16, 32), (32, 32, 0)],
        [(32, 32, 32), (32, 32, 32), (32, 32, 8)],
    ],
)
def test_of_the_icons_of_a_file_the_largest_counts_and_of_those_the_one_of_most_bits(
    listed: list[tuple[int, int, int]],
) -> None:
    """Only that one is left to the decoder: a PNG within may be larger than the directory says."""
    best = max(listed, key=lambda icon: (icon[0] * icon[1], icon[2] or 8))
    sides = [9000 if number == listed.index(best) else 9001 for number in range(len(listed))]
    pngs = [png(ihdr=struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)) for side in sides]
    data = icons.ico(*((*icon, picture) for icon, picture in zip(listed, pngs, strict=True)))
    assert whole(data).width == 9000
    alone = with_best_icon_alone(data)
    assert (len(alone), alone[4:6]) == (len(data), b"\1\0")
    assert whole(alone).width == 9000


RED, SCREEN = (9, 0, 0), ((0, 0), (40, 30))
PART, SMALLER = ((8, 6), (12, 10)), ((9, 7), (3, 3))
ODD = {
    "one frame of the whole screen": ([Painted(RED, *SCREEN)], False, False),
    "one frame of a part": ([Painted(RED, *PART)], True, True),
    "one of a part that says what else is": ([Painted(RED, *PART, transparent=True)], False, True),
    "frames on one another": ([Painted(RED, *SCREEN), Painted(RED, *PART)], False, False),
    "the last one removed": ([Painted(RED, *SCREEN), Painted(RED, *PART, disposal=2)], False, False),
    "one removed, and another over its place": (
        [Painted(RED, *SCREEN), Painted(RED, *SMALLER, disposal=2), Painted(RED, *PART)],
        False,
        False,
    ),
    "one removed, and another beside its place": (
        [Painted(RED, *SCREEN), Painted(RED, *PART, disposal=2), Painted(RED, *SMALLER)],
        True,
        True,
    ),
    "one removed that had a transparent colour": (
        [Painted(RED, *SCREEN), Painted(RED, *PART, disposal=2, transparent=True), Painted(RED, *SMALLER)],
        False,
        True,
    ),
    "one taken back": (
        [Painted(RED, *SCREEN), Painted(RED, *PART, disposal=3), Painted(RED, *SMALLER, disposal=3)],
        False,
        False,
    ),
    "the first taken back": ([Painted(RED, *SCREEN, disposal=3), Painted(RED, *SMALLER)], True, True),
    "one beyond the screen": ([Painted(RED, *SCREEN), Painted(RED, (30, 20), (12, 12))], True, False),
    "a first one beyond the screen": ([Painted(RED, (0, 0), (44, 33))], False, False),
    "one that stays behind one taken back": (
        [
            Painted(RED, *SCREEN),
            Painted(RED, *PART, disposal=3),
            Painted(RED, *PART, disposal=0),
            Painted(RED, *SMALLER),
        ],
        True,
        False,
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_a_gif_tells_whether_its_canvas_shows_or_a_frame_goes_beyond_it(case: str) -> None:
    frames, odd, alpha = ODD[case]
    info = whole(gif_of((40, 30), *frames))
    assert (facts.gif(info).odd_frames, info.has_alpha) == (odd, alpha)
    assert (info.width, info.height) == ((44, 33) if case == "a first one beyond the screen" else (40, 30))


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
def test_an_avif_s_clean_aperture_is_its_size_and_what_is_cropped_costs_memory(
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
    assert info.details.held - len(data) == 6 * (120 * 80 - width * height)


def test_a_long_file_of_icons_is_corrupt() -> None:
    small = icons.bitmap(16, 16)
    with pytest.raises(Corrupt, match="4 MB"):
        probe(icons.ico((16, 16, 32, small)), 5 << 20)


@needs_avif
def test_an_avif_coded_larger_than_it_says_is_corrupt_wherever_that_is() -> None:
    ordinary = heif_bombs.picture(heif_bombs.AVIF, (64, 64))
    lying = heif_bombs.picture(heif_bombs.AVIF, (400, 400), (64, 64))
    tiles = heif_bombs.derived(b"grid", struct.pack(">BBBBHH", 0, 0, 0, 1, 128, 64), (128, 64), 2, 3)
    assert whole(heif_bombs.file(heif_bombs.AVIF, tiles, ordinary, ordinary)).complete
    for items in ((lying,), (tiles, ordinary, lying), (ordinary, lying)):
        with pytest.raises(Corrupt, match="400"):
            whole(heif_bombs.file(heif_bombs.AVIF, *items))


@needs_avif
def test_an_avif_is_incomplete_until_all_that_is_coded_was_seen() -> None:
    data = heif_bombs.file(heif_bombs.AVIF, heif_bombs.picture(heif_bombs.AVIF, (400, 400), (64, 64)))
    part = probe(data[:-20], len(data))
    assert (part.width, part.complete) == (64, False)


@needs_avif
def test_the_first_frame_of_an_animated_avif_must_be_as_large_as_it_says_too() -> None:
    data = animated("AVIF", 2)
    assert whole(data).complete
    large = heif_bombs.coded(heif_bombs.AVIF, (400, 400))[1]
    at = data.index(b"stco") + 12
    moved = data[:at] + struct.pack(">I", len(data)) + data[at + 4 :]
    size_at = data.index(b"stsz") + 12
    moved = moved[:size_at] + struct.pack(">I", len(large)) + moved[size_at + 4 :] + large
    with pytest.raises(Corrupt, match="400"):
        whole(moved)


@pytest.mark.parametrize(("mode", "depth"), [("1", 1), ("P", 8), ("RGB", 8)])
def test_the_depth_of_a_bmp_is_that_of_a_sample(mode: str, depth: int) -> None:
    assert whole(saved("BMP", mode)).bit_depth == depth


def clap(width: int, height: int) -> bytes:
    return box(b"clap", struct.pack(">iIiIiIiI", width, 1, height, 1, 0, 1, 0, 1))


def sized(kind: bytes, width: int, height: int, *properties: bytes, made_of: tuple[int, ...] = ()) -> heif_bombs.Item:
    """An item that is never decoded here."""
    return heif_bombs.Item(kind, b"", (heif_bombs.size_property(width, height), *properties), made_of)


ALPHA = box(b"auxC", bytes(4), b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
HVC1, AV01 = b"hvc1", b"av01"


@pytest.mark.parametrize(
    "items",
    [
        (sized(HVC1, 9000, 9000, clap(64, 64)),),
        (sized(b"grid", 128, 128, made_of=(2, 2)), sized(HVC1, 9000, 9000)),
        (sized(b"grid", 128, 128, made_of=(2, 3)), sized(HVC1, 64, 128), sized(HVC1, 9000, 9000)),
        (sized(b"grid", 128, 128, made_of=(2,) * 4000), sized(HVC1, 64, 64)),
        (sized(HVC1, 64, 64), sized(HVC1, 9000, 9000, ALPHA)),
        (sized(HVC1, 64, 64), sized(b"grid", 64, 64, ALPHA, made_of=(3,)), sized(HVC1, 9000, 9000)),
        (sized(b"iden", 64, 64, made_of=(2,)), sized(b"iovl", 64, 64, made_of=(3,)), sized(HVC1, 9000, 9000)),
    ],
    ids=["a crop", "tiles", "one tile", "many tiles", "alpha", "tiles of alpha", "derived of derived"],
)
def test_a_heif_for_which_far_more_is_decoded_than_it_shows_is_corrupt(items: tuple[heif_bombs.Item, ...]) -> None:
    with pytest.raises(Corrupt, match="are decoded"):
        whole(heif_bombs.file(heif_bombs.HEIC, *items))


def test_tiles_may_reach_beyond_the_picture_and_other_pictures_of_the_file_are_nobodys_business() -> None:
    phone = sized(b"grid", 4032, 3024, made_of=tuple(range(2, 50)))
    tiles = [sized(HVC1, 512, 512)] * 48
    assert whole(heif_bombs.file(heif_bombs.HEIC, phone, *tiles, sized(HVC1, 9000, 9000))).width == 4032
    assert whole(heif_bombs.file(heif_bombs.HEIC, sized(HVC1, 1412, 1000, clap(1411, 1000)))).width == 1411
