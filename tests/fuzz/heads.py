"""Checks the contract of the probe for any bytes."""

from __future__ import annotations

from typing import Final

from thumbnailer.errors import NeedMoreBytes, Rejected
from thumbnailer.formats import ending_defect, probe
from thumbnailer.model import Format, ImageInfo

HEAD: Final = 4096
MAY_BE_SIZELESS: Final = frozenset({Format.SVG})
"""Drawings may have no size."""


def probed(data: bytes, total: int | None) -> ImageInfo | None:
    """The result of the probe, or None for one of its four errors. Any other error is raised."""
    try:
        info = probe(data, total)
    except Rejected:
        return None
    except NeedMoreBytes:
        assert total is None or len(data) < total, "the probe asks for bytes beyond the end"
        return None
    assert 1 <= info.orientation <= 8
    assert info.frames >= 1
    assert info.format in MAY_BE_SIZELESS or (info.width > 0 and info.height > 0)
    if total is not None and len(data) >= total:
        assert isinstance(ending_defect(data, info.format), str)
    return info
