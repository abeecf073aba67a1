"""JPEG XL (ISO/IEC 18181-1 and -2): what its headers say, bare or in its container.

Not read: headers of frames behind the first (an animation counts as two frames), Brotli-compressed EXIF, and EXIF
behind a codestream that goes on beyond the head. Decoders apply the codestream's orientation themselves and ignore
EXIF's, so the size given is that after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from thumbnailer.errors import Corrupt, NeedMoreBytes
from thumbnailer.formats.boxes import Box, boxes
from thumbnailer.formats.colour_space import LINEAR, SRGB_PRIMARIES, ColourSpace, profile_for
from thumbnailer.formats.exif import MAX_BLOCK, Ifd0, parse_ifd0
from thumbnailer.formats.head import Head
from thumbnailer.formats.jxl_codestream import Codestream, EndOfBits, read
from thumbnailer.model import Details, Format, ImageInfo

SIGNATURE = b"\xff\x0a"
ENOUGH = 16_384
SIDES_SWAPPED = 5
"""EXIF orientations from here on turn the picture on its side."""
"""Bytes that hold every field read here, whatever its value."""


@dataclass(frozen=True, slots=True)
class JxlDetails(Details):
    whole_planes: int = 1
    """`samples` that may have to be put together before any pixel is made of them"""
    saved_frames: int = 0
    """frames kept whole beside the decoded one, to take parts from"""
    profile: bytes = field(default=b"", repr=False)
    """ICC profile of the decoded pixels, where the file gives their colours in numbers and they are not sRGB"""


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
    return replace(info, credit=exif.credit)


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
    except EndOfBits:
        if whole:
            raise Corrupt("JPEG XL ends inside its header") from None
        raise NeedMoreBytes("JPEG XL header goes on beyond the bytes at hand") from None


def _info(stream: bytes) -> ImageInfo:
    if not stream.startswith(SIGNATURE):
        raise EndOfBits if SIGNATURE.startswith(stream) else Corrupt("JPEG XL codestream has no signature")
    said = read(stream[len(SIGNATURE) :])
    turned = said.extra.orientation >= SIDES_SWAPPED
    colours = 1 if said.colours.grey else 3
    return ImageInfo(
        Format.JXL,
        *((said.height, said.width) if turned else (said.width, said.height)),
        has_alpha=said.alpha,
        frames=2 if said.extra.animated else 1,
        bit_depth=said.bit_depth,
        icc=said.colours.icc,
        channels=colours + said.alpha,
        details=JxlDetails(
            samples=_samples(said),
            whole_planes=_whole_planes(said),
            saved_frames=0 if said.first and said.first.alone else 1,
            profile=_profile(said),
        ),
    )


def _samples(said: Codestream) -> int:
    return (3 if said.xyb or not said.colours.grey else 1) + len(said.channels)


def _whole_planes(said: Codestream) -> int:
    """All of a modular frame; else the extra channels, which are modular in any frame, at more cost than all."""
    if said.channels and not (said.first and said.first.modular):
        return len(said.channels)
    return _samples(said) if said.first is None or said.first.modular else 0


def _profile(said: Codestream) -> bytes:
    """Of the pixels as libjxl hands them out, where that is not sRGB and no profile of the file's own."""
    space = said.colours.space
    if said.colours.icc and said.xyb:  # it knows no way from there into a space that only a profile tells
        space = ColourSpace(primaries=None if said.colours.grey else SRGB_PRIMARIES, curve=LINEAR)
    if space is None or space.is_srgb:
        return b""
    try:
        return profile_for(space)
    except ValueError as error:
        raise Corrupt(f"JPEG XL with {error}") from None
