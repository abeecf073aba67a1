"""What clients say about formats and about pictures that they have."""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from thumbnailer.model import Format
from thumbnailer.planning.capabilities import OUTPUTS
from thumbnailer.renditions import Rendition
from thumbnailer.store.base import ObjectVersion

PICTURES: Final = 1
"""Raise it if the same source and rendition give other pixels or bytes than before."""
_RANGE: Final = re.compile(r"\s*([^\s;,]+)\s*(?:;[^,]*?\bq=([0-9.]+))?[^,]*")


def preferred_format(accept: str, offered: Sequence[Format]) -> Format | None:
    """The offered format that an Accept header names with the highest quality; None if it names none of them.

    Every client sends `*/*`, which does not tell that it shows a format.
    """
    named = {name.lower(): _quality(quality) for name, quality in _RANGE.findall(accept[:1000])}
    rated = [(named.get(OUTPUTS[format_].content_type, 0.0), -place, format_) for place, format_ in enumerate(offered)]
    best, _, format_ = max(rated, default=(0.0, 0, None))
    return format_ if best > 0 else None


def _quality(text: str) -> float:
    try:
        return min(1.0, float(text)) if text else 1.0
    except ValueError:
        return 0.0


def entity_tag(source: ObjectVersion, rendition: Rendition) -> str:
    """The ETag of a source's rendition: the same on every machine, whether the picture was stored or made just now."""
    recipe = f"{rendition}:quick" if rendition.quick else str(rendition)
    parts = (source.etag or "", source.version_id or "", recipe, str(PICTURES))
    return f'"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"'


def is_known(if_none_match: str, tag: str) -> bool:
    """Whether an If-None-Match header names the tag."""
    tags = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return tag in tags or "*" in tags
