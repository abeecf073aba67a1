"""PNG (W3C PNG, third edition), APNG included.

Chunks are walked to the end: an eXIf chunk may stand behind the pixels, and decoders suffer from a flood of chunks
there as much as before them. `complete` is False until that end was seen.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from thumbnailer.errors import Corrupt, UnsupportedFormat
from thumbnailer.formats.exif import MAX_BLOCK, Ifd0, parse_ifd0
from thumbnailer.formats.head import Head
from thumbnailer.model import Details, EngineName, Format, ImageInfo

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = struct.Struct(">I4s")
"""Length and kind of a chunk."""
FRAME_CONTROL = struct.Struct(">4xIIII5xB")
"""Width, height, left and top of a frame, and whether it is blended over what was there."""
IHDR_END = 33
MAX_CHUNKS = 200_000
"""libpng writes pixels in chunks of 8 KB by default: this is 1.6 GB of them, and a fraction of a second to walk."""
MAX_OTHER_CHUNKS = 300
"""Of those without pixels. Pillow inflates up to 1 MB of every profile, one after the other, and keeps unknown chunks;
libpng itself stops at 1,000."""
MAX_TEXT = 16 << 20
"""Bytes of all texts before the pixels and of the profile, unpacked. 8 KB in the file may be 8 MB, and libvips holds
five copies of each: a file of 40 KB made it grow by 200 MB, one of 24 MB by 14 GB. Of what stands behind the pixels it
holds nothing. The workflows that image generators write are a megabyte at most."""
MAX_LENGTH = (1 << 31) - 1
"""Of a chunk, and of a side (section 5.3 and 11.2.1)."""

DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Colour type to allowed bit depths (section 11.2.1)."""
WITH_ALPHA = (4, 6)
PIXELS = (b"IDAT", b"fdAT", b"fcTL")
PIECE = 1 << 20
PLAIN_TEXT = b"tEXt"
DEFLATED = {
    b"zTXt": re.compile(rb"[^\x00]{1,79}\x00\x00"),
    b"iTXt": re.compile(rb"[^\x00]{1,79}\x00\x01\x00[^\x00]*\x00[^\x00]*\x00"),
    b"iCCP": re.compile(rb"[^\x00]{1,79}\x00\x00"),
}
"""What stands before the deflated bytes (sections 11.3.2.3, 11.3.3.3 and 11.3.3.4); other iTXt is plain."""
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
TRUECOLOUR, PALETTE = 2, 3


@dataclass(frozen=True, slots=True)
class PngDetails(Details):
    hidden_first: bool = False
    """of an APNG: the first picture is for viewers without APNG, the animation begins with the second"""


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
    chunks, text, complete = _collect(head)
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
        credit=exif.credit,
        complete=complete,
        details=_details(head, ihdr, chunks, text),
    )


def _details(head: Head, ihdr: _Ihdr, chunks: dict[bytes, _Chunk], text: int) -> PngDetails:
    """libvips knows no APNG. Pillow looks for the transparent colour of 16 bits in the upper eight alone."""
    hidden_first = _hides_first(head, ihdr, chunks)
    deep_colour_key = ihdr.depth == 16 and ihdr.colour == TRUECOLOUR and b"tRNS" in chunks
    return PngDetails(
        samples=CHANNELS[ihdr.colour],
        palette=ihdr.colour == PALETTE,
        held=2 * text,  # six copies, as others are counted three times
        first_engine=EngineName.PILLOW if hidden_first else EngineName.VIPS if deep_colour_key else None,
        hidden_first=hidden_first,
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


def _collect(head: Head) -> tuple[dict[bytes, _Chunk], int, bool]:
    """The first chunk of each kind where it counts, the bytes of text, and whether all that matters was reached."""
    found: dict[bytes, _Chunk] = {}
    others = text = 0
    for chunk in _chunks(head):
        if chunk.kind not in PIXELS:
            others += 1
        if others > MAX_OTHER_CHUNKS:
            raise Corrupt(f"PNG with more than {MAX_OTHER_CHUNKS} chunks beside its pixels")
        if chunk.kind not in PIXELS and b"IDAT" not in found and chunk.start + chunk.length > head.end:
            raise Corrupt("PNG ends inside its header")  # decoders allocate first what such a chunk claims
        if b"IDAT" not in found and (chunk.kind != b"iCCP" or chunk.kind not in found):
            text += _text_size(head, chunk, MAX_TEXT - text)
        if text > MAX_TEXT:
            raise Corrupt(f"PNG with more than {MAX_TEXT >> 20} MB of text")
        # Behind the pixels only eXIf has a meaning (section 5.6), and where the animation begins.
        if b"IDAT" not in found or chunk.kind in (b"eXIf", b"fcTL"):
            found.setdefault(chunk.kind, chunk)
        if chunk.kind == b"IEND":
            return found, text, True
    return found, text, head.whole


def _text_size(head: Head, chunk: _Chunk, most: int) -> int:
    """Bytes of a text or a profile as decoders hold it; no more is unpacked than shows that it is over `most`."""
    if chunk.kind == PLAIN_TEXT:
        return chunk.length
    if chunk.kind not in DEFLATED:
        return 0
    body = head.up_to(chunk.start, chunk.length)
    start = DEFLATED[chunk.kind].match(body)
    if start is None:
        return chunk.length
    return _inflated_size(body[start.end() :], most)


def _inflated_size(packed: bytes, most: int) -> int:
    """Counted piece by piece, of which none is kept. What is broken counts as far as it goes."""
    inflater = zlib.decompressobj()
    size = 0
    try:
        while packed and size <= most:
            size += len(inflater.decompress(packed, PIECE))
            packed = inflater.unconsumed_tail
    except zlib.error:
        pass
    return size


def _chunks(head: Head) -> Iterator[_Chunk]:
    """The chunks at hand, as far as their lengths make sense."""
    position = IHDR_END
    for _ in range(MAX_CHUNKS):
        if not head.reaches(position + 8):
            return
        length, kind = HEADER.unpack_from(head.view, position)
        if length > MAX_LENGTH:
            return
        yield _Chunk(kind, position + 8, length)
        position += 12 + length
    raise Corrupt(f"PNG with more than {MAX_CHUNKS} chunks")


def _frames(head: Head, control: _Chunk | None) -> int:
    """acTL's count: without the still picture that some files carry for viewers that know no APNG."""
    if control is None or not head.reaches(control.start + 4):
        return 1
    return max(1, head.unpack(">I", control.start)[0])


def _hides_first(head: Head, ihdr: _Ihdr, chunks: dict[bytes, _Chunk]) -> bool:
    """Whether the animation begins behind the first picture, with one that covers it (section 11.3.6.2)."""
    control, first = chunks.get(b"fcTL"), chunks.get(b"IDAT")
    if b"acTL" not in chunks or control is None or first is None or control.start < first.start:
        return False
    if not head.reaches(control.start + FRAME_CONTROL.size):
        return False
    *box, blends = FRAME_CONTROL.unpack_from(head.view, control.start)
    opaque = ihdr.colour not in WITH_ALPHA and b"tRNS" not in chunks
    return box == [ihdr.width, ihdr.height, 0, 0] and (opaque or not blends)


def _exif(head: Head, chunk: _Chunk | None) -> Ifd0:
    return parse_ifd0(head.up_to(chunk.start, min(chunk.length, MAX_BLOCK))) if chunk else Ifd0()
