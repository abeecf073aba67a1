"""A thumbnail of a source that already fits is no larger in bytes than the source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from thumbnailer.model import Format
from thumbnailer.planning.plan import Plan, Target

LOWER: Final = {
    Format.JPEG: (90, 85, 80, 75, 70, 60, 50, 40, 30),
    Format.WEBP: (90, 85, 80, 75, 70, 60, 50, 40, 30),
    Format.AVIF: (80, 70, 60, 50, 40, 30, 20),
    Format.PNG: (99, 50, 25, 12, 11, 8, 6),
    Format.GIF: (75, 50, 25),
}
"""Qualities to try; below 100 a PNG has a palette, a GIF fewer colours."""
LOSSLESS: Final = frozenset({Format.PNG, Format.GIF})

Encode = Callable[[Target], bytes]


def within_bytes(target: Target, encode: Encode, path: str, plan: Plan, whole: bool = True) -> bytes:
    """Encoded at the target's quality, or, where that is needed to be within its bytes, at less.

    Where no quality is low enough, the source itself without its metadata, if it is `whole`: at once where quality
    means colours, which a small file has few of. Else at full quality after all.
    """
    best = encode(target)
    if target.most_bytes is None or len(best) <= target.most_bytes:
        return best
    tries = [_lower(target, encode), _source(path, plan, target) if whole else iter(())]
    if target.format in LOSSLESS:
        tries.reverse()
    return next((data for some in tries for data in some if len(data) <= target.most_bytes), best)


def _lower(target: Target, encode: Encode) -> Iterator[bytes]:
    for quality in LOWER[target.format]:
        if quality < target.quality:
            yield encode(replace(target, quality=quality))


def _source(path: str, plan: Plan, target: Target) -> Iterator[bytes]:
    from thumbnailer.engine.unchanged import unchanged

    data = unchanged(path, plan, target)
    if data is not None:
        yield data
