"""PNG (W3C PNG, third edition), APNG included.

The reader walks all chunks: an eXIf chunk may stand behind the pixels, and a flood of chunks there hurts decoders as
much as one before the pixels. `complete` is False until the reader reaches the end.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby, takewhile

from thumbnailer.errors import Corrupt, UnsupportedFormat
from thumbnailer.formats.base import NO_END, FormatSpec, Head, NotStrippable, Patch, Piece
from thumbnailer.formats.details import PngDetails
from thumbnailer.formats.exif import read_ifd0
from thumbnailer.formats.icc import SRGB_CURVE, ColourSpace, conversion_profile, profile_for, space_by_numbers
from thumbnailer.model import EngineName, Format, ImageInfo
from thumbnailer.values import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNK, CHUNK_SIZE = ">I4s", 8  # length and kind of a chunk
FIRST_CHUNK, IHDR_END = 8, 33
CHECKSUM = 4
MAX_OTHER_CHUNKS = 300
"""Chunks without pixels; unknown ones in a row count once. Pillow inflates up to 1 MB of every profile, one after the
other; libpng itself stops at 1,000."""
MAX_TEXT = 16 << 20
"""Bytes of the profile and of all texts before the pixels: libvips holds five copies of each text, and ignores texts
behind the pixels. The workflows that image generators write have a megabyte at most."""
MAX_PROFILE = 4 << 20
"""Bytes unpacked. Profiles for RGB and grey have less than two megabytes."""
PROFILE_START = 1024  # bytes, of which the first four tell the profile's size
SPARE_PIXELS = 1 << 20
"""Bytes of packed pixels beside twice the unpacked ones. Deflated blocks may be empty, and a MB of their tables costs
libpng 0.23 s. Encoders pack pixels into fewer bytes than they have, or 0.1 % more."""
MAX_LENGTH = (1 << 31) - 1  # of a chunk, and of a side (sections 5.3 and 11.2.1)

DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Colour type to allowed bit depths (section 11.2.1)."""
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
WITH_ALPHA = (4, 6)
TRUECOLOUR, PALETTE, GREY = 2, 3, (0, 4)
GAMMA_UNIT, SRGB_GAMMA = 100_000, 45_455
"""Fractions of one in gAMA and cHRM, and the gamma that stands for sRGB's curve (section 11.3.2.2)."""
SRGB_CHROMATICITIES = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
PIXELS = (b"IDAT", b"fdAT", b"fcTL")
ANCILLARY = 0x20  # the bit in the first letter of a kind (section 5.4)
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
KNOWN = frozenset(b"tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD hIST pHYs sPLT eXIf tIME acTL".split())
KNOWN |= frozenset({*PIXELS, *TEXTS})
"""Ancillary chunks of the specification; `hide` joins all others."""
HIDDEN = b"sKIP"
"""A kind that no decoder knows and every decoder may skip (section 5.4). It is public: Pillow keeps private ones."""
PIECE = 1 << 20
TEXT_START = 81  # bytes: the keyword, its end, and whether the text is packed
PACKED_TEXT = re.compile(rb"zTXt|iTXt[^\x00]{1,79}\x00\x01", re.DOTALL)
PROFILE_NAME = re.compile(rb"[^\x00]{1,79}\x00\x00")
"""The fields before the deflated bytes (section 11.3.2.3)."""


@dataclass(frozen=True, slots=True)
class Ihdr:
    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool


def starts_png(start: bytes) -> bool:
    """Whether this is a PNG, if only one whose signature a transfer has damaged."""
    return start.startswith(SIGNATURE) or (start[1:4] == b"PNG" and b"IHDR" in start[:20])


def read_png(head: Head) -> ImageInfo:
    if head.read(0, len(SIGNATURE)) != SIGNATURE:
        raise Corrupt("PNG with a damaged signature")  # bit 7 or line ends changed (section 5.2)
    ihdr = read_ihdr(head)
    found, text, is_ended = _collect(head, ihdr)
    exif = read_ifd0(head, found.get(b"eXIf"))
    animation = found.get(b"acTL")
    return ImageInfo(
        Format.PNG,
        ihdr.width,
        ihdr.height,
        orientation=exif.orientation,
        progressive=ihdr.interlaced,
        has_alpha=ihdr.colour in WITH_ALPHA or b"tRNS" in found,
        # The count leaves out the still picture for viewers without APNG.
        frames=max(1, head.number(animation.start, 4)) if animation and head.reaches(animation.start + 4) else 1,
        bit_depth=ihdr.depth,
        icc=b"iCCP" in found,
        channels=CHANNELS[ihdr.colour],
        credit=exif.credit,
        complete=is_ended or head.whole,
        defect=NO_END if head.whole and not is_ended else "",
        details=_details(head, ihdr, found, text),
    )


