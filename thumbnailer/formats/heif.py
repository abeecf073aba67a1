"""HEIC and AVIF (ISO/IEC 23008-12), and the videos that share their container.

The primary item's coding decides between HEIC and AVIF, not the brands: `mif1` alone says neither. Sizes are after
`clap` and `irot`: decoders crop and turn the picture themselves, but libavif leaves the cropping to its caller
(`crop`). An item's size is its `ispe`, as in libheif's own limits; AV1 must not be coded larger, because libavif
compares the two only after it has decoded.
"""

import struct
from collections.abc import Iterable, Iterator
from math import floor, gcd

from thumbnailer.errors import Corrupt, NeedMoreBytes, NotAnImage, UnsupportedFormat
from thumbnailer.formats.av1 import read_coded_sizes
from thumbnailer.formats.base import FormatSpec, Head, Patch, Piece, first, starts_with
from thumbnailer.formats.boxes import boxes, children
from thumbnailer.formats.details import HeifDetails
from thumbnailer.formats.exif import Ifd0, is_costly, read_ifd0
from thumbnailer.formats.heif_items import Items, Sequence, item_extents, item_kinds, read_items, read_sequence
from thumbnailer.formats.icc import BT2100_NUMBER, SRGB_NUMBER, VIDEO_CURVES, conversion_profile, space_by_numbers
from thumbnailer.model import NO_CREDIT, EngineName, Format, ImageInfo

MOST_SHRINK, LEAST_TILE, MOST_LOOKS = 8, 65_536, 65_536
"""Of grids that are decoded tile by tile: each tile takes a look at every item. Phones write 48 tiles of 512 x 512."""
MAX_BRANDS = 64
MAX_HOPS = 8  # from a derived item (a grid of grids, an overlay) to the items that it is made of
MAX_GROWTH = 2
SMALL = 65_536
"""Coded pixels may be this many times an item's pixels, or this many: encoders pad to their block size."""
HELD_OF_CROPPED = 6  # bytes a pixel that is decoded and then cropped away, in the unit of `Details.held`
SMALL_WHOLE = 4 << 20
"""The decoded pixels may be this many times the picture's pixels, or this many: tiles reach beyond its edge."""

STILL_BRANDS = frozenset(b"mif1 mif2 mif3 miaf heic heix heim heis avif MA1A MA1B".split())
SEQUENCE_BRANDS = frozenset(b"msf1 hevc hevx hevm hevs avis".split())
OTHER_PICTURES = {
    **dict.fromkeys((b"avci", b"avcs"), "HEIF with AVC"),
    **dict.fromkeys((b"jpeg", b"jpgs"), "HEIF with JPEG"),
    **dict.fromkeys((b"j2ki", b"j2is"), "HEIF with JPEG 2000"),
    **dict.fromkeys((b"vvic", b"vvis"), "HEIF with VVC"),
    b"evbi": "HEIF with EVC",
    b"crx ": "Canon CR3 raw",
}
OTHER_MEDIA = {b"qt  ": "a QuickTime movie"} | dict.fromkeys((b"M4A ", b"M4B ", b"M4P "), "MP4 audio")
MOBILE_BRANDS = (b"3g", b"3G")

CODINGS = {b"hvc1": Format.HEIC, b"av01": Format.AVIF}
DERIVED = frozenset({b"grid", b"iden", b"iovl"})
ALPHA_KINDS = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
ICC_COLOURS = (b"prof", b"rICC")
QUARTER_TURN = 1
UNSPECIFIED = 2  # of primaries and of curves (ITU-T H.273): sRGB's, as in Chromium


