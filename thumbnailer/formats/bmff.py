"""HEIC and AVIF (ISO/IEC 23008-12), and the videos that share their container.

The primary item's coding decides between HEIC and AVIF, not the brands: `mif1` alone says neither. Sizes are after
`clap` and `irot`: decoders crop and turn the picture themselves, but for libavif, which leaves the cropping to whoever
calls it (`crop`). An item's size is its `ispe`, as libheif's own limits take it; AV1 must not be coded larger, because
libavif compares the two when it has decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import floor

from thumbnailer.errors import Corrupt, NeedMoreBytes, NotAnImage, UnsupportedFormat
from thumbnailer.formats.av1 import coded_sizes
from thumbnailer.formats.boxes import Box, boxes, children
from thumbnailer.formats.exif import MAX_BLOCK, Ifd0, parse_ifd0
from thumbnailer.formats.head import Head
from thumbnailer.formats.places import MAX_ITEMS, Extent, Sequence, item_extents, read_sequence
from thumbnailer.model import NO_CREDIT, Details, Format, ImageInfo

MAX_BRANDS = 64
MAX_HOPS = 8
"""From a derived item (a grid of grids, an overlay) to what it is made of."""
MAX_GROWTH = 2
SMALL = 65_536
"""Coded pixels may be this many times an item's, or this many: encoders pad to their block size."""
HELD_OF_CROPPED = 6
"""Bytes a pixel that is decoded and then cropped away, as `ImageInfo.held` counts them."""
SMALL_WHOLE = 4 << 20
"""What is decoded for a picture may be this many times its pixels, or this many: tiles reach beyond its edge."""

STILL_BRANDS = frozenset(
    {b"mif1", b"mif2", b"mif3", b"miaf", b"heic", b"heix", b"heim", b"heis", b"avif", b"MA1A", b"MA1B"}
)
SEQUENCE_BRANDS = frozenset({b"msf1", b"hevc", b"hevx", b"hevm", b"hevs", b"avis"})
OTHER_PICTURES = {
    b"avci": "HEIF with AVC",
    b"avcs": "HEIF with AVC",
    b"jpeg": "HEIF with JPEG",
    b"jpgs": "HEIF with JPEG",
    b"j2ki": "HEIF with JPEG 2000",
    b"j2is": "HEIF with JPEG 2000",
    b"vvic": "HEIF with VVC",
    b"vvis": "HEIF with VVC",
    b"evbi": "HEIF with EVC",
    b"crx ": "Canon CR3 raw",
}
QUICKTIME = b"qt  "
AUDIO_BRANDS = frozenset({b"M4A ", b"M4B ", b"M4P "})
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


@dataclass(frozen=True, slots=True)
class _Items:
    """What the meta box says of the items of a file."""

    primary: int
    kinds: dict[int, bytes]
    made_of: dict[int, tuple[int, ...]]
    """A derived item's inputs."""
    properties: tuple[Box, ...]
    links: dict[int, tuple[int, ...]]
    premultiplied: bool

    def of(self, item: int) -> list[Box]:
        """An item's properties; links count from one, and 0 is none."""
        known = len(self.properties)
        return [self.properties[index - 1] for index in self.links.get(item, ()) if 0 < index <= known]