def _details(head: Head, ihdr: Ihdr, found: dict[bytes, Piece], text: int) -> PngDetails:
    """libvips ignores APNG. Pillow compares only the upper eight of 16 bits with the transparent colour."""
    hidden_first = _hides_first(found)
    profile = _make_profile(head, found, grey=ihdr.colour in GREY)
    deep = ihdr.depth == 16 and (profile or (ihdr.colour == TRUECOLOUR and b"tRNS" in found))
    return PngDetails(
        samples=CHANNELS[ihdr.colour],
        palette=ihdr.colour == PALETTE,
        held=2 * text,  # six copies; the memory model counts `held` three times
        first_engine=EngineName.PILLOW if hidden_first else EngineName.VIPS if deep else None,
        profile=profile,
        hidden_first=hidden_first,
    )


def _make_profile(head: Head, found: dict[bytes, Piece], grey: bool) -> bytes:
    """Of colours in numbers; empty if they are sRGB or an embedded profile comes first."""
    space = _read_space(head, found, grey)
    try:
        # Only cICP comes before an embedded profile, which decoders would apply.
        return profile_for(space) if space and b"iCCP" in found else conversion_profile(space)
    except ValueError:
        return b""


def _read_space(head: Head, found: dict[bytes, Piece], grey: bool) -> ColourSpace | None:
    """The first of cICP, iCCP, sRGB and gAMA counts (section 13.13); cHRM alone does not, as in Chromium."""
    if b"cICP" in found:
        primaries, curve, matrix = head.unpack("3B", found[b"cICP"].start)
        return None if matrix else space_by_numbers(primaries, curve, grey)
    if b"gAMA" not in found or b"iCCP" in found or b"sRGB" in found:
        return None
    gamma = max(1, head.number(found[b"gAMA"].start, 4))
    numbers = head.unpack(">8I", found[b"cHRM"].start) if b"cHRM" in found else SRGB_CHROMATICITIES
    white, red, green, blue = zip(*[iter(number / GAMMA_UNIT for number in numbers)] * 2, strict=True)
    is_near_srgb = abs(gamma - SRGB_GAMMA) <= SRGB_GAMMA // 20  # libpng's threshold
    curve = SRGB_CURVE if is_near_srgb else (GAMMA_UNIT / gamma,)
    return ColourSpace(white, None if grey else (red, green, blue), curve)


def read_ihdr(head: Head, start: int = 0) -> Ihdr:
    length, kind = head.number(start + 8, 4), head.read(start + 12, 4)
    if kind == b"CgBI":
        raise UnsupportedFormat("Apple's CgBI variant of PNG")
    if kind != b"IHDR" or length != 13:  # section 11.2.1
        raise Corrupt("PNG does not begin with its header chunk")
    width, height, depth, colour, compression, filtering, interlace, checksum = head.unpack(">IIBBBBBI", start + 16)
    # libpng and browsers refuse a critical chunk with a wrong checksum; libvips reads on only with an option.
    if zlib.crc32(head.read(start + 12, 17)) != checksum:
        raise Corrupt("PNG header chunk fails its checksum")
    if not (0 < width <= MAX_LENGTH and 0 < height <= MAX_LENGTH):
        raise Corrupt(f"PNG of {width} x {height} pixels")
    if depth not in DEPTHS.get(colour, ()) or compression or filtering or interlace not in (0, 1):
        raise Corrupt(f"PNG of colour type {colour}, {depth} bits and methods {compression}, {filtering}, {interlace}")
    return Ihdr(width, height, depth, colour, bool(interlace))


def chunks(head: Head, start: int = FIRST_CHUNK) -> Iterator[Piece]:
    """The chunks at hand, as far as their lengths make sense."""
    while head.reaches(start + CHUNK_SIZE):
        length, kind = head.unpack(CHUNK, start)
        if length > MAX_LENGTH:
            return
        yield (chunk := Piece(kind, start + CHUNK_SIZE, start + CHUNK_SIZE + length))
        start = chunk.end + CHECKSUM


def is_unknown(chunk: Piece) -> bool:
    return bool(chunk.kind[0] & ANCILLARY) and chunk.kind not in KNOWN


