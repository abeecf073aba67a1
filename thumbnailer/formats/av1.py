"""The size in AV1's own headers (AV1 specification, sections 5.3 and 5.5), which decoders allocate.

AVIF repeats the size in its own boxes, but the two may differ, and decoders compare them only after decoding.
"""

from collections.abc import Iterator

from thumbnailer.errors import Corrupt
from thumbnailer.formats.base import Bits, Head

MAX_UNITS = 1000  # of one picture. Encoders write three, and one more for each tile group.
MAX_FRAMES = 16  # of one picture: layers, and hidden frames for prediction. dav1d and aom decode all of them.
MAX_HEADER = 256  # bytes of a sequence header: 32 operating points need fewer
SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6


def read_coded_sizes(head: Head) -> Iterator[tuple[int, int]]:
    """Width and height of every sequence header. Raises Corrupt."""
    position = frames = 0
    for _ in range(MAX_UNITS):
        if position >= len(head):
            return
        kind, start, end = _read_unit(head, position)
        if kind == SEQUENCE_HEADER:
            yield _read_size(head.bits(start, min(end - start, MAX_HEADER), "big"))
        frames += kind in (FRAME_HEADER, FRAME)
        if frames > MAX_FRAMES:
            raise Corrupt(f"AV1 of more than {MAX_FRAMES} frames in one picture")
        position = end
    raise Corrupt(f"AV1 of more than {MAX_UNITS} units")


def _read_unit(head: Head, position: int) -> tuple[int, int, int]:
    """Type, start and end of a unit's payload; a unit without a size is the last one."""
    header = head.number(position)
    position += 2 if header & 4 else 1  # an extension of one byte
    if not header & 2:
        return header >> 3 & 15, position, max(position, len(head))
    size, start = _read_leb128(head, position)
    return header >> 3 & 15, start, start + size


def _read_leb128(head: Head, position: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends."""
    value = 0
    for index, byte in enumerate(head.up_to(position, 8)):
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, position + index + 1
    raise Corrupt("AV1 unit of no size")


def _read_size(bits: Bits) -> tuple[int, int]:
    bits.skip(4)  # profile, still picture
    if bits.flag():  # reduced header
        bits.skip(5)  # level
    else:
        _skip_operating_points(bits, delay_bits=_skip_timing(bits))
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_timing(bits: Bits) -> int:
    """Bits of a delay in each operating point's decoder model; 0 if there is no such model."""
    if not bits.flag():
        return 0
    bits.skip(64)  # units in a tick, time scale
    if bits.flag():  # equal picture intervals; their length is an unsigned number of variable length
        zeros = 0
        while not bits.flag():
            zeros += 1
        bits.skip(min(zeros, 32))
    if not bits.flag():
        return 0
    delay_bits = bits.take(5) + 1
    bits.skip(42)  # units in a decoding tick, two more lengths
    return delay_bits


def _skip_operating_points(bits: Bits, delay_bits: int) -> None:
    has_display_delay = bits.flag()
    for _ in range(bits.take(5) + 1):
        bits.skip(12)  # layers
        if bits.take(5) > 7:  # level
            bits.skip(1)  # tier
        if delay_bits and bits.flag():
            bits.skip(2 * delay_bits + 1)
        if has_display_delay and bits.flag():
            bits.skip(4)
