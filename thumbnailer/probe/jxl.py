"""JPEG XL (ISO/IEC 18181-1 annex D): SizeHeader and the start of ImageMetadata, bare or in its container.

Not read: frame headers (an animation counts as two frames), extra channels behind the first that is not a plain alpha
channel, Brotli-compressed EXIF, and EXIF behind a codestream that goes on beyond the head. Decoders apply the
codestream's orientation themselves and ignore EXIF's, so the size given is that after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from thumbnailer.errors import Corrupt, NeedMoreBytes, UnsupportedFormat
from thumbnailer.exif import MAX_BLOCK, Ifd0, parse_ifd0
from thumbnailer.model import Format, ImageInfo
from thumbnailer.probe.boxes import Box, boxes
from thumbnailer.probe.head import Head

SIGNATURE = b"\xff\x0a"
ENOUGH = 512
"""Bytes that hold every field read here, whatever its value."""
MAX_EXTRA_CHANNELS = 8
"""Beside the colours: alpha, depth, spot colours. libjxl decodes all of them, of which there may be 4,096."""
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
SIDES_SWAPPED = 5
"""EXIF orientations from here on turn the picture on its side."""

SIZE = ((1, 9), (1, 13), (1, 18), (1, 30))
PREVIEW_SIZE = ((1, 6), (65, 8), (321, 10), (1345, 12))
PREVIEW_SIZE_DIV8 = ((16, 0), (32, 0), (1, 5), (33, 9))
TICKS = ((100, 0), (1000, 0), (1, 10), (1, 30))
TICKS_DIVISOR = ((1, 0), (1001, 0), (1, 8), (1, 10))
LOOPS = ((0, 0), (0, 3), (0, 16), (0, 32))
INTEGER_BITS = ((8, 0), (10, 0), (12, 0), (1, 6))
FLOAT_BITS = ((32, 0), (16, 0), (24, 0), (1, 6))
EXTRA_CHANNELS = ((0, 0), (1, 0), (2, 4), (1, 12))
ENUM = ((0, 0), (1, 0), (2, 4), (18, 6))
"""U32 distributions: for each selector an offset and how many bits are added to it (annex B)."""
GREY = 1
"""Of colour_space."""
ALPHA = 0


class _EndOfBits(Exception):
    """The codestream's bytes at hand are used up."""