def _collect(head: Head, ihdr: Ihdr) -> tuple[dict[bytes, Piece], int, bool]:
    """The first chunk of each kind, where it counts; the bytes of all texts; whether there is an end."""
    found: dict[bytes, Piece] = {}
    others = text = 0
    unknown = False
    row = 1 + (ihdr.width * CHANNELS[ihdr.colour] * ihdr.depth + 7) // 8
    pixels = 2 * row * ihdr.height + SPARE_PIXELS
    for chunk in chunks(head, IHDR_END):
        others += chunk.kind not in PIXELS and not (unknown and is_unknown(chunk))
        unknown = is_unknown(chunk)
        head.allow(others, MAX_OTHER_CHUNKS, "chunks beside its pixels")
        before_pixels = b"IDAT" not in found
        if before_pixels:
            # Decoders allocate first what a chunk claims.
            if chunk.kind not in PIXELS and chunk.end > head.end:
                raise Corrupt("PNG ends inside its header")
            text += _held_size(head, chunk)
            if text > MAX_TEXT:
                raise Corrupt(f"PNG with more than {MAX_TEXT >> 20} MB of text")
        if chunk.kind == b"IDAT":
            pixels -= min(chunk.end, head.end) - chunk.start
            if pixels < 0:
                raise Corrupt("PNG whose pixels are larger packed than unpacked")
        # Behind the pixels only eXIf (section 5.6) and the first frame of the animation count.
        if (before_pixels and not _is_costly(head, chunk)) or chunk.kind in (b"eXIf", b"fcTL"):
            found.setdefault(chunk.kind, chunk)
        if chunk.kind == b"IEND":
            return found, text, True
    return found, text, False


def _held_size(head: Head, chunk: Piece) -> int:
    """Bytes of a text or a profile in a decoder's memory. `hide` keeps the costly ones packed."""
    if chunk.kind == b"iCCP" and not _is_costly(head, chunk):
        return _profile_size(head, chunk)
    return chunk.size if chunk.kind in (*TEXTS, b"iCCP") else 0


def _is_costly(head: Head, chunk: Piece) -> bool:
    """Whether decoders would unpack a text that nobody keeps, or a profile that is no larger unpacked than packed."""
    if chunk.kind == b"iCCP":
        size = _profile_size(head, chunk)
        return size > MAX_PROFILE or chunk.size > size + size // 1000 + PROFILE_START
    return chunk.kind in TEXTS and bool(PACKED_TEXT.match(chunk.kind + head.up_to(chunk.start, TEXT_START)))


def _profile_size(head: Head, chunk: Piece) -> int:
    """Bytes, as the profile's first field says; libpng holds no more. 0 if its first bytes cannot be unpacked."""
    start = PROFILE_NAME.match(body := head.up_to(chunk.start, PROFILE_START))
    with suppress(zlib.error):
        return int.from_bytes(zlib.decompressobj().decompress(body[start.end() :], 4)) if start else 0
    return 0


def _hides_first(found: dict[bytes, Piece]) -> bool:
    """Whether the animation begins behind the first picture (section 11.3.6.2)."""
    control, first = found.get(b"fcTL"), found.get(b"IDAT")
    return b"acTL" in found and control is not None and first is not None and control.start > first.start


KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
NOT_STRIPPED = frozenset({b"acTL", b"cICP", b"iCCP"})
"""Animation, and colours that are not sRGB. Gamma is dropped, because both engines ignore it."""


def strip(head: Head) -> Iterator[bytes]:
    yield SIGNATURE
    for chunk in chunks(head):
        if chunk.kind in NOT_STRIPPED or not (chunk.kind in KEPT or chunk.kind[0] & ANCILLARY):
            raise NotStrippable(f"a chunk of kind {chunk.kind!r}")
        if chunk.kind in KEPT:
            yield head.read(chunk.start - CHUNK_SIZE, CHUNK_SIZE + chunk.size + CHECKSUM)
        if chunk.kind == b"IEND":
            return
    raise NotStrippable("no end")


def hide(head: Head) -> Iterator[Patch]:
    """Joins unknown chunks in a row: Fireworks writes hundreds, and decoders refuse kinds that are no letters.

    Gives packed texts another kind: 8 KB may unpack to 8 MB, and a MB of empty blocks costs 0.08 s.
    """
    for unknown, run in groupby(takewhile(lambda chunk: chunk.kind != b"IEND", chunks(head)), key=is_unknown):
        pieces = list(run)
        if not unknown:
            costly = (piece for piece in pieces if _is_costly(head, piece))
            spans = [(piece.start, piece.end) for piece in costly]
        elif len(pieces) > 1 or pieces[0].size > PIECE or not pieces[0].kind.isalpha():
            spans = [(pieces[0].start, pieces[-1].end)]
        else:
            spans = []
        for start, end in spans:
            yield from _join(head, start - CHUNK_SIZE, end + CHECKSUM)


def _join(head: Head, start: int, end: int) -> Iterator[Patch]:
    """Chunks of a MB or two: Pillow reads each as a whole."""
    while start < end and head.reaches(end):
        stop = start + PIECE if end - start > 2 * PIECE else end
        body = HIDDEN + head.read(start + CHUNK_SIZE, stop - start - CHUNK_SIZE - CHECKSUM)
        yield start, struct.pack(CHUNK, len(body) - len(HIDDEN), HIDDEN)
        yield stop - CHECKSUM, zlib.crc32(body).to_bytes(CHECKSUM)
        start = stop


FORMAT = FormatSpec("PNG", (Format.PNG,), starts_png, read_png, strip=strip, hide=hide)
