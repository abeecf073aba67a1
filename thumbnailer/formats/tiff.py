"""TIFF 6.0 and BigTIFF: the first directory, and the length of the chain.

Only the first page is decoded, but libvips counts the pages, for which libtiff reads all directories and copies the
values of their tags: so all of the chain is walked here, and refused where it holds more than honest files do.
Limits: pages are counted only as far as the bytes reach; sub-directories are not looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from thumbnailer.errors import Corrupt, NeedMoreBytes, UnsupportedFormat
from thumbnailer.formats.exif import TEXT_TYPES, clean_credit, valid_orientation
from thumbnailer.formats.head import Head
from thumbnailer.model import Credit, Details, EngineName, Format, ImageInfo


class Numbers(StrEnum):
    """What a stored sample is. Integers go from black to white over all of their range, floats from 0 to 1."""

    UNSIGNED = "unsigned"
    SIGNED = "signed"
    FLOAT = "float"


@dataclass(frozen=True, slots=True)
class TiffDetails(Details):
    block_rows: int = 0
    """height of its strips or tiles, each of which is decompressed as one; 0 where nothing is compressed"""
    read_rows: int = 0
    """height of uncompressed strips, each of which Pillow reads as one"""
    band: int = 1
    """rows that must be decoded to hand out one of them: the height of tiles"""
    plain_ycbcr: bool = False
    """brightness and two colour differences, all of full size, and not by way of JPEG"""
    missing_from: int | None = None
    """of tiles or planes: first row with missing bytes"""


MAX_PAGES = 10_000
MAX_ENTRIES = 4096
"""libtiff's own sanity check on a directory."""
MAX_LOOKUPS = 40_000_000
"""libtiff looks for every tag among all of its directory: the sum of their squares, of which a million take 20 ms. Even
10,000 pages of 60 tags are fewer."""
SHARED = 32 << 20
"""Values of several tags do not overlap, so that together they are no larger than the file; but some writers let pages
share a profile. To this many bytes of values that are there only once it costs nothing to speak of."""
MAX_SAMPLES = 5
"""A pixel: CMYK and alpha. Neither engine makes a picture of more, and libvips' memory grows with them."""
MAX_TILE = 4 << 20
"""Pixels of a tile that is larger than the picture: decoders unpack it as a whole."""
MAX_PIECES = 1 << 20
"""Tiles or strips that are looked for: a million of the smallest tiles are 268 million pixels."""
MAX_VALUES = 256
"""Values read of one tag; all tags of interest have one a channel, or are capped text."""

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, CHANNELS = 256, 257, 258, 259, 262, 274, 277
ROWS_PER_STRIP, PLANAR, ARTIST, TILE_WIDTH, TILE_HEIGHT, EXTRA_SAMPLES = 278, 284, 315, 322, 323, 338
SEPARATE = 2
"""PlanarConfiguration: each channel in strips of its own, so that a row is whole when the last channel's is there."""
SAMPLE_FORMAT, SUBSAMPLING, COPYRIGHT, ICC, DNG_VERSION = 339, 530, 33432, 34675, 50706
FAR_TAGS = (BITS, EXTRA_SAMPLES, SAMPLE_FORMAT, ARTIST, COPYRIGHT)
"""Of which several values, or a text, may lie far from the directory."""
STRIPS, TILES = (273, 279), (324, 325)
"""Where the pieces of a picture lie, and how many bytes each of them has."""
UNCOMPRESSED, WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 1, 0, 1, 2, 3, 6
"""Of COMPRESSION and PHOTOMETRIC (TIFF 6.0, pages 30 and 37)."""
ONE_COLOUR = (WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE)
JPEG = (6, 7)
COMPRESSIONS = frozenset({UNCOMPRESSED, 2, 3, 4, 5, *JPEG, 8, 32766, 32771, 32773, 32809, 32946})
"""Fax, LZW, JPEG, deflate, PackBits and what libtiff has beside them from of old."""
COMPRESSIONS |= {34676, 34677, 34925, 50000, 50001}
"""SGI's logarithmic ones, LZMA, Zstandard, WebP."""
UNREAD_COMPRESSIONS = {9: "JBIG", 10: "JBIG", 34661: "JBIG", 34887: "LERC", 50002: "JPEG XL", 52546: "JPEG XL"}
UNREAD_COMPRESSIONS |= dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000")
UNREAD_COLOURS = {
    4: "a transparency mask",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "a raw sensor",
    34892: "a raw sensor",
}
NUMBERS = {2: Numbers.SIGNED, 3: Numbers.FLOAT}
"""Of SAMPLE_FORMAT (TIFF 6.0, page 80); all others are taken for unsigned."""
COMPLEX = (5, 6)
DEPTHS = {Numbers.UNSIGNED: (8, 16, 32), Numbers.SIGNED: (8, 16, 32), Numbers.FLOAT: (16, 32)}
"""Bits of a sample that an engine reads, whatever the picture is."""
DEPTHS_OF_ONE = (1, 2, 4)
"""Where a pixel has one sample."""
INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""BYTE, SHORT, LONG and BigTIFF's LONG8."""
VALUE_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value of each type; one of all others (TIFF 6.0, page 15; BigTIFF adds 16 to 18)."""
ASSOCIATED, UNASSOCIATED = 1, 2
ALPHA_SAMPLES = (ASSOCIATED, UNASSOCIATED, 999)
"""Associated and unassociated alpha, and Corel Draw's; 0 is a channel of unknown meaning (TIFF 6.0, page 31)."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """How numbers lie in this file."""

    order: str
    count: str
    offset: str
    entry_size: int

    @property
    def inline(self) -> int:
        return struct.calcsize(self.offset)

    @property
    def count_size(self) -> int:
        return struct.calcsize(self.count)


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    count: int
    at: int
    """Where the value or its offset lies."""