def read_bmff(head: Head) -> ImageInfo:
    head = head.called("HEIF")
    brands = _brands(head)
    _refuse_other(brands)
    meta_box = _meta(head)
    meta = children(head, meta_box, skip=4)
    items = _items(head, meta)
    coded = _coded_item(items)
    kind = _coding(items.kinds.get(coded, b""))
    places = dict(item_extents(head, meta))
    exif = _exif(head, items, places)
    sequence = read_sequence(head) if brands[0] in SEQUENCE_BRANDS else Sequence()
    width, height = _upright_size(head, items)
    _refuse_more_than_shows(head, items, width * height)
    checked = kind is Format.HEIC or _coded_as_said(head, items, places, sequence)
    properties = items.of(items.primary) + items.of(coded)
    has_alpha = any(_is_alpha(head, box) for box in items.properties)
    return ImageInfo(
        kind,
        width,
        height,
        has_alpha=has_alpha,
        frames=sequence.frames,
        bit_depth=_bit_depth(head, properties),
        icc=any(box.kind == b"colr" and head.read(box.start, 4) in ICC_COLOURS for box in properties),
        channels=3 + has_alpha,
        credit=exif.credit if exif else NO_CREDIT,
        complete=sequence.reached and checked and exif is not None,
        details=HeifDetails(
            samples=_stored_samples(head, properties) + has_alpha,
            held=(len(head) if head.total is None else head.total) + HELD_OF_CROPPED * _cropped_away(head, items),
            premultiplied=items.premultiplied,
            crop=_crop(head, items) if kind is Format.AVIF else None,
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
    """Refuse what has no brand of a picture we know, by the name it goes by."""
    if any(brand in STILL_BRANDS | SEQUENCE_BRANDS for brand in brands):
        return
    major = brands[0]
    for brand in brands:
        if brand in OTHER_PICTURES:
            raise UnsupportedFormat(OTHER_PICTURES[brand])
    if major == QUICKTIME:
        raise NotAnImage("a QuickTime movie")
    if major in AUDIO_BRANDS:
        raise NotAnImage("MP4 audio")
    raise NotAnImage("a 3GP video" if major.startswith(MOBILE_BRANDS) else "an MP4 video")


def _meta(head: Head) -> Box:
    for box in boxes(head, 0, head.end):
        if box.kind == b"meta":
            head.need(box.start + 4)
            return box
    raise Corrupt("HEIF has no meta box")


def _items(head: Head, meta: dict[bytes, Box]) -> _Items:
    for required in (b"pitm", b"iinf", b"iprp"):
        if required not in meta:
            raise Corrupt(f"HEIF has no {required.decode()} box")
    properties = children(head, meta[b"iprp"]).get(b"ipco")
    return _Items(
        primary=_primary(head, meta[b"pitm"]),
        kinds=_kinds(head, meta[b"iinf"]),
        made_of=_inputs(head, meta[b"iref"]) if b"iref" in meta else {},
        properties=tuple(boxes(head, properties.start, properties.end, MAX_ITEMS)) if properties else (),
        links=_links(head, meta[b"iprp"]),
        premultiplied=b"iref" in meta and b"prem" in children(head, meta[b"iref"], skip=4),
    )


def _primary(head: Head, pitm: Box) -> int:
    layout = ">H" if head.byte(pitm.start) == 0 else ">I"
    return head.unpack(layout, pitm.start + 4)[0]


def _kinds(head: Head, iinf: Box) -> dict[int, bytes]:
    start = iinf.start + (6 if head.byte(iinf.start) == 0 else 8)
    entries = boxes(head, start, iinf.end, MAX_ITEMS)
    return dict(_kind(head, entry) for entry in entries if entry.kind == b"infe")


def _kind(head: Head, infe: Box) -> tuple[int, bytes]:
    """An item's number and type; before version 2 there was no type."""
    version = head.byte(infe.start)
    wide = version >= 3  # ISO/IEC 14496-12 section 8.11.6
    item = head.unpack(">I" if wide else ">H", infe.start + 4)[0]
    return item, head.read(infe.start + (10 if wide else 8), 4) if version >= 2 else b""


def _inputs(head: Head, iref: Box) -> dict[int, tuple[int, ...]]:
    """Each derived item's inputs; what one item is made of more than once it is decoded more than once."""
    wide = head.byte(iref.start) != 0
    found: dict[int, tuple[int, ...]] = {}
    for reference in boxes(head, iref.start + 4, iref.end, MAX_ITEMS):
        if reference.kind == b"dimg":
            item, count = head.unpack(">IH" if wide else ">HH", reference.start)
            start, size = (reference.start + 6, 4) if wide else (reference.start + 4, 2)
            count = min(count, MAX_ITEMS, max(0, reference.end - start) // size)
            found.setdefault(item, head.unpack(f">{count}{'I' if wide else 'H'}", start))
    return found


def _links(head: Head, iprp: Box) -> dict[int, tuple[int, ...]]:
    """Item to the numbers of its properties. There may be several ipma boxes, one for each layout."""
    found: dict[int, tuple[int, ...]] = {}
    for box in boxes(head, iprp.start, iprp.end):
        if box.kind == b"ipma":
            found.update(_associations(head, box))
    return found


def _associations(head: Head, ipma: Box) -> Iterator[tuple[int, tuple[int, ...]]]:
    version, flags, count = head.unpack(">BxxBI", ipma.start)
    item_layout, item_size = (">H", 2) if version == 0 else (">I", 4)
    width = 2 if flags & 1 else 1
    position = ipma.start + 8
    for _ in range(min(count, MAX_ITEMS)):
        if position + item_size + 1 > ipma.end:
            return
        item, number = head.unpack(item_layout + "B", position)
        raw = head.read(position + item_size + 1, number * width)
        yield item, tuple(_indices(raw, width))
        position += item_size + 1 + number * width


def _indices(raw: bytes, width: int) -> Iterator[int]:
    """Property numbers, without the bit that says a property is essential."""
    mask = (1 << (8 * width - 1)) - 1
    for at in range(0, len(raw), width):
        yield int.from_bytes(raw[at : at + width], "big") & mask


def _coded_item(items: _Items) -> int:
    """The item with the coded pixels, or the first of them, that the primary item is made of."""
    item = items.primary
    for _ in range(MAX_HOPS):
        if items.kinds.get(item) not in DERIVED:
            return item
        item = next(iter(items.made_of.get(item, ())), 0)
    raise Corrupt("HEIF items are made of one another")


def _coding(kind: bytes) -> Format:
    if not kind:
        raise Corrupt("HEIF primary item does not exist")
    if kind not in CODINGS:
        raise UnsupportedFormat(f"HEIF with items of type {kind.decode('ascii', 'backslashreplace')!r}")
    return CODINGS[kind]


def _upright_size(head: Head, items: _Items) -> tuple[int, int]:
    """The primary item's own size (a grid's is that of all its tiles), cropped and turned in the order of the file."""
    size = _size(head, items, items.primary)
    if size is None:
        raise Corrupt("HEIF primary item has no size")
    width, height = size
    for box in items.of(items.primary):
        if box.kind == b"clap":
            left, top, right, bottom = _clean(head, box, width, height)
            width, height = right - left, bottom - top
        if box.kind == b"irot" and head.byte(box.start) & QUARTER_TURN:
            width, height = height, width
    if not (width > 0 and height > 0):
        raise Corrupt(f"HEIF of {width} x {height} pixels")
    return width, height


def _refuse_more_than_shows(head: Head, items: _Items, pixels: int) -> None:
    """The plan knows the picture's pixels; decoders decode all that it is cropped from, its tiles and its alpha."""
    known: dict[int, int] = {}
    marks = {number for number, box in enumerate(items.properties, 1) if _is_alpha(head, box)}
    alphas = [item for item, numbers in items.links.items() if not marks.isdisjoint(numbers)]
    for item in (items.primary, *alphas):
        decoded = _decoded_pixels(head, items, item, known)
        if decoded > MAX_GROWTH * pixels + SMALL_WHOLE:
            raise Corrupt(f"HEIF of {pixels} pixels, for which {decoded} are decoded")


def _decoded_pixels(head: Head, items: _Items, item: int, known: dict[int, int], hops: int = 0) -> int:
    if hops > MAX_HOPS:
        raise Corrupt("HEIF items are made of one another")
    if item not in known:
        inputs = items.made_of.get(item, ()) if items.kinds.get(item) in DERIVED else ()
        width, height = _size(head, items, item) or (0, 0)
        parts = sum(_decoded_pixels(head, items, part, known, hops + 1) for part in inputs)
        known[item] = max(width * height, parts)
    return known[item]


def _size(head: Head, items: _Items, item: int) -> tuple[int, int] | None:
    ispe = next((box for box in items.of(item) if box.kind == b"ispe"), None)
    if ispe is None:
        return None
    width, height = head.unpack(">II", ispe.start + 4)
    return width, height


def _cropped_away(head: Head, items: _Items) -> int:
    crop = _crop(head, items)
    width, height = _size(head, items, items.primary) or (0, 0)
    return width * height - (crop[2] - crop[0]) * (crop[3] - crop[1]) if crop else 0


def _crop(head: Head, items: _Items) -> tuple[int, int, int, int] | None:
    """The primary item's clean aperture, which comes before its turn (ISO/IEC 23000-22, section 7.3.6.7)."""
    clap = next((box for box in items.of(items.primary) if box.kind == b"clap"), None)
    return _clean(head, clap, *(_size(head, items, items.primary) or (0, 0))) if clap else None


def _clean(head: Head, clap: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """A clean aperture: its sides, and how far its middle is from that of the picture (ISO/IEC 14496-12 12.1.4)."""
    fractions = struct.iter_unpack(">iI", head.read(clap.start, 32))
    across, down, right, below = (top / max(1, bottom) for top, bottom in fractions)
    (left, end), (top, bottom) = _kept(width, across, right), _kept(height, down, below)
    return left, top, end, bottom


def _kept(side: int, clean: float, offset: float) -> tuple[int, int]:
    """Halves as libheif rounds them, which crops so itself."""
    start = floor(offset + (side - clean) / 2)
    return max(0, start), min(side, start + floor(clean + 0.5))


def _is_alpha(head: Head, box: Box) -> bool:
    if box.kind != b"auxC":
        return False
    return head.read(box.start + 4, min(64, max(0, box.end - box.start - 4))).startswith(ALPHA_KINDS)


def _bit_depth(head: Head, properties: list[Box]) -> int:
    """By what is said of the pixels (pixi), or else by the decoder's own configuration."""
    readers = {b"pixi": _pixi_depth, b"av1C": _av1_depth, b"hvcC": _hevc_depth}
    for kind, depth in readers.items():
        box = next((box for box in properties if box.kind == kind), None)
        if box is not None:
            return depth(head, box)
    return 8


def _pixi_depth(head: Head, box: Box) -> int:
    channels = head.byte(box.start + 4)
    return max(head.read(box.start + 5, channels), default=8)


def _av1_depth(head: Head, box: Box) -> int:
    """high_bitdepth and twelve_bit (AV1 in ISOBMFF, section 2.3.3)."""
    flags = head.byte(box.start + 2)
    return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10


def _hevc_depth(head: Head, box: Box) -> int:
    """bitDepthLumaMinus8 (ISO/IEC 14496-15 section 8.3.3.1.2)."""
    return 8 + (head.byte(box.start + 17) & 7)


def _stored_samples(head: Head, properties: list[Box]) -> float:
    """Samples a pixel by the decoder's configuration; three where there is none."""
    readers = {b"av1C": _av1_samples, b"hvcC": _hevc_samples}
    return next((readers[box.kind](head, box) for box in properties if box.kind in readers), 3.0)


def _av1_samples(head: Head, box: Box) -> float:
    """monochrome, chroma_subsampling_x and _y (AV1 in ISOBMFF, section 2.3.3)."""
    flags = head.byte(box.start + 2)
    if flags & 0x10:
        return 1.0
    return 1 + 2 / ((2 if flags & 8 else 1) * (2 if flags & 4 else 1))


def _hevc_samples(head: Head, box: Box) -> float:
    """chromaFormat (ISO/IEC 14496-15 section 8.3.3.1.2): none, 4:2:0, 4:2:2 or 4:4:4."""
    return (1.0, 1.5, 2.0, 3.0)[head.byte(box.start + 16) & 3]


def _exif(head: Head, items: _Items, places: Mapping[int, tuple[Extent, ...]]) -> Ifd0 | None:
    """The EXIF item, of which only the credit counts; None if it lies beyond the bytes at hand."""
    item = next((item for item, kind in items.kinds.items() if kind == b"Exif"), None)
    place = next(iter(places.get(item, ())), None) if item is not None else None
    if place is None:
        return Ifd0()
    try:
        head.need(place.start + place.size)
        (offset,) = head.unpack(">I", place.start)
    except Corrupt:
        return Ifd0()
    except NeedMoreBytes:
        return None
    return parse_ifd0(head.up_to(place.start + 4 + offset, max(0, min(place.size - 4 - offset, MAX_BLOCK))))


def _coded_as_said(head: Head, items: _Items, places: Mapping[int, tuple[Extent, ...]], sequence: Sequence) -> bool:
    """Whether all coded pictures were seen; raises Corrupt for one that is larger than the boxes say."""
    said = _size(head, items, items.primary) or (0, 0)
    coded = [item for item in places if items.kinds.get(item) == b"av01"]
    pictures: list[tuple[tuple[int, int], tuple[Extent, ...]]] = [(said, (sample,)) for sample in sequence.first]
    pictures += [(_size(head, items, item) or said, places[item]) for item in coded]
    return all(_is_coded_as_said(head, *picture) for picture in pictures)


def _is_coded_as_said(head: Head, said: tuple[int, int], extents: tuple[Extent, ...]) -> bool:
    if any(extent.start + extent.size > head.end for extent in extents):
        return True  # it is not in the file: no decoder will read it either
    if not all(head.reaches(extent.start + extent.size) for extent in extents):
        return False
    data = b"".join(head.view[extent.start : extent.start + extent.size] for extent in extents)
    for width, height in coded_sizes(data):
        if width * height > MAX_GROWTH * said[0] * said[1] + SMALL:
            raise Corrupt(f"AVIF item of {said[0]} x {said[1]} pixels, coded as {width} x {height}")
    return True
