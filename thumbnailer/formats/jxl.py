"""JPEG XL (ISO/IEC 18181): the container (-2), and the codestream up to its first frame (-1, annexes B, D, E and F).

Not read: headers of frames behind the first (an animation counts as two frames), Brotli-compressed EXIF, and EXIF
behind a codestream that goes on beyond the head. Decoders apply the codestream's orientation and ignore EXIF's. The
size is therefore the size after the codestream's orientation. A colour profile and a preview are entropy-coded and have
no length: behind one of them, the first frame is unknown.
"""

from dataclasses import dataclass, replace

from thumbnailer.errors import Corrupt, NeedMoreBytes, UnsupportedFormat
from thumbnailer.formats import icc
from thumbnailer.formats.base import Bits, EndOfBits, FormatSpec, Head, starts_with
from thumbnailer.formats.boxes import boxes
from thumbnailer.formats.details import JxlDetails
from thumbnailer.formats.exif import Ifd0, read_ifd0
from thumbnailer.formats.icc import LINEAR, SRGB, SRGB_PRIMARIES, ColourSpace, Curve, Point, conversion_profile
from thumbnailer.model import Format, ImageInfo

CONTAINER, SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a"
PARTS = {b"jxlc": 0, b"jxlp": 4}
"""Boxes of the codestream; a jxlp box begins with its number, and they come in order (ISO/IEC 18181-2 section 9)."""
ENOUGH = 16_384  # bytes that hold every field read here, whatever its value
SIDES_SWAPPED = 5  # the first orientation that turns the picture on its side
MAX_EXTRA_CHANNELS = 8
"""Beside the colours: alpha, depth, spot colours. libjxl decodes all of them, up to 4,096."""
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
GREY, XYB = 1, 2  # of colour_space
ALPHA, SPOT_COLOUR, CFA = 0, 2, 5  # types of extra channels
CUSTOM = 2  # of white_point and of primaries
WHITES = {1: icc.D65, 10: icc.EQUAL_ENERGY, 11: icc.DCI_WHITE}
SRGB_AS_GAMMA = 4_545_455
"""1 / 2.2: the gamma that PNGs give for sRGB (PNG, section 11.3.2.2), which encoders copy."""
REGULAR, USES_LF_FRAME = 0, 32  # type and flag of a frame
REPLACE, BLEND, MULTIPLY_ADD, MULTIPLY = 0, 2, 3, 4


class JxlBits(Bits):
    """Adds the encodings of annex B.2."""

    def choice(self, *distribution: tuple[int, int]) -> int:
        """A U32: each of its four selectors has an offset, and the number of bits that are added to it."""
        offset, count = distribution[self.take(2)]
        return offset + self.take(count)

    def enum(self) -> int:
        return self.choice((0, 0), (1, 0), (2, 4), (18, 6))

    def take_signed(self, *distribution: tuple[int, int]) -> int:
        """The sign is the lowest bit."""
        packed = self.choice(*distribution)
        return -(packed + 1) // 2 if packed & 1 else packed // 2

    def u64(self) -> int:
        selector = self.take(2)
        offset, count = ((0, 0), (1, 4), (17, 8), (0, 12))[selector]
        value, shift = offset + self.take(count), 12
        while selector == 3 and shift <= 60 and self.flag():
            value |= self.take(min(8, 64 - shift)) << shift
            shift += 8
        return value


@dataclass(slots=True)
class Codestream:
    """Fields are set as they are read; the defaults are the ones of a codestream without metadata."""

    width: int
    height: int
    orientation: int = 1
    has_preview: bool = False
    animated: bool = False
    has_timecodes: bool = False
    bit_depth: int = 8
    channels: tuple[int, ...] = ()  # types of the channels beside the colours
    xyb: bool = True  # pixels are stored in libjxl's own space
    icc: bool = False
    grey: bool = False
    space: ColourSpace | None = SRGB  # None if a profile gives the colours, or nothing does
    modular: bool | None = None
    """the planes of the first frame are put together as a whole; None if that frame is unknown"""
    independent: bool = False  # the first frame is the picture: no other frame is laid over it

    @property
    def alpha(self) -> bool:
        return ALPHA in self.channels


