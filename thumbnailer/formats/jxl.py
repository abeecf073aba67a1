"""JPEG XL (ISO/IEC 18181-1 and -2): its headers, bare or in its container.

Not read: headers of frames behind the first (an animation counts as two frames), Brotli-compressed EXIF, and EXIF
behind a codestream that goes on beyond the head. Decoders apply the codestream's orientation and ignore EXIF's. The
size is therefore the size after the codestream's orientation.
"""

from dataclasses import dataclass, field, replace

from thumbnailer.errors import Corrupt, NeedMoreBytes
from thumbnailer.formats.base import EndOfBits, FormatSpec, Head, Piece, starts_with
from thumbnailer.formats.boxes import boxes
from thumbnailer.formats.exif import Ifd0, read_ifd0
from thumbnailer.formats.icc import LINEAR, SRGB_PRIMARIES, ColourSpace, profile_for
from thumbnailer.formats.jxl_codestream import Codestream, JxlBits, read
from thumbnailer.model import Details, Format, ImageInfo

CONTAINER, SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a"
ENOUGH = 16_384  # bytes that hold every field read here, whatever its value
SIDES_SWAPPED = 5  # the first orientation that turns the picture on its side


@dataclass(frozen=True, slots=True)
class JxlDetails(Details):
    whole_planes: int = 1  # the `samples` that a decoder may hold whole before it makes the first pixel
    saved_frames: int = 0  # frames that a decoder keeps beside the decoded one, to take parts from
    profile: bytes = field(default=b"", repr=False)
    """ICC profile of the decoded pixels, if the file gives their colours in numbers and they are not sRGB"""


def read_jxl(head: Head) -> ImageInfo:
    if head.up_to(0, len(CONTAINER)) != CONTAINER:
        return _parse(head, head.up_to(0, ENOUGH), whole=head.whole or len(head) >= ENOUGH)
    stream, exif, ended = b"", Ifd0(), True
    try:
        for box in boxes(head, 0, head.end):
            stream += _codestream_part(head, box, ENOUGH - len(stream))
            if box.kind == b"Exif":
                exif = read_ifd0(head, box, skip=4 + head.number(box.start, 4))
    except (Corrupt, NeedMoreBytes) as error:
        if not stream:
            raise
        ended = isinstance(error, Corrupt)
    info = _parse(head, stream, whole=ended or len(stream) >= ENOUGH)
    return replace(info, credit=exif.credit)


def _codestream_part(head: Head, box: Piece, wanted: int) -> bytes:
    # jxlp begins with the part's number; parts come in order (ISO/IEC 18181-2 section 9).
    skip = {b"jxlc": 0, b"jxlp": 4}.get(box.kind)
    if skip is None or wanted <= 0:
        return b""
    return head.up_to(box.start + skip, max(0, min(wanted, box.end - box.start - skip)))


def _parse(head: Head, stream: bytes, whole: bool) -> ImageInfo:
    if len(stream) >= len(SIGNATURE) and not stream.startswith(SIGNATURE):
        raise Corrupt("JPEG XL codestream has no signature")
    try:
        return _info(read(JxlBits(head, stream[len(SIGNATURE) :], "little")))
    except EndOfBits as error:
        if whole:
            raise
        raise NeedMoreBytes("JPEG XL header goes on beyond the bytes at hand") from error


def _info(stream: Codestream) -> ImageInfo:
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
            samples=_samples(stream),
            whole_planes=_whole_planes(stream),
            saved_frames=0 if stream.independent else 1,
            profile=_profile(stream),
        ),
    )


def _samples(stream: Codestream) -> int:
    return (3 if stream.xyb or not stream.grey else 1) + len(stream.channels)


def _whole_planes(stream: Codestream) -> int:
    """All samples of a modular frame; else the extra channels, which are modular in any frame and cost more.

    An unknown frame counts as the dearer of the two.
    """
    if stream.channels and not stream.modular:
        return len(stream.channels)
    return 0 if stream.modular is False else _samples(stream)


def _profile(stream: Codestream) -> bytes:
    """Of the pixels that libjxl hands out; empty for sRGB, and if the file's own profile holds for them."""
    space = stream.space
    if stream.icc and stream.xyb:  # libjxl cannot convert XYB into a space that only a profile describes
        space = ColourSpace(primaries=None if stream.grey else SRGB_PRIMARIES, curve=LINEAR)
    if space is None or space.is_srgb:
        return b""
    try:
        return profile_for(space)
    except ValueError as error:
        raise Corrupt(f"JPEG XL with {error}") from None


FORMAT = FormatSpec("JPEG XL", (Format.JXL,), starts_with(CONTAINER, SIGNATURE), read_jxl)
