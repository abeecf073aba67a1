"""JPEG XL headers written bit by bit, before a frame from pylibjxl, which writes only sRGB."""

from __future__ import annotations

from typing import Any

import numpy as np

Field = tuple[int, int]
"""Value and width."""

WIDTH, HEIGHT = 64, 40
SIZE: tuple[Field, ...] = ((1, 1), (HEIGHT // 8 - 1, 5), (0, 3), (WIDTH // 8 - 1, 5))
SRGB: tuple[Field, ...] = ((1, 1),)


def bits(*fields: Field) -> bytes:
    """The signature and the packed fields, padded to a byte."""
    value = position = 0
    for field, width in fields:
        value |= field << position
        position += width
    return b"\xff\x0a" + value.to_bytes((position + 7) // 8, "little")


def space(primaries: int, curve: int) -> tuple[Field, ...]:
    """An RGB encoding with white point D65 and relative intent, by the numbers of primaries and transfer function."""
    return ((0, 1), (0, 1), (0, 2), (1, 2), *enum(primaries), (0, 1), *enum(curve), (1, 2))


def enum(number: int) -> tuple[Field, ...]:
    if number < 2:
        return ((number, 2),)
    return ((2, 2), (number - 2, 4)) if number < 18 else ((3, 2), (number - 18, 6))


def header(colours: tuple[Field, ...], xyb: bool = False) -> bytes:
    """A header of 8 bits without extra channels."""
    plain: tuple[Field, ...] = ((0, 1), (0, 1), (0, 1), (0, 2), (1, 1), (0, 2), (int(xyb), 1))
    return bits(*SIZE, *plain, *colours, (0, 2), (1, 1))


def lossless(pixels: np.ndarray[Any, np.dtype[np.uint8]], colours: tuple[Field, ...] = SRGB) -> bytes:
    """Pixels of WIDTH x HEIGHT with a header of that colour space."""
    import pylibjxl

    data = pylibjxl.encode(np.ascontiguousarray(pixels), lossless=True, effort=4)
    start = header(SRGB)
    assert data.startswith(start), (data[:16].hex(), start.hex())
    return header(colours) + data[len(start) :]
