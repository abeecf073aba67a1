"""The pipeline refuses or renders hostile pictures within the bound of MATRIX.md, on every tier.

Each picture is processed in a child process (`tests/support/measured.py`). The tests limit CPU time and memory growth;
a limit of wall time only ends a hang.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import pytest
from PIL import features

from tests.bombs import MB, gif, heif, icons, jpeg, png, tiff, webp
from tests.bombs.floods import FLOODS, METADATA
from tests.bombs.heif import AVIF, HEIC
from tests.support.measured import measured
from tests.support.pictures import gradient, saved
from tests.support.reading import MOST_SECONDS, too_slow
from thumbnailer.app import build, new_event_loop
from thumbnailer.machine import Machine
from thumbnailer.model import EventKind, ObjectEvent
from thumbnailer.planning.tier import tier_for
from thumbnailer.settings import parse_settings
from thumbnailer.store.base import ObjectBody, PutHeaders
from thumbnailer.store.memory import MemoryStore

CPU_SECONDS = 2.0
GROWTH = 96 * MB
"""MATRIX.md's "Bound"."""
Runs = tuple[tuple[int, str], ...]
"""Lambda sizes in MB and engine settings."""
EACH_ENGINE: Runs = ((128, "vips"), (128, "pillow"))
EACH_TIER: Runs = ((128, "auto"), (512, "auto"), (3008, "auto"))
GB = 1 << 30
STORED, CORRUPT, PIXELS, BYTES = "stored", "corrupt", "too-many-pixels", "too-many-bytes"
UNSUPPORTED = "unsupported-format"
HERE = {HEIC: find_spec("pillow_heif") is not None, AVIF: features.check("avif")}


def bomb(row: int, name: str, make: Callable[[], bytes], *ends: str) -> Any:
    """A case with the statuses or reasons it may end with. A name that begins with HEIF or AVIF needs that codec."""
    missing = [kind for kind, here in HERE.items() if name.startswith(kind) and not here]
    marks = [pytest.mark.matrix(row), *(pytest.mark.skip(f"no {kind} encoder here") for kind in missing)]
    return pytest.param(make, ends, id=f"{row}: {name}", marks=marks)


@cache
def baseline() -> bytes:
    return saved(gradient(), "JPEG", quality=90)


@cache
def progressive() -> bytes:
    return saved(gradient(), "JPEG", quality=90, progressive=True)


@cache
def chunky_png() -> bytes:
    return png.with_chunks([png.chunk(b"prVt")] * 1_000_000)


EXIF_PIECE = b"Exif\0\0II*\0\x08\0\0\0\0\0" + bytes(16_000)
XMP_PIECE = b"http://ns.adobe.com/xmp/extension/\0".ljust(65_533)
TINY_ICON = icons.bitmap(16, 16)
OVERLAPPING = [(60_000 + number, tiff.UNDEFINED, MB, tiff.PIXELS_AT) for number in range(400)]
SMALL_TAGS = [(60_000 + number, tiff.LONG, 1, 0) for number in range(4_000)]

