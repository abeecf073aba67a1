"""TIFF 6.0 and BigTIFF: the first directory, and the length of the chain.

Only the first page is decoded, but libvips counts the pages. To count them, libtiff reads all directories and copies
the values of their tags. The reader therefore walks the whole chain, and refuses more tags than honest files have.
Limits: pages are counted only as far as the bytes reach; sub-directories are ignored.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from thumbnailer.errors import Corrupt, NeedMoreBytes, UnsupportedFormat
from thumbnailer.formats import tiff_samples as tags
from thumbnailer.formats.head import Head
from thumbnailer.formats.ifd import ARTIST, COPYRIGHT, Directory, Layout, bytes_of_values, read_directory
from thumbnailer.formats.spec import FormatSpec, starts_with
from thumbnailer.formats.tiff_samples import MAX_SAMPLES, Samples, misread_by, read_samples, refuse_unread
from thumbnailer.model import Details, Format, ImageInfo


@dataclass(frozen=True, slots=True)
class TiffDetails(Details):
    block_rows: int = 0
    """height of its strips or tiles, each of which is decompressed as one; 0: nothing is compressed"""
    read_rows: int = 0  # height of uncompressed strips, each of which Pillow reads as one
    band: int = 1  # rows that must be decoded to hand out one row: the height of tiles
    plain_ycbcr: bool = False
    """brightness and two colour differences, all of full size, and not by way of JPEG"""
    missing_from: int | None = None  # of tiles or planes: first row with missing bytes


MAX_PAGES = 10_000
MAX_ENTRIES = 4096  # libtiff's own sanity check on a directory
MAX_LOOKUPS = 40_000_000
"""libtiff searches the whole directory for every tag: the sum of the squared numbers of entries. A million lookups take
20 ms; 10,000 pages of 60 tags need fewer than this."""
SHARED = 32 << 20
"""Values of several tags do not overlap, so that together they are no larger than the file; but some writers let pages
share a profile. Shared values of up to this many bytes cost almost nothing."""
MAX_TILE = 4 << 20  # pixels of a tile that is larger than the picture: decoders unpack it as a whole
MAX_PIECES = 1 << 20  # tiles or strips to check: a million of the smallest tiles are 268 million pixels
FAR_TAGS = (tags.BITS, tags.EXTRA_SAMPLES, tags.SAMPLE_FORMAT, ARTIST, COPYRIGHT)
"""Tags with several values, or a text, which may be far from the directory."""


def read_tiff(head: Head) -> ImageInfo:
    if head.up_to(8, 2) == b"CR":
        raise UnsupportedFormat("Canon CR2 raw")
    layout, offset = _start(head)
    count, _ = _extent(head, layout, offset)
    directory = read_directory(head, layout, offset + layout.count_size, count)
    if tags.DNG_VERSION in directory.entries:
        raise UnsupportedFormat("DNG raw")
    width = directory.integer(tags.WIDTH, 0)
    height = directory.integer(tags.HEIGHT, 0) if width else 0
    if not (width and height):
        raise Corrupt("TIFF without width or height")
    _refuse_large_pixels(directory, width * height)
    missing = {tag for tag in FAR_TAGS if tag in directory.entries and not head.reaches(directory.entries[tag].end)}
    near = directory.without(missing)
    samples = read_samples(near, depth_is_missing=tags.BITS in missing)
    refuse_unread(samples, little_endian=layout.order == "<")
    missing_from, is_cut_known = _cut(directory, _grid(directory, width, height), samples)
    pages, held, is_end_reached = _chain(head, layout, offset)
    block_rows, read_rows = _rows(directory, samples, height)
    plane_rows = directory.integer(tags.ROWS_PER_STRIP, width * height) if samples.planar else 1
    return ImageInfo(
        Format.TIFF,
        width,
        height,
        orientation=near.orientation(),
        has_alpha=samples.has_alpha,
        frames=pages,
        bit_depth=samples.bits,
        icc=tags.ICC in directory.entries,
        channels=samples.count,
        credit=near.credit(),
        complete=is_end_reached and is_cut_known and not any(directory.entries[tag].end <= head.end for tag in missing),
        details=TiffDetails(
            samples=samples.count,
            palette=samples.photometric == tags.PALETTE,
            held=held,
            misread_by=misread_by(samples),
            block_rows=block_rows,
            read_rows=read_rows,
            band=min(directory.integer(tags.TILE_HEIGHT, 0) or plane_rows, height),
            plain_ycbcr=samples.plain_ycbcr,
            missing_from=missing_from,
        ),
    )


def _start(head: Head) -> tuple[Layout, int]:
    """The layout, and the offset of the first directory."""
    order = "<" if head.read(0, 2) == b"II" else ">"
    (version,) = head.unpack(order + "H", 2)
    if version == 42:  # TIFF 6.0, page 13
        return Layout(order), head.unpack(order + "I", 4)[0]
    size, zero, offset = head.unpack(order + "HHQ", 4)
    if (size, zero) != (8, 0):
        raise Corrupt("BigTIFF of an unknown offset size")
    return Layout(order, "Q", 8, "Q", 8), offset


def _extent(head: Head, layout: Layout, offset: int) -> tuple[int, int]:
    """The number of entries of the directory at `offset`, and the offset of the next directory (0: none)."""
    if offset < layout.inline:
        raise Corrupt("TIFF directory lies within the file header")
    (count,) = head.unpack(layout.order + layout.count, offset)
    if not 0 < count <= MAX_ENTRIES:
        raise Corrupt(f"TIFF directory of {count} entries")
    end = offset + layout.count_size + count * struct.calcsize(layout.entry)
    head.need(end)
    # Some writers leave out the last link; libtiff takes that for the end of the chain.
    return count, head.unpack(layout.order + layout.offset, end)[0] if head.reaches(end + layout.inline) else 0


def _chain(head: Head, layout: Layout, offset: int) -> tuple[int, int, bool]:
    """The number of pages, the most bytes of tags in one page, and whether the chain was followed to its end."""
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
        own = bytes_of_values(head, layout, offset, count, head.end)
        held, values = max(held, own), values + own
        if len(visited) > MAX_PAGES or lookups > MAX_LOOKUPS or values > head.end + SHARED:
            raise Corrupt(f"TIFF with more tags than are of use: {values} bytes in {len(visited)} pages")
        offset = after
    return max(1, len(visited)), held, reached


@dataclass(frozen=True, slots=True)
class _Grid:
    """The pieces of a picture, or of each of its planes: tiles, or strips of the picture's width."""

    tags: tuple[int, int]
    piece_width: int
    piece_height: int
    across: int
    count: int


