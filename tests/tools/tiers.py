"""The largest picture of each kind that a function takes, by its memory: the table of docs/memory.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from thumbnailer.engine import installed_engines
from thumbnailer.errors import TooManyPixels
from thumbnailer.formats.details import HeifDetails, JpegDetails
from thumbnailer.model import Details, EngineName, EventKind, Format, ImageInfo, ObjectEvent
from thumbnailer.planning.plan import make_plan
from thumbnailer.planning.tier import tier_for
from thumbnailer.settings import parse_settings
from thumbnailer.store.base import ObjectHeaders

MEMORY: Final = (128, 192, 256, 512, 1024, 1769, 3008)
WITHOUT_NATIVE: Final = ", without the compiled engine"
YCBCR: Final = Details(samples=1.5)
PHOTO: Final = ImageInfo(Format.JPEG, 4, 3, channels=3, details=JpegDetails(samples=1.5))
KINDS: Final = {
    "JPEG": PHOTO,
    "JPEG, progressive": replace(PHOTO, progressive=True),
    "JPEG, progressive 4:4:4": replace(PHOTO, progressive=True, details=JpegDetails(samples=3)),
    f"JPEG, progressive{WITHOUT_NATIVE}": replace(PHOTO, progressive=True),
    f"JPEG, progressive 4:4:4{WITHOUT_NATIVE}": replace(PHOTO, progressive=True, details=JpegDetails(samples=3)),
    "PNG": replace(PHOTO, format=Format.PNG, details=Details(samples=3)),
    "PNG with alpha": replace(PHOTO, format=Format.PNG, has_alpha=True, channels=4, details=Details(samples=4)),
    "WebP": replace(PHOTO, format=Format.WEBP, details=YCBCR),
    "AVIF": replace(PHOTO, format=Format.AVIF, details=YCBCR),
    "HEIC": replace(PHOTO, format=Format.HEIC, details=Details(samples=1.5, most_shrink=1)),
    "HEIC in tiles": replace(PHOTO, format=Format.HEIC, details=HeifDetails(samples=1.5, tile=(512, 512))),
    "TIFF": replace(PHOTO, format=Format.TIFF, details=Details(samples=3)),
    "GIF": replace(PHOTO, format=Format.GIF, channels=1, details=Details(samples=1, palette=True)),
}
BYTES_PER_PIXEL: Final = 0.25  # of a file
MOST: Final = 1100


def is_taken(info: ImageInfo, memory_mb: int, natively: bool = True) -> bool:
    """Whether a function takes this picture, and shows the whole animation."""
    headers = ObjectHeaders(round(info.pixels * BYTES_PER_PIXEL), "e", None, None, None, None, None, {})
    event = ObjectEvent(EventKind.CREATED, "photos", "x")
    installed = {name: row for name, row in installed_engines().items() if natively or name is not EngineName.NATIVE}
    try:
        plan = make_plan(event, info, headers, parse_settings({}), tier_for(memory_mb), installed)
    except TooManyPixels:
        return False
    return not plan.still_because


def sized(info: ImageInfo, megapixels: int) -> ImageInfo:
    """The picture in that size, four by three."""
    return replace(info, width=round((megapixels * 4e6 / 3) ** 0.5), height=round((megapixels * 3e6 / 4) ** 0.5))


def most_megapixels(info: ImageInfo, memory_mb: int, natively: bool) -> int:
    sizes = (size for size in range(1, MOST) if not is_taken(sized(info, size), memory_mb, natively))
    return next(sizes, MOST) - 1


def most_frames(memory_mb: int) -> int:
    gif = replace(KINDS["GIF"], width=480, height=270)
    return next(frames for frames in range(1, MOST) if not is_taken(replace(gif, frames=frames + 1), memory_mb))


def row(name: str, cells: Iterable[int]) -> str:
    return f"| {name} | {' | '.join(map(str, cells))} |"


def table() -> str:
    """Markdown."""
    kinds = (
        row(name, (most_megapixels(info, memory, WITHOUT_NATIVE not in name) for memory in MEMORY))
        for name, info in KINDS.items()
    )
    head = f"| megapixels | {' | '.join(f'{memory} MB' for memory in MEMORY)} |"
    ruler = "| --- |" + " ---: |" * len(MEMORY)
    return "\n".join((head, ruler, *kinds, row("frames of a GIF of 480 x 270", map(most_frames, MEMORY))))
