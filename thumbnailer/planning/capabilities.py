"""Formats as data: one row per input format and one per output format, and the choice of engines made from them.

`python -m tests.tools auto` measures the order of engines; docs/why.md keeps a run of it.
"""

from collections.abc import Mapping
from typing import Final

from thumbnailer.formats.details import JpegDetails
from thumbnailer.model import EngineName, Format, ImageInfo
from thumbnailer.values import dataclass

NATIVE, PILLOW, VIPS = EngineName.NATIVE, EngineName.PILLOW, EngineName.VIPS
BOTH_ENGINES: Final = (VIPS, PILLOW)
"""Engines that render a picture alone. The compiled one is optional and leaves what it doubts to these."""
REDUCING_GAP: Final = 3.0
"""Both engines shrink by a whole number to three times the wanted size, then resample by Lanczos."""
MOST_SHRINK: Final = 8
ORDINARY_SCANS: Final = 10  # as encoders write them: a progressive JPEG of 12 MP takes four times as long as a baseline
FRAME_WEIGHT: Final = 2  # decoding, converting and composing a frame takes 23 ns a pixel, decoding a still picture 11
FRAME_PIXELS: Final = 65_536  # time for a frame of any size: 0.7 ms
ENCODED_WEIGHT: Final = 32  # a WebP's frame takes 300 to 600 ns a pixel, a GIF's more
MOST_SAVED: Final = 4  # shrink-on-load saves no more of the time: every bit of a JPEG is read, whatever its scale


@dataclass(frozen=True, slots=True)
class InputFormat:
    """One format that thumbnails are made from."""

    engines: tuple[EngineName, ...]  # engines that can read it, the faster first
    shrinks: frozenset[EngineName] = frozenset()  # engines whose decoder shrinks while it loads
    first_at_most_shrink: EngineName | None = None  # the faster engine at MOST_SHRINK
    saves: bool = False  # a shrunken decode takes less time
    weight: int = 1  # time to decode a pixel, relative to other formats
    animated: bool = False  # every frame becomes a frame of the thumbnail if the output format is animated too
    modules: tuple[str, ...] = ()  # Pillow needs one of these for it
    in_wheel: bool = True  # the libvips in pyvips' binary wheel reads it
    opt_in: bool = False  # THUMBNAILER_SVG must allow it


INPUTS: Final[dict[Format, InputFormat]] = {
    Format.JPEG: InputFormat((PILLOW, VIPS), shrinks=frozenset(BOTH_ENGINES), saves=True),
    Format.PNG: InputFormat((VIPS, PILLOW)),
    Format.GIF: InputFormat((PILLOW, VIPS), animated=True),
    # libvips' scaled decode is 1.75 times as fast as Pillow's full decode at 12 MP.
    Format.WEBP: InputFormat((PILLOW, VIPS), frozenset({VIPS}), first_at_most_shrink=VIPS, animated=True),
    Format.AVIF: InputFormat((PILLOW, VIPS), modules=("PIL._avif", "pillow_avif")),  # the second is for Pillow-SIMD
    Format.TIFF: InputFormat((VIPS, PILLOW)),
    Format.HEIC: InputFormat((PILLOW,), shrinks=frozenset({PILLOW}), modules=("pillow_heif",)),
    Format.BMP: InputFormat((PILLOW,)),
    Format.ICO: InputFormat((PILLOW,)),
    # A lossless JPEG XL takes 45 ns a pixel, however small the file is.
    Format.JXL: InputFormat((PILLOW,), weight=4, modules=("pylibjxl",)),
    Format.JP2: InputFormat((VIPS,), in_wheel=False),
    Format.SVG: InputFormat((VIPS,), opt_in=True),
}


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """One format that thumbnails are written in."""

    content_type: str
    quality: int
    lower: tuple[int, ...]  # qualities to try for a smaller file; below 100 a PNG has a palette, a GIF fewer colours
    lossless: bool = False  # only fewer colours make a smaller file, which shows
    animated: bool = False
    progressive: bool = False  # can be written in several scans


_LOSSY: Final = (90, 85, 80, 75, 70, 60, 50, 40, 30)
OUTPUTS: Final[Mapping[Format, OutputFormat]] = {
    Format.JPEG: OutputFormat("image/jpeg", 80, _LOSSY, progressive=True),
    Format.PNG: OutputFormat("image/png", 100, (99, 50, 25, 12, 11, 8, 6), lossless=True),
    Format.WEBP: OutputFormat("image/webp", 80, _LOSSY, animated=True),
    Format.AVIF: OutputFormat("image/avif", 50, (80, 70, 60, 50, 45, 40, 35, 30, 20)),
    Format.GIF: OutputFormat("image/gif", 100, (75, 50, 25), lossless=True, animated=True),
}


@dataclass(frozen=True, slots=True)
class Capability:
    """Formats that one installed engine reads and writes."""

    reads: frozenset[Format]
    writes: frozenset[Format]


Capabilities = Mapping[EngineName, Capability]


def readable_formats(engine: EngineName) -> Mapping[Format, InputFormat]:
    """Rows of the formats that the engine reads when every optional module is installed."""
    return {format_: row for format_, row in INPUTS.items() if engine in row.engines}


def engines_for(
    info: ImageInfo, shrink: int, outputs: frozenset[Format], preferred: EngineName | None, installed: Capabilities
) -> tuple[EngineName, ...]:
    """The engines that read this picture and write these formats, the best first; empty if none does.

    `preferred` comes first unless it gets this picture wrong.
    """
    row = INPUTS[info.format]
    fastest = row.first_at_most_shrink if shrink == MOST_SHRINK else None
    order = dict.fromkeys(filter(None, (info.details.first_engine, preferred, fastest, *row.engines)))
    return tuple(
        name
        for name in order
        if name in installed and info.format in installed[name].reads and outputs <= installed[name].writes
        if name not in info.details.misread_by
    )


def suits_native(
    info: ImageInfo, reduction: float, outputs: frozenset[Format], preferred: EngineName | None, installed: Capabilities
) -> bool:
    """Whether the compiled engine takes this picture first. It does not enlarge, and sides that stay are not its work.

    It finds out itself that a file is none of its: then the picture is planned anew without it.
    """
    can = installed.get(NATIVE)
    wanted = can is not None and preferred in (None, NATIVE) and info.format in can.reads and outputs <= can.writes
    return wanted and info.bit_depth == 8 and info.channels in (1, 3) and reduction > 1


def shrink_on_load(info: ImageInfo, reduction: float) -> int:
    """The factor (1, 2, 4, 8) by which the decoder may shrink: at least twice the wanted size is left."""
    if not INPUTS[info.format].shrinks or info.frames > 1:
        return 1
    most = min(reduction / 2, info.details.most_shrink)
    return next((shrink for shrink in (MOST_SHRINK, 4, 2) if shrink <= most), 1)


def decoder_shrink(engine: EngineName, format_: Format, shrink: int) -> int:
    """The part of a plan's `shrink` that this engine's decoder does."""
    return shrink if engine in INPUTS[format_].shrinks else 1


def pixels_of_work(info: ImageInfo, frames: int, shrink: int = 1) -> int:
    """Pixels of an ordinary still picture that takes as long to decode: a small file can hold many frames and scans."""
    row = INPUTS[info.format]
    if frames > 1:
        return (info.pixels * FRAME_WEIGHT + FRAME_PIXELS) * frames
    saved = min(shrink, MOST_SAVED) if row.saves and not info.progressive else 1
    scans = max(ORDINARY_SCANS, info.details_of(JpegDetails).scans)
    return info.pixels * row.weight * scans // ORDINARY_SCANS // saved
