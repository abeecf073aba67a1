"""PNG (W3C PNG, third edition), APNG included.

Limits: chunks are walked up to the first IDAT, or to the end when all of the object is at hand; an eXIf chunk behind
the pixels of an object of which only the head was given is therefore not seen, and `complete` stays True. Of an object
with more chunks than MAX_CHUNKS the rest is not looked at.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from thumbnailer.errors import Corrupt, UnsupportedFormat
from thumbnailer.exif import MAX_BLOCK, Ifd0, parse_ifd0
from thumbnailer.model import Format, ImageInfo
from thumbnailer.probe.head import Head

SIGNATURE = b"\x89PNG\r\n\x1a\n"
IHDR_END = 33
MAX_CHUNKS = 10_000
MAX_LENGTH = (1 << 31) - 1
"""Of a chunk, and of a side (section 5.3 and 11.2.1)."""

DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Colour type to allowed bit depths (section 11.2.1)."""
WITH_ALPHA = (4, 6)
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PALETTE = 3


@dataclass(frozen=True, slots=True)
class _Ihdr:
    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool


@dataclass(frozen=True, slots=True)
class _Chunk:
    kind: bytes
    start: int
    length: int


def read_png(head: Head) -> ImageInfo:
    head = head.called("PNG")
    ihdr = _ihdr(head)
    chunks, complete = _collect(head)
    exif = _exif(head, chunks.get(b"eXIf"))
    return ImageInfo(
        Format.PNG,
        ihdr.width,
        ihdr.height,
        orientation=exif.orientation,
        progressive=ihdr.interlaced,
        has_alpha=ihdr.colour in WITH_ALPHA or b"tRNS" in chunks,
        frames=_frames(head, chunks.get(b"acTL")),
        bit_depth=ihdr.depth,
        icc=b"iCCP" in chunks,
        channels=CHANNELS[ihdr.colour],
        palette=ihdr.colour == PALETTE,
        samples=CHANNELS[ihdr.colour],
        artist=exif.artist,
        copyright=exif.copyright,
        complete=complete,
    )


def is_damaged_signature(start: bytes) -> bool:
    """Whether a transfer broke the signature, which is made to show that (section 5.2): bit 7 or line ends changed."""
    return not start.startswith(SIGNATURE) and start[1:4] == b"PNG" and b"IHDR" in start[:20]


def read_ihdr_size(head: Head, start: int) -> tuple[int, int]:
    """Width and height of a PNG within another file."""
    ihdr = _ihdr(head, start)
    return ihdr.width, ihdr.height


def _ihdr(head: Head, start: int = 0) -> _Ihdr:
    (length,) = head.unpack(">I", start + 8)
    kind = head.read(start + 12, 4)
    if kind == b"CgBI":
        raise UnsupportedFormat("Apple's CgBI variant of PNG")
    if kind != b"IHDR" or length != 13:  # section 11.2.1
        raise Corrupt("PNG does not begin with its header chunk")
    width, height, depth, colour, compression, filtering, interlace, checksum = head.unpack(">IIBBBBBI", start + 16)
    # A wrong checksum of a critical chunk is an error for libpng and for browsers; libvips reads on only if told to.
    if zlib.crc32(head.read(start + 12, 17)) != checksum:
        raise Corrupt("PNG header chunk fails its checksum")
    if not (0 < width <= MAX_LENGTH and 0 < height <= MAX_LENGTH):
        raise Corrupt(f"PNG of {width} x {height} pixels")
    if depth not in DEPTHS.get(colour, ()) or compression or filtering or interlace not in (0, 1):
        raise Corrupt(f"PNG of colour type {colour}, {depth} bits and methods {compression}, {filtering}, {interlace}")
    return _Ihdr(width, height, depth, colour, bool(interlace))


def _collect(head: Head) -> tuple[dict[bytes, _Chunk], bool]:
    """The first chunk of each kind where it counts, and whether all that could matter was reached."""
    found: dict[bytes, _Chunk] = {}
    walked = 0
    for chunk in _chunks(head):
        walked += 1
        # Behind the pixels only eXIf has a meaning (section 5.6).
        if b"IDAT" not in found or chunk.kind == b"eXIf":
            found.setdefault(chunk.kind, chunk)
        if chunk.kind == b"IEND" or (chunk.kind == b"IDAT" and not head.whole):
            break
    return found, head.whole or b"IDAT" in found or walked == MAX_CHUNKS


def _chunks(head: Head) -> Iterator[_Chunk]:
    position = IHDR_END
    for _ in range(MAX_CHUNKS):
        if not head.reaches(position + 8):
            return
        (length,) = head.unpack(">I", position)
        if length > MAX_LENGTH:
            return
        yield _Chunk(head.read(position + 4, 4), position + 8, length)
        position += 12 + length


def _frames(head: Head, control: _Chunk | None) -> int:
    """acTL's count: without the still picture that some files carry for viewers that know no APNG."""
    if control is None or not head.reaches(control.start + 4):
        return 1
    return max(1, head.unpack(">I", control.start)[0])


def _exif(head: Head, chunk: _Chunk | None) -> Ifd0:
    return parse_ifd0(head.up_to(chunk.start, min(chunk.length, MAX_BLOCK))) if chunk else Ifd0()