@dataclass(frozen=True, slots=True)
class _Directory:
    entries: dict[int, _Entry]
    next: int


def read_tiff(head: Head) -> ImageInfo:
    head = head.called("TIFF")
    if head.up_to(8, 2) == b"CR":
        raise UnsupportedFormat("Canon CR2 raw")
    layout, offset = _start(head)
    first = _directory(head, layout, offset)
    if DNG_VERSION in first.entries:
        raise UnsupportedFormat("DNG raw")
    width, height = (_size(head, layout, first.entries.get(tag)) for tag in (WIDTH, HEIGHT))
    band = _band(head, layout, first, width * height)
    missing = [tag for tag in FAR_TAGS if _is_beyond(head, layout, first, tag)]
    details = _details(head, layout, first, missing)
    kind = _kind(head, layout, _without(first, missing))
    _refuse_unread(kind, details.bit_depth, layout)
    cut = _cut(head, layout, first, _Grid.of(head, layout, first, width, height), kind, details.bit_depth)
    pages = _chain(head, layout, offset)
    channels = kind.samples
    return ImageInfo(
        Format.TIFF,
        width,
        height,
        orientation=details.orientation,
        has_alpha=_has_alpha(kind),
        frames=pages.pages,
        bit_depth=details.bit_depth,
        icc=ICC in first.entries,
        channels=channels,
        credit=details.credit,
        complete=details.complete and pages.reached and cut.known,
        details=TiffDetails(
            samples=channels,
            palette=kind.photometric == PALETTE,
            held=pages.held,
            misread_by=_misread_by(kind, details.bit_depth),
            block_rows=_block_rows(head, layout, first, height),
            read_rows=_read_rows(head, layout, first, height),
            band=min(band, height),
            plain_ycbcr=kind.plain_ycbcr,
            missing_from=cut.missing_from,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    """What its samples are, and how they are stored."""

    compression: int
    photometric: int
    numbers: Numbers
    complex: bool
    samples: int
    planar: bool
    tiled: bool
    subsampled: bool
    extra: int | None
    """what the first sample beyond the colours is, where that is said"""

    @property
    def plain_ycbcr(self) -> bool:
        return self.photometric == YCBCR and self.compression not in JPEG and not self.subsampled


def _misread_by(kind: _Kind, bits: int) -> frozenset[EngineName]:
    """Engines that make another picture of it and do not say so.

    libvips takes brightness and colour differences for colours. Pillow mistakes the range of signed samples, floats and
    samples of more than 16 bits. It does not invert white-is-zero samples of more than eight bits or in planes, and it
    reads samples in planes as if they had eight bits.
    """
    range_mistaken = bits > 16 or kind.numbers is not Numbers.UNSIGNED
    not_inverted = kind.photometric == WHITE_IS_ZERO and (bits > 8 or kind.planar)
    pillow = {EngineName.PILLOW} if range_mistaken or not_inverted or (kind.planar and bits != 8) else set()
    return frozenset(pillow | ({EngineName.VIPS} if kind.plain_ycbcr else set()))


def _kind(head: Head, layout: _Layout, directory: _Directory) -> _Kind:
    format_ = _first(head, layout, directory, SAMPLE_FORMAT, 1)
    return _Kind(
        compression=_first(head, layout, directory, COMPRESSION, UNCOMPRESSED),
        photometric=_first(head, layout, directory, PHOTOMETRIC, WHITE_IS_ZERO),
        numbers=NUMBERS.get(format_, Numbers.UNSIGNED),
        complex=format_ in COMPLEX,
        samples=max(1, _first(head, layout, directory, CHANNELS, 1)),
        planar=_first(head, layout, directory, PLANAR, 1) == SEPARATE,
        tiled=TILE_WIDTH in directory.entries,
        # Without the tag they are (TIFF 6.0, page 91).
        subsampled=list(_integers(head, layout, directory.entries.get(SUBSAMPLING))) != [1, 1],
        extra=next(_integers(head, layout, directory.entries.get(EXTRA_SAMPLES)), None),
    )


def _refuse_unread(kind: _Kind, bits: int, layout: _Layout) -> None:
    """Raises UnsupportedFormat, with its name, for what neither engine decodes, or both decode wrongly."""
    if kind.compression not in COMPRESSIONS:
        name = UNREAD_COMPRESSIONS.get(kind.compression, f"number {kind.compression}")
        raise UnsupportedFormat(f"TIFF with the compression {name}")
    if kind.photometric in UNREAD_COLOURS:
        raise UnsupportedFormat(f"TIFF of {UNREAD_COLOURS[kind.photometric]}")
    numbers = "complex" if kind.complex else kind.numbers
    samples = f"TIFF of {numbers} samples of {bits} bits, {kind.samples} a pixel"
    if not _are_samples_read(kind, bits, layout):
        raise UnsupportedFormat(samples)
    if kind.planar and not _are_planes_read(kind, bits):
        raise UnsupportedFormat(f"{samples}, in planes" + (" of tiles" if kind.tiled else ""))
    if kind.extra == ASSOCIATED and not _is_premultiplied_read(kind, bits):
        raise UnsupportedFormat(f"{samples}, with premultiplied alpha")


def _are_samples_read(kind: _Kind, bits: int, layout: _Layout) -> bool:
    if kind.complex or (kind.compression in JPEG and bits != 8):
        return False
    if kind.numbers is not Numbers.UNSIGNED and kind.photometric == WHITE_IS_ZERO:
        return False
    if kind.samples == 1 and bits == 12:
        return kind.photometric == BLACK_IS_ZERO and layout.order == "<"
    one = kind.samples == 1 and kind.numbers is Numbers.UNSIGNED
    return bits in DEPTHS[kind.numbers] or (one and bits in DEPTHS_OF_ONE)


def _are_planes_read(kind: _Kind, bits: int) -> bool:
    if kind.photometric in ONE_COLOUR and kind.samples > 1:
        return False
    if kind.photometric == YCBCR and kind.compression == UNCOMPRESSED:
        return False
    if kind.tiled:  # by Pillow alone
        known = kind.photometric != WHITE_IS_ZERO and kind.extra in (None, UNASSOCIATED)
        return bits == 8 and kind.numbers is Numbers.UNSIGNED and known and kind.samples < MAX_SAMPLES
    return not (kind.numbers is Numbers.FLOAT and bits == 16)


def _is_premultiplied_read(kind: _Kind, bits: int) -> bool:
    if kind.numbers is Numbers.FLOAT:
        return kind.photometric == RGB
    return kind.numbers is Numbers.UNSIGNED and bits <= 16


@dataclass(frozen=True, slots=True)
class _Grid:
    """How a picture, or each of its planes, is cut into pieces: tiles, or strips that are as wide as it is."""

    tags: tuple[int, int]
    piece_width: int
    piece_height: int
    across: int
    down: int

    @staticmethod
    def of(head: Head, layout: _Layout, directory: _Directory, width: int, height: int) -> _Grid:
        tiled = TILE_WIDTH in directory.entries
        piece_width = _first(head, layout, directory, TILE_WIDTH, width) or width
        rows_tag = TILE_HEIGHT if tiled else ROWS_PER_STRIP
        piece_height = _first(head, layout, directory, rows_tag, height) or height
        piece_height = piece_height if tiled else min(piece_height, height)
        across, down = -(-width // piece_width), -(-height // piece_height)
        return _Grid(TILES if tiled else STRIPS, piece_width, piece_height, across, down)

    def first_row(self, index: int) -> int:
        """Of a piece; they go from left to right, then down, then on to the next plane."""
        return index % (self.across * self.down) // self.across * self.piece_height


@dataclass(frozen=True, slots=True)
class _Cut:
    """From which row on not all is there (None: all of it is), and whether the bytes at hand tell."""

    missing_from: int | None = None
    known: bool = True


def _cut(head: Head, layout: _Layout, directory: _Directory, grid: _Grid, kind: _Kind, bits: int) -> _Cut:
    """Of tiles and planes alone: in place of missing ones decoders leave black, or noise. Of strips they say so."""
    tables = [directory.entries[tag] for tag in grid.tags if tag in directory.entries]
    pieces = grid.across * grid.down * (kind.samples if kind.planar else 1)
    if not (kind.tiled or kind.planar) or len(tables) < len(grid.tags):
        return _Cut()
    if pieces > MAX_PIECES:
        raise Corrupt(f"TIFF of {pieces} tiles")
    if not all(table.count >= pieces and _exists(head, layout, table) for table in tables):
        return _Cut()  # decoders do not read it
    if not all(head.reaches(_value_end(head, layout, table)) for table in tables):
        return _Cut(known=False)
    offsets, sizes = (_table(head, layout, table, pieces) for table in tables)
    row_bytes = -(-grid.piece_width * bits * (1 if kind.planar else kind.samples) // 8)
    plain = kind.compression == UNCOMPRESSED
    most = row_bytes * grid.piece_height if plain else head.end  # some writers count more bytes than there are rows
    starts = (
        (grid.first_row(index), start)
        for index, (start, size) in enumerate(zip(offsets, sizes, strict=False))
        if start + min(size, most) > head.end
    )
    if plain and not kind.tiled:  # the rows of a strip are whole as far as its bytes go
        return _Cut(min((row + max(0, head.end - start) // row_bytes for row, start in starts), default=None))
    return _Cut(min((row for row, _ in starts), default=None))


def _table(head: Head, layout: _Layout, entry: _Entry, count: int) -> Iterator[int]:
    """So many values, of which there may be more than MAX_VALUES."""
    code = layout.order + INTEGERS.get(entry.kind, "B")
    data = head.read(_value_start(head, layout, entry), count * struct.calcsize(code))
    return (value for (value,) in struct.iter_unpack(code, data))


def _first(head: Head, layout: _Layout, directory: _Directory, tag: int, default: int) -> int:
    return next(_integers(head, layout, directory.entries.get(tag)), default)


def _read_rows(head: Head, layout: _Layout, directory: _Directory, height: int) -> int:
    if _first(head, layout, directory, COMPRESSION, UNCOMPRESSED) != UNCOMPRESSED or TILE_HEIGHT in directory.entries:
        return 0
    return max(0, min(height, _first(head, layout, directory, ROWS_PER_STRIP, height)))


def _block_rows(head: Head, layout: _Layout, directory: _Directory, height: int) -> int:
    """A strip is as high as the picture unless it is said to be lower (TIFF 6.0, page 39)."""
    if _first(head, layout, directory, COMPRESSION, UNCOMPRESSED) == UNCOMPRESSED:
        return 0
    if TILE_HEIGHT in directory.entries:
        return _first(head, layout, directory, TILE_HEIGHT, height)
    return min(height, _first(head, layout, directory, ROWS_PER_STRIP, height) or height)


@dataclass(frozen=True, slots=True)
class _Details:
    orientation: int
    bit_depth: int
    credit: Credit
    complete: bool


def _start(head: Head) -> tuple[_Layout, int]:
    """The layout, and where the first directory is."""
    order = "<" if head.read(0, 2) == b"II" else ">"
    (version,) = head.unpack(order + "H", 2)
    if version == 42:  # TIFF 6.0, page 13
        return _Layout(order, order + "H", order + "I", 12), head.unpack(order + "I", 4)[0]
    size, zero, offset = head.unpack(order + "HHQ", 4)
    if (size, zero) != (8, 0):
        raise Corrupt("BigTIFF of an unknown offset size")
    return _Layout(order, order + "Q", order + "Q", 20), offset


def _directory(head: Head, layout: _Layout, offset: int) -> _Directory:
    count, after = _extent(head, layout, offset)
    start = offset + layout.count_size
    entries: dict[int, _Entry] = {}
    for at in range(start, start + count * layout.entry_size, layout.entry_size):
        tag, kind = head.unpack(layout.order + "HH", at)
        (values,) = head.unpack(layout.offset, at + 4)
        entries.setdefault(tag, _Entry(kind, values, at + 4 + layout.inline))
    return _Directory(entries, after)


def _extent(head: Head, layout: _Layout, offset: int) -> tuple[int, int]:
    """How many entries the directory at `offset` has, and where the next directory is (0: nowhere)."""
    if offset < layout.inline:
        raise Corrupt("TIFF directory lies within the file header")
    (count,) = head.unpack(layout.count, offset)
    if not 0 < count <= MAX_ENTRIES:
        raise Corrupt(f"TIFF directory of {count} entries")
    end = offset + layout.count_size + count * layout.entry_size
    head.need(end)
    # Some writers leave out the last link; libtiff takes that for the end of the chain.
    return count, head.unpack(layout.offset, end)[0] if head.reaches(end + layout.inline) else 0


@dataclass(frozen=True, slots=True)
class _Chain:
    """All pages: their number, the bytes of the most tags of one of them, whether all was followed to its end."""

    pages: int
    held: int
    reached: bool


def _chain(head: Head, layout: _Layout, offset: int) -> _Chain:
    visited: set[int] = set()
    lookups = held = values = 0
    reached = True
    while offset and offset not in visited:
        try:
            count, after = _extent(head, layout, offset)
        except (Corrupt, NeedMoreBytes) as error:
            reached = isinstance(error, Corrupt)
            break
        visited.add(offset)
        lookups += count**2
        own = _bytes_of_values(head, layout, offset, count)
        held, values = max(held, own), values + own
        if len(visited) > MAX_PAGES or lookups > MAX_LOOKUPS or values > head.end + SHARED:
            raise Corrupt(f"TIFF with more tags than are of use: {values} bytes in {len(visited)} pages")
        offset = after
    return _Chain(max(1, len(visited)), held, reached)


def _bytes_of_values(head: Head, layout: _Layout, offset: int, count: int) -> int:
    """Of those that lie outside the directory, and whole within the file: others are no values."""
    start = offset + layout.count_size
    fields = struct.iter_unpack(
        f"{layout.order}HH{layout.offset[-1]}{layout.inline}x", head.read(start, count * layout.entry_size)
    )
    sizes = (values * VALUE_SIZES.get(kind, 1) for _, kind, values in fields)
    return sum(size for size in sizes if layout.inline < size <= head.end)


def _band(head: Head, layout: _Layout, directory: _Directory, pixels: int) -> int:
    """Rows that are decoded together. Raises where that, or a pixel, is more than any picture needs."""
    samples, rows, planar, width, height = (
        next(_integers(head, layout, directory.entries.get(tag)), default)
        for tag, default in ((CHANNELS, 1), (ROWS_PER_STRIP, pixels), (PLANAR, 1), (TILE_WIDTH, 0), (TILE_HEIGHT, 0))
    )
    if samples > MAX_SAMPLES:
        raise UnsupportedFormat(f"TIFF of {samples} samples a pixel")
    if width * height > max(MAX_TILE, 2 * pixels):
        raise Corrupt(f"TIFF with tiles of {width} x {height}, larger than the picture")
    if height:
        return height
    return rows if planar == SEPARATE else 1


def _size(head: Head, layout: _Layout, entry: _Entry | None) -> int:
    side = next(_integers(head, layout, entry), 0)
    if side == 0:
        raise Corrupt("TIFF without width or height")
    return side


def _details(head: Head, layout: _Layout, directory: _Directory, missing: Collection[int]) -> _Details:
    """Fields whose values may lie far from the directory; those out of reach count as absent, and are told of."""
    entries = _without(directory, missing).entries
    return _Details(
        orientation=valid_orientation(next(_integers(head, layout, entries.get(ORIENTATION)), 1)),
        # Without the tag a sample has one bit (TIFF 6.0, page 29); of one out of reach 8 is the best guess.
        bit_depth=max(_integers(head, layout, entries.get(BITS)), default=8 if BITS in missing else 1),
        credit=Credit(*(_text(head, layout, entries.get(tag)) for tag in (ARTIST, COPYRIGHT))),
        complete=not any(_exists(head, layout, directory.entries[tag]) for tag in missing),
    )


def _without(directory: _Directory, tags: Collection[int]) -> _Directory:
    return _Directory({tag: entry for tag, entry in directory.entries.items() if tag not in tags}, directory.next)


def _has_alpha(kind: _Kind) -> bool:
    """By the first sample beyond the colours. Writers that say nothing of a fourth one mean alpha."""
    if kind.extra is None:
        return kind.photometric == RGB and kind.samples == 4
    return kind.extra in ALPHA_SAMPLES


def _is_beyond(head: Head, layout: _Layout, directory: _Directory, tag: int) -> bool:
    entry = directory.entries.get(tag)
    return entry is not None and not head.reaches(_value_end(head, layout, entry))


def _exists(head: Head, layout: _Layout, entry: _Entry) -> bool:
    return _value_end(head, layout, entry) <= head.end


def _value_end(head: Head, layout: _Layout, entry: _Entry) -> int:
    return _value_start(head, layout, entry) + _value_size(entry)


def _value_start(head: Head, layout: _Layout, entry: _Entry) -> int:
    return entry.at if _value_size(entry) <= layout.inline else head.unpack(layout.offset, entry.at)[0]


def _value_size(entry: _Entry) -> int:
    return entry.count * struct.calcsize("=" + INTEGERS.get(entry.kind, "B"))


def _integers(head: Head, layout: _Layout, entry: _Entry | None) -> Iterator[int]:
    if entry is None or entry.kind not in INTEGERS:
        return
    code = layout.order + INTEGERS[entry.kind]
    start = _value_start(head, layout, entry)
    for index in range(min(entry.count, MAX_VALUES)):
        yield head.unpack(code, start + index * struct.calcsize(code))[0]


def _text(head: Head, layout: _Layout, entry: _Entry | None) -> bytes:
    if entry is None or entry.kind not in TEXT_TYPES:
        return b""
    return clean_credit(head.up_to(_value_start(head, layout, entry), min(entry.count, MAX_VALUES)))
