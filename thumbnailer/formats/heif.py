"""HEIC and AVIF (ISO/IEC 23008-12), and the videos that share their container.

The primary item's coding decides between HEIC and AVIF, not the brands: `mif1` alone says neither. Sizes are after
`clap` and `irot`: decoders crop and turn the picture themselves, but libavif leaves the cropping to its caller
(`crop`). An item's size is its `ispe`, as in libheif's own limits; AV1 must not be coded larger, because libavif
compares the two only after it has decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import floor

from thumbnailer.errors import Corrupt, NeedMoreBytes, NotAnImage, UnsupportedFormat
from thumbnailer.formats.av1 import coded_sizes
from thumbnailer.formats.boxes import boxes, children
from thumbnailer.formats.exif import Ifd0, read_ifd0
from thumbnailer.formats.head import Head, Piece, first
from thumbnailer.formats.heif_items import Items, Sequence, read_items, read_sequence
from thumbnailer.formats.spec import FormatSpec, starts_with
from thumbnailer.model import NO_CREDIT, Details, Format, ImageInfo

MAX_BRANDS = 64
MAX_HOPS = 8
"""From a derived item (a grid of grids, an overlay) to the items that it is made of."""
MAX_GROWTH = 2
SMALL = 65_536
"""Coded pixels may be this many times an item's pixels, or this many: encoders pad to their block size."""
HELD_OF_CROPPED = 6
"""Bytes a pixel that is decoded and then cropped away, in the unit of `Details.held`."""
SMALL_WHOLE = 4 << 20
"""The decoded pixels may be this many times the picture's pixels, or this many: tiles reach beyond its edge."""

STILL_BRANDS = frozenset(
    {b"mif1", b"mif2", b"mif3", b"miaf", b"heic", b"heix", b"heim", b"heis", b"avif", b"MA1A", b"MA1B"}
)
SEQUENCE_BRANDS = frozenset({b"msf1", b"hevc", b"hevx", b"hevm", b"hevs", b"avis"})
OTHER_PICTURES = {
    **dict.fromkeys((b"avci", b"avcs"), "HEIF with AVC"),
    **dict.fromkeys((b"jpeg", b"jpgs"), "HEIF with JPEG"),
    **dict.fromkeys((b"j2ki", b"j2is"), "HEIF with JPEG 2000"),
    **dict.fromkeys((b"vvic", b"vvis"), "HEIF with VVC"),
    b"evbi": "HEIF with EVC",
    b"crx ": "Canon CR3 raw",
}
OTHER_MEDIA = {
    b"qt  ": "a QuickTime movie",
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P "), "MP4 audio"),
}
MOBILE_BRANDS = (b"3g", b"3G")

CODINGS = {b"hvc1": Format.HEIC, b"av01": Format.AVIF}
DERIVED = frozenset({b"grid", b"iden", b"iovl"})
ALPHA_KINDS = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
ICC_COLOURS = (b"prof", b"rICC")
QUARTER_TURN = 1


@dataclass(frozen=True, slots=True)
class HeifDetails(Details):
    premultiplied: bool = False
    """the colours are stored multiplied by alpha"""
    crop: tuple[int, int, int, int] | None = None
    """of an AVIF: left, top, right and bottom of the visible part of the coded pixels, before the turn"""


def read_heif(head: Head) -> ImageInfo:
    brands = _brands(head)
    _refuse_other(brands)
    items = read_items(head, children(head, _meta(head), skip=4))
    coded = _coded_item(items)
    format_ = _coding(items.kinds.get(coded, b""))
    exif = _exif(items)
    sequence = read_sequence(head) if brands[0] in SEQUENCE_BRANDS else Sequence()
    width, height = _upright_size(items)
    _refuse_hidden_pixels(items, width * height)
    checked = format_ is Format.HEIC or _is_coded_size_checked(items, sequence)
    properties = items.of(items.primary) + items.of(coded)
    has_alpha = any(_is_alpha(head, box) for box in items.properties)
    crop = _crop(items)
    return ImageInfo(
        format_,
        width,
        height,
        has_alpha=has_alpha,
        frames=sequence.frames,
        bit_depth=round(_by_property(head, properties, DEPTHS, 8)),
        icc=any(box.kind == b"colr" and head.read(box.start, 4) in ICC_COLOURS for box in properties),
        channels=3 + has_alpha,
        credit=exif.credit if exif else NO_CREDIT,
        complete=sequence.reached and checked and exif is not None,
        details=HeifDetails(
            samples=_by_property(head, properties, SAMPLES, 3.0) + has_alpha,
            held=head.size + HELD_OF_CROPPED * _cropped_pixels(items, crop),
            premultiplied=items.premultiplied,
            crop=crop if format_ is Format.AVIF else None,
        ),
    )


