"""The fields at the start of a JPEG XL codestream (ISO/IEC 18181-1 annexes B, D, E and F), up to the first frame's own.

A colour profile and a preview are entropy-coded, with nothing that says how long they are: where there is one of them,
nothing is known of the first frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from thumbnailer.errors import Corrupt, UnsupportedFormat
from thumbnailer.formats.colour_space import (
    BT2100_PRIMARIES,
    D65,
    DCI_GAMMA,
    DCI_WHITE,
    EQUAL_ENERGY,
    LINEAR,
    P3_PRIMARIES,
    SRGB,
    SRGB_PRIMARIES,
    ColourSpace,
    Curve,
    Point,
)

MAX_EXTRA_CHANNELS = 8
"""Beside the colours: alpha, depth, spot colours. libjxl decodes all of them, of which there may be 4,096."""
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))

Distribution = tuple[tuple[int, int], ...]
"""Of a U32 (annex B): for each selector an offset and how many bits are added to it."""
SIZE: Final = ((1, 9), (1, 13), (1, 18), (1, 30))
PREVIEW_SIZE: Final = ((1, 6), (65, 8), (321, 10), (1345, 12))
PREVIEW_SIZE_DIV8: Final = ((16, 0), (32, 0), (1, 5), (33, 9))
TICKS: Final = ((100, 0), (1000, 0), (1, 10), (1, 30))
TICKS_DIVISOR: Final = ((1, 0), (1001, 0), (1, 8), (1, 10))
LOOPS: Final = ((0, 0), (0, 3), (0, 16), (0, 32))
INTEGER_BITS: Final = ((8, 0), (10, 0), (12, 0), (1, 6))
FLOAT_BITS: Final = ((32, 0), (16, 0), (24, 0), (1, 6))
EXTRA_CHANNELS: Final = ((0, 0), (1, 0), (2, 4), (1, 12))
DIM_SHIFT: Final = ((0, 0), (3, 0), (4, 0), (1, 3))
NAME_LENGTH: Final = ((0, 0), (0, 4), (16, 5), (48, 10))
CFA_CHANNEL: Final = ((1, 0), (0, 2), (3, 4), (19, 8))
ENUM: Final = ((0, 0), (1, 0), (2, 4), (18, 6))
COORDINATE: Final = ((0, 19), (524_288, 19), (1_048_576, 20), (2_097_152, 21))
UPSAMPLING: Final = ((1, 0), (2, 0), (4, 0), (8, 0))
PASSES: Final = ((1, 0), (2, 0), (3, 0), (4, 3))
DOWNSAMPLINGS: Final = ((0, 0), (1, 0), (2, 0), (3, 1))
LAST_PASS: Final = ((0, 0), (1, 0), (2, 0), (0, 3))
CROP: Final = ((0, 8), (256, 11), (2304, 14), (18_688, 30))
BLEND_MODE: Final = ((0, 0), (1, 0), (2, 0), (3, 2))
ALPHA_CHANNEL: Final = ((0, 0), (1, 0), (2, 0), (3, 3))
DURATION: Final = ((0, 0), (1, 0), (0, 8), (0, 32))

GREY, XYB = 1, 2
"""Of colour_space."""
ALPHA, SPOT_COLOUR, CFA = 0, 2, 5
"""Types of extra channels."""
CUSTOM = 2
"""Of white_point and of primaries."""
WHITES: Final[Mapping[int, Point]] = {1: D65, 10: EQUAL_ENERGY, 11: DCI_WHITE}
PRIMARIES: Final = {1: SRGB_PRIMARIES, 9: BT2100_PRIMARIES, 11: P3_PRIMARIES}
CURVES: Final[Mapping[int, Curve | float]] = {
    1: Curve.BT709,
    8: LINEAR,
    13: Curve.SRGB,
    16: Curve.PQ,
    17: DCI_GAMMA,
    18: Curve.HLG,
}
SRGB_AS_GAMMA = 4_545_455
"""1 / 2.2: how PNGs say sRGB in a number (PNG, section 11.3.2.2), which encoders copy."""
REGULAR = 0
"""Type of a frame."""
USES_LF_FRAME = 32
"""Of a frame's flags."""
REPLACE, BLEND, MULTIPLY_ADD, MULTIPLY = 0, 2, 3, 4


class EndOfBits(Exception):
    """The codestream's bytes at hand are used up."""


