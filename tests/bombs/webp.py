from __future__ import annotations

import struct

from tests.bombs import packed_bits

ANIMATED, PROFILE = 0x02, 0x20
ANIMATION = (b"ANIM", bytes(6))
SIMPLE = [(1, 1), (0, 1), (0, 1), (0, 1)]
"""A VP8L prefix code of one symbol, 0, which takes no bits at all (RFC 9649, section 3.7.2.1.1)."""
CODE_LENGTH_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def extended(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    return b"VP8X", struct.pack("<I", flags) + sides


def lossless(width: int, height: int, codes: list[tuple[int, int]] | None = None) -> tuple[bytes, bytes]:
    """A black VP8L picture of any size in 20 bytes, or one with the given prefix codes."""
    start = [(0x2F, 8), (width - 1, 14), (height - 1, 14), (0, 1), (0, 3)]
    return b"VP8L", packed_bits([*start, (0, 1), (0, 1), (0, 1), *(SIMPLE * 5 if codes is None else codes)])


def frame(width: int, height: int, behind: bytes = b"") -> tuple[bytes, bytes]:
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    picture = riff(lossless(width, height))[12:]
    return b"ANMF", bytes(6) + sides + (100).to_bytes(3, "little") + b"\0" + picture + behind


def animation(canvas: tuple[int, int], frames: int, size: tuple[int, int]) -> bytes:
    return riff(extended(*canvas, ANIMATED), ANIMATION, *[frame(*size)] * frames)


def with_large_tables(distances: list[int]) -> bytes:
    """As in CVE-2023-4863: prefix codes whose lookup tables have the maximum size.

    Four codes are complete, each with a subtable for every long codeword; the last one is `distances`. With one that is
    no complete tree, older libwebp wrote beyond the tables before it saw that.
    """
    complete = [*range(1, 9), *[15] * 128]
    codes = [field for size in (280, 256, 256, 256) for field in _code(complete + [0] * (size - len(complete)))]
    kind, data = lossless(64, 64, codes + _code(distances + [0] * (40 - len(distances))))
    return riff((kind, data + bytes(4096)))


COMPLETE, INCOMPLETE, OVERFULL = [1, 1], [1, *[15] * 39], [1] * 40


def _code(lengths: list[int]) -> list[tuple[int, int]]:
    """A prefix code stated by the lengths of its codewords in four bits each (RFC 9649, section 3.7.2.1.2)."""
    said = [4 if symbol < 16 else 0 for symbol in CODE_LENGTH_ORDER]
    fields = [(0, 1), (15, 4), *((length, 3) for length in said), (0, 1)]
    return fields + [(int(format(length, "04b")[::-1], 2), 4) for length in lengths]


def with_chunks(count: int) -> bytes:
    return riff(extended(64, 64), lossless(64, 64), *[(b"JUNK", b"")] * count)


def with_chunks_in_its_frame(count: int) -> bytes:
    return riff(extended(64, 64, ANIMATED), ANIMATION, frame(64, 64, behind=b"JUNK\0\0\0\0" * count))


def with_profile(size: int) -> bytes:
    return riff(extended(64, 64, PROFILE), (b"ICCP", bytes(size)), lossless(64, 64))
