"""The fields at the start of a JPEG XL codestream (ISO/IEC 18181-1 annexes B, D, E and F), up to the first frame's own.

A colour profile and a preview are entropy-coded and have no length: behind one of them, the first frame is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from thumbnailer.errors import Corrupt, UnsupportedFormat
from thumbnailer.formats import colour_space as colours
from thumbnailer.formats.bits import Bits
from thumbnailer.formats.colour_space import SRGB, ColourSpace, Curve, Point

MAX_EXTRA_CHANNELS = 8
"""Beside the colours: alpha, depth, spot colours. libjxl decodes all of them, up to 4,096."""
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))

Distribution = tuple[tuple[int, int], ...]
"""Of a U32 (annex B): for each selector an offset and the number of bits that are added to it."""
SIZE: Final = ((1, 9), (1, 13), (1, 18), (1, 30))
PREVIEW_SIZE: Final = ((1, 6), (65, 8), (321, 10), (1345, 12))
PREVIEW_SIZE_DIV8: Final = ((16, 0), (32, 0), (1, 5), (33, 9))
ANIMATION: Final = (
    ((100, 0), (1000, 0), (1, 10), (1, 30)),
    ((1, 0), (1001, 0), (1, 8), (1, 10)),
    ((0, 0), (0, 3), (0, 16), (0, 32)),
)
"""Ticks a second, its divisor, number of loops."""
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
WHITES: Final = {1: colours.D65, 10: colours.EQUAL_ENERGY, 11: colours.DCI_WHITE}
SRGB_AS_GAMMA = 4_545_455
"""1 / 2.2: the gamma that PNGs give for sRGB (PNG, section 11.3.2.2), which encoders copy."""
REGULAR = 0
"""Type of a frame."""
USES_LF_FRAME = 32
"""Of a frame's flags."""
REPLACE, BLEND, MULTIPLY_ADD, MULTIPLY = 0, 2, 3, 4


class JxlBits(Bits):
    """Adds the encodings of annex B.2."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data, "little", "JPEG XL")

    def choice(self, distribution: Distribution) -> int:
        offset, bits = distribution[self.take(2)]
        return offset + self.take(bits)

    def choices(self, *distributions: Distribution) -> None:
        """Skips several numbers."""
        for distribution in distributions:
            self.choice(distribution)

    def enum(self) -> int:
        return self.choice(ENUM)

    def signed(self, distribution: Distribution) -> int:
        """The sign is the lowest bit."""
        packed = self.choice(distribution)
        return -(packed + 1) // 2 if packed & 1 else packed // 2

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


@dataclass(frozen=True, slots=True)
class Codestream:
    """The defaults are the ones of a codestream without metadata."""

    width: int
    height: int
    orientation: int = 1
    has_preview: bool = False
    animated: bool = False
    has_timecodes: bool = False
    bit_depth: int = 8
    channels: tuple[int, ...] = ()
    """types of the channels beside the colours"""
    xyb: bool = True
    """pixels are stored in libjxl's own space"""
    icc: bool = False
    grey: bool = False
    space: ColourSpace | None = SRGB
    """None if a profile gives the colours, or nothing does"""
    modular: bool | None = None
    """the planes of the first frame are put together as a whole; None if that frame is unknown"""
    independent: bool = False
    """the first frame is the picture: no other frame is laid over it"""

    @property
    def alpha(self) -> bool:
        return ALPHA in self.channels


def read(data: bytes) -> Codestream:
    """All fields, from behind the signature. Raises EndOfBits, Corrupt, UnsupportedFormat."""
    bits = JxlBits(data)
    stream = Codestream(*_size(bits))
    if not bits.flag():
        stream = _with_metadata(bits, stream)
    if stream.has_preview or stream.icc:
        return stream
    _skip_transform_data(bits, stream.xyb)
    bits.to_byte()
    return _with_first_frame(bits, stream)


def _size(bits: JxlBits) -> tuple[int, int]:
    """Width and height; the height comes first, and often the width is a ratio of it (D.2)."""
    small = bits.flag()
    height = 8 * (1 + bits.take(5)) if small else bits.choice(SIZE)
    ratio = bits.take(3)
    if ratio:
        numerator, denominator = RATIOS[ratio - 1]
        return height * numerator // denominator, height
    return 8 * (1 + bits.take(5)) if small else bits.choice(SIZE), height


def _with_metadata(bits: JxlBits, stream: Codestream) -> Codestream:
    has_extra_fields = bits.flag()
    if has_extra_fields:
        stream = _with_extra_fields(bits, stream)
    depth = _bit_depth(bits)
    bits.skip(1)  # modular_16bit_buffers
    stream = replace(stream, bit_depth=depth, channels=_extra_channels(bits), xyb=bits.flag())
    stream = _with_colours(bits, stream)
    if has_extra_fields and not bits.flag():
        bits.skip(2 * 16 + 1 + 16)  # tone mapping
    extensions = bits.u64().bit_count()
    for length in [bits.u64() for _ in range(extensions)]:
        bits.skip(length)
    return stream


def _with_extra_fields(bits: JxlBits, stream: Codestream) -> Codestream:
    orientation = 1 + bits.take(3)
    if bits.flag():
        _size(bits)  # intrinsic size: a hint for display, pixels are not scaled to it
    has_preview = bits.flag()
    if has_preview:
        sides = PREVIEW_SIZE_DIV8 if bits.flag() else PREVIEW_SIZE
        bits.choice(sides)
        if bits.take(3) == 0:
            bits.choice(sides)
    animated = bits.flag()
    if animated:
        bits.choices(*ANIMATION)
    has_timecodes = animated and bits.flag()
    return replace(
        stream, orientation=orientation, has_preview=has_preview, animated=animated, has_timecodes=has_timecodes
    )