BOMBS = [
    # 7: many pixels
    bomb(7, "PNG of 50000 x 50000", partial(png.of_one_colour, 50_000, 50_000), PIXELS),
    bomb(7, "PNG of 30000 x 30000", partial(png.of_one_colour, 30_000, 30_000, 1, png.GREY), PIXELS),
    bomb(7, "1 GB more pixels than rows", partial(png.of_one_colour, 256, 256, surplus=GB), STORED),
    bomb(7, "a million empty IDAT", partial(png.with_chunks, [png.chunk(b"IDAT")] * 1_000_000), CORRUPT),
    # 8: large metadata
    *(
        case
        for kind in (b"zTXt", b"iTXt", b"iCCP")
        for case in (
            bomb(8, f"{kind.decode()} of 1 GB", partial(png.with_text, kind, GB), STORED, CORRUPT),
            bomb(8, f"{kind.decode()} of 1 GB behind", partial(png.with_text, kind, GB, behind=True), STORED),
            bomb(8, f"1000 times {kind.decode()}", partial(png.with_text, kind, MB, 1000), CORRUPT),
        )
    ),
    bomb(8, "290 packed texts", partial(png.with_text, b"zTXt", 8 * MB, 290), STORED),
    bomb(8, "290 profiles", partial(png.with_text, b"iCCP", MB, 290), STORED),
    bomb(8, "a million chunks", chunky_png, CORRUPT),
    bomb(8, "a million chunks behind", lambda: png.with_chunks((), [png.chunk(b"tEXt")] * 1_000_000), CORRUPT),
    bomb(8, "a million chunks in an icon", lambda: icons.ico((0, 0, 32, chunky_png())), CORRUPT),
    bomb(8, "a million chunks in a WebP", partial(webp.with_chunks, 1_000_000), CORRUPT),
    bomb(8, "a million chunks in a WebP frame", partial(webp.with_chunks_in_its_frame, 1_000_000), CORRUPT),
    # 9: scans
    bomb(9, "2000 scans", lambda: jpeg.repeating_its_last_scan(progressive(), 2000), CORRUPT),
    bomb(9, "2000 arithmetic scans", partial(jpeg.of_empty_scans, 256, 256, 2000), CORRUPT),
    bomb(9, "2000 refinements", partial(jpeg.of_refinements, 256, 256, 2000), CORRUPT),
    bomb(9, "50 scans", lambda: jpeg.repeating_its_last_scan(progressive(), 50), STORED),
    bomb(9, "100 arithmetic scans", partial(jpeg.of_empty_scans, 256, 256, 100), STORED, CORRUPT),
    bomb(9, "100 refinements", partial(jpeg.of_refinements, 256, 256, 100), STORED),
    bomb(9, "100 refinements of 13377 x 13377", partial(jpeg.of_refinements, 13_377, 13_377, 100), PIXELS),
    bomb(9, "100 arithmetic scans of 13377 x 13377", partial(jpeg.of_empty_scans, 13_377, 13_377, 100), PIXELS),
    # 10: segments
    bomb(10, "50 MB of APPn", lambda: jpeg.with_segments(baseline(), 0xE5, bytes(65_533), 800), BYTES),
    bomb(10, "29000 pieces of EXIF", lambda: jpeg.with_segments(baseline(), 0xE1, EXIF_PIECE[:99], 49_000), CORRUPT),
    bomb(10, "290 pieces of EXIF", lambda: jpeg.with_segments(baseline(), 0xE1, EXIF_PIECE, 290), STORED),
    bomb(10, "16 MB of APPn", lambda: jpeg.with_segments(baseline(), 0xE5, bytes(65_533), 250), STORED),
    bomb(10, "16 MB of XMP", lambda: jpeg.with_segments(baseline(), 0xE1, XMP_PIECE, 250), STORED),
    bomb(10, "16 MB of EXIF", lambda: jpeg.with_segments(baseline(), 0xE1, EXIF_PIECE.ljust(65_533), 250), STORED),
    # 11: frames
    bomb(11, "GIF of 100000 frames", partial(gif.animation, (100, 100), 100_000), STORED),
    bomb(57, "GIF of a million frames", partial(gif.animation, (8, 8), 1_000_000), STORED),
    bomb(11, "GIF of 65535 x 65535", partial(gif.animation, (65_535, 65_535), 2), PIXELS),
    bomb(11, "GIF of 100 frames of 2000 x 2000", partial(gif.animation, (2000, 2000), 100, (2000, 2000)), STORED),
    bomb(11, "GIF with a large second frame", partial(gif.with_second_frame, 13_000, 13_000), CORRUPT),
    bomb(11, "GIF of a million comments", partial(gif.animation, (64, 64), 1, before=gif.COMMENT * 1_000_000), CORRUPT),
    bomb(11, "GIF of a million loops", partial(gif.animation, (64, 64), 1, before=gif.LOOP * 1_000_000), CORRUPT),
    bomb(11, "WebP of 100000 frames", partial(webp.animation, (100, 100), 100_000, (100, 100)), STORED),
    bomb(11, "WebP canvas of 2^24 x 200", partial(webp.animation, (1 << 24, 200), 1, (16, 16)), PIXELS),
    bomb(11, "WebP of 100 frames of 2000 x 2000", partial(webp.animation, (2000, 2000), 100, (2000, 2000)), STORED),
    bomb(11, "APNG of 2^32 - 1 frames", partial(png.with_frames, (1 << 32) - 1, 256), STORED),
    bomb(11, "APNG with a frame of 60000 x 60000", partial(png.with_frames, 2, 60_000), STORED),
    bomb(11, "AVIF of 2^32 - 1 frames", partial(heif.with_sample_count, (1 << 32) - 1), CORRUPT, STORED),
    bomb(11, "AVIF of 2^24 frames", partial(heif.with_sample_count, 1 << 24), CORRUPT, STORED),
    bomb(11, "AVIF item of 300 frames", lambda: heif.file(AVIF, heif.picture(AVIF, (1500, 1500), times=300)), CORRUPT),
    # 12: TIFF
    bomb(12, "a loop", lambda: tiff.tiff(bytes(10_000), tiff.grey(100, 100, 10_000), last_link=10_008), STORED),
    bomb(
        12,
        "a link past the end",
        lambda: tiff.tiff(bytes(10_000), tiff.grey(100, 100, 10_000), last_link=1 << 31),
        STORED,
    ),
    bomb(12, "a first directory past the end", lambda: b"II*\0" + struct.pack("<I", 1 << 31) + bytes(1000), CORRUPT),
    bomb(12, "2^32 strips", tiff.of_all_strips_there_can_be, CORRUPT),
    bomb(12, "a strip of 4 GB", lambda: tiff.tiff(bytes(10_000), tiff.grey(100, 101, (1 << 32) - 1)), CORRUPT, STORED),
    bomb(12, "10000 pages", partial(tiff.pages, 10_000, SMALL_TAGS[:12]), STORED),
    bomb(12, "100000 pages", partial(tiff.pages, 100_000), CORRUPT),
    bomb(12, "100 pages of 4000 tags", partial(tiff.pages, 100, SMALL_TAGS), CORRUPT),
    bomb(12, "400 tags of the same MB", partial(tiff.pages, 1, OVERLAPPING, 2 * MB), CORRUPT),
    bomb(12, "100 pages of 25 tags of the same MB", partial(tiff.pages, 100, OVERLAPPING[:25], 2 * MB), STORED, PIXELS),
    bomb(12, "a tile of 16384 x 16384", partial(tiff.tiled, 64, 64, (16_384, 16_384)), CORRUPT),
    bomb(12, "1000 samples a pixel", partial(tiff.tiled, 1000, 1000, (1008, 1008), 1000), UNSUPPORTED),
    bomb(12, "BigTIFF", tiff.big, STORED),
    bomb(12, "BigTIFF of 2^63 strips", partial(tiff.big, strips=1 << 63), CORRUPT),
    bomb(12, "BigTIFF past the end", partial(tiff.big, at=1 << 62), CORRUPT),
    # 13: HEIF and AVIF
    *(
        case
        for kind in (HEIC, AVIF)
        for case in (
            bomb(13, f"{kind} of 1024 tiles", partial(heif.grid, kind, 32, 32), STORED, CORRUPT, PIXELS),
            bomb(13, f"{kind} of 65280 tiles", partial(heif.grid, kind, 255, 256), CORRUPT),
            bomb(
                13,
                f"{kind} of 4 tiles that are 10000 wide",
                partial(heif.grid, kind, 2, 2, (10_000, 10_000)),
                CORRUPT,
                PIXELS,
            ),
            bomb(
                13,
                f"{kind} of 64 tiles among 900 items",
                partial(heif.crowded, kind, 8, 8, 900),
                STORED,
                CORRUPT,
                PIXELS,
            ),
            bomb(13, f"{kind} nested 5 deep", partial(heif.nested, kind, 5), CORRUPT, STORED),
            bomb(13, f"{kind} nested 900 deep", partial(heif.nested, kind, 900), CORRUPT),
            bomb(13, f"{kind} doubled 7 times", partial(heif.doubling, kind, 7), CORRUPT),
            bomb(13, f"{kind} in a circle", partial(heif.in_a_circle, kind), CORRUPT),
            bomb(13, f"{kind} of 65535 places", partial(heif.with_pieces, kind, 65_535, 65_535, 1, MB), CORRUPT),
            bomb(13, f"{kind} in 65535 pieces", partial(heif.with_pieces, kind, 1, 65_535, 65_535, MB), CORRUPT),
            bomb(13, f"{kind} in 30 times the same piece", partial(heif.with_pieces, kind, 1, 30, 30, MB), CORRUPT),
            bomb(
                13,
                f"{kind} of 1000 x 1000 that says 64 x 64",
                partial(heif.lying, kind, (1000, 1000), (64, 64)),
                CORRUPT,
            ),
            bomb(
                13,
                f"{kind} of 64 x 64 that says 20000 x 20000",
                partial(heif.lying, kind, (64, 64), (20_000, 20_000)),
                PIXELS,
            ),
        )
    ),
    # 19: very long
    bomb(19, "PNG of 1 x 65000", partial(png.of_one_colour, 1, 65_000), STORED),
    bomb(19, "PNG of 65000 x 1", partial(png.of_one_colour, 65_000, 1), STORED),
    bomb(19, "GIF of 1 x 65000", partial(gif.animation, (1, 65_000), 1, (1, 65_000)), STORED),
    # pictures that Pillow decodes in Python, and an icon whose directory states a wrong size
    bomb(7, "BMP of 48 MB of empty runs", lambda: icons.bmp(100, 100, b"\0\0" * 24_000_000), UNSUPPORTED),
    bomb(
        7,
        "BMP of 25 million runs",
        lambda: icons.bmp(5000, 5000, (b"\1\1" * 5000 + b"\0\0") * 5000),
        UNSUPPORTED,
        PIXELS,
    ),
    bomb(
        7, "BMP of 1 MB of runs", lambda: icons.bmp(600, 600, (b"\1\1" * 600 + b"\0\0") * 600 + bytes(300_000)), STORED
    ),
    bomb(
        7,
        "a small icon of 20000 x 20000",
        lambda: icons.ico((16, 16, 1, TINY_ICON), (16, 16, 32, png.of_one_colour(20_000, 20_000))),
        PIXELS,
    ),
]


