"""How much memory a picture takes while it is rendered, by what its header says: arithmetic, fitted to measurement.

Bytes above the idle process. An engine's peak is the larger of two: while it decodes and resamples, and while it
encodes, when only the thumbnails are left. `python -m tests.tools memory` prints estimate and measurement side by side,
docs/memory.md keeps a run of it, tests/budgets holds both together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from thumbnailer.formats.gif import GifDetails
from thumbnailer.formats.jxl import JxlDetails
from thumbnailer.formats.png import PngDetails
from thumbnailer.formats.tiff import TiffDetails
from thumbnailer.model import EngineName, Format, ImageInfo
from thumbnailer.planning.capabilities import scans

MB: Final = 1024 * 1024
MARGIN: Final = 1.08
"""Measurements of one cell differ by some percent; decoders of other versions, by some more."""
FIXED: Final = 4 * MB
"""Stacks, tables, what an allocator rounds up: nothing that grows with the picture."""
CHILD: Final = 17 * MB
"""What a child process takes beside its picture: an interpreter and an engine of its own, compiled anew where there is
no bytecode of them."""
CODEC_ITSELF: Final[Mapping[Format, int]] = {Format.HEIC: 4 * MB, Format.SVG: 8 * MB}
"""What a codec takes for the smallest of pictures."""
SMALL_JXL: Final = 2 * MB
"""What libjxl holds for a picture of some tens of thousands of pixels already; and twice that for each plane, where
they are whole."""
CMYK_TABLES: Final = 5 * MB
"""Of the transform that Little CMS makes from a profile of four inks."""
COPIES_HELD: Final = 3
"""Of what a decoder takes from the file as it is: read, parsed, handed on (measured: a TIFF of 100 MB of tags)."""
REDUCING_GAP: Final = 3
"""Both engines shrink by a whole number first, and leave three times the size wanted to the resampling proper."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One thumbnail as far as memory goes: its size after resampling, the picture lying as it is stored."""

    width: int
    height: int
    format: Format
    frames: int = 1
    kept: int | None = None
    """pixels left when it is cropped; None: it is not"""

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def encoded(self) -> int:
        return self.pixels if self.kept is None else self.kept


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done. `shrink` is the decoder's own; `source_bytes` the size of the file."""

    info: ImageInfo
    shrink: int
    source_bytes: int
    wanted: Sequence[Wanted]

    @property
    def frames(self) -> int:
        return max(wanted.frames for wanted in self.wanted)


def memory_estimate(engine: EngineName, work: Work) -> int:
    """The most bytes that the process grows by; not below what was measured, and near it for large pictures."""
    decoding, encoding = _vips(work) if engine is EngineName.VIPS else _pillow(work)
    return _fixed(work.info) + ceil(MARGIN * max(decoding, encoding))


def _fixed(info: ImageInfo) -> int:
    """What does not follow the picture's size, and what the file makes decoders copy."""
    cmyk = CMYK_TABLES if info.channels == 4 and not info.has_alpha else 0
    return FIXED + CODEC_ITSELF.get(info.format, 0) + cmyk + info.details.held * COPIES_HELD


def salvage_estimate(work: Work) -> int:
    """The same for what shows of a damaged picture, which Pillow finds by looking at all its bytes."""
    info = work.info
    width, height = _pillow_size(work)
    stored = info.channels if info.channels > 1 else _sample_bytes(info)
    rows = width * height * (_pillow_pixel(info) + 2 * stored + _converted_pixel(info))
    return _fixed(info) + ceil(MARGIN * max(*_pillow(work), rows))


# --- Pillow -------------------------------------------------------------------------------------------------------


def _pillow(work: Work) -> tuple[float, float]:
    """Pillow holds the whole picture, decoded, and whatever it is converted to before it is resampled."""
    info = work.info
    width, height = _pillow_size(work)
    pixels = width * height
    decoded = pixels * _pillow_pixel(info)
    results = sum(wanted.pixels * wanted.frames for wanted in work.wanted) * _resampled_pixel(info)
    resampling = pixels * _converted_pixel(info) + _pillow_resampling(work, width, height) + results
    decoder, lasting = _pillow_decoder(work)
    decoding = decoded + max(decoder, lasting + resampling)
    return decoding, results + _encoder(EngineName.PILLOW, work)


