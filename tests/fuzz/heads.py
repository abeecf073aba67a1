"""The probe's side of the contract, to be held against any bytes."""

from __future__ import annotations

from typing import Final

from thumbnailer.errors import Corrupt, NeedMoreBytes, NotAnImage, UnsupportedFormat
from thumbnailer.formats import ending_defect, probe
from thumbnailer.model import Format, ImageInfo

HEAD: Final = 4096
MAY_BE_SIZELESS: Final = frozenset({Format.SVG})
"""A drawing of no size of its own."""


def probed(data: bytes, total: int | None) -> ImageInfo | None:
    """What the probe says, None where that is one of its four errors. Anything else that it does is raised."""
    try:
        info = probe(data, total)
    except (NotAnImage, UnsupportedFormat, Corrupt):
        return None
    except NeedMoreBytes:
        assert total is None or len(data) < total, "it asks for more than there is"
        return None
    assert 1 <= info.orientation <= 8
    assert info.frames >= 1
    assert info.format in MAY_BE_SIZELESS or (info.width > 0 and info.height > 0)
    if total is not None and len(data) >= total:
        assert isinstance(ending_defect(data, info.format), str)
    return info