TALL = png.of_one_colour(1, 4_000_000, colour=png.GREY)
BOMBS.append(bomb(7, "a cut PNG of four million rows", lambda: TALL[: len(TALL) * 9 // 10], CORRUPT))


def check_bomb(make: Callable[[], bytes], ends: tuple[str, ...], runs: Runs) -> None:
    data = make()
    assert too_slow(data) == []
    for memory_mb, engine in runs:
        cost = measured(data, memory_mb, {"THUMBNAILER_ENGINE": engine})
        report = f"{memory_mb} MB, {engine}: {cost.report}"
        assert (cost.outcome.reason or cost.outcome.status) in ends, report
        assert cost.cpu <= CPU_SECONDS, report
        assert cost.growth <= min(GROWTH, tier_for(memory_mb).memory_budget), report


@pytest.mark.parametrize(("make", "ends"), BOMBS)
def test_each_engine_refuses_or_renders_a_bomb_within_the_bound(
    make: Callable[[], bytes], ends: tuple[str, ...]
) -> None:
    check_bomb(make, ends, EACH_ENGINE)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "ends"), BOMBS)
def test_each_tier_refuses_or_renders_a_bomb_within_the_bound(make: Callable[[], bytes], ends: tuple[str, ...]) -> None:
    check_bomb(make, ends, EACH_TIER)


@cache
def avif_of_items(count: int) -> bytes:
    """Padded, so that its reader may look at all items."""
    item = heif.picture(AVIF, (64, 64))
    return heif.file(AVIF, item, *[replace(item, data=b"x")] * count) + bytes(16 * MB)


DECODED = {
    "PNG of 8 MB of empty blocks in a text": (partial(png.with_text_of, png.empty_blocks(8 * MB)), STORED),
    "PNG of 8 MB of empty blocks in a text behind": (
        partial(png.with_text_of, png.empty_blocks(8 * MB), behind=True), STORED
    ),
    "PNG of 15 MB of empty blocks in a profile": (partial(png.with_profile, 500, 15 * MB), STORED),
    "PNG of 4 MB of empty blocks in a profile that says so": (partial(png.with_profile, 4 * MB, 4_000_000), STORED),
    "PNG of 4 MB of empty blocks in its pixels": (partial(png.of_empty_blocks, 4 * MB), CORRUPT),
    "TIFF of 2000 pages of 60 tags": (partial(tiff.pages, 2000, SMALL_TAGS[:60]), STORED),
    "TIFF of 77 pages of 500 tags": (partial(tiff.pages, 77, SMALL_TAGS[:500]), STORED),
    "AVIF of 4000 items": (partial(avif_of_items, 4_000), STORED),
    "AVIF of 16000 items": (partial(avif_of_items, 16_000), CORRUPT),
}  # fmt: skip
"""Makers of files whose headers cost decoders more than their size: PNG 0.2 s a MB, TIFF 1.4 s, AVIF 1.2 s."""


@pytest.mark.matrix(51)
@pytest.mark.parametrize("name", DECODED)
def test_readers_and_decoders_together_end_within_half_a_second(name: str) -> None:
    if name.startswith(AVIF) and not HERE[AVIF]:
        pytest.skip("no AVIF encoder here")
    make, end = DECODED[name]
    data = make()
    for memory_mb, engine in ((512, "vips"), (512, "pillow")):
        costs = [measured(data, memory_mb, {"THUMBNAILER_ENGINE": engine}) for _ in range(2)]
        assert (costs[0].outcome.reason or costs[0].outcome.status) == end, costs[0].report
        assert min(cost.cpu for cost in costs) <= MOST_SECONDS, costs[0].report


@pytest.mark.matrix(51)
@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
def test_each_engine_ends_a_flood_of_parts_within_the_bound(name: str) -> None:
    """Also floods that each engine gets to see: the readers' own budget is in tests/unit/formats/test_budget.py."""
    check_bomb(partial(FLOODS[name], MB), (STORED, CORRUPT, UNSUPPORTED, BYTES, "not-an-image"), EACH_ENGINE)


@pytest.mark.matrix(52)
@pytest.mark.parametrize("name", METADATA)
def test_each_engine_ends_a_flood_of_metadata_within_the_bound(name: str) -> None:
    """Pillow 12 took 8 s and 9.5 GB for 7 MB of EXIF, 12 s for 6 MB of comments."""
    if name.startswith(AVIF) and not HERE[AVIF]:
        pytest.skip("no AVIF encoder here")
    check_bomb(partial(METADATA[name], 7 * MB), (STORED, PIXELS), EACH_ENGINE)


CLAIMS = {
    "JPEG": lambda: b"\xff\xd8" + jpeg.frame(64_250, 64_250) + jpeg.scan((0, 1, 2), 0, 63, 0),
    "PNG": lambda: png.header(28_284, 28_284),
    "GIF": lambda: gif.header(65_535, 36_621) + gif.frame(1, 1),
    "BMP": lambda: icons.bmp(28_284, 28_284, b"", bits=24, compression=0),
    "TIFF": lambda: tiff.tiff(b"", tiff.grey(65_536, 36_622, 0)),
    "WebP": lambda: webp.riff(webp.extended(65_536, 36_622), webp.lossless(16_384, 16_384)),
    "ICO": lambda: icons.ico((0, 0, 32, png.header(28_284, 28_284))),
    "AVIF": lambda: heif.file(AVIF, replace(heif.picture(AVIF, (64, 64), (28_284, 28_284)), data=b"")),
}


@pytest.mark.matrix(6)
@pytest.mark.parametrize("kind", CLAIMS)
def test_a_header_that_claims_gigabytes_is_refused_at_no_cost(kind: str) -> None:
    """A JPEG of 64,250 x 64,250, and files of 258 bytes that claim 2.4 GB. AVIF is larger: its boxes need more."""
    if kind == AVIF and not HERE[AVIF]:
        pytest.skip("no AVIF encoder here")
    data = CLAIMS[kind]().ljust(258, b"\0")
    for memory_mb, engine in (*EACH_ENGINE, EACH_TIER[-1]):
        cost = measured(data, memory_mb, {"THUMBNAILER_ENGINE": engine})
        assert cost.outcome.reason == PIXELS, cost.report
        assert cost.growth < MB, cost.report
        assert "decode" not in dict(cost.outcome.timings)


AT_THE_LIMIT = {
    "a PNG of 250 MP": lambda: png.of_one_colour(15_811, 15_811),
    "GIF, 300 frames of 500 x 500": lambda: gif.animation((500, 500), 300, (500, 500)),
    "WebP, 300 frames of 500 x 500": lambda: webp.animation((500, 500), 300, (500, 500)),
    "100 scans of 4000 x 4000": lambda: jpeg.of_refinements(4_000, 4_000, 100),
    "100 arithmetic scans of 4000 x 4000": lambda: jpeg.of_empty_scans(4_000, 4_000, 100),
    "baseline JPEG in three scans of 6000 x 6000": lambda: jpeg.of_separate_scans(6000, 6000),
    "TIFF in tiles of 4096 x 4096": lambda: tiff.tiled(7000, 7000, (4096, 4096), 3),
    "TIFF in planes": lambda: tiff.planar(7000, 7000),
    "GIF of one frame of 6000 x 6000": lambda: gif.animation((6000, 6000), 1, (6000, 6000), before=b""),
    "WebP of 6000 x 6000": lambda: webp.riff(webp.lossless(6000, 6000)),
    "TIFF in tiles as high as itself": lambda: tiff.tiled(7000, 7000, (16, 7008), 3),
    "WebP with a profile of 40 MB": lambda: webp.with_profile(40 * MB),
    "AVIF of 625 tiles": lambda: heif.grid(AVIF, 25, 25),
    "HEIF of 256 tiles": lambda: heif.grid(HEIC, 16, 16),
    "TIFF with a tag of 60 MB": lambda: tiff.pages(1, [(60_000, tiff.UNDEFINED, 60 * MB, 8)], 61 * MB),
}


@pytest.mark.matrix(9)
@pytest.mark.matrix(11)
@pytest.mark.parametrize("name", AT_THE_LIMIT)
@pytest.mark.parametrize(
    "memory_mb", [128, pytest.param(512, marks=pytest.mark.slow), pytest.param(3008, marks=pytest.mark.slow)]
)
def test_the_largest_accepted_pictures_stay_within_the_tier(name: str, memory_mb: int) -> None:
    if name.startswith("AVIF") and not HERE[AVIF]:
        pytest.skip("no encoder for AVIF")
    cost = measured(AT_THE_LIMIT[name](), memory_mb)
    assert cost.outcome.reason in (None, PIXELS, *([CORRUPT] if "arithmetic" in name else [])), cost.report
    assert cost.cpu <= 10 * min(1.0, tier_for(memory_mb).vcpus), cost.report
    assert cost.growth <= tier_for(memory_mb).memory_budget, cost.report


class HeadersOnly(MemoryStore):
    """Reports a size of 5 GB for its objects and fails if their bytes are read."""

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[ObjectBody]:
        async with super().open(bucket, key) as body:
            yield Untouched(replace(body.headers, size=5 * 10**9))


@pytest.mark.matrix(5)
def test_a_too_large_object_is_refused_by_its_headers_alone() -> None:
    async def work() -> None:
        store = HeadersOnly("photos", "photos-resized")
        await store.put("photos", "x", b"data", PutHeaders("image/jpeg"))
        pipeline = build(parse_settings({}), Machine(3008, None), {}, store).pipeline
        outcome = await pipeline.process(ObjectEvent(EventKind.CREATED, "photos", "x"))
        assert (outcome.reason, outcome.bytes_in) == (BYTES, 0)
        await pipeline.aclose()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(work())


class Untouched:
    def __init__(self, headers: Any) -> None:
        self.headers = headers

    def chunks(self) -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
