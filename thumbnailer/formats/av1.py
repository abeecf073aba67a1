"""The size that a piece of AV1 says of itself (AV1 specification, sections 5.3 and 5.5): what a decoder allocates.

AVIF repeats it in its own boxes, but nothing makes the two agree, and decoders decode first and compare afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator

from thumbnailer.errors import Corrupt

MAX_UNITS = 1000
"""Of one picture. Encoders write three, and one more for each tile group."""
MAX_FRAMES = 16
"""Of one picture: layers, and hidden frames that it is predicted from. dav1d and aom decode all that they are given."""
SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6


def coded_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Width and height of every sequence header within; a decoder goes by the one it met last."""
    position = frames = 0
    for _ in range(MAX_UNITS):
        if position >= len(data):
            return
        kind, start, end = _unit(data, position)
        if kind == SEQUENCE_HEADER:
            yield _size(_Bits(data[start:end]))
        frames += kind in (FRAME_HEADER, FRAME)
        if frames > MAX_FRAMES:
            raise Corrupt(f"AV1 of more than {MAX_FRAMES} frames in one picture")
        position = end
    raise Corrupt(f"AV1 of more than {MAX_UNITS} units")


def _unit(data: bytes, position: int) -> tuple[int, int, int]:
    """Type, start and end of a unit's payload; without a size of its own it is all the rest."""
    header = data[position]
    position += 2 if header & 4 else 1  # an extension of one byte
    if not header & 2:
        return header >> 3 & 15, position, max(position, len(data))
    size, start = _leb128(data, position)
    return header >> 3 & 15, start, start + size


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends."""
    value = 0
    for index, byte in enumerate(data[position : position + 8]):
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, position + index + 1
    raise Corrupt("AV1 unit of no size")


class _Bits:
    """Reads bit fields, the highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data[:256], "big")  # 32 operating points are less
        self._left = 8 * min(len(data), 256)

    def take(self, count: int) -> int:
        if count > self._left:
            raise Corrupt("AV1 sequence header ends early")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)


def _size(bits: _Bits) -> tuple[int, int]:
    bits.take(4)  # profile, still picture
    if bits.take(1):  # reduced header
        bits.take(5)  # level
    else:
        _skip_operating_points(bits, delay_bits=_skip_timing(bits))
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_timing(bits: _Bits) -> int:
    """How many bits each operating point's decoder model gives to a delay, 0 where there is no such model."""
    if not bits.take(1):
        return 0
    bits.take(64)  # units in a tick, time scale
    if bits.take(1):
        _skip_uvlc(bits)
    if not bits.take(1):
        return 0
    delay_bits = bits.take(5) + 1
    bits.take(42)  # units in a decoding tick, two more lengths
    return delay_bits


def _skip_uvlc(bits: _Bits) -> None:
    zeros = 0
    while not bits.take(1):
        zeros += 1
    bits.take(min(zeros, 32))


def _skip_operating_points(bits: _Bits, delay_bits: int) -> None:
    has_display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)  # layers
        if bits.take(5) > 7:  # level
            bits.take(1)  # tier
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_display_delay and bits.take(1):
            bits.take(4)
