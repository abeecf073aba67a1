from __future__ import annotations

import contextlib

import pytest

from thumbnailer.errors import Corrupt
from thumbnailer.formats.av1 import MAX_FRAMES, MAX_UNITS, read_coded_sizes
from thumbnailer.formats.base import Head

TEMPORAL_DELIMITER, FRAME = 2, 6


def packed(*fields: tuple[int, int]) -> bytes:
    """Value and width of each field, the highest bit first."""
    bits = "".join(format(value, f"0{width}b") for value, width in fields if width)
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def unit(kind: int, payload: bytes = b"", extended: bool = False) -> bytes:
    assert len(payload) < 128
    header = bytes((kind << 3 | (4 if extended else 0) | 2,)) + (b"\0" if extended else b"")
    return header + bytes((len(payload),)) + payload


SIZE = ((9, 4), (8, 4), (639, 10), (426, 9))
"""640 x 427, in 10 and 9 bits."""
REDUCED = packed((0, 3), (1, 1), (1, 1), (5, 5), *SIZE)
NO_TIMING = packed((0, 3), (0, 1), (0, 1), (0, 1), (0, 1), (0, 5), (0, 12), (5, 5), *SIZE)
TIMING = ((1, 1), (25, 32), (1, 32), (1, 1), (1, 1), (1, 1), (9, 5), (25, 32), (9, 5), (9, 5))
"""With a decoder model whose delays have 10 bits; a picture takes one tick (uvlc 1)."""
POINT = ((0, 12), (13, 5), (1, 1), (1, 1), (3, 10), (4, 10), (0, 1), (1, 1), (9, 4))
FULL = packed((0, 3), (0, 1), (0, 1), *TIMING[:4], (1, 1), *TIMING[5:], (1, 1), (1, 5), *POINT, *POINT, *SIZE)


def sizes(data: bytes) -> list[tuple[int, int]]:
    return list(read_coded_sizes(Head(memoryview(data), len(data), "AV1")))


@pytest.mark.parametrize("header", [REDUCED, NO_TIMING, FULL], ids=["reduced", "no timing", "timing and delays"])
@pytest.mark.parametrize("extended", [False, True])
def test_the_size_is_read_behind_any_other_unit(header: bytes, extended: bool) -> None:
    data = unit(TEMPORAL_DELIMITER) + unit(1, header, extended) + unit(FRAME, bytes(9))
    assert sizes(data) == [(640, 427)]


def test_every_sequence_header_is_read() -> None:
    assert sizes(unit(1, REDUCED) + unit(1, NO_TIMING)) == [(640, 427)] * 2
    assert sizes(bytes((1 << 3,)) + REDUCED) == [(640, 427)]


@pytest.mark.parametrize("data", [unit(1, REDUCED[:2]), unit(1), bytes((1 << 3 | 2,)) + b"\xff" * 9])
def test_a_header_that_ends_early_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        sizes(data)


def test_more_frames_or_units_than_one_picture_has_are_corrupt() -> None:
    assert sizes(unit(FRAME, b"x") * MAX_FRAMES) == []
    for flood in (unit(FRAME, b"x") * (MAX_FRAMES + 1), unit(TEMPORAL_DELIMITER) * (MAX_UNITS + 1)):
        with pytest.raises(Corrupt):
            sizes(flood)


def test_any_cut_ends_in_sizes_or_corrupt() -> None:
    data = unit(TEMPORAL_DELIMITER) + unit(1, FULL) + unit(FRAME, bytes(40))
    for end in range(len(data)):
        with contextlib.suppress(Corrupt):
            assert sizes(data[:end]) in ([], [(640, 427)])
