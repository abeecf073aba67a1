"""A ThumbHash (evanw.github.io/thumbhash): some 25 bytes that a page shows until the picture has loaded."""

from __future__ import annotations

from base64 import b64encode
from typing import Final

SIDE: Final = 32
"""The finest detail of a ThumbHash is a seventh of a side: 32 pixels suffice, at a tenth of the cost of 100."""


def size_for(width: int, height: int) -> tuple[int, int]:
    """The size of the picture that `thumbhash` expects."""
    scale = min(1.0, SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def thumbhash(width: int, height: int, rgb: bytes) -> str:
    """The hash in Base64 of pixels on white: the library fails on alpha."""
    from thumbhash import rgba_to_thumb_hash

    pixels = (rgb[start : start + 3] for start in range(0, 3 * width * height, 3))
    rgba = [band for pixel in pixels for band in (*pixel, 255)]
    return b64encode(bytes(rgba_to_thumb_hash(width, height, rgba))).decode()