def _grid(directory: Directory, width: int, height: int) -> _Grid:
    tiled = tags.TILE_WIDTH in directory.entries
    piece_width = directory.integer(tags.TILE_WIDTH, width) or width
    piece_height = directory.integer(tags.TILE_HEIGHT if tiled else tags.ROWS_PER_STRIP, height) or height
    piece_height = piece_height if tiled else min(piece_height, height)
    across, down = -(-width // piece_width), -(-height // piece_height)
    return _Grid(tags.TILES if tiled else tags.STRIPS, piece_width, piece_height, across, across * down)


def _refuse_large_pixels(directory: Directory, pixels: int) -> None:
    """Raises where a pixel or a tile is larger than any picture needs."""
    samples = directory.integer(tags.CHANNELS, 1)
    width, height = directory.integer(tags.TILE_WIDTH, 0), directory.integer(tags.TILE_HEIGHT, 0)
    if samples > MAX_SAMPLES:
        raise UnsupportedFormat(f"TIFF of {samples} samples a pixel")
    if width * height > max(MAX_TILE, 2 * pixels):
        raise Corrupt(f"TIFF with tiles of {width} x {height}, larger than the picture")


def _cut(directory: Directory, grid: _Grid, samples: Samples) -> tuple[int | None, bool]:
    """The first row of tiles or planes with missing bytes (None: no row), and whether the bytes at hand tell.

    Decoders put black or noise in place of them. They report missing strips.
    """
    head = directory.head
    tables = [directory.entries[tag] for tag in grid.tags if tag in directory.entries]
    pieces = grid.count * (samples.count if samples.planar else 1)
    if not (samples.tiled or samples.planar) or len(tables) < len(grid.tags):
        return None, True
    if pieces > MAX_PIECES:
        raise Corrupt(f"TIFF of {pieces} tiles")
    if not all(table.count >= pieces and table.end <= head.end for table in tables):
        return None, True  # decoders do not read it
    if not all(head.reaches(table.end) for table in tables):
        return None, False
    return min(_missing_rows(directory, grid, samples, pieces), default=None), True


def _missing_rows(directory: Directory, grid: _Grid, samples: Samples, pieces: int) -> Iterator[int]:
    """The first missing row of each cut piece."""
    end = directory.head.end
    row_bytes = -(-grid.piece_width * samples.bits * (1 if samples.planar else samples.count) // 8)
    most = row_bytes * grid.piece_height if samples.is_plain else end  # some writers count more bytes than there are
    offsets, sizes = (directory.records(tag, pieces) for tag in grid.tags)
    for index, ((start,), (size,)) in enumerate(zip(offsets, sizes, strict=False)):
        if start + (size if size < most else most) > end:
            directory.head.spend(1)
            # An uncompressed strip shows rows as far as its bytes go.
            whole = max(0, end - start) // row_bytes if samples.is_plain and not samples.tiled else 0
            # Pieces go from left to right, then down, then on to the next plane.
            yield index % grid.count // grid.across * grid.piece_height + whole


def _rows(directory: Directory, samples: Samples, height: int) -> tuple[int, int]:
    """`block_rows` and `read_rows`: a strip is as high as the picture unless the file says less (TIFF 6.0, page 39)."""
    strip = min(height, directory.integer(tags.ROWS_PER_STRIP, height))
    tiled = tags.TILE_HEIGHT in directory.entries
    if samples.is_plain:
        return 0, 0 if tiled else strip
    return directory.integer(tags.TILE_HEIGHT, height) if tiled else strip or height, 0


FORMAT = FormatSpec("TIFF", (Format.TIFF,), starts_with(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), read_tiff)