def read_jxl(head: Head) -> ImageInfo:
    if head.up_to(0, len(CONTAINER)) != CONTAINER:
        return _parse(head, head.up_to(0, ENOUGH), whole=head.whole or len(head) >= ENOUGH)
    stream, exif, ended = b"", Ifd0(), True
    try:
        for box in boxes(head, 0, head.end):
            if box.kind in PARTS and len(stream) < ENOUGH:
                start = box.start + PARTS[box.kind]
                stream += head.up_to(start, max(0, min(ENOUGH - len(stream), box.end - start)))
            if box.kind == b"Exif":
                exif = read_ifd0(head, box, skip=4 + head.number(box.start, 4))
    except (Corrupt, NeedMoreBytes) as error:
        if not stream:
            raise
        ended = isinstance(error, Corrupt)
    info = _parse(head, stream, whole=ended or len(stream) >= ENOUGH)
    return replace(info, credit=exif.credit)


def _parse(head: Head, stream: bytes, whole: bool) -> ImageInfo:
    if len(stream) >= len(SIGNATURE) and not stream.startswith(SIGNATURE):
        raise Corrupt("JPEG XL codestream has no signature")
    try:
        return _make_info(_read_codestream(JxlBits(head, stream[len(SIGNATURE) :], "little")))
    except EndOfBits as error:
        if whole:
            raise
        raise NeedMoreBytes("JPEG XL header goes on beyond the bytes at hand") from error


def _make_info(stream: Codestream) -> ImageInfo:
    turned = stream.orientation >= SIDES_SWAPPED
    return ImageInfo(
        Format.JXL,
        *((stream.height, stream.width) if turned else (stream.width, stream.height)),
        has_alpha=stream.alpha,
        frames=2 if stream.animated else 1,
        bit_depth=stream.bit_depth,
        icc=stream.icc,
        channels=(1 if stream.grey else 3) + stream.alpha,
        details=JxlDetails(
            samples=_count_samples(stream),
            whole_planes=_count_whole_planes(stream),
            saved_frames=0 if stream.independent else 1,
            profile=_make_profile(stream),
        ),
    )


def _count_samples(stream: Codestream) -> int:
    return (3 if stream.xyb or not stream.grey else 1) + len(stream.channels)


def _count_whole_planes(stream: Codestream) -> int:
    """All samples of a modular frame; else the extra channels, which are modular in any frame and cost more.

    An unknown frame counts as the dearer of the two.
    """
    if stream.channels and not stream.modular:
        return len(stream.channels)
    return 0 if stream.modular is False else _count_samples(stream)


def _make_profile(stream: Codestream) -> bytes:
    """Of the pixels that libjxl hands out; empty for sRGB, and if the file's own profile holds for them."""
    space = stream.space
    if stream.icc and stream.xyb:  # libjxl cannot convert XYB into a space that only a profile describes
        space = ColourSpace(primaries=None if stream.grey else SRGB_PRIMARIES, curve=LINEAR)
    try:
        return conversion_profile(space)
    except ValueError as error:
        raise Corrupt(f"JPEG XL with {error}") from None


def _read_codestream(bits: JxlBits) -> Codestream:
    """All fields, from behind the signature. Raises EndOfBits, Corrupt, UnsupportedFormat."""
    stream = Codestream(*_read_size(bits))
    if not bits.flag():
        _read_metadata(bits, stream)
    if not (stream.has_preview or stream.icc):
        _skip_transform_data(bits, stream.xyb)
        bits.to_byte()
        _read_first_frame(bits, stream)
    return stream


def _read_size(bits: JxlBits) -> tuple[int, int]:
    """Width and height; the height comes first, and often the width is a ratio of it (D.2)."""
    small = bits.flag()
    height = _read_side(bits, small)
    ratio = bits.take(3)
    if not ratio:
        return _read_side(bits, small), height
    numerator, denominator = RATIOS[ratio - 1]
    return height * numerator // denominator, height