class Bits:
    """Reads little-endian bit fields (annex B.2)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> int:
        end = self._position + count
        if end > 8 * len(self._data):
            raise EndOfBits
        covering = int.from_bytes(self._data[self._position // 8 : (end + 7) // 8], "little")
        value = covering >> self._position % 8 & ((1 << count) - 1)
        self._position = end
        return value

    def skip(self, count: int) -> None:
        self._position += count
        if self._position > 8 * len(self._data):
            raise EndOfBits

    def flag(self) -> bool:
        return self.take(1) == 1

    def choice(self, distribution: Distribution) -> int:
        offset, bits = distribution[self.take(2)]
        return offset + self.take(bits)

    def u64(self) -> int:
        selector = self.take(2)
        if selector < 2:
            return selector and 1 + self.take(4)
        if selector == 2:
            return 17 + self.take(8)
        value, shift = self.take(12), 12
        while self.flag():
            width = 4 if shift == 60 else 8
            value |= self.take(width) << shift
            shift += width
            if width == 4:
                break
        return value

    def to_byte(self) -> None:
        self.skip(-self._position % 8)


@dataclass(frozen=True, slots=True)
class ExtraFields:
    """What most files leave at its default."""

    orientation: int = 1
    has_preview: bool = False
    animated: bool = False
    has_timecodes: bool = False


@dataclass(frozen=True, slots=True)
class Colours:
    """`space` is None where a profile says it, or nothing does."""

    icc: bool = False
    grey: bool = False
    space: ColourSpace | None = SRGB


@dataclass(frozen=True, slots=True)
class FirstFrame:
    """`modular`: its planes are put together as a whole. `alone`: it is shown as it is, nothing is laid over it."""

    modular: bool = False
    alone: bool = True


@dataclass(frozen=True, slots=True)
class Codestream:
    """`xyb`: libjxl makes pixels of what is stored in its own space. `first` is None where nothing is known of it."""

    width: int
    height: int
    extra: ExtraFields = field(default_factory=ExtraFields)
    bit_depth: int = 8
    channels: tuple[int, ...] = ()
    """Types of those beside the colours."""
    xyb: bool = True
    colours: Colours = field(default_factory=Colours)
    first: FirstFrame | None = None

    @property
    def alpha(self) -> bool:
        return ALPHA in self.channels


def read(data: bytes) -> Codestream:
    """All of it, from behind the signature. Raises EndOfBits."""
    bits = Bits(data)
    width, height = _size(bits)
    all_default = bits.flag()
    stream = Codestream(width, height) if all_default else _metadata(bits, width, height)
    if stream.extra.has_preview or stream.colours.icc:
        return stream
    _skip_transform_data(bits, stream.xyb)
    bits.to_byte()
    return replace(stream, first=_first_frame(bits, stream))


def _size(bits: Bits) -> tuple[int, int]:
    """Width and height; the height comes first, and often the width is a ratio of it (D.2)."""
    small = bits.flag()
    height = 8 * (1 + bits.take(5)) if small else bits.choice(SIZE)
    ratio = bits.take(3)
    if ratio:
        numerator, denominator = RATIOS[ratio - 1]
        return height * numerator // denominator, height
    return 8 * (1 + bits.take(5)) if small else bits.choice(SIZE), height


# --- the picture's metadata (D.3) ---------------------------------------------------------------------------------


def _metadata(bits: Bits, width: int, height: int) -> Codestream:
    has_extra_fields = bits.flag()
    extra = _extra_fields(bits) if has_extra_fields else ExtraFields()
    depth = _bit_depth(bits)
    bits.flag()  # modular_16bit_buffers
    channels = _extra_channels(bits)
    xyb = bits.flag()
    colours = _colours(bits)
    if has_extra_fields:
        _skip_tone_mapping(bits)
    _skip_extensions(bits)
    return Codestream(width, height, extra, depth, channels, xyb, colours)


def _extra_fields(bits: Bits) -> ExtraFields:
    orientation = 1 + bits.take(3)
    if bits.flag():
        _size(bits)  # intrinsic size: a hint for display, pixels are not scaled to it
    has_preview = bits.flag()
    if has_preview:
        _skip_preview(bits)
    animated = bits.flag()
    return ExtraFields(orientation, has_preview, animated, animated and _has_timecodes(bits))


def _skip_preview(bits: Bits) -> None:
    sides = PREVIEW_SIZE_DIV8 if bits.flag() else PREVIEW_SIZE
    bits.choice(sides)
    if bits.take(3) == 0:
        bits.choice(sides)


def _has_timecodes(bits: Bits) -> bool:
    for distribution in (TICKS, TICKS_DIVISOR, LOOPS):
        bits.choice(distribution)
    return bits.flag()


def _bit_depth(bits: Bits) -> int:
    if not bits.flag():  # float_sample
        return bits.choice(INTEGER_BITS)
    depth = bits.choice(FLOAT_BITS)
    bits.take(4)  # exponent bits
    return depth


def _extra_channels(bits: Bits) -> tuple[int, ...]:
    count = bits.choice(EXTRA_CHANNELS)
    if count > MAX_EXTRA_CHANNELS:
        raise UnsupportedFormat(f"JPEG XL of {count} channels beside its colours")
    return tuple(_extra_channel(bits) for _ in range(count))


def _extra_channel(bits: Bits) -> int:
    if bits.flag():  # an alpha channel with nothing special
        return ALPHA
    kind = bits.choice(ENUM)
    _bit_depth(bits)
    bits.choice(DIM_SHIFT)
    bits.skip(8 * bits.choice(NAME_LENGTH))
    if kind == ALPHA:
        bits.flag()  # premultiplied: libjxl hands it out as it is
    elif kind == SPOT_COLOUR:
        bits.skip(4 * 16)
    elif kind == CFA:
        bits.choice(CFA_CHANNEL)
    return kind


def _skip_tone_mapping(bits: Bits) -> None:
    if not bits.flag():
        bits.skip(2 * 16 + 1 + 16)


def _skip_extensions(bits: Bits) -> None:
    present = bits.u64()
    for length in [bits.u64() for _ in range(present.bit_count())]:
        bits.skip(length)


# --- colours (E.2) ------------------------------------------------------------------------------------------------


def _colours(bits: Bits) -> Colours:
    if bits.flag():  # the default
        return Colours()
    icc, kind = bits.flag(), bits.choice(ENUM)
    grey = kind == GREY
    if icc:
        return Colours(True, grey, None)
    if kind == XYB:
        bits.choice(ENUM)  # rendering intent
        return Colours(False, False, None)
    white = _white(bits)
    primaries = None if grey else _primaries(bits)
    curve = _transfer(bits)
    bits.choice(ENUM)
    if white is None or curve is None or (primaries is None and not grey):
        return Colours(False, grey, None)
    return Colours(False, grey, ColourSpace(white, primaries, curve))


def _white(bits: Bits) -> Point | None:
    kind = bits.choice(ENUM)
    return _point(bits) if kind == CUSTOM else WHITES.get(kind)


def _primaries(bits: Bits) -> tuple[Point, Point, Point] | None:
    kind = bits.choice(ENUM)
    return (_point(bits), _point(bits), _point(bits)) if kind == CUSTOM else PRIMARIES.get(kind)


def _point(bits: Bits) -> Point:
    return _coordinate(bits), _coordinate(bits)


def _coordinate(bits: Bits) -> float:
    """Stored in millionths."""
    return _signed(bits.choice(COORDINATE)) / 1_000_000


def _transfer(bits: Bits) -> Curve | float | None:
    if bits.flag():
        gamma = bits.take(24)  # of encoding, in ten millionths
        if not gamma:
            raise Corrupt("JPEG XL with a gamma of 0")
        return Curve.SRGB if abs(gamma - SRGB_AS_GAMMA) <= 50 else 10_000_000 / gamma
    return CURVES.get(bits.choice(ENUM))


# --- the first frame (annex F) ------------------------------------------------------------------------------------


def _skip_transform_data(bits: Bits, xyb: bool) -> None:
    """Matrices and weights of one's own (D.3.5)."""
    if bits.flag():
        return
    if xyb and not bits.flag():
        bits.skip(16 * 16)  # an inverse opsin matrix
    weights = bits.take(3)
    for index, count in enumerate((15, 55, 210)):
        if weights >> index & 1:
            bits.skip(16 * count)


