from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

from tests.bombs import deflated_zeros
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


def with_frames(claimed: int, size: int) -> bytes:
    """An animation that announces `claimed` frames and holds two, the second of `size` x `size`."""

    def control(number: int, side: int) -> bytes:
        return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, side, side, 0, 0, 1, 10, 0, 0))

    pixels = deflated_zeros(256 * 769)
    first = control(0, 256) + chunk(b"IDAT", pixels)
    second = control(1, size) + chunk(b"fdAT", struct.pack(">I", 2) + pixels)
    return header(256, 256) + chunk(b"acTL", struct.pack(">II", claimed, 0)) + first + second + chunk(b"IEND")