def read_heif(head: Head) -> ImageInfo:
    major = _read_brand(head)
    meta = _find_meta(head)
    items = read_items(head, meta)
    coded, format_ = _find_coded_item(items)
    exif = _read_exif(items)
    sequence = read_sequence(head) if major in SEQUENCE_BRANDS else Sequence()
    width, height = _upright_size(items)
    alphas = {number for number, box in enumerate(items.properties, 1) if _is_alpha(head, box)}
    decoded, has_alpha = _find_decoded_items(items, width * height, alphas)
    checked = format_ is Format.HEIC or _is_coded_size_checked(items, decoded, sequence)
    properties = items.of(items.primary) + items.of(coded)
    crop, cropped_pixels = _crop(items)
    depth, samples = _depth_and_samples(head, properties)
    colours = {head.read(box.start, 4): box for box in reversed(properties) if box.kind == b"colr"}
    icc = not colours.keys().isdisjoint(ICC_COLOURS)
    profile = b"" if icc or b"nclx" not in colours else _make_profile(head, colours[b"nclx"], grey=samples == 1)
    tile = _find_tile(items) if format_ is Format.HEIC and not has_alpha else None
    return ImageInfo(
        format_,
        width,
        height,
        has_alpha=has_alpha,
        frames=sequence.frames,
        bit_depth=depth,
        icc=icc,
        channels=3 + has_alpha,
        credit=exif.credit if exif else NO_CREDIT,
        complete=sequence.reached and checked and exif is not None,
        details=HeifDetails(
            samples=samples + has_alpha,
            held=_count_metadata(items, meta) + HELD_OF_CROPPED * cropped_pixels,
            # libvips hands out grey as colours, for which a profile of grey is none.
            misread_by=frozenset({EngineName.VIPS} if profile and samples == 1 else ()),
            profile=profile,
            premultiplied=items.premultiplied,
            crop=crop if format_ is Format.AVIF else None,
            most_shrink=gcd(*tile, width, height, MOST_SHRINK) if tile else 1,
            tile=tile,
            turns=sum(head.number(box.start) & 3 for box in items.of(items.primary) if box.kind == b"irot"),
        ),
    )