def _pillow_size(work: Work) -> tuple[int, int]:
    """It has JPEG's decoder shrink, and no other."""
    info = work.info
    return _shrunk(info, work.shrink) if info.format is Format.JPEG else (info.width, info.height)


def _pillow_pixel(info: ImageInfo) -> int:
    """Bytes of a decoded pixel: one channel has one, or its own two or four; all else has four."""
    if _is_grey_heic(info):
        return 1
    if info.channels > 1 or info.format in (Format.WEBP, Format.AVIF, Format.HEIC, Format.ICO):
        return 4
    depth = _pillow_depth(info)
    return 1 if depth <= 8 else 2 if depth <= 16 else 4


def _is_grey_heic(info: ImageInfo) -> bool:
    """pillow-heif hands out grey where nothing else is stored; of an AVIF, Pillow does so from version 13 on."""
    return info.format is Format.HEIC and info.details.samples == 1 and info.bit_depth <= 8


def _pillow_depth(info: ImageInfo) -> int:
    """libjxl is asked for bytes, whatever there is."""
    return 8 if info.format is Format.JXL else info.bit_depth


def _converted_pixel(info: ImageInfo) -> int:
    """Bytes of a pixel of the copies made before resampling, which a palette, 16 bits of grey or alpha need."""
    premultiplied = 4 if info.has_alpha else 0
    if info.details.palette or (info.has_alpha and info.channels in (1, 3)):  # with a transparent colour: RGBA first
        return 4 + premultiplied
    if info.channels == 1 and _pillow_depth(info) > 8:
        return 8  # 32 bits, and 32 again for the division
    if info.bit_depth == 1:
        return 1
    return premultiplied


def _resampled_pixel(info: ImageInfo) -> int:
    one = info.channels == 1 and not info.details.palette and not info.has_alpha
    return 1 if one or _is_grey_heic(info) else 4


def _pillow_resampling(work: Work, width: int, height: int) -> float:
    """The picture reduced by whole numbers, if it is, and what is between the pass across and the pass down."""
    return _resampled_pixel(work.info) * max(
        _reduced(wanted, width, height) + _between(wanted, height)
        if (wanted.width, wanted.height) != (width, height)
        else 0
        for wanted in work.wanted
    )


def _whole_factor(size: int, wanted: int) -> int:
    return max(1, int(size / wanted / REDUCING_GAP))


def _reduced(wanted: Wanted, width: int, height: int) -> float:
    factor = _whole_factor(width, wanted.width) * _whole_factor(height, wanted.height)
    return width * height / factor if factor > 1 else 0


def _between(wanted: Wanted, height: int) -> float:
    return wanted.width * height / _whole_factor(height, wanted.height)


def _pillow_decoder(work: Work) -> tuple[float, float]:
    """What the decoder holds beside the pixels it hands out: at its most, and while they are resampled."""
    if work.info.format in (Format.AVIF, Format.HEIC, Format.JXL, Format.WEBP):
        return _pillow_codec(work)
    if work.info.format is Format.GIF and (work.frames > 1 or _has_odd_frames(work.info)):
        return both(work.info.pixels * 11)  # the canvas, the one before, a frame
    return _pillow_reader(work), 0


def _pillow_codec(work: Work) -> tuple[float, float]:
    """Of the codecs that decode the picture as a whole, each with its own idea of what to keep."""
    info = work.info
    sample = _sample_bytes(info) * info.details.samples
    match info.format:
        case Format.WEBP:
            beside = info.pixels * 12  # a canvas, the one before, a copy as bytes
            return max(beside, work.source_bytes) + work.source_bytes, beside + work.source_bytes
        case Format.AVIF:
            lasting = max(info.channels, 1.2 * sample)
            return info.pixels * (4 + 1.2 * sample) + work.source_bytes, info.pixels * lasting
        case Format.HEIC if _is_grey_heic(info):
            return info.pixels * 1.5 + work.source_bytes, 0
        case Format.HEIC:
            return info.pixels * (3.5 + 0.8 * sample) + work.source_bytes, 0
        case _:
            return _jxl_decoder(info) + 1.3 * work.source_bytes, 0