def _read_side(bits: JxlBits, small: bool) -> int:
    return 8 * (1 + bits.take(5)) if small else bits.choice((1, 9), (1, 13), (1, 18), (1, 30))


def _read_metadata(bits: JxlBits, stream: Codestream) -> None:
    has_extra_fields = bits.flag()
    if has_extra_fields:
        _read_extra_fields(bits, stream)
    stream.bit_depth = _read_bit_depth(bits)
    bits.skip(1)  # modular_16bit_buffers
    count = bits.choice((0, 0), (1, 0), (2, 4), (1, 12))
    if count > MAX_EXTRA_CHANNELS:
        raise UnsupportedFormat(f"JPEG XL of {count} channels beside its colours")
    stream.channels = tuple(_read_extra_channel(bits) for _ in range(count))
    stream.xyb = bits.flag()
    if not bits.flag():  # not the default colours
        _read_colours(bits, stream)
    if has_extra_fields and not bits.flag():
        bits.skip(2 * 16 + 1 + 16)  # tone mapping
    extensions = bits.u64().bit_count()
    for length in [bits.u64() for _ in range(extensions)]:
        bits.skip(length)


def _read_extra_fields(bits: JxlBits, stream: Codestream) -> None:
    stream.orientation = 1 + bits.take(3)
    if bits.flag():
        _read_size(bits)  # intrinsic size: a hint for display, pixels are not scaled to it
    stream.has_preview = bits.flag()
    if stream.has_preview:
        in_eights = bits.flag()
        sides = ((16, 0), (32, 0), (1, 5), (33, 9)) if in_eights else ((1, 6), (65, 8), (321, 10), (1345, 12))
        bits.choice(*sides)
        if not bits.take(3):  # ratio
            bits.choice(*sides)
    stream.animated = bits.flag()
    if stream.animated:
        bits.choice((100, 0), (1000, 0), (1, 10), (1, 30))  # ticks a second
        bits.choice((1, 0), (1001, 0), (1, 8), (1, 10))  # their divisor
        bits.choice((0, 0), (0, 3), (0, 16), (0, 32))  # loops
        stream.has_timecodes = bits.flag()


def _read_bit_depth(bits: JxlBits) -> int:
    if not bits.flag():  # float_sample
        return bits.choice((8, 0), (10, 0), (12, 0), (1, 6))
    depth = bits.choice((32, 0), (16, 0), (24, 0), (1, 6))
    bits.skip(4)  # exponent bits
    return depth


def _read_extra_channel(bits: JxlBits) -> int:
    if bits.flag():  # an alpha channel with default fields
        return ALPHA
    kind = bits.enum()
    _read_bit_depth(bits)
    bits.choice((0, 0), (3, 0), (4, 0), (1, 3))  # downsampling
    bits.skip(8 * bits.choice((0, 0), (0, 4), (16, 5), (48, 10)))  # name
    if kind == ALPHA:
        bits.skip(1)  # premultiplied: libjxl hands out the stored values
    elif kind == SPOT_COLOUR:
        bits.skip(4 * 16)
    elif kind == CFA:
        bits.choice((1, 0), (0, 2), (3, 4), (19, 8))
    return kind


def _read_colours(bits: JxlBits, stream: Codestream) -> None:
    stream.icc, kind = bits.flag(), bits.enum()
    stream.grey = kind == GREY
    stream.space = None if stream.icc or kind == XYB else _read_space(bits, stream.grey)
    if not stream.icc:
        bits.enum()  # rendering intent


def _read_space(bits: JxlBits, grey: bool) -> ColourSpace | None:
    """None for numbers that the specification does not give a meaning."""
    kind = bits.enum()
    white = _read_point(bits) if kind == CUSTOM else WHITES.get(kind)
    primaries = None if grey else _read_primaries(bits)
    curve = _read_transfer(bits)
    if white is None or curve is None or (primaries is None and not grey):
        return None
    return ColourSpace(white, primaries, curve)


