"""TIFF 6.0 and BigTIFF: the first directory, and the length of the chain.

Only the first page is decoded, but libvips counts the pages, for which libtiff reads all directories and copies the
values of their tags: so all of the chain is walked here, and refused where it holds more than honest files do.
Limits: pages are counted only as far as the bytes reach; sub-directories are not looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from thumbnailer.errors import Corrupt, NeedMoreBytes, UnsupportedFormat
from thumbnailer.exif import TEXT_TYPES, clean_credit, valid_orientation
from thumbnailer.model import Format, ImageInfo
from thumbnailer.probe.head import Head

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
MAX_VALUES = 256
"""Values read of one tag; all tags of interest have one a channel, or are capped text."""

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, CHANNELS = 256, 257, 258, 259, 262, 274, 277
ROWS_PER_STRIP, PLANAR, ARTIST, TILE_WIDTH, TILE_HEIGHT, EXTRA_SAMPLES = 278, 284, 315, 322, 323, 338
SEPARATE = 2
"""PlanarConfiguration: each channel in strips of its own, so that a row is whole when the last channel's is there."""
COPYRIGHT, ICC, DNG_VERSION = 33432, 34675, 50706
UNCOMPRESSED, PALETTE = 1, 3
"""Of COMPRESSION and PHOTOMETRIC (TIFF 6.0, pages 30 and 37)."""
INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""BYTE, SHORT, LONG and BigTIFF's LONG8."""
VALUE_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value of each type; one of all others (TIFF 6.0, page 15; BigTIFF adds 16 to 18)."""
ALPHA_SAMPLES = (1, 2)
"""Associated and unassociated alpha; 0 is a channel of unknown meaning (TIFF 6.0, page 31)."""


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
    details = _details(head, layout, first)
    chain = _chain(head, layout, offset)
    channels = max(1, _first(head, layout, first, CHANNELS, 1))
    return ImageInfo(
        Format.TIFF,
        width,
        height,
        orientation=details.orientation,
        has_alpha=details.has_alpha,
        frames=chain.pages,
        bit_depth=details.bit_depth,
        icc=ICC in first.entries,
        channels=channels,
        palette=_first(head, layout, first, PHOTOMETRIC, 0) == PALETTE,
        samples=channels,
        block_rows=_block_rows(head, layout, first, height),
        artist=details.artist,
        copyright=details.copyright,
        complete=details.complete and chain.reached,
        band=min(band, height),
        held=chain.held,
        read_rows=_read_rows(head, layout, first, height),
    )


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
    has_alpha: bool
    bit_depth: int
    artist: bytes
    copyright: bytes
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


def _details(head: Head, layout: _Layout, directory: _Directory) -> _Details:
    """Fields whose values may lie far from the directory; those out of reach count as absent, and are told of."""
    missing = [tag for tag in (BITS, EXTRA_SAMPLES, ARTIST, COPYRIGHT) if _is_beyond(head, layout, directory, tag)]
    entries = {tag: entry for tag, entry in directory.entries.items() if tag not in missing}
    return _Details(
        orientation=valid_orientation(next(_integers(head, layout, entries.get(ORIENTATION)), 1)),
        has_alpha=any(kind in ALPHA_SAMPLES for kind in _integers(head, layout, entries.get(EXTRA_SAMPLES))),
        # Without the tag a sample has one bit (TIFF 6.0, page 29); of one out of reach 8 is the best guess.
        bit_depth=max(_integers(head, layout, entries.get(BITS)), default=8 if BITS in missing else 1),
        artist=_text(head, layout, entries.get(ARTIST)),
        copyright=_text(head, layout, entries.get(COPYRIGHT)),
        complete=not any(_exists(head, layout, directory.entries[tag]) for tag in missing),
    )


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
