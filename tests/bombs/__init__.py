"""Hostile pictures, made in memory: small files that claim, unpack to, or repeat far more than they hold.

A module a format; every maker is deterministic and returns the bytes of one object. What must become of each says
`tests/test_bounds.py`.
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Any

from PIL import Image

MB = 1 << 20


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(size: tuple[int, int] = (256, 256)) -> Image.Image:
    """A picture with something in it."""
    ramp = Image.linear_gradient("L").resize(size)
    return Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT), ramp.rotate(90)))


def deflated_zeros(size: int) -> bytes:
    """A zlib stream of that many zero bytes, a thousandth of them long, made without compressing them all."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(MB)) + packer.flush(zlib.Z_FULL_FLUSH)  # flushed, it stands alone: repeatable
    last = zlib.compressobj(9, wbits=-15)
    end = last.compress(bytes(size % MB)) + last.flush()
    checksum = size % 65_521 << 16 | 1  # Adler-32 of zeros: the first sum stays 1, the second counts them
    return b"\x78\x01" + block * (size // MB) + end + checksum.to_bytes(4, "big")


def packed_bits(fields: list[tuple[int, int]]) -> bytes:
    """Value and width of each field, the lowest bit first."""
    bits = "".join(format(value, f"0{width}b")[::-1] for value, width in fields if width)
    return int(bits[::-1] or "0", 2).to_bytes(-(-len(bits) // 8), "little")
