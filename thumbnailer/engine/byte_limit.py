"""A thumbnail of a source that already fits is no larger in bytes than the source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from thumbnailer.planning.capabilities import OUTPUTS
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import Target

Encode = Callable[[Target], bytes]


def within_bytes(target: Target, encode: Encode, path: str, plan: Plan, whole: bool = True) -> bytes:
    """Encoded at the target's quality, or at a lower one to meet the target's limit of bytes.

    If no quality is low enough, returns the source without its metadata if it is `whole`; for lossless formats this
    comes first, because a small file has few colours to drop. Otherwise returns the thumbnail at full quality.
    """
    best = encode(target)
    if target.most_bytes is None or len(best) <= target.most_bytes:
        return best
    tries = [_lower(target, encode), _source(path, plan, target) if whole else iter(())]
    if OUTPUTS[target.format].lossless:
        tries.reverse()
    return next((data for some in tries for data in some if len(data) <= target.most_bytes), best)


def _lower(target: Target, encode: Encode) -> Iterator[bytes]:
    for quality in OUTPUTS[target.format].lower:
        if quality < target.quality:
            yield encode(replace(target, quality=quality))


def _source(path: str, plan: Plan, target: Target) -> Iterator[bytes]:
    from thumbnailer.engine.unchanged import unchanged

    data = unchanged(path, plan, target)
    if data is not None:
        yield data
