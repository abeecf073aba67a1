"""JPEG XL headers, bit by bit, before the frames that pylibjxl wrote: it writes sRGB alone, in one frame."""

from __future__ import annotations

from typing import Any

import numpy as np

Field = tuple[int, int]
"""Value and width."""

WIDTH, HEIGHT = 64, 40
SIZE: tuple[Field, ...] = ((1, 1), (HEIGHT // 8 - 1, 5), (0, 3), (WIDTH // 8 - 1, 5))
SRGB: tuple[Field, ...] = ((1, 1),)


def bits(*fields: Field) -> bytes:
    """Packed as JPEG XL does, from behind the signature to the end of a byte."""
    value = position = 0
    for field, width in fields:
        value |= field << position
        position += width
    return b"\xff\x0a" + value.to_bytes((position + 7) // 8, "little")


def space(primaries: int, curve: int) -> tuple[Field, ...]:
    """A colour encoding of D65, by the numbers of primaries and transfer function: RGB, relative intent."""
    return ((0, 1), (0, 1), (0, 2), (1, 2), *enum(primaries), (0, 1), *enum(curve), (1, 2))


def enum(number: int) -> tuple[Field, ...]:
    if number < 2:
        return ((number, 2),)
    return ((2, 2), (number - 2, 4)) if number < 18 else ((3, 2), (number - 18, 6))


def header(colours: tuple[Field, ...], xyb: bool = False) -> bytes:
    """Of 8 bits and no more channels than colours."""
    plain: tuple[Field, ...] = ((0, 1), (0, 1), (0, 1), (0, 2), (1, 1), (0, 2), (int(xyb), 1))
    return bits(*SIZE, *plain, *colours, (0, 2), (1, 1))


def lossless(pixels: np.ndarray[Any, np.dtype[np.uint8]], colours: tuple[Field, ...] = SRGB) -> bytes:
    """Pixels of WIDTH x HEIGHT, said to be of that colour space."""
    import pylibjxl

    data = pylibjxl.encode(np.ascontiguousarray(pixels), lossless=True, effort=4)
    start = header(SRGB)
    assert data.startswith(start), (data[:16].hex(), start.hex())
    return header(colours) + data[len(start) :]
