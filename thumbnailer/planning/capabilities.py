"""What each engine can read and write, and which is the faster for a format.

The order of preference is a measured table: `python -m tests.tools auto` prints it, `docs/why.md` keeps a run of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from thumbnailer.formats.jpeg import JpegDetails
from thumbnailer.model import EngineName, Format, ImageInfo

PREFERENCE: Final[Mapping[Format, tuple[EngineName, ...]]] = {
    Format.JPEG: (EngineName.PILLOW, EngineName.VIPS),
    Format.PNG: (EngineName.VIPS, EngineName.PILLOW),
    Format.GIF: (EngineName.PILLOW, EngineName.VIPS),
    Format.WEBP: (EngineName.PILLOW, EngineName.VIPS),
    Format.AVIF: (EngineName.PILLOW, EngineName.VIPS),
    Format.TIFF: (EngineName.VIPS, EngineName.PILLOW),
    Format.HEIC: (EngineName.PILLOW,),
    Format.BMP: (EngineName.PILLOW,),
    Format.ICO: (EngineName.PILLOW,),
    Format.JXL: (EngineName.PILLOW,),
    Format.JP2: (EngineName.VIPS,),
    Format.SVG: (EngineName.VIPS,),
}
MOST_SHRINK: Final = 8
ORDINARY_SCANS: Final = 10
"""Of a progressive JPEG, as encoders write it: 12 MP of it take four times what a baseline one takes."""
FRAME_WEIGHT: Final = 2
"""A pixel of an animation's frame is decoded, converted and composed: 23 ns where a still's is 11."""
WEIGHTS: Final[Mapping[Format, int]] = {Format.JXL: 4}
"""A lossless JPEG XL takes 45 ns a pixel, however few bytes it has."""
ANIMATED: Final = frozenset({Format.GIF, Format.WEBP})
"""Formats whose frames all become frames of the thumbnail, where that is one of these too."""


@dataclass(frozen=True, slots=True)
class Capability:
    """What one installed engine reads and writes."""

    reads: frozenset[Format]
    writes: frozenset[Format]


Capabilities = Mapping[EngineName, Capability]


def engines_for(
    info: ImageInfo, shrink: int, outputs: frozenset[Format], preferred: EngineName | None, installed: Capabilities
) -> tuple[EngineName, ...]:
    """The engines that read this picture and write these formats, the best first; empty if none does.

    `preferred` comes before the others unless it gets this picture wrong.
    """
    first = info.details.first_engine
    order = dict.fromkeys([*filter(None, (first, preferred)), *_faster_first(info, shrink)])
    return tuple(
        name
        for name in order
        if name in installed and info.format in installed[name].reads and outputs <= installed[name].writes
        if name not in info.details.misread_by
    )


def _faster_first(info: ImageInfo, shrink: int) -> tuple[EngineName, ...]:
    if info.format is Format.WEBP and shrink == MOST_SHRINK:
        return EngineName.VIPS, EngineName.PILLOW  # its scaled decode pays from here on: 1.75 times as fast at 12 MP
    return PREFERENCE.get(info.format, ())


def shrink_on_load(info: ImageInfo, reduction: float) -> int:
    """How far the decoder itself may shrink (1, 2, 4, 8): it leaves at least twice the pixels wanted.

    JPEG's does it in both engines, WebP's in libvips alone.
    """
    if info.format not in (Format.JPEG, Format.WEBP) or info.frames > 1:
        return 1
    return next((shrink for shrink in (MOST_SHRINK, 4, 2) if reduction >= 2 * shrink), 1)


def pixels_of_work(info: ImageInfo, frames: int) -> int:
    """The pixels of a still picture that takes as long to decode: what a small file can ask for is frames and scans."""
    if frames > 1:
        return info.pixels * frames * FRAME_WEIGHT
    return info.pixels * WEIGHTS.get(info.format, 1) * max(ORDINARY_SCANS, scans(info)) // ORDINARY_SCANS


def scans(info: ImageInfo) -> int:
    return info.details.scans if isinstance(info.details, JpegDetails) else 1