JXL_BY_GROUPS: Final[Mapping[int, float]] = {1: 2.9, 3: 3.4}
"""Bytes a pixel, of grey and of colours, that libjxl or the copy of what it hands out take beside the picture, where
all is decoded piece by piece."""


def _jxl_decoder(info: ImageInfo) -> float:
    """libjxl, beside the picture in Pillow's hands.

    Planes of squeezed residuals are held as integers, once more while they are put together, and as the floats that
    colours are made of; the colours of a picture whose alpha is such a plane wait for it as floats. Whether they are
    squeezed stands where only a decoder comes to: the dearer counts.
    """
    saved = _jxl(info).saved_frames * info.pixels * info.details.samples * 4
    if not _jxl(info).whole_planes:
        return SMALL_JXL + info.pixels * JXL_BY_GROUPS[1 if info.channels == 1 else 3] + saved
    if _jxl(info).whole_planes < info.details.samples:
        at_most = 2.0 * SMALL_JXL + info.pixels * (29 + 6 * _jxl(info).whole_planes)
    else:
        at_most = 2.0 * SMALL_JXL * _jxl(info).whole_planes + info.pixels * (2.5 + 5.5 * _jxl(info).whole_planes)
    return at_most + saved - info.pixels * _pillow_pixel(info)


def _pillow_reader(work: Work) -> float:
    """Of the formats that are read piece by piece."""
    info = work.info
    pixel = info.channels * _sample_bytes(info)
    if info.format is Format.JPEG:
        return _coefficients(info)
    if _hides_first(info):
        return 2 * info.pixels * pixel  # the picture before, twice
    if info.format is Format.ICO:
        return work.source_bytes
    return _tiff_reader(work) if info.format is Format.TIFF else 0


def _tiff_reader(work: Work) -> float:
    """A compressed strip, a tile, or the last rows of what is not compressed."""
    info = work.info
    pixel = info.channels * _sample_bytes(info)
    if _tiff(info).block_rows:
        return work.source_bytes + info.width * _tiff(info).block_rows * pixel
    if _tiff(info).band > 1:
        return min(_tiff(info).band, info.width) * _tiff(info).band * pixel
    if _tiff(info).read_rows:
        last = (info.height - 1) % _tiff(info).read_rows + 1  # which is read bit by bit; its rows are not there before
        return max(0, info.width * (_tiff(info).read_rows * pixel - last * _pillow_pixel(info)))
    return 0


# --- libvips ------------------------------------------------------------------------------------------------------


def _vips(work: Work) -> tuple[float, float]:
    """libvips keeps lines of a stream, or the whole picture where the format or several thumbnails make it."""
    results = sum(wanted.encoded * wanted.frames for wanted in work.wanted) * _vips_pixel(work.info)
    lines = max(_lines(work, wanted) for wanted in work.wanted)
    # What was freed while decoding lies in small pieces between what is still in use, and is of little use to encoders.
    encoding = results + lines / 2 + _encoder(EngineName.VIPS, work)
    return _vips_decoding(work, results, lines), encoding


def _vips_decoding(work: Work, results: float, lines: float) -> float:
    decoder, lasting = _vips_decoder(work)
    copy = _vips_copy(work)
    if work.frames > 1:
        return max(decoder, max(lasting, results) + copy + lines) + FRAME * work.frames
    if not copy:
        return max(decoder, lasting + lines + results)
    # The loader is let go once all of the picture is there. Of what is no stream, libvips keeps fewer lines.
    fewer = work.info.has_alpha or work.shrink > 1
    source = _source(work, work.info.height) if fewer or _tiff(work.info).band > 1 else lines
    return max(decoder, lasting + copy + source, copy + results + lines * (0.5 if fewer else 0.9))


