from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

from tests.bombs import deflated_zeros, packed_bits
from tests.support.pictures import gradient, saved

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, RGBA = 0, 2, 6
CHANNELS = {GREY: 1, RGB: 3, RGBA: 4}


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, depth: int = 8, colour: int = RGB) -> bytes:
    return SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def of_one_colour(width: int, height: int, depth: int = 8, colour: int = RGB, surplus: int = 0) -> bytes:
    """A whole black picture, with `surplus` bytes of pixels beyond its size."""
    row = 1 + (width * CHANNELS[colour] * depth + 7) // 8
    pixels = chunk(b"IDAT", deflated_zeros(row * height + surplus))
    return header(width, height, depth, colour) + pixels + chunk(b"IEND")


def with_chunks(before: Iterable[bytes] = (), behind: Iterable[bytes] = ()) -> bytes:
    """An ordinary picture with more chunks before and behind its pixels."""
    whole = saved(gradient(), "PNG")
    return whole[:33] + b"".join(before) + whole[33:-12] + b"".join(behind) + whole[-12:]


def with_text(kind: bytes, size: int, times: int = 1, behind: bool = False) -> bytes:
    """Text, or a profile, that unpacks to that many zeros."""
    start = {b"zTXt": b"key\0\0", b"iTXt": b"key\0\1\0\0\0", b"iCCP": b"profile\0\0"}[kind]
    chunks = [chunk(kind, start + deflated_zeros(size))] * times
    return with_chunks((), chunks) if behind else with_chunks(chunks)


def _empty_block() -> list[tuple[int, int]]:
    """Deflate's smallest block with tables of its own (RFC 1951, section 3.2.7): it has one code, which ends it."""
    lengths = [(int(symbol in (1, 18)), 3) for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)]
    no_codes = [(1, 1), (138 - 11, 7), (1, 1), (118 - 11, 7)]
    return [(0, 1), (2, 2), (0, 5), (0, 5), (14, 4), *lengths, *no_codes, (0, 1), (0, 1), (0, 1)]


def empty_blocks(size: int, start: bytes = b"") -> bytes:
    """A stream of deflated blocks of its own tables that hold `start` and nothing else. It has no end."""
    packer = zlib.compressobj()
    block = packed_bits(_empty_block() * 8)  # whole bytes
    return packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH) + block * (size // len(block))


def with_text_of(packed: bytes, behind: bool = False) -> bytes:
    chunks = [chunk(b"zTXt", b"key\0\0" + packed)]
    return with_chunks((), chunks) if behind else with_chunks(chunks)


def with_profile(said: int, packed: int) -> bytes:
    """A profile that says its size, in that many bytes of empty blocks."""
    return with_chunks([chunk(b"iCCP", b"name\0\0" + empty_blocks(packed, struct.pack(">I", said) + bytes(128)))])


def of_empty_blocks(size: int) -> bytes:
    return header(64, 64) + chunk(b"IDAT", empty_blocks(size)) + chunk(b"IEND")


def with_frames(claimed: int, size: int) -> bytes:
    """An animation that announces `claimed` frames and holds two, the second of `size` x `size`."""

    def control(number: int, side: int) -> bytes:
        return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, side, side, 0, 0, 1, 10, 0, 0))

    pixels = deflated_zeros(256 * 769)
    first = control(0, 256) + chunk(b"IDAT", pixels)
    second = control(1, size) + chunk(b"fdAT", struct.pack(">I", 2) + pixels)
    return header(256, 256) + chunk(b"acTL", struct.pack(">II", claimed, 0)) + first + second + chunk(b"IEND")
