"""A thumbnail of a source that already fits is no larger in bytes than the source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from thumbnailer.model import Format
from thumbnailer.plan import Target

LOWER: Final = {
    Format.JPEG: (90, 85, 80, 75, 70, 60, 50, 40, 30),
    Format.WEBP: (90, 85, 80, 75, 70, 60, 50, 40, 30),
    Format.AVIF: (80, 70, 60, 50, 40, 30, 20),
    Format.PNG: (99, 50, 25, 12, 11, 8, 6),
    Format.GIF: (75, 50, 25),
}
"""Qualities to try; below 100 a PNG has a palette, a GIF fewer colours."""


def within_bytes(target: Target, encode: Callable[[Target], bytes]) -> bytes:
    """Encoded at the target's quality, or at less where that is needed to be within its bytes.

    At full quality after all where none is: a small file can be one that no encoder matches.
    """
    best = encode(target)
    if target.most_bytes is None or len(best) <= target.most_bytes:
        return best
    for quality in LOWER[target.format]:
        if quality < target.quality:
            data = encode(replace(target, quality=quality))
            if len(data) <= target.most_bytes:
                return data
    return best
