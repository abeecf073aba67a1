"""How much memory a picture takes while it is rendered: rows of data fitted to measurements, and their evaluation.

All amounts are bytes above the idle process. The peak of an engine is the larger of two: while it decodes and
resamples, and while it encodes, when only the thumbnails are left. docs/memory.md compares estimates and measurements,
tests/budgets keeps them close.
"""

from collections.abc import Mapping, Sequence
from math import ceil, prod
from typing import Final, NamedTuple

from thumbnailer.formats.details import GifDetails, HeifDetails, JpegDetails, JxlDetails, PngDetails, TiffDetails
from thumbnailer.model import EngineName, Format, ImageInfo
from thumbnailer.planning.capabilities import NATIVE, PILLOW, REDUCING_GAP, VIPS, decoder_shrink
from thumbnailer.values import dataclass

MB: Final = 1024 * 1024
MARGIN: Final = 1.08  # measurements of one picture differ by some percent, versions of decoders by some more
FIXED: Final = 4 * MB  # stacks, tables and rounding of the allocator, for a picture of any size
CHILD: Final = 17 * MB  # interpreter and engine of a child process, compiled anew if there is no bytecode
CMYK_TABLES: Final = 5 * MB  # Little CMS's transform of a profile with four inks
COPIES_HELD: Final = 3  # metadata is read, parsed and handed on (measured with a TIFF of 100 MB of tags)
ROW_ADDRESSES: Final = 24  # bytes a row: Pillow keeps the address of each, in three copies of a picture
FRAME: Final = 20_000  # libvips' own structures for a frame of an animation
ENCODED_FRAME: Final = 2.8  # bytes a pixel of a frame that is encoded or waits in another form
MOST_SALVAGED_ROWS: Final = 65_535  # of a JPEG. Python looks at each: a PNG of 7 KB has four million rows
SALVAGED_ROW: Final = 80  # Python's numbers of missing rows
SUMS: Final = 205  # libvips' sums for a column and channel: numbers of 16 bytes
SOURCE_LINES: Final = 460
NATIVE_RATIO: Final = 1.95  # decoded pixels that the compiled engine keeps for a pixel of the largest thumbnail
CACHED_LINES: Final = 384  # most lines of a stream in one cache of libvips: three times 128


@dataclass(frozen=True, slots=True)
class Wanted:
    """The size of one thumbnail after resampling, in the orientation of the stored picture."""

    width: int
    height: int
    format: Format
    encoded: int  # pixels that the crop leaves
    frames: int = 1


@dataclass(frozen=True, slots=True)
class Work:
    """One picture and its thumbnails. `shrink` is the plan's, `source_bytes` the size of the file."""

    info: ImageInfo
    shrink: int
    source_bytes: int
    wanted: Sequence[Wanted]

    @property
    def frames(self) -> int:
        return max(wanted.frames for wanted in self.wanted)

    def size(self, engine: EngineName) -> tuple[int, int]:
        """The sides of the picture that the engine's decoder returns."""
        shrink = decoder_shrink(engine, self.info.format, self.shrink)
        return ceil(self.info.width / shrink), ceil(self.info.height / shrink)

    @property
    def eighths(self) -> int:
        """The compiled engine decodes at so many eighths: `choose_scale` of native/src/resize/request.rs."""
        sides = (self.info.width, self.info.height)
        reduction = min(side / size for w in self.wanted for side, size in zip(sides, (w.width, w.height), strict=True))
        return next((eighths for eighths in range(1, 7) if eighths * reduction >= 8 * NATIVE_RATIO), 8)


# --- rows ---------------------------------------------------------------------------------------------------------

Terms = Mapping[str, float]
"""Factors of the quantities in `quantities`: the sum of the products is an amount of memory."""
NOTHING: Final[Terms] = {}


class Decoder(NamedTuple):
    """What a decoder holds beside the picture it hands out, at its peak and while the picture is resampled."""

    peak: Terms = NOTHING
    lasting: Terms = NOTHING
    when: str = "one"  # the row is for files with this quantity
    codec: int = 0  # bytes for the smallest picture, without margin
    pixel: int | None = None  # Pillow's bytes of a decoded pixel; None: by channels and depth
    depth: int = 32  # most bits of a sample that Pillow gets
    streams: bool = True  # libvips can keep only some lines of it
    full_width: bool = False  # libvips works at the full width if a shrunken decode rounds the sides