def _bit_depth(bits: JxlBits) -> int:
    if not bits.flag():  # float_sample
        return bits.choice(INTEGER_BITS)
    depth = bits.choice(FLOAT_BITS)
    bits.skip(4)  # exponent bits
    return depth


def _extra_channels(bits: JxlBits) -> tuple[int, ...]:
    count = bits.choice(EXTRA_CHANNELS)
    if count > MAX_EXTRA_CHANNELS:
        raise UnsupportedFormat(f"JPEG XL of {count} channels beside its colours")
    return tuple(_extra_channel(bits) for _ in range(count))


def _extra_channel(bits: JxlBits) -> int:
    if bits.flag():  # an alpha channel with default fields
        return ALPHA
    kind = bits.enum()
    _bit_depth(bits)
    bits.choice(DIM_SHIFT)
    bits.skip(8 * bits.choice(NAME_LENGTH))
    if kind == ALPHA:
        bits.skip(1)  # premultiplied: libjxl hands out the stored values
    elif kind == SPOT_COLOUR:
        bits.skip(4 * 16)
    elif kind == CFA:
        bits.choice(CFA_CHANNEL)
    return kind


def _with_colours(bits: JxlBits, stream: Codestream) -> Codestream:
    if bits.flag():  # the default
        return stream
    icc, kind = bits.flag(), bits.enum()
    grey = kind == GREY
    if icc:
        return replace(stream, icc=True, grey=grey, space=None)
    if kind == XYB:
        bits.enum()  # rendering intent
        return replace(stream, space=None)
    return replace(stream, grey=grey, space=_space(bits, grey))


def _space(bits: JxlBits, grey: bool) -> ColourSpace | None:
    """None for numbers that the specification does not give a meaning."""
    kind = bits.enum()
    white = _point(bits) if kind == CUSTOM else WHITES.get(kind)
    primaries = None if grey else _primaries(bits)
    curve = _transfer(bits)
    bits.enum()  # rendering intent
    if white is None or curve is None or (primaries is None and not grey):
        return None
    return ColourSpace(white, primaries, curve)


def _primaries(bits: JxlBits) -> tuple[Point, Point, Point] | None:
    kind = bits.enum()
    return (_point(bits), _point(bits), _point(bits)) if kind == CUSTOM else colours.PRIMARIES.get(kind)


def _point(bits: JxlBits) -> Point:
    """Stored in millionths."""
    return bits.signed(COORDINATE) / 1_000_000, bits.signed(COORDINATE) / 1_000_000


def _transfer(bits: JxlBits) -> Curve | float | None:
    if not bits.flag():
        return colours.CURVES.get(bits.enum())
    gamma = bits.take(24)  # of encoding, in ten millionths
    if not gamma:
        raise Corrupt("JPEG XL with a gamma of 0")
    return Curve.SRGB if abs(gamma - SRGB_AS_GAMMA) <= 50 else 10_000_000 / gamma


def _skip_transform_data(bits: JxlBits, xyb: bool) -> None:
    """Custom matrices and weights (D.3.5)."""
    if bits.flag():
        return
    if xyb and not bits.flag():
        bits.skip(16 * 16)  # an inverse opsin matrix
    weights = bits.take(3)
    for index, count in enumerate((15, 55, 210)):
        if weights >> index & 1:
            bits.skip(16 * count)


def _with_first_frame(bits: JxlBits, stream: Codestream) -> Codestream:
    if bits.flag():  # all fields have their defaults
        return replace(stream, modular=False, independent=True)
    kind, modular, flags = bits.take(2), bits.flag(), bits.u64()
    if kind != REGULAR:  # not yet the picture, but patches or a coarse version of it
        return stream
    _skip_subsampling(bits, stream, flags, modular)
    _skip_passes(bits)
    partial = bits.flag() and _is_partial(bits, stream)
    for _ in range(1 + len(stream.channels)):
        _skip_blending(bits, bool(stream.channels), partial)
    lasts = stream.animated and bits.choice(DURATION) > 0
    if stream.has_timecodes:
        bits.skip(32)
    return replace(stream, modular=modular, independent=lasts or bits.flag())


def _skip_subsampling(bits: JxlBits, stream: Codestream, flags: int, modular: bool) -> None:
    ycbcr = not stream.xyb and bits.flag()
    if not flags & USES_LF_FRAME:
        bits.skip(3 * 2 * ycbcr)
        bits.choices(*[UPSAMPLING] * (1 + len(stream.channels)))
    if modular:
        bits.skip(2)  # group_size_shift
    elif stream.xyb:
        bits.skip(3 + 3)


def _skip_passes(bits: JxlBits) -> None:
    passes = bits.choice(PASSES)
    if passes > 1:
        downsamplings = bits.choice(DOWNSAMPLINGS)
        bits.skip(2 * (passes - 1))
        bits.choices(*[UPSAMPLING] * downsamplings, *[LAST_PASS] * downsamplings)


def _is_partial(bits: JxlBits, stream: Codestream) -> bool:
    """Whether a frame with a place of its own does not cover the picture."""
    left, top = bits.signed(CROP), bits.signed(CROP)
    width, height = bits.choice(CROP), bits.choice(CROP)
    return left > 0 or top > 0 or left + width < stream.width or top + height < stream.height


def _skip_blending(bits: JxlBits, has_extra_channels: bool, partial: bool) -> None:
    mode = bits.choice(BLEND_MODE)
    by_alpha = has_extra_channels and mode in (BLEND, MULTIPLY_ADD)
    if by_alpha:
        bits.choice(ALPHA_CHANNEL)
    if by_alpha or mode == MULTIPLY:
        bits.skip(1)  # clamp
    if mode != REPLACE or partial:
        bits.skip(2)  # the saved frame below
