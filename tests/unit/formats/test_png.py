"""The header and the chunks of a PNG."""

from __future__ import annotations

import os
import random
import struct
import time
import zlib

import pytest

from tests.bombs.png import chunk
from tests.support.headers import CPU_BOUND, HEAD, animated, exif, png, saved, whole
from tests.support.reading import with_hidden_metadata
from thumbnailer.errors import Corrupt, Rejected
from thumbnailer.formats import probe


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


def test_the_frames_of_an_apng_are_counted() -> None:
    assert whole(animated("PNG", 3)).frames == 3


def test_exif_behind_the_pixels_is_read_from_the_whole_file() -> None:
    data = png(chunk(b"IDAT", bytes(99)), chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0")), chunk(b"IEND"))
    assert whole(data).orientation == 6
    part = probe(data[:80], len(data))
    assert (part.orientation, part.complete) == (1, False)


def test_a_png_head_without_pixels_is_incomplete() -> None:
    data = png(chunk(b"iTXt", bytes(2 * HEAD)), chunk(b"tRNS", bytes(6)), chunk(b"IDAT"))
    assert not probe(data[:HEAD], len(data)).complete
    assert whole(data).complete


@pytest.mark.parametrize("kind", [b"teXt", b"IDAT"])
def test_a_png_of_a_million_tiny_chunks_is_corrupt(kind: bytes) -> None:
    data = png(chunk(kind) * 1_000_000)
    before = time.process_time()
    with pytest.raises(Rejected, match=r"chunks|parts"):
        whole(data)
    assert time.process_time() - before < CPU_BOUND


def test_a_png_of_many_chunks_is_read() -> None:
    ihdr = struct.pack(">IIBBBBB", 1200, 1200, 8, 2, 0, 0, 0)
    assert whole(png(chunk(b"tEXt") * 250, chunk(b"IDAT", bytes(90)) * 50_000, chunk(b"IEND"), ihdr=ihdr)).complete


def test_packed_pixels_need_little_more_room_than_unpacked_ones() -> None:
    """40 x 30 of three bytes: nearly twice that, and a MB, is as much as some encoder may waste."""
    assert whole(png(chunk(b"IDAT", bytes(1 << 20)) + chunk(b"IEND"))).complete
    with pytest.raises(Corrupt, match="larger packed"):
        whole(png(chunk(b"IDAT", bytes(1 << 20)) + chunk(b"IDAT", bytes(7300)) + chunk(b"IEND")))


def profile(said: int, data: bytes) -> bytes:
    return chunk(b"iCCP", b"name\0\0" + zlib.compress(struct.pack(">I", said) + data))


def test_the_size_of_a_profile_is_its_own_first_field() -> None:
    noise = random.Random(1).randbytes(2 << 20)
    for size in (200, 1 << 20, 2 << 20):
        info = whole(png(profile(size, noise[: size - 4]), chunk(b"IDAT")))
        assert (info.icc, info.details.held) == (True, 2 * size)


@pytest.mark.parametrize(
    "chunk_", [profile(500, os.urandom(2000)), profile(5 << 20, b""), chunk(b"iCCP", b"x\0\0" + bytes(2000))]
)
def test_a_profile_that_lies_about_its_size_is_hidden(chunk_: bytes) -> None:
    data = png(chunk_, chunk(b"IDAT"))
    assert not whole(data).icc
    assert chunk(b"sKIP", chunk_[8:-4]) in with_hidden_metadata(data)


def test_packed_texts_are_hidden_and_plain_ones_are_not() -> None:
    packed = [b"zTXtkey\0\0" + zlib.compress(b"x" * 9999), b"iTXtkey\0\1\0de\0\0" + zlib.compress(b"x" * 9999)]
    plain = [b"tEXtkey\0x", b"iTXtkey\0\0\0de\0\0x"]
    data = png(*(chunk(text[:4], text[4:]) for text in packed + plain), chunk(b"IDAT"))
    assert whole(data).details.held == 2 * (sum(map(len, packed + plain)) - 16)
    expected = [chunk(b"sKIP", text[4:]) for text in packed] + [chunk(text[:4], text[4:]) for text in plain]
    assert b"".join(expected) in with_hidden_metadata(data)


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


def test_a_png_header_with_a_wrong_checksum_is_corrupt() -> None:
    data = bytearray(png())
    data[-1] ^= 1
    with pytest.raises(Corrupt):
        whole(bytes(data))
