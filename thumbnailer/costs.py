"""What each engine can read and write, which is the faster for a format, and what memory a picture needs in it.

The order of preference is a measured table: `python -m bench engines` prints it, `docs/why.md` keeps a run of it.
The memory model counts whole pictures, in bytes; it may be too high, never too low.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from thumbnailer.model import EngineName, Format, ImageInfo

MB: Final = 1024 * 1024

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
COPIES_HELD: Final = 3
"""Of what a decoder takes from the file as it is: read, parsed, handed on (measured: a TIFF of 100 MB of tags)."""
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
    """The engines that read this picture and write these formats, the best first; empty if none does."""
    order = dict.fromkeys(([preferred] if preferred else []) + list(_faster_first(info, shrink)))
    return tuple(
        name
        for name in order
        if name in installed and info.format in installed[name].reads and outputs <= installed[name].writes
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
    return info.pixels * max(ORDINARY_SCANS, info.scans) // ORDINARY_SCANS


def memory_estimate(info: ImageInfo, engine: EngineName, shrink: int, frames: int, output_pixels: int) -> int:
    """The most bytes this picture makes the process grow by while it is rendered."""
    output = output_pixels * 4 * 4 * frames  # resized, turned, converted, encoded
    kept = info.pixels * 4 * frames if frames > 1 and engine is EngineName.VIPS else 0  # the whole roll of frames
    held = info.held * COPIES_HELD
    return 8 * MB + output + kept + held + _decoder_bytes(info) + _pixel_bytes(info, engine, shrink)


def _decoder_bytes(info: ImageInfo) -> int:
    """What a decoder holds beside the pixels it hands out."""
    match info.format:
        case Format.JPEG if info.progressive or info.scans > 1:
            return info.pixels * 3 * 2 * 4 // 3  # every coefficient, 16 bits, no subsampling assumed, CMYK allowed for
        case Format.AVIF | Format.HEIC:
            return info.pixels * 6  # YUV at 16 bits and the reference frame
        case Format.WEBP:
            return info.pixels * 4
        case Format.GIF:
            return info.pixels * 5
        case _:
            return 0


def _pixel_bytes(info: ImageInfo, engine: EngineName, shrink: int) -> int:
    """The decoded picture, as far as the engine keeps it: libvips streams what a format lets it stream."""
    sample = 2 if info.bit_depth > 8 else 1
    if engine is EngineName.VIPS and _streams(info):
        rows = 512 + 2 * info.band if info.band > 1 else 512  # in each step of the pipeline, and what the file forces
        return (info.width // shrink) * rows * 4 * sample
    if info.format is not Format.JPEG and engine is EngineName.PILLOW:
        shrink = 1
    decoded = (info.width // shrink + 1) * (info.height // shrink + 1) * 4 * sample
    if engine is EngineName.VIPS:
        return 2 * decoded
    return decoded * 3  # decoded, converted, reduced: Pillow holds the old one while it makes the new


def _streams(info: ImageInfo) -> bool:
    return info.format in (Format.JPEG, Format.PNG, Format.TIFF) and not (
        info.format is Format.PNG and info.progressive
    )
