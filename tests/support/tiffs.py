"""TIFFs that Pillow cannot write: any number type, planes, tiles. The directory comes first, the pixels last."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.bombs.tiff import LONG, SHORT, directory

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, YCBCR = 0, 1, 2, 6
PLAIN, DEFLATED = 1, 8
FORMATS = {"u": 1, "i": 2, "f": 3}
Pixels = np.ndarray[Any, Any]
Tag = tuple[int, int, Sequence[int]]
"""Tag number, type and values."""
COMPRESSORS: dict[int, Callable[[bytes], bytes]] = {PLAIN: bytes, DEFLATED: zlib.compress}


def tiff(
    pixels: Pixels,
    photometric: int,
    *,
    extra: Sequence[int] = (),
    planar: bool = False,
    tile: int = 0,
    rows: int = 0,
    compression: int = PLAIN,
    compress: Callable[[bytes], bytes] | None = None,
    more: Sequence[Tag] = (),
) -> bytes:
    """`pixels` are height x width, or height x width x samples; `more` replaces tags.

    `tile` is the side of square tiles, `rows` the height of strips; without either all is one strip.
    """
    samples = pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]
    height, width, count = samples.shape
    planes = [samples[:, :, index : index + 1] for index in range(count)] if planar else [samples]
    cut = _tiles(planes, tile) if tile else _strips(planes, rows or height)
    pieces = [(compress or COMPRESSORS[compression])(piece.tobytes()) for piece in cut]
    entries: list[Tag] = [
        (256, LONG, [width]),
        (257, LONG, [height]),
        (258, SHORT, [samples.dtype.itemsize * 8] * count),
        (259, SHORT, [compression]),
        (262, SHORT, [photometric]),
        (277, SHORT, [count]),
        (284, SHORT, [2 if planar else 1]),
        (339, SHORT, [FORMATS[samples.dtype.kind]] * count),
        *([(338, SHORT, extra)] if extra else []),
        *([(322, LONG, [tile]), (323, LONG, [tile])] if tile else [(278, LONG, [rows or height])]),
    ]
    changed = {tag for tag, *_ in more}
    kept = [entry for entry in entries if entry[0] not in changed]
    return _file([*kept, *more], (324, 325) if tile else (273, 279), pieces)


def _tiles(planes: Sequence[Pixels], side: int) -> list[Pixels]:
    """Tiles by rows; the last ones reach beyond the picture."""
    height, width, _ = planes[0].shape
    padding = ((0, -height % side), (0, -width % side), (0, 0))
    padded = [np.pad(plane, padding, mode="edge") for plane in planes]
    corners = [(top, left) for top in range(0, height, side) for left in range(0, width, side)]
    return [plane[top : top + side, left : left + side] for plane in padded for top, left in corners]


def _strips(planes: Sequence[Pixels], rows: int) -> list[Pixels]:
    return [plane[top : top + rows] for plane in planes for top in range(0, plane.shape[0], rows)]


def _file(entries: Sequence[Tag], tags: tuple[int, int], pieces: Sequence[bytes]) -> bytes:
    sizes = [len(piece) for piece in pieces]
    values = [*entries, (tags[0], LONG, [0] * len(pieces)), (tags[1], LONG, sizes)]
    far_at = 8 + 6 + 12 * len(values)
    pixels_at = far_at + sum(len(_packed(kind, numbers)) for _, kind, numbers in values)
    starts = [pixels_at + sum(sizes[:index]) for index in range(len(pieces))]
    fields, far = [], b""
    for tag, kind, numbers in values:
        packed = _packed(kind, starts if tag == tags[0] else numbers)
        near = int.from_bytes(packed[:4].ljust(4, b"\0"), "little")
        fields.append((tag, kind, len(numbers), near if len(packed) <= 4 else far_at + len(far)))
        far += packed
    return b"II*\0\x08\0\0\0" + directory(fields) + far + b"".join(pieces)


def _packed(kind: int, numbers: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}{'H' if kind == SHORT else 'I'}", *numbers)