JXL: Final = 2 * MB  # for a picture of some 10,000 pixels, and twice that for each complete plane
JXL_ALWAYS: Final[Terms] = {"saved frames": 1, "source": 1.3}
JXL_PLANES: Final[Terms] = {**JXL_ALWAYS, "bytes": -1}
"""The header does not say whether planes are squeezed: the rows assume the dearer case."""
SCANS: Final[Terms] = {"coefficients": 1, "source": 1}
ROLL: Final[Terms] = {"roll": 4, "source": 1}

DECODERS: Final[dict[tuple[EngineName, Format], tuple[Decoder, ...]]] = {
    (NATIVE, Format.JPEG): (Decoder({"kept coefficients": 1}),),
    (PILLOW, Format.JPEG): (Decoder({"coefficients": 1}),),
    (PILLOW, Format.PNG): (Decoder({"hidden frame": 16}, codec=MB // 2),),
    (PILLOW, Format.GIF): (Decoder({"composed": 11}, {"composed": 11}),),
    (PILLOW, Format.WEBP): (Decoder({"source": 2}, {"pixels": 12, "source": 1}, pixel=4),),
    (PILLOW, Format.AVIF): (Decoder({"pixels": 4, "samples": 1.2, "source": 2}, {"widest samples": 1}, pixel=4),),
    (PILLOW, Format.HEIC): (
        Decoder({"heif tile": 12, "source": 4}, when="heif tile", pixel=4, codec=4 * MB),
        Decoder({"pixels": 1.5, "source": 2}, when="grey", pixel=1, codec=4 * MB),
        Decoder({"pixels": 3.5, "samples": 0.8, "source": 2}, pixel=4, codec=4 * MB),
    ),
    (PILLOW, Format.TIFF): (
        Decoder({"source": 1, "raw block": 1}, when="raw block"),
        Decoder({"raw tile": 1}, when="tile"),
        Decoder({"unread strip": 1}),
    ),
    (PILLOW, Format.BMP): (Decoder(),),
    (PILLOW, Format.ICO): (Decoder({"source": 1}, pixel=4),),
    (PILLOW, Format.JXL): (
        Decoder({"one": 2 * JXL, "pixels": 29, "plane pixels": 6, **JXL_PLANES}, when="some planes", depth=8),
        Decoder({"planes": 2 * JXL, "pixels": 2.5, "plane pixels": 5.5, **JXL_PLANES}, when="planes", depth=8),
        Decoder({"one": JXL, "pixels": 2.9, **JXL_ALWAYS}, when="one channel", depth=8),
        Decoder({"one": JXL, "pixels": 3.4, **JXL_ALWAYS}, depth=8),
    ),
    (VIPS, Format.JPEG): (Decoder(SCANS, SCANS, full_width=True),),
    (VIPS, Format.PNG): (Decoder({"decoded": 1}, {"decoded": 1}, "progressive", streams=False), Decoder()),
    (VIPS, Format.GIF): (Decoder({"pixels": 4, "source": 1}, {"pixels": 4, "source": 1}),),
    (VIPS, Format.WEBP): (
        Decoder(ROLL, ROLL, "moves"),
        Decoder({"shrunk": 1, "webp planes": 1, "source": 1}, {"shrunk": 2, "source": 1}),
    ),
    (VIPS, Format.AVIF): (
        Decoder({"one": 12 * MB, "pixels": 11.9, "samples": 2, "source": 1}, {"decoded": 1, "source": 1}),
    ),
    (VIPS, Format.TIFF): (
        Decoder({"decoded tile": 1}, {"decoded tile": 1}, "tile"),
        Decoder({"packed block": 1}, {"packed block": 1}),
    ),
    (VIPS, Format.JP2): (Decoder(),),
    (VIPS, Format.SVG): (Decoder(codec=10 * MB),),
}
GENERIC: Final = (Decoder({"roll": 48, "source": 2}, {"roll": 16, "source": 1}, codec=16 * MB, pixel=4, streams=False),)
"""A format without rows is expected to take as much as the most expensive decoder."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Bytes a pixel that an encoder takes beside the picture: grey, colours, with alpha."""

    grey: int
    colours: int
    alpha: int
    codec: int = 0
    frame: float = ENCODED_FRAME
    copies_roll: bool = False  # all frames of an animation once more, joined


ENCODERS: Final[Mapping[tuple[EngineName, Format], Encoder]] = {
    (VIPS, Format.JPEG): Encoder(7, 15, 15),
    (VIPS, Format.PNG): Encoder(4, 10, 12),
    (VIPS, Format.WEBP): Encoder(15, 15, 52, copies_roll=True),
    (VIPS, Format.GIF): Encoder(31, 31, 31),
    (VIPS, Format.AVIF): Encoder(45, 50, 80),
    (PILLOW, Format.JPEG): Encoder(3, 10, 12),
    (PILLOW, Format.PNG): Encoder(3, 5, 5),
    (PILLOW, Format.WEBP): Encoder(18, 15, 50),
    # libvips encodes these for Pillow, from a copy of its pixels.
    (PILLOW, Format.GIF): Encoder(36, 36, 36, frame=6.5),
    (PILLOW, Format.AVIF): Encoder(50, 55, 85, codec=16 * MB),
}


def quantities(work: Work) -> Mapping[str, float]:
    """Everything that rows can refer to: pixels, bytes and conditions of one file."""
    info, stored = work.info, work.info.details.samples
    tiff, jxl = info.details_of(TiffDetails), info.details_of(JxlDetails)
    samples = info.pixels * stored * _bytes_of(info.bit_depth)
    raw, decoded = info.channels * _bytes_of(info.bit_depth), _vips_pixel(info)
    scans = 2 if info.progressive else info.details_of(JpegDetails).scans
    blocks = ceil(info.width / 16) * ceil(info.height / 16)
    is_composed = work.frames > 1 or info.details_of(GifDetails).odd_frames
    tile = min(tiff.band, info.width) * tiff.band if tiff.band > 1 else 0  # taken for a square
    return {
        "one": 1,
        "source": work.source_bytes,
        "pixels": info.pixels,
        "roll": info.pixels * work.frames,
        "moves": work.frames > 1,
        "progressive": info.progressive,
        "one channel": info.channels == 1,
        "grey": stored == 1 and info.bit_depth <= 8,  # pillow-heif returns one channel
        "samples": samples,
        "widest samples": max(info.pixels * info.channels, 1.2 * samples),
        "bytes": info.pixels * (1 if info.channels == 1 else 4),
        "decoded": info.pixels * decoded,
        "shrunk": info.pixels / work.shrink**2 * decoded,
        "coefficients": 512 * blocks * stored if scans > 1 else 0,  # of a JPEG in several scans, 16 bits each
        "kept coefficients": 256 * blocks * _kept(work) if scans > 1 else 0,
        "hidden frame": info.pixels if info.details_of(PngDetails).hidden_first else 0,
        "composed": info.pixels if is_composed else 0,
        "webp planes": info.pixels * (4 if stored == 4 else 2 * (stored - 1.5)),  # at full size, or only alpha's
        "tile": tile,
        "heif tile": prod(info.details_of(HeifDetails).tile or (0,)) if work.shrink > 1 else 0,
        "raw tile": tile * raw,
        "decoded tile": tile * decoded,
        "raw block": info.width * tiff.block_rows * raw,  # a strip or row of tiles after decompression
        "packed block": work.source_bytes * tiff.block_rows / info.height,
        "unread strip": _unread_strip(info, tiff.read_rows),
        "planes": jxl.whole_planes,
        "some planes": 0 < jxl.whole_planes < stored,
        "plane pixels": info.pixels * jxl.whole_planes,
        "saved frames": jxl.saved_frames * info.pixels * stored * 4,
    }


def _kept(work: Work) -> float:
    """Bytes a pixel of the coefficients that the compiled engine keeps; it decodes small chroma with more of them."""
    stored, eighths = work.info.details.samples, work.eighths
    plane = eighths**2 / 32
    known = stored / 8 if eighths > 1 else 0  # a bit for each coefficient: it was not zero in an earlier scan
    return plane + min(plane * (work.info.channels - 1), 2 * (stored - 1)) + known


def _unread_strip(info: ImageInfo, rows: int) -> int:
    """Pillow reads a strip whole, before its rows are in the picture; the last strip may be lower."""
    last = (info.height - 1) % rows + 1 if rows else 0
    strip = rows * info.channels * _bytes_of(info.bit_depth)
    return info.width * max(0, strip - last * _pillow_pixel(info, Decoder()))


# --- evaluation ---------------------------------------------------------------------------------------------------


def memory_estimate(engine: EngineName, work: Work) -> int:
    """The most bytes that the process grows by: no less than measured, and close to it for large pictures."""
    row, peak, lasting = _decoder(engine, work)
    render = {NATIVE: _native, VIPS: _vips}.get(engine, _pillow)
    return _fixed_bytes(work.info, row) + ceil(MARGIN * render(work, row, peak, lasting))


def salvage_estimate(work: Work) -> int:
    """The same for the visible part of a damaged picture: Pillow compares all its bytes. 0: it has too many rows."""
    info, (row, peak, lasting) = work.info, _decoder(PILLOW, work)
    stored = info.channels if info.channels > 1 else _bytes_of(info.bit_depth)
    width, height = work.size(PILLOW)
    if height > MOST_SALVAGED_ROWS:
        return 0
    pixel = _pillow_pixel(info, row) + 2 * stored + _converted_pixel(info, row)
    rows = SALVAGED_ROW * height + width * height * pixel + 2 * width * stored  # noise and a row to compare with it
    return _fixed_bytes(info, row) + ceil(MARGIN * max(_pillow(work, row, peak, lasting), rows))


def _decoder(engine: EngineName, work: Work) -> tuple[Decoder, float, float]:
    """The row of a file, its peak and its lasting amount."""
    known = quantities(work)
    row = next(row for row in DECODERS.get((engine, work.info.format), GENERIC) if known[row.when])
    peak, lasting = (sum(terms[name] * known[name] for name in terms) for terms in (row.peak, row.lasting))
    return row, peak, lasting


def _fixed_bytes(info: ImageInfo, row: Decoder) -> int:
    """Bytes that do not depend on the picture's size, and copies of metadata."""
    cmyk = CMYK_TABLES if info.channels == 4 and not info.has_alpha else 0
    return FIXED + row.codec + cmyk + info.details.held * COPIES_HELD


def _pillow(work: Work, row: Decoder, peak: float, lasting: float) -> float:
    """Pillow holds the whole decoded picture, and its conversion, before it resamples."""
    info, (width, height) = work.info, work.size(PILLOW)
    resampled = 1 if _is_grey(info) or row.pixel == 1 else 4
    results = sum(wanted.width * wanted.height * wanted.frames for wanted in work.wanted) * resampled
    passes = resampled * max(_resampling(wanted, width, height) for wanted in work.wanted)
    copies = (info.orientation > 1) + (info.icc or bool(info.details.profile))  # turned or converted before the crop
    whole = resampled * max(wanted.width * wanted.height for wanted in work.wanted) * copies
    lasting += width * height * _converted_pixel(info, row) + max(passes, whole) + results
    decoding = width * height * _pillow_pixel(info, row) + ROW_ADDRESSES * height + max(peak, lasting)
    return max(decoding, results + _encoding(PILLOW, work))


def _native(work: Work, _row: Decoder, peak: float, _lasting: float) -> float:
    """The compiled engine holds rows of the decoded picture, then each thumbnail twice: its own pixels and Pillow's."""
    channels, eighths = work.info.channels, work.eighths
    width, height = work.info.width * eighths / 8, work.info.height * eighths / 8
    taps = 6 * max(height / wanted.height for wanted in work.wanted) + 4
    rows = width * (channels * (2 * taps + 4 * eighths + 4) + 32 * (channels + 1) * len(work.wanted))
    sizes = [wanted.width * wanted.height for wanted in work.wanted]
    pillow = 1 if channels == 1 else 4
    results = max(sizes) * channels + sum(sizes) * max(channels, pillow)
    return max(peak + rows + results, pillow * sum(sizes) + _encoding(PILLOW, work))


def _pillow_pixel(info: ImageInfo, row: Decoder) -> int:
    """Bytes of a decoded pixel: one channel has 1, 2 or 4 bytes, more channels have 4."""
    return row.pixel or (4 if info.channels > 1 else _bytes_of(min(info.bit_depth, row.depth)))


def _converted_pixel(info: ImageInfo, row: Decoder) -> int:
    """Bytes of a pixel of the copies made before resampling for a palette, 16 bits of grey, or alpha."""
    premultiplied = 4 if info.has_alpha else 0
    if info.details.palette or (info.has_alpha and info.channels in (1, 3)):  # with a transparent colour: RGBA first
        return 4 + premultiplied
    if info.channels == 1 and min(info.bit_depth, row.depth) > 8:
        return 8  # 32 bits, and 32 again for the division
    return 1 if info.bit_depth == 1 else premultiplied


def _is_grey(info: ImageInfo) -> bool:
    return info.channels == 1 and not info.details.palette and not info.has_alpha


def _resampling(wanted: Wanted, width: int, height: int) -> float:
    """Pixels of the picture reduced by whole numbers, and of the horizontal pass."""
    if (wanted.width, wanted.height) == (width, height):
        return 0
    down = _whole_factor(height, wanted.height)
    factor = down * _whole_factor(width, wanted.width)
    return (width * height / factor if factor > 1 else 0) + wanted.width * height / down


def _whole_factor(size: int, wanted: int) -> int:
    return max(1, int(size / wanted / REDUCING_GAP))


def _vips(work: Work, row: Decoder, peak: float, lasting: float) -> float:
    """libvips keeps lines of a stream, or the whole picture for some formats and for several thumbnails."""
    results = sum(wanted.encoded * wanted.frames for wanted in work.wanted) * _vips_pixel(work.info)
    lines = max(_lines(work, row, wanted) for wanted in work.wanted)
    # Memory freed while decoding lies in small pieces between blocks in use: encoders can reuse little of it.
    encoding = results + lines / 2 + _encoding(VIPS, work)
    if work.frames > 1:
        copy = work.info.pixels * work.frames * 4
        return max(encoding, max(peak, max(lasting, results) + copy + lines) + FRAME * work.frames)
    if len(work.wanted) == 1:
        return max(encoding, peak, lasting + lines + results)
    return max(encoding, peak, _shared_bytes(work, lasting, results, lines))


def _shared_bytes(work: Work, lasting: float, results: float, lines: float) -> float:
    """Several thumbnails share a copy of the picture; its loader is freed, and libvips keeps fewer lines."""
    info, (width, height) = work.info, work.size(VIPS)
    copy = width * height * _vips_pixel(info)
    fewer = info.has_alpha or work.shrink > 1
    source = _source(work, info.height) if fewer or info.details_of(TiffDetails).band > 1 else lines
    return max(lasting + copy + source, copy + results + lines * (0.5 if fewer else 0.9))


def _bands(info: ImageInfo) -> int:
    """Channels in libvips: it resolves palettes and makes a transparent colour a channel."""
    colours = 3 if info.details.palette else info.channels
    return colours + (info.has_alpha and colours in (1, 3))


def _vips_pixel(info: ImageInfo) -> int:
    return _bands(info) * _bytes_of(info.bit_depth)


def _lines(work: Work, row: Decoder, wanted: Wanted) -> float:
    """Whole lines of the source and of each step: libvips reduces the height first, then the width."""
    info, (width, height) = work.info, work.size(VIPS)
    worked = _bands(info) * 4 if info.has_alpha else _vips_pixel(info)  # floats if alpha is premultiplied
    rounded = info.width % work.shrink or info.height % work.shrink
    full = info.width if row.full_width and rounded else width
    factor = _whole_factor(height, wanted.height)
    left = max(1.0, height / factor / wanted.height)
    reach = min(16 * left + 3, height / factor)  # lines for the next ten of the result: Lanczos sees three on each side
    shrunk = min(height / factor, CACHED_LINES) if factor > 1 else 0
    cached = 1.6 * shrunk + 1.7 * min(wanted.height, CACHED_LINES)
    source = _source(work, height) if row.streams and len(work.wanted) == 1 else 0
    if (wanted.width, wanted.height) == (info.width, info.height):
        return source + full * (_bands(info) * SUMS / 2 + worked * 80)  # no resampling
    return source + full * _bands(info) * SUMS + worked * (full * (cached + 80) + width * 5 * reach)


def _source(work: Work, height: int) -> float:
    """Lines of a stream that libvips keeps, or two rows of tiles."""
    band = work.info.details_of(TiffDetails).band
    tiles = band * min(2, ceil(height / band)) if band > 1 else 0
    return work.size(VIPS)[0] * max(min(height, SOURCE_LINES), tiles) * _vips_pixel(work.info)


def _encoding(engine: EngineName, work: Work) -> float:
    """The largest of the thumbnails: the engine encodes one after the other."""
    return max(_encoder_bytes(ENCODERS[engine, wanted.format], work.info, wanted) for wanted in work.wanted)


def _encoder_bytes(row: Encoder, info: ImageInfo, wanted: Wanted) -> float:
    pixel: float = row.alpha if info.has_alpha else row.grey if _is_grey(info) else row.colours
    if wanted.frames > 1:
        pixel += (_vips_pixel(info) + 1 if row.copies_roll else row.frame) * wanted.frames
    return wanted.encoded * pixel + row.codec


def _bytes_of(bits: int) -> int:
    return 1 if bits <= 8 else 2 if bits <= 16 else 4