def _brands(head: Head) -> list[bytes]:
    """The major brand, then the compatible ones."""
    ftyp = next(boxes(head, 0, head.end))
    count = min((ftyp.end - ftyp.start) // 4, MAX_BRANDS)
    if count < 1:
        raise Corrupt("ISO media file without a brand")
    listed = head.read(ftyp.start, 4 * count)
    return [listed[:4], *(listed[at : at + 4] for at in range(8, len(listed), 4))]


def _refuse_other(brands: list[bytes]) -> None:
    """Raises, with its name, for a file without a known picture brand."""
    if any(brand in STILL_BRANDS | SEQUENCE_BRANDS for brand in brands):
        return
    if picture := next((OTHER_PICTURES[brand] for brand in brands if brand in OTHER_PICTURES), None):
        raise UnsupportedFormat(picture)
    video = "a 3GP video" if brands[0].startswith(MOBILE_BRANDS) else "an MP4 video"
    raise NotAnImage(OTHER_MEDIA.get(brands[0], video))


def _meta(head: Head) -> Piece:
    meta = first(boxes(head, 0, head.end), b"meta")
    if meta is None:
        raise Corrupt("HEIF has no meta box")
    head.need(meta.start + 4)
    return meta


def _coded_item(items: Items) -> int:
    """The item with the coded pixels, or the first one of a derived primary item."""
    item = items.primary
    for _ in range(MAX_HOPS):
        if items.kinds.get(item) not in DERIVED:
            return item
        item = next(iter(items.inputs.get(item, ())), 0)
    raise Corrupt("HEIF items are made of one another")


def _coding(kind: bytes) -> Format:
    if not kind:
        raise Corrupt("HEIF primary item does not exist")
    if kind not in CODINGS:
        raise UnsupportedFormat(f"HEIF with items of type {kind.decode('ascii', 'backslashreplace')!r}")
    return CODINGS[kind]


def _refuse_hidden_pixels(items: Items, pixels: int) -> None:
    """The plan counts the picture's pixels, but decoders also decode cropped parts, whole tiles and alpha."""
    known: dict[int, int] = {}
    marks = {number for number, box in enumerate(items.properties, 1) if _is_alpha(items.head, box)}
    alphas = [item for item, numbers in items.links.items() if not marks.isdisjoint(numbers)]
    for item in (items.primary, *alphas):
        decoded = _decoded_pixels(items, item, known)
        if decoded > MAX_GROWTH * pixels + SMALL_WHOLE:
            raise Corrupt(f"HEIF of {pixels} pixels, for which {decoded} are decoded")


def _decoded_pixels(items: Items, item: int, known: dict[int, int], hops: int = 0) -> int:
    if hops > MAX_HOPS:
        raise Corrupt("HEIF items are made of one another")
    if item not in known:
        inputs = items.inputs.get(item, ()) if items.kinds.get(item) in DERIVED else ()
        width, height = items.size(item) or (0, 0)
        parts = sum(_decoded_pixels(items, part, known, hops + 1) for part in inputs)
        known[item] = max(width * height, parts)
    return known[item]


def _is_alpha(head: Head, box: Piece) -> bool:
    if box.kind != b"auxC":
        return False
    return head.read(box.start + 4, min(64, max(0, box.end - box.start - 4))).startswith(ALPHA_KINDS)


def _exif(items: Items) -> Ifd0 | None:
    """The EXIF item, of which only the credit counts; None if it lies beyond the bytes at hand."""
    item = next((item for item, kind in items.kinds.items() if kind == b"Exif"), None)
    place = next(iter(items.places.get(item, ())), None) if item is not None else None
    if place is None:
        return Ifd0()
    try:
        items.head.need(place.end)
        offset = items.head.number(place.start, 4)
    except Corrupt:
        return Ifd0()
    except NeedMoreBytes:
        return None
    return read_ifd0(items.head, place, skip=4 + offset)


def _upright_size(items: Items) -> tuple[int, int]:
    """The primary item's size (of a grid: of all tiles together), cropped and turned in the order of the file."""
    size = items.size(items.primary)
    if size is None:
        raise Corrupt("HEIF primary item has no size")
    width, height = size
    for box in items.of(items.primary):
        if box.kind == b"clap":
            left, top, right, bottom = _clean(items.head, box, width, height)
            width, height = right - left, bottom - top
        if box.kind == b"irot" and items.head.byte(box.start) & QUARTER_TURN:
            width, height = height, width
    if not (width > 0 and height > 0):
        raise Corrupt(f"HEIF of {width} x {height} pixels")
    return width, height


def _crop(items: Items) -> tuple[int, int, int, int] | None:
    """The primary item's clean aperture, which comes before its turn (ISO/IEC 23000-22, section 7.3.6.7)."""
    clap = first(items.of(items.primary), b"clap")
    return _clean(items.head, clap, *(items.size(items.primary) or (0, 0))) if clap else None


def _cropped_pixels(items: Items, crop: tuple[int, int, int, int] | None) -> int:
    width, height = items.size(items.primary) or (0, 0)
    return width * height - (crop[2] - crop[0]) * (crop[3] - crop[1]) if crop else 0


def _clean(head: Head, clap: Piece, width: int, height: int) -> tuple[int, int, int, int]:
    """A clean aperture: its sides, and how far its middle is from the picture's (ISO/IEC 14496-12 12.1.4)."""
    fractions = struct.iter_unpack(">iI", head.read(clap.start, 32))
    across, down, right, below = (top / max(1, bottom) for top, bottom in fractions)
    (left, end), (top, bottom) = _kept(width, across, right), _kept(height, down, below)
    return left, top, end, bottom


def _kept(side: int, clean: float, offset: float) -> tuple[int, int]:
    """Rounds halves as libheif does when it crops."""
    start = floor(offset + (side - clean) / 2)
    return max(0, start), min(side, start + floor(clean + 0.5))


def _is_coded_size_checked(items: Items, sequence: Sequence) -> bool:
    """Whether all coded pictures were at hand. Raises Corrupt for one that is larger than the boxes say."""
    primary = items.size(items.primary) or (0, 0)
    pictures = [(primary, (sample,)) for sample in sequence.first] + [
        (items.size(item) or primary, place) for item, place in items.places.items() if items.kinds.get(item) == b"av01"
    ]
    return all(_is_checked(items.head, *picture) for picture in pictures)


def _is_checked(head: Head, size: tuple[int, int], extents: tuple[Piece, ...]) -> bool:
    if any(extent.end > head.end for extent in extents):
        return True  # it is not in the file: no decoder will read it either
    if not all(head.reaches(extent.end) for extent in extents):
        return False
    data = b"".join(head.view[extent.start : extent.end] for extent in extents)
    for width, height in coded_sizes(data):
        if width * height > MAX_GROWTH * size[0] * size[1] + SMALL:
            raise Corrupt(f"AVIF item of {size[0]} x {size[1]} pixels, coded as {width} x {height}")
    return True


Reader = Callable[[Head, int], float]
"""Reads a property whose fields begin at an offset."""


def _by_property(head: Head, properties: list[Piece], readers: dict[bytes, Reader], default: float) -> float:
    """By the first kind of property that there is."""
    found = ((reader, first(properties, kind)) for kind, reader in readers.items())
    return next((reader(head, box.start) for reader, box in found if box), default)


def _av1_samples(head: Head, start: int) -> float:
    """monochrome, chroma_subsampling_x and _y (AV1 in ISOBMFF, section 2.3.3)."""
    flags = head.byte(start + 2)
    return 1.0 if flags & 0x10 else 1 + 2 / ((2 if flags & 8 else 1) * (2 if flags & 4 else 1))


DEPTHS: dict[bytes, Reader] = {
    b"pixi": lambda head, start: max(head.read(start + 5, head.byte(start + 4)), default=8),
    b"av1C": lambda head, start: (8, 8, 10, 12)[head.byte(start + 2) >> 5 & 3],  # high_bitdepth, twelve_bit
    b"hvcC": lambda head, start: 8 + (head.byte(start + 17) & 7),  # bitDepthLumaMinus8
}
"""The pixels' own property first, then the decoder's configuration (ISO/IEC 14496-15 section 8.3.3.1.2 for HEVC)."""
SAMPLES: dict[bytes, Reader] = {
    b"av1C": _av1_samples,
    b"hvcC": lambda head, start: (1.0, 1.5, 2.0, 3.0)[head.byte(start + 16) & 3],  # none, 4:2:0, 4:2:2 or 4:4:4
}

FORMAT = FormatSpec("HEIF", (Format.HEIC, Format.AVIF), starts_with(b"ftyp", at=4), read_heif)
