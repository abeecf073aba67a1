from __future__ import annotations

import struct

from tests.bombs import packed_bits

LOOP = b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0"
COMMENT = b"!\xfe\4text\0"
CONTROL = b"!\xf9\4\0\1\0\0\0"
CLEAR, END, FIRST_RUN, TABLE_SIZE = 4, 5, 6, 4096
"""LZW for a code size of 2."""


def header(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"


def frame(width: int, height: int) -> bytes:
    """A black frame in the corner of the canvas."""
    return CONTROL + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\2" + blocks(lzw_zeros(width * height))


def animation(canvas: tuple[int, int], frames: int, size: tuple[int, int] = (1, 1), before: bytes = LOOP) -> bytes:
    return header(*canvas) + before + frame(*size) * frames + b";"


def lzw_zeros(count: int) -> bytes:
    """Runs of 1, 2, 3, ... zeros, each a new code, until the table is full and cleared."""
    codes: list[tuple[int, int]] = []
    width = 3
    while True:
        codes.append((CLEAR, width))
        for run in range(1, TABLE_SIZE - FIRST_RUN + 2):
            learnt = FIRST_RUN + max(0, run - 2)  # entries of the decoder's table determine the width of a code
            width = max(3, learnt.bit_length())
            taken = min(run, count)
            codes.append((0 if taken == 1 else FIRST_RUN + taken - 2, width))
            count -= taken
            if not count:
                codes.append((END, min(12, max(3, (FIRST_RUN + run - 1).bit_length()))))
                return packed_bits(codes)


def blocks(data: bytes) -> bytes:
    pieces = (data[at : at + 255] for at in range(0, len(data), 255))
    return b"".join(bytes((len(piece),)) + piece for piece in pieces) + b"\0"


def with_second_frame(width: int, height: int) -> bytes:
    """A frame on a canvas of 8 x 8, which a decoder would have to enlarge."""
    return header(8, 8) + LOOP + frame(8, 8) + frame(width, height) + b";"
