"""WebP (RFC 9649): the simple lossy and lossless layouts, and the extended one."""

import struct
from collections.abc import Iterator

from thumbnailer.errors import Corrupt
from thumbnailer.formats.base import MOST_FRAMES, NO_END, FormatSpec, Head, NotStrippable, Piece, first, starts_with
from thumbnailer.formats.exif import read_ifd0
from thumbnailer.model import Details, EngineName, Format, ImageInfo

MAX_OTHER_CHUNKS = 300
"""Chunks without pixels, in frames and beside them. Encoders write three; libwebp notes every one."""
PIXELS = frozenset({b"ANMF", b"VP8 ", b"VP8L", b"ALPH"})
FRAME_HEADER = 16
FIRST_CHUNK = 12
CHUNK, CHUNK_SIZE = "<4sI", 8  # kind and size of a chunk
ICC, ALPHA, EXIF, XMP, ANIMATION = 0x20, 0x10, 0x08, 0x04, 0x02  # flags of the VP8X chunk (section 2.7.1)
LOSSY_SAMPLES, LOSSLESS_SAMPLES = 1.5, 4.0  # VP8 is always 4:2:0; a VP8L picture is decoded as ARGB


def read_webp(head: Head) -> ImageInfo:
    readers = {b"VP8 ": _read_lossy, b"VP8L": _read_lossless, b"VP8X": _read_extended}
    kind = head.read(FIRST_CHUNK, 4)
    if kind not in readers:
        raise Corrupt("WebP does not begin with a picture chunk")
    return readers[kind](head)


def _read_lossy(head: Head) -> ImageInfo:
    """A VP8 key frame (RFC 6386 section 9.1)."""
    size, tag = head.unpack("<IB", FIRST_CHUNK + 4)
    start_code, sides = head.read(23, 3), head.unpack("<HH", 26)
    width, height = (side & 0x3FFF for side in sides)
    if tag & 1 or start_code != b"\x9d\x01\x2a" or not (width and height):
        raise Corrupt("WebP does not begin with a VP8 key frame")
    return ImageInfo(Format.WEBP, width, height, channels=3, details=_details(head, LOSSY_SAMPLES, size))


def _read_lossless(head: Head) -> ImageInfo:
    """A VP8L header (RFC 9649 section 3.4): signature, 14 bits a side, alpha, version."""
    size, signature, bits = head.unpack("<IBI", FIRST_CHUNK + 4)
    if signature != 0x2F or bits >> 29:
        raise Corrupt("WebP does not begin with a VP8L picture")
    width, height, has_alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    details = _details(head, LOSSLESS_SAMPLES, size)
    return ImageInfo(Format.WEBP, width, height, has_alpha=has_alpha, channels=3 + has_alpha, details=details)


def _details(head: Head, samples: float, pixels: int, frames: int = 1) -> Details:
    """`pixels` are the bytes of the file that hold pixels. libvips takes a minute to open 100,000 frames."""
    unread = frozenset({EngineName.VIPS} if frames > MOST_FRAMES else ())
    return Details(samples, held=max(0, head.size - pixels), misread_by=unread)


def _read_extended(head: Head) -> ImageInfo:
    flags = head.number(20)
    width, height = (1 + int.from_bytes(head.read(at, 3), "little") for at in (24, 27))
    pieces = list(_walk(head, bool(flags & ANIMATION)))
    frames = sum(piece.kind == b"ANMF" for piece in pieces) if flags & ANIMATION else 1
    pixels = sum(piece.size for piece in pieces if piece.kind in PIXELS)
    end = _next(pieces[-1]) if pieces else FIRST_CHUNK
    block = first(pieces, b"EXIF") if flags & EXIF else None  # libwebp ignores one that the flags do not announce
    is_cut = block is not None and not head.reaches(block.end) and not head.whole
    exif = read_ifd0(head, None if is_cut else block)
    has_alpha = bool(flags & ALPHA)
    samples = LOSSY_SAMPLES + has_alpha if first(pieces, b"VP8 ") else LOSSLESS_SAMPLES
    return ImageInfo(
        Format.WEBP,
        width,
        height,
        orientation=exif.orientation,
        has_alpha=has_alpha,
        frames=max(1, frames),
        icc=bool(flags & ICC),
        channels=3 + has_alpha,
        credit=exif.credit,
        complete=head.whole or frames > MOST_FRAMES or not (is_cut or end + CHUNK_SIZE <= _end(head)),
        details=_details(head, samples, pixels, frames),
    )


def _walk(head: Head, in_frames: bool) -> Iterator[Piece]:
    """The chunks of the file, up to one frame beyond MOST_FRAMES.

    Raises Corrupt if too many, with those in frames, have no pixels.
    """
    others = frames = 0
    for chunk in chunks(head):
        others += chunk.kind not in PIXELS
        if chunk.kind == b"ANMF" and in_frames:
            frames += 1
            head.spend(1)
            inner = chunks(head, chunk.start + FRAME_HEADER, min(chunk.end, head.end))
            others += sum(piece.kind not in PIXELS for piece in inner)
        head.allow(others, MAX_OTHER_CHUNKS, "chunks beside its pixels")
        yield chunk
        if frames > MOST_FRAMES:
            return


def _next(chunk: Piece) -> int:
    return chunk.end + chunk.size % 2


def chunks(head: Head, start: int = FIRST_CHUNK, end: int | None = None) -> Iterator[Piece]:
    """The chunks at hand, the last of which may be cut."""
    end = _end(head) if end is None else end
    while start + CHUNK_SIZE <= end and head.reaches(start + CHUNK_SIZE):
        kind, size = head.unpack(CHUNK, start)
        yield (chunk := Piece(kind, start + CHUNK_SIZE, start + CHUNK_SIZE + size))
        start = _next(chunk)


def _end(head: Head) -> int:
    """Where the container says that it ends, or where the file ends before that."""
    (size,) = head.unpack("<I", 4)
    return min(8 + int(size), head.end)


KEPT = PIXELS | {b"VP8X", b"ANIM"}


def ending_defect(head: Head) -> str:
    return "" if head.reaches(8 + head.unpack("<I", 4)[0]) else NO_END


def strip(head: Head) -> Iterator[bytes]:
    if ending_defect(head):
        raise NotStrippable(NO_END)
    pieces = b"".join(_kept_chunks(head))
    yield b"RIFF" + struct.pack("<I", 4 + len(pieces)) + b"WEBP" + pieces


def _kept_chunks(head: Head) -> Iterator[bytes]:
    for chunk in chunks(head):
        if chunk.kind == b"ICCP":
            raise NotStrippable("a profile")
        data = head.read(chunk.start - CHUNK_SIZE, CHUNK_SIZE + chunk.size)
        if chunk.kind == b"VP8X":
            data = data[:8] + bytes(flags & ~(EXIF | XMP) for flags in data[8:9]) + data[9:]
        if chunk.kind in KEPT:
            yield data + head.up_to(chunk.end, chunk.size % 2)


FORMAT = FormatSpec("WebP", (Format.WEBP,), starts_with(b"WEBP", at=8), read_webp, ending_defect, strip)
