"""WebP (RFC 9649): the simple lossy and lossless layouts, and the extended one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from thumbnailer.errors import Corrupt
from thumbnailer.formats.exif import MAX_BLOCK, Ifd0, parse_ifd0
from thumbnailer.formats.head import Head
from thumbnailer.model import Details, Format, ImageInfo

MAX_CHUNKS = 200_000
"""Chunks walked of an extended file, a fraction of a second."""
MAX_OTHER_CHUNKS = 300
"""Of those without pixels, in frames and beside them. Encoders write three; libwebp notes every one."""
PIXELS = (b"ANMF", b"VP8 ", b"VP8L", b"ALPH", b"")
"""The kinds that hold frames, and the one that says where the container ends."""
FRAME_HEADER = 16
FIRST_CHUNK = 12
HEADER = struct.Struct("<4sI")
"""Kind and size of a chunk."""
ICC, ALPHA, EXIF, ANIMATION = 0x20, 0x10, 0x08, 0x02
"""Flags of the VP8X chunk (section 2.7.1)."""


LOSSY_SAMPLES, LOSSLESS_SAMPLES = 1.5, 4.0
"""VP8 is 4:2:0 always; a VP8L picture is decoded as ARGB."""


@dataclass(frozen=True, slots=True)
class _Walked:
    """What the chunks behind VP8X hold."""

    frames: int = 0
    lossy: bool = False
    pixels: int = 0
    exif: Ifd0 | None = None
    ended: bool = False


def read_webp(head: Head) -> ImageInfo:
    head = head.called("WebP")
    readers = {b"VP8 ": _lossy, b"VP8L": _lossless, b"VP8X": _extended}
    kind = head.read(FIRST_CHUNK, 4)
    if kind not in readers:
        raise Corrupt("WebP does not begin with a picture chunk")
    return readers[kind](head)


def _lossy(head: Head) -> ImageInfo:
    """A VP8 key frame (RFC 6386 section 9.1)."""
    tag = head.byte(20)
    start_code = head.read(23, 3)
    width, height = (side & 0x3FFF for side in head.unpack("<HH", 26))
    if tag & 1 or start_code != b"\x9d\x01\x2a" or not (width and height):
        raise Corrupt("WebP does not begin with a VP8 key frame")
    return ImageInfo(
        Format.WEBP, width, height, channels=3, details=Details(LOSSY_SAMPLES, held=_beside(head, _first_size(head)))
    )


def _lossless(head: Head) -> ImageInfo:
    """A VP8L header (RFC 9649 section 3.4): signature, 14 bits a side, alpha, version."""
    signature, bits = head.unpack("<BI", 20)
    if signature != 0x2F or bits >> 29:  # the signature byte
        raise Corrupt("WebP does not begin with a VP8L picture")
    width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    has_alpha = bool(bits >> 28 & 1)
    return ImageInfo(
        Format.WEBP,
        width,
        height,
        has_alpha=has_alpha,
        channels=3 + has_alpha,
        details=Details(LOSSLESS_SAMPLES, held=_beside(head, _first_size(head))),
    )


def _first_size(head: Head) -> int:
    return head.unpack("<I", FIRST_CHUNK + 4)[0]


def _beside(head: Head, pixels: int) -> int:
    """The bytes of the file that are no pixels."""
    return max(0, (len(head) if head.total is None else head.total) - pixels)


def _extended(head: Head) -> ImageInfo:
    flags = head.byte(20)
    width, height = (1 + int.from_bytes(head.read(at, 3), "little") for at in (24, 27))
    walked = _walk(head, flags)
    exif = walked.exif or Ifd0()
    has_alpha = bool(flags & ALPHA)
    return ImageInfo(
        Format.WEBP,
        width,
        height,
        orientation=exif.orientation,
        has_alpha=has_alpha,
        frames=max(1, walked.frames),
        icc=bool(flags & ICC),
        channels=3 + has_alpha,
        credit=exif.credit,
        complete=walked.ended,
        details=Details(
            LOSSY_SAMPLES + has_alpha if walked.lossy else LOSSLESS_SAMPLES, held=_beside(head, walked.pixels)
        ),
    )


def _walk(head: Head, flags: int) -> _Walked:
    """Count frames and find EXIF where the flags announce them; libwebp ignores them where they do not."""
    frames, others, pixels, lossy, exif = 0, 0, 0, False, None
    for kind, start, size in _chunks(head, FIRST_CHUNK, 8 + head.unpack("<I", 4)[0]):
        if kind == b"ANMF" and flags & ANIMATION:
            frames += 1
            others += sum(inner not in PIXELS for inner, _, _ in _chunks(head, start + FRAME_HEADER, start + size))
        lossy = lossy or kind == b"VP8 "
        others += kind not in PIXELS
        pixels += size if kind in PIXELS else 0
        if others > MAX_OTHER_CHUNKS:
            raise Corrupt(f"WebP with more than {MAX_OTHER_CHUNKS} chunks beside its pixels")
        if kind == b"EXIF" and flags & EXIF and exif is None:
            if not head.reaches(start + size) and not head.whole:
                return _Walked(frames, lossy, pixels)
            exif = parse_ifd0(head.up_to(start, min(size, MAX_BLOCK)))
        if kind == b"":
            return _Walked(frames, lossy, pixels, exif, ended=True)
    return _Walked(frames, lossy, pixels, exif)


def _chunks(head: Head, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and size of each chunk; an empty kind says that the container's end was reached."""
    end = min(end, head.end)
    for _ in range(MAX_CHUNKS):
        if position + 8 > end or (head.whole and not head.reaches(position + 8)):
            yield b"", position, 0
            return
        if not head.reaches(position + 8):
            return
        kind, size = HEADER.unpack_from(head.view, position)
        yield kind, position + 8, size
        position += 8 + size + size % 2
    raise Corrupt(f"WebP of more than {MAX_CHUNKS} chunks")