def _find_tile(items: Items) -> tuple[int, int] | None:
    """The sides of the tiles if nothing but a turn is done to their grid."""
    tiles = items.inputs.get(items.primary, ()) if items.kinds.get(items.primary) == b"grid" else ()
    changed = {box.kind for box in items.of(items.primary)} & {b"clap", b"imir"}
    if changed or {items.kinds.get(tile) for tile in tiles} != {b"hvc1"}:
        return None
    (width, height), (across, down) = items.size(items.primary), items.size(tiles[0])
    if across * down < LEAST_TILE or len(tiles) * len(items.kinds) > MOST_LOOKS:
        return None
    return (across, down) if len(tiles) == -(-width // across) * -(-height // down) else None


def single_tiles(head: Head) -> list[list[Patch]]:
    """For each tile of a grid, the changes to the file that make it the primary item, and visible."""
    meta = _find_meta(head)
    items, pitm = read_items(head, meta), meta[b"pitm"].start
    size = 2 if head.number(pitm) == 0 else 4
    # An item's flags end before its number and two more bytes, which are before its type.
    flags = {item: at - (5 if item < 1 << 16 else 7) for item, _, at in item_kinds(head, meta[b"iinf"])}
    return [[(pitm + 4, tile.to_bytes(size)), (flags[tile], b"\0")] for tile in items.inputs[items.primary]]


def _read_brand(head: Head) -> bytes:
    """The major brand. Raises, with its name, for a file without a known picture brand."""
    ftyp = next(boxes(head, 0, head.end))
    count = min(ftyp.size // 4, MAX_BRANDS)
    if count < 1:
        raise Corrupt("ISO media file without a brand")
    listed = head.read(ftyp.start, 4 * count)
    brands = [listed[:4], *(listed[at : at + 4] for at in range(8, len(listed), 4))]
    if any(brand in STILL_BRANDS | SEQUENCE_BRANDS for brand in brands):
        return brands[0]
    if picture := next((OTHER_PICTURES[brand] for brand in brands if brand in OTHER_PICTURES), None):
        raise UnsupportedFormat(picture)
    video = "a 3GP video" if brands[0].startswith(MOBILE_BRANDS) else "an MP4 video"
    raise NotAnImage(OTHER_MEDIA.get(brands[0], video))


def _find_meta(head: Head) -> dict[bytes, Piece]:
    """The boxes within the meta box."""
    meta = first(boxes(head, 0, head.end), b"meta")
    if meta is None:
        raise Corrupt("HEIF has no meta box")
    head.need(meta.start + 4)
    return children(head, meta, skip=4)


def _find_coded_item(items: Items) -> tuple[int, Format]:
    """The item with the coded pixels, or the first one of a derived primary item; and its format."""
    item = items.primary
    for _ in range(MAX_HOPS):
        kind = items.kinds.get(item, b"")
        if kind not in DERIVED:
            break
        item = next(iter(items.inputs.get(item, ())), 0)
    else:
        raise Corrupt("HEIF items are made of one another")
    if not kind:
        raise Corrupt("HEIF primary item does not exist")
    if kind not in CODINGS:
        raise UnsupportedFormat(f"HEIF with items of type {kind.decode('ascii', 'backslashreplace')!r}")
    return item, CODINGS[kind]


def _find_decoded_items(items: Items, pixels: int, alphas: set[int]) -> tuple[Iterable[int], bool]:
    """The primary item, its alpha, and the tiles of both: no decoder looks at other items; and whether there is alpha.

    Raises Corrupt if they have too many pixels. The plan counts the picture's pixels, but decoders also decode cropped
    parts, whole tiles and alpha.
    """
    known: dict[int, int] = {}
    _count_decoded_pixels(items, items.primary, known)
    shown = frozenset(known)
    auxiliary = [item for item, masters in items.masters.items() if not shown.isdisjoint(masters)]
    with_alpha = [item for item in auxiliary if not alphas.isdisjoint(items.links.get(item, ()))]
    for item in (items.primary, *with_alpha):
        decoded = _count_decoded_pixels(items, item, known)
        if decoded > MAX_GROWTH * pixels + SMALL_WHOLE:
            raise Corrupt(f"HEIF of {pixels} pixels, for which {decoded} are decoded")
    return known, bool(with_alpha)


def _count_decoded_pixels(items: Items, item: int, known: dict[int, int], hops: int = 0) -> int:
    items.head.spend(1)
    if hops > MAX_HOPS:
        raise Corrupt("HEIF items are made of one another")
    if item not in known:
        inputs = items.inputs.get(item, ()) if items.kinds.get(item) in DERIVED else ()
        width, height = items.size(item)
        parts = sum(_count_decoded_pixels(items, part, known, hops + 1) for part in inputs)
        known[item] = max(width * height, parts)
    return known[item]


def _is_alpha(head: Head, box: Piece) -> bool:
    return box.kind == b"auxC" and head.read(box.start + 4, min(64, max(0, box.size - 4))).startswith(ALPHA_KINDS)


def _read_exif(items: Items) -> Ifd0 | None:
    """The EXIF item, of which only the credit counts; None if it lies beyond the bytes at hand."""
    places = next((items.places.get(item, ()) for item, kind in items.kinds.items() if kind == b"Exif"), ())
    if not places:
        return Ifd0()
    try:
        items.head.need(places[0].end)
        offset = items.head.number(places[0].start, 4)
    except Corrupt:
        return Ifd0()
    except NeedMoreBytes:
        return None
    return read_ifd0(items.head, places[0], skip=4 + offset)


def _count_metadata(items: Items, meta: dict[bytes, Piece]) -> int:
    """Bytes of boxes and of items without pixels: decoders copy these, but not the rest of the file."""
    others = (places for item, places in items.places.items() if items.kinds.get(item) not in CODINGS)
    metadata = sum(place.size for places in others for place in places) + sum(box.size for box in meta.values())
    return min(items.head.size, metadata)


def _upright_size(items: Items) -> tuple[int, int]:
    """The primary item's size (of a grid: of all tiles together), cropped and turned in the order of the file."""
    width, height = items.size(items.primary)
    for box in items.of(items.primary):
        if box.kind == b"clap":
            left, top, right, bottom = _clean(items.head, box, width, height)
            width, height = right - left, bottom - top
        if box.kind == b"irot" and items.head.number(box.start) & QUARTER_TURN:
            width, height = height, width
    if not (width > 0 and height > 0):
        raise Corrupt(f"HEIF of {width} x {height} pixels")
    return width, height


def _crop(items: Items) -> tuple[tuple[int, int, int, int] | None, int]:
    """The primary item's clean aperture, before its turn (ISO/IEC 23000-22 section 7.3.6.7), and the pixels cut off."""
    clap = first(items.of(items.primary), b"clap")
    if clap is None:
        return None, 0
    width, height = items.size(items.primary)
    left, top, right, bottom = _clean(items.head, clap, width, height)
    return (left, top, right, bottom), width * height - (right - left) * (bottom - top)


def _clean(head: Head, clap: Piece, width: int, height: int) -> tuple[int, int, int, int]:
    """A clean aperture: its sides, and how far its middle is from the picture's (ISO/IEC 14496-12 12.1.4)."""
    fractions = struct.iter_unpack(">iI", head.read(clap.start, 32))
    across, down, right, below = (top / max(1, bottom) for top, bottom in fractions)
    (left, end), (top, bottom) = _visible_range(width, across, right), _visible_range(height, down, below)
    return left, top, end, bottom


def _visible_range(side: int, clean: float, offset: float) -> tuple[int, int]:
    """Rounds halves as libheif does when it crops."""
    start = floor(offset + (side - clean) / 2)
    return max(0, start), min(side, start + floor(clean + 0.5))


def _is_coded_size_checked(items: Items, decoded: Iterable[int], sequence: Sequence) -> bool:
    """Whether all coded pictures were at hand. Raises Corrupt for one that is larger than the boxes say."""
    primary = items.size(items.primary)
    pictures = [(primary, (sample,)) for sample in sequence.first] + [
        (items.size(item, primary), items.places.get(item, ())) for item in decoded if items.kinds.get(item) == b"av01"
    ]
    return all(_is_checked(items.head, *picture) for picture in pictures)


def _is_checked(head: Head, size: tuple[int, int], extents: tuple[Piece, ...]) -> bool:
    if any(extent.end > head.end for extent in extents):
        return True  # it is not in the file: no decoder will read it either
    if not all(head.reaches(extent.end) for extent in extents):
        return False
    item = head.within(b"".join(head.read(extent.start, extent.size) for extent in extents), "AV1")
    for width, height in read_coded_sizes(item):
        if width * height > MAX_GROWTH * size[0] * size[1] + SMALL:
            raise Corrupt(f"AVIF item of {size[0]} x {size[1]} pixels, coded as {width} x {height}")
    return True


def _depth_and_samples(head: Head, properties: list[Piece]) -> tuple[int, float]:
    """Bits, and samples a pixel: the pixels' own property counts before the decoder's configuration."""
    depth, samples = 8, 3.0
    if av1 := first(properties, b"av1C"):
        flags = head.number(av1.start + 2)  # AV1 in ISOBMFF, section 2.3.3
        depth = (8, 8, 10, 12)[flags >> 5 & 3]  # high_bitdepth, twelve_bit
        across, down = 1 + (flags >> 3 & 1), 1 + (flags >> 2 & 1)  # chroma_subsampling_x and _y
        samples = 1.0 if flags & 0x10 else 1 + 2 / (across * down)  # monochrome
    elif hevc := first(properties, b"hvcC"):  # ISO/IEC 14496-15 section 8.3.3.1.2
        depth = 8 + (head.number(hevc.start + 17) & 7)  # bitDepthLumaMinus8
        samples = (1.0, 1.5, 2.0, 3.0)[head.number(hevc.start + 16) & 3]  # none, 4:2:0, 4:2:2 or 4:4:4
    if pixi := first(properties, b"pixi"):
        depth = max(head.read(pixi.start + 5, head.number(pixi.start + 4)), default=8)
    return depth, samples


def _make_profile(head: Head, nclx: Piece, grey: bool) -> bytes:
    """Of colours by numbers. The curves of video count as sRGB's, as in Chromium, but not in BT.2020 (docs/why.md)."""
    primaries, curve = head.unpack(">HH", nclx.start + 4)
    if curve == UNSPECIFIED or (curve in VIDEO_CURVES and primaries != BT2100_NUMBER):
        curve = SRGB_NUMBER
    return conversion_profile(space_by_numbers(1 if primaries == UNSPECIFIED else primaries, curve, grey))


def hide(head: Head) -> Iterator[Patch]:
    """Gives costly EXIF items a type that decoders do not know."""
    meta = _find_meta(head)
    places = dict(item_extents(head, meta))
    for item, kind, at in item_kinds(head, meta[b"iinf"]) if b"iinf" in meta else ():
        if kind != b"Exif":
            continue
        extents = places.get(item, ())
        is_near = len(extents) == 1 and head.reaches(extents[0].start + 4)
        if not is_near or is_costly(head, extents[0], skip=4 + head.number(extents[0].start, 4)):
            yield at, b"skip"


FORMAT = FormatSpec("HEIF", (Format.HEIC, Format.AVIF), starts_with(b"ftyp", at=4), read_heif, hide=hide)
