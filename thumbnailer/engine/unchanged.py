"""The source without its metadata, not encoded anew: a small thumbnail of a source that already fits."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from thumbnailer.formats import stripped
from thumbnailer.model import NO_CREDIT, Format
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import Target

CMYK: Final = 4


def unchanged(path: str, plan: Plan, target: Target) -> bytes | None:
    """The stripped source; None if the target differs from it in more than metadata."""
    info = plan.info
    same = target.format is info.format and (target.width, target.height) == (info.width, info.height)
    in_srgb = not info.icc and info.bit_depth <= 8 and not (info.format is Format.JPEG and info.channels == CMYK)
    upright = info.orientation == 1 and (info.progressive or not target.progressive)
    if not (same and in_srgb and upright) or info.defect or info.credit != NO_CREDIT:
        return None
    return stripped(Path(path).read_bytes(), info.format)
