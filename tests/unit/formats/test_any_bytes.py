"""The probe ends in bounded time for any bytes, with a value or one of four errors."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.bombs.heif import box
from tests.bombs.jpeg import segment
from tests.fuzz.heads import probed
from tests.support.headers import CPU_BOUND, HEAD, TIFF_START, animated, bits, exif, frame, heif, jpeg, saved


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
    samples = Path(__file__).parents[3] / "handler" / "demo" / "samples"
    return made + [path.read_bytes()[:8192] for path in sorted(samples.iterdir()) if path.suffix != ".md"]


SEEDS = seeds()


@given(st.binary(max_size=400), st.sampled_from([None, 0, 400, 1 << 40]))
@settings(max_examples=500, deadline=None)
@example(b"", None)
def test_any_bytes_end_in_a_value_or_one_of_four_errors(data: bytes, total: int | None) -> None:
    probed(data, total)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_pictures_end_in_a_value_or_one_of_four_errors(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(1500):
        data = mutate(dice, bytearray(dice.choice(SEEDS)))
        for total in (None, len(data), len(data) + 99, 1 << 40):
            probed(data, total)


def mutate(dice: random.Random, data: bytearray) -> bytes:
    """Changes some bytes of the header, removes or doubles a piece of it, or cuts off the end."""
    reach = min(len(data), dice.choice((16, 64, 512, 8192)))
    for _ in range(dice.randrange(1, 9)):
        data[dice.randrange(reach)] = dice.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, dice.randrange(256)))
    start = dice.randrange(reach)
    piece = slice(start, start + dice.randrange(64))
    change = dice.choice(("none", "gone", "doubled", "cut"))
    if change in ("gone", "doubled"):
        data[piece] = data[piece] * (2 if change == "doubled" else 0)
    return bytes(data[:start] if change == "cut" else data)


@pytest.mark.parametrize("picture", range(len(SEEDS)))
def test_every_head_of_a_picture_agrees_with_the_whole_or_needs_more_bytes(picture: int) -> None:
    data = SEEDS[picture]
    full = probed(data, len(data))
    for end in range(min(len(data), 700)):
        part = probed(data[:end], len(data))
        assert part is None or full is None or (part.width, part.height) == (full.width, full.height)


def hostile() -> dict[str, bytes]:
    """Inputs of at most 10 MB that make a careless loop long."""
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
    probed(data, len(data))
    probed(data[:HEAD], len(data))
    assert time.process_time() - before < CPU_BOUND