def _first_frame(bits: Bits, stream: Codestream) -> FirstFrame | None:
    """None where it is not yet the picture: patches, or a coarse version of it."""
    if bits.flag():
        return FirstFrame()
    kind, modular, flags = bits.take(2), bits.flag(), bits.u64()
    if kind != REGULAR:
        return None
    _skip_subsampling(bits, stream, flags, modular)
    _skip_passes(bits)
    partial = bits.flag() and _is_partial(bits, stream)
    for _ in range(1 + len(stream.channels)):
        _skip_blending(bits, bool(stream.channels), partial)
    lasts = stream.extra.animated and bits.choice(DURATION) > 0
    if stream.extra.has_timecodes:
        bits.skip(32)
    return FirstFrame(modular, alone=lasts or bits.flag())


def _skip_subsampling(bits: Bits, stream: Codestream, flags: int, modular: bool) -> None:
    ycbcr = not stream.xyb and bits.flag()
    if not flags & USES_LF_FRAME:
        if ycbcr:
            bits.skip(3 * 2)
        for _ in range(1 + len(stream.channels)):
            bits.choice(UPSAMPLING)
    if modular:
        bits.skip(2)  # group_size_shift
    elif stream.xyb:
        bits.skip(3 + 3)


def _skip_passes(bits: Bits) -> None:
    passes = bits.choice(PASSES)
    if passes == 1:
        return
    downsamplings = bits.choice(DOWNSAMPLINGS)
    bits.skip(2 * (passes - 1))
    for distribution in (UPSAMPLING, LAST_PASS):
        for _ in range(downsamplings):
            bits.choice(distribution)


def _is_partial(bits: Bits, stream: Codestream) -> bool:
    """Whether a frame with a place of its own leaves something of the picture."""
    left, top = _signed(bits.choice(CROP)), _signed(bits.choice(CROP))
    width, height = bits.choice(CROP), bits.choice(CROP)
    return left > 0 or top > 0 or left + width < stream.width or top + height < stream.height


def _signed(packed: int) -> int:
    """The sign is the lowest bit."""
    return -(packed + 1) // 2 if packed & 1 else packed // 2


def _skip_blending(bits: Bits, has_extra_channels: bool, partial: bool) -> None:
    mode = bits.choice(BLEND_MODE)
    by_alpha = has_extra_channels and mode in (BLEND, MULTIPLY_ADD)
    if by_alpha:
        bits.choice(ALPHA_CHANNEL)
    if by_alpha or mode == MULTIPLY:
        bits.flag()  # clamp
    if mode != REPLACE or partial:
        bits.take(2)  # of which saved frame