def _read_primaries(bits: JxlBits) -> tuple[Point, Point, Point] | None:
    kind = bits.enum()
    return (_read_point(bits), _read_point(bits), _read_point(bits)) if kind == CUSTOM else icc.PRIMARIES.get(kind)


def _read_point(bits: JxlBits) -> Point:
    """Stored in millionths."""
    x, y = (bits.take_signed((0, 19), (524_288, 19), (1_048_576, 20), (2_097_152, 21)) for _ in "xy")
    return x / 1_000_000, y / 1_000_000


def _read_transfer(bits: JxlBits) -> Curve | None:
    if not bits.flag():
        return icc.CURVES.get(bits.enum())
    gamma = bits.take(24)  # of encoding, in ten millionths
    if not gamma:
        raise Corrupt("JPEG XL with a gamma of 0")
    return icc.SRGB_CURVE if abs(gamma - SRGB_AS_GAMMA) <= 50 else (10_000_000 / gamma,)


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


def _read_first_frame(bits: JxlBits, stream: Codestream) -> None:
    if bits.flag():  # all fields have their defaults
        stream.modular, stream.independent = False, True
        return
    kind, modular, flags = bits.take(2), bits.flag(), bits.u64()
    if kind != REGULAR:  # not yet the picture, but patches or a coarse version of it
        return
    stream.modular = modular
    _skip_subsampling(bits, stream, flags)
    _skip_passes(bits)
    partial = bits.flag() and _is_partial(bits, stream)
    for _ in range(1 + len(stream.channels)):
        _skip_blending(bits, bool(stream.channels), partial)
    lasts = stream.animated and bits.choice((0, 0), (1, 0), (0, 8), (0, 32)) > 0
    if stream.has_timecodes:
        bits.skip(32)
    stream.independent = lasts or bits.flag()


def _skip_subsampling(bits: JxlBits, stream: Codestream, flags: int) -> None:
    ycbcr = not stream.xyb and bits.flag()
    if not flags & USES_LF_FRAME:
        bits.skip(3 * 2 * ycbcr + 2 * (1 + len(stream.channels)))  # subsampling and upsampling
    if stream.modular:
        bits.skip(2)  # group_size_shift
    elif stream.xyb:
        bits.skip(3 + 3)


def _skip_passes(bits: JxlBits) -> None:
    passes = bits.choice((1, 0), (2, 0), (3, 0), (4, 3))
    if passes > 1:
        downsamplings = bits.choice((0, 0), (1, 0), (2, 0), (3, 1))
        bits.skip(2 * (passes - 1 + downsamplings))
        for _ in range(downsamplings):
            bits.choice((0, 0), (1, 0), (2, 0), (0, 3))  # last pass


def _is_partial(bits: JxlBits, stream: Codestream) -> bool:
    """Whether a frame with a place of its own does not cover the picture."""
    sides = (0, 8), (256, 11), (2304, 14), (18_688, 30)
    left, top = bits.take_signed(*sides), bits.take_signed(*sides)
    width, height = bits.choice(*sides), bits.choice(*sides)
    return left > 0 or top > 0 or left + width < stream.width or top + height < stream.height


def _skip_blending(bits: JxlBits, has_extra_channels: bool, partial: bool) -> None:
    mode = bits.choice((0, 0), (1, 0), (2, 0), (3, 2))
    by_alpha = has_extra_channels and mode in (BLEND, MULTIPLY_ADD)
    if by_alpha:
        bits.choice((0, 0), (1, 0), (2, 0), (3, 3))  # the alpha channel
    if by_alpha or mode == MULTIPLY:
        bits.skip(1)  # clamp
    if mode != REPLACE or partial:
        bits.skip(2)  # the saved frame below


FORMAT = FormatSpec("JPEG XL", (Format.JXL,), starts_with(CONTAINER, SIGNATURE), read_jxl)