class _Bits:
    """Reads little-endian bit fields (annex B.2)."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise _EndOfBits
        field = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return field

    def flag(self) -> bool:
        return self.take(1) == 1

    def choice(self, distribution: tuple[tuple[int, int], ...]) -> int:
        offset, bits = distribution[self.take(2)]
        return offset + self.take(bits)


@dataclass(frozen=True, slots=True)
class _Metadata:
    orientation: int = 1
    animated: bool = False
    bit_depth: int = 8
    alpha: bool = False
    icc: bool = False
    grey: bool = False


def read_codestream(head: Head) -> ImageInfo:
    head = head.called("JPEG XL")
    return _parse(head.up_to(0, ENOUGH), whole=head.whole or len(head) >= ENOUGH)


def read_container(head: Head) -> ImageInfo:
    head = head.called("JPEG XL")
    stream, exif, ended = b"", Ifd0(), True
    try:
        for box in boxes(head, 0, head.end):
            stream += _codestream_part(head, box, ENOUGH - len(stream))
            if box.kind == b"Exif":
                exif = _exif(head, box)
    except (Corrupt, NeedMoreBytes) as error:
        if not stream:
            raise
        ended = isinstance(error, Corrupt)
    info = _parse(stream, whole=ended or len(stream) >= ENOUGH)
    return replace(info, artist=exif.artist, copyright=exif.copyright)


def _codestream_part(head: Head, box: Box, wanted: int) -> bytes:
    # jxlp begins with the part's number; parts come in order (ISO/IEC 18181-2 section 9).
    skip = {b"jxlc": 0, b"jxlp": 4}.get(box.kind)
    if skip is None or wanted <= 0:
        return b""
    return head.up_to(box.start + skip, max(0, min(wanted, box.end - box.start - skip)))


def _exif(head: Head, box: Box) -> Ifd0:
    (offset,) = head.unpack(">I", box.start)
    start = box.start + 4 + offset
    return parse_ifd0(head.up_to(start, max(0, min(MAX_BLOCK, box.end - start))))


def _parse(stream: bytes, whole: bool) -> ImageInfo:
    try:
        return _info(stream)
    except _EndOfBits:
        if whole:
            raise Corrupt("JPEG XL ends inside its header") from None
        raise NeedMoreBytes("JPEG XL header goes on beyond the bytes at hand") from None


def _info(stream: bytes) -> ImageInfo:
    if not stream.startswith(SIGNATURE):
        raise _EndOfBits if SIGNATURE.startswith(stream) else Corrupt("JPEG XL codestream has no signature")
    bits = _Bits(stream[2:])
    width, height = _size(bits)
    metadata = _metadata(bits)
    if metadata.orientation >= SIDES_SWAPPED:
        width, height = height, width
    return ImageInfo(
        Format.JXL,
        width,
        height,
        has_alpha=metadata.alpha,
        frames=2 if metadata.animated else 1,
        bit_depth=metadata.bit_depth,
        icc=metadata.icc,
        channels=(1 if metadata.grey else 3) + metadata.alpha,
    )


def _size(bits: _Bits) -> tuple[int, int]:
    """Width and height; the height comes first, and often the width is a ratio of it (D.2)."""
    small = bits.flag()
    height = 8 * (1 + bits.take(5)) if small else bits.choice(SIZE)
    ratio = bits.take(3)
    if ratio:
        numerator, denominator = RATIOS[ratio - 1]
        return height * numerator // denominator, height
    return 8 * (1 + bits.take(5)) if small else bits.choice(SIZE), height


def _metadata(bits: _Bits) -> _Metadata:
    if bits.flag():  # all_default
        return _Metadata()
    orientation, animated = _extra_fields(bits) if bits.flag() else (1, False)
    depth = _bit_depth(bits)
    bits.flag()  # modular_16bit_buffers
    alpha, plain = _extra_channels(bits)
    return _Metadata(orientation, animated, depth, alpha, *(_encoding(bits) if plain else ()))


def _extra_fields(bits: _Bits) -> tuple[int, bool]:
    """Orientation, and whether there is an animation."""
    orientation = 1 + bits.take(3)
    if bits.flag():
        _size(bits)  # intrinsic size: a hint for display, pixels are not scaled to it
    if bits.flag():
        _skip_preview(bits)
    animated = bits.flag()
    if animated:
        _skip_animation(bits)
    return orientation, animated


def _skip_preview(bits: _Bits) -> None:
    sides = PREVIEW_SIZE_DIV8 if bits.flag() else PREVIEW_SIZE
    bits.choice(sides)
    if bits.take(3) == 0:
        bits.choice(sides)


def _skip_animation(bits: _Bits) -> None:
    for field in (TICKS, TICKS_DIVISOR, LOOPS):
        bits.choice(field)
    bits.flag()  # have_timecodes


def _bit_depth(bits: _Bits) -> int:
    if not bits.flag():  # float_sample
        return bits.choice(INTEGER_BITS)
    depth = bits.choice(FLOAT_BITS)
    bits.take(4)  # exponent bits
    return depth


def _extra_channels(bits: _Bits) -> tuple[bool, bool]:
    """Whether there is an alpha channel, and whether all channels were plain, so that reading can go on."""
    count = bits.choice(EXTRA_CHANNELS)
    if count > MAX_EXTRA_CHANNELS:
        raise UnsupportedFormat(f"JPEG XL of {count} channels beside its colours")
    for index in range(count):
        if not bits.flag():  # d_alpha: an alpha channel with nothing special
            return index > 0 or bits.choice(ENUM) == ALPHA, False
    return count > 0, True


def _encoding(bits: _Bits) -> tuple[bool, bool]:
    """Whether there is a profile, and whether the colours are grey."""
    bits.flag()  # xyb_encoded
    if bits.flag():  # the default: sRGB
        return False, False
    return bits.flag(), bits.choice(ENUM) == GREY