FRAME: Final = 150_000
"""What each frame of an animation is as a picture of its own, whatever its size."""


def _bands(info: ImageInfo) -> int:
    """Channels as libvips has them: palettes are resolved, a transparent colour is one of its own."""
    colours = 3 if info.details.palette else info.channels
    return colours + (info.has_alpha and colours in (1, 3))


def _vips_pixel(info: ImageInfo) -> int:
    return _bands(info) * _sample_bytes(info)


def _worked_pixel(info: ImageInfo) -> int:
    """As it is resampled: premultiplied with alpha, each sample is a float of four bytes."""
    return _bands(info) * 4 if info.has_alpha else _vips_pixel(info)


def _vips_decoder(work: Work) -> tuple[float, float]:
    """What the loader holds at its most, and what it goes on holding while the picture is resampled."""
    if work.info.format in (Format.AVIF, Format.WEBP):
        return _vips_codec(work)
    return both(_vips_reader(work))


def _vips_codec(work: Work) -> tuple[float, float]:
    info = work.info
    pixel = _vips_pixel(info)
    if work.frames > 1:
        return both(info.pixels * work.frames * 4 + work.source_bytes)
    if info.format is Format.WEBP:
        decoded = info.pixels / work.shrink**2 * pixel
        planes = info.pixels * (
            4 if info.details.samples == 4 else 2 * (info.details.samples - 1.5)
        )  # at full size, or alpha's
        return decoded + planes + work.source_bytes, 2 * decoded + work.source_bytes
    at_most = 12 * MB + info.pixels * (11.9 + 2 * _sample_bytes(info) * info.details.samples)
    return at_most + work.source_bytes, info.pixels * pixel + work.source_bytes


def _vips_reader(work: Work) -> float:
    info = work.info
    pixel = _vips_pixel(info)
    match info.format:
        case Format.JPEG:
            return _coefficients(info) + work.source_bytes
        case Format.PNG:
            return info.pixels * pixel if info.progressive else 0
        case Format.GIF:
            return info.pixels * 4 + work.source_bytes
        case Format.TIFF if _tiff(info).band > 1:
            return min(_tiff(info).band, info.width) * _tiff(info).band * pixel  # one tile, taken for a square
        case Format.TIFF:
            return work.source_bytes * _tiff(info).block_rows / info.height  # one strip, as it is in the file
        case _:
            return 0


def both(amount: float) -> tuple[float, float]:
    return amount, amount


def _vips_copy(work: Work) -> float:
    """The decoded picture in memory: an animation, and what several thumbnails are made from."""
    if work.frames > 1:
        return work.info.pixels * work.frames * 4
    if len(work.wanted) > 1:
        width, height = _shrunk(work.info, work.shrink)
        return width * height * _vips_pixel(work.info)
    return 0


SUMS: Final = 205
"""Bytes of each column and channel, as numbers of 16 bytes."""
SOURCE_LINES: Final = 460
CACHED_LINES: Final = 384
"""What libvips keeps of a stream at most: 384 lines, three times 128, in each of its caches."""


def _lines(work: Work, wanted: Wanted) -> float:
    """Whole lines that are kept, of the source and behind each step: all is reduced in height first, then in width."""
    info = work.info
    width, height = _shrunk(info, work.shrink)
    full = info.width if _is_extended(work) else width
    factor = _whole_factor(height, wanted.height)
    left = max(1.0, height / factor / wanted.height)
    reach = min(16 * left + 3, height / factor)  # lines for the next ten of the result: Lanczos sees three on each side
    shrunk = min(height / factor, CACHED_LINES) if factor > 1 else 0
    cached = 1.6 * shrunk + 1.7 * min(wanted.height, CACHED_LINES)
    source = _source(work, height) if _is_stream(work) else 0
    if (wanted.width, wanted.height) == (info.width, info.height):
        return source + full * (_bands(info) * SUMS / 2 + _worked_pixel(info) * 80)  # it is not resampled
    sums = full * _bands(info) * SUMS
    return source + sums + _worked_pixel(info) * (full * (cached + 80) + width * 5 * reach)


