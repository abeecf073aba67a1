"""Hostile pictures made in memory: small files that claim, unpack to, or repeat far more than they hold.

One module per format. Every maker is deterministic and returns the bytes of one object. `tests/test_bounds.py` states
the expected outcome of each.
"""

from __future__ import annotations

import zlib

MB = 1 << 20


def deflated_zeros(size: int) -> bytes:
    """A zlib stream of that many zero bytes, made by repeating one compressed block."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(MB)) + packer.flush(zlib.Z_FULL_FLUSH)  # a full flush makes the block repeatable
    last = zlib.compressobj(9, wbits=-15)
    end = last.compress(bytes(size % MB)) + last.flush()
    checksum = size % 65_521 << 16 | 1  # Adler-32 of zeros: the first sum stays 1, the second counts them
    return b"\x78\x01" + block * (size // MB) + end + checksum.to_bytes(4, "big")


def packed_bits(fields: list[tuple[int, int]]) -> bytes:
    """Value and width of each field, the lowest bit first."""
    bits = "".join(format(value, f"0{width}b")[::-1] for value, width in fields if width)
    return int(bits[::-1] or "0", 2).to_bytes(-(-len(bits) // 8), "little")