def _is_extended(work: Work) -> bool:
    """Whether a shrunken decode is worked on at the picture's full width, because its sides had to be rounded."""
    info = work.info
    return info.format is Format.JPEG and bool(info.width % work.shrink or info.height % work.shrink)


def _source(work: Work, height: int) -> float:
    """What is kept of a stream of that many lines; of tiles, two rows of them."""
    info = work.info
    tiles = _tiff(info).band if _tiff(info).band > 1 else 0
    lines = max(min(height, SOURCE_LINES), tiles * min(2, ceil(height / max(1, tiles))))
    return ceil(info.width / work.shrink) * lines * _vips_pixel(info)


def _is_stream(work: Work) -> bool:
    return len(work.wanted) == 1 and not (work.info.format is Format.PNG and work.info.progressive)


# --- both ---------------------------------------------------------------------------------------------------------

ENCODER: Final[Mapping[EngineName, Mapping[Format, tuple[int, int, int]]]] = {
    EngineName.VIPS: {
        Format.JPEG: (7, 15, 15),
        Format.PNG: (4, 10, 12),
        Format.WEBP: (15, 15, 52),
        Format.GIF: (31, 31, 31),
        Format.AVIF: (45, 50, 80),
    },
    EngineName.PILLOW: {
        Format.JPEG: (3, 8, 12),
        Format.PNG: (3, 5, 5),
        Format.WEBP: (18, 15, 50),
        Format.GIF: (5, 20, 20),
        Format.AVIF: (50, 55, 85),
    },
}
"""Bytes a pixel that an encoder takes beside the picture: of grey, of colours, with alpha."""
FEW_COLOURS: Final = 16 * MB
"""What libaom takes beside, of whatever size, for a picture that looks like a screen rather than a photo."""
ENCODED_FRAME: Final = 2.8
"""Bytes a pixel of each frame of an animation: encoded, or waiting for it in another form."""


def _encoder(engine: EngineName, work: Work) -> float:
    """The largest: they are encoded one after the other."""
    return max(
        wanted.encoded * _encoder_pixel(engine, work.info, wanted)
        + (FEW_COLOURS if wanted.format is Format.AVIF and engine is EngineName.PILLOW else 0)
        for wanted in work.wanted
    )


def _encoder_pixel(engine: EngineName, info: ImageInfo, wanted: Wanted) -> float:
    kind = 2 if info.has_alpha else 0 if info.channels == 1 and not info.details.palette else 1
    one = ENCODER[engine][wanted.format][kind]
    if wanted.frames == 1:
        return one
    if engine is EngineName.VIPS and wanted.format is Format.WEBP:
        return one + (_vips_pixel(info) + 1) * wanted.frames  # the roll once more
    return one + ENCODED_FRAME * wanted.frames


def _shrunk(info: ImageInfo, shrink: int) -> tuple[int, int]:
    return ceil(info.width / shrink), ceil(info.height / shrink)


def _sample_bytes(info: ImageInfo) -> int:
    return 1 if info.bit_depth <= 8 else 2 if info.bit_depth <= 16 else 4


def _coefficients(info: ImageInfo) -> float:
    """Of a JPEG in several scans libjpeg keeps every coefficient, 16 bits each, in whole blocks."""
    if not (info.progressive or scans(info) > 1):
        return 0
    return ceil(info.width / 16) * ceil(info.height / 16) * 256 * info.details.samples * 2


def _tiff(info: ImageInfo) -> TiffDetails:
    return info.details if isinstance(info.details, TiffDetails) else TiffDetails()


def _jxl(info: ImageInfo) -> JxlDetails:
    return info.details if isinstance(info.details, JxlDetails) else JxlDetails()


def _has_odd_frames(info: ImageInfo) -> bool:
    return isinstance(info.details, GifDetails) and info.details.odd_frames


def _hides_first(info: ImageInfo) -> bool:
    return isinstance(info.details, PngDetails) and info.details.hidden_first
