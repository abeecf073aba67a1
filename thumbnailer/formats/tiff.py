"""TIFF 6.0 and BigTIFF: the directory of the first page that is no preview, and the length of the chain.

Only that page is decoded, but libvips counts the pages. To count them, libtiff reads all directories and copies the
values of their tags, so `hide` leaves that page alone in the chain. Limits: pages are counted only as far as the bytes
reach; of sub-directories only the ones of cameras and previews are read.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress

from thumbnailer.errors import Corrupt, NeedMoreBytes, UnsupportedFormat
from thumbnailer.formats.base import FormatSpec, Head, Patch, starts_with
from thumbnailer.formats.details import TiffDetails
from thumbnailer.formats.exif import ARTIST, COPYRIGHT, Directory, Layout, bytes_of_values, read_directory
from thumbnailer.model import EngineName, Format, ImageInfo
from thumbnailer.values import dataclass

MAX_SAMPLES = 5
"""A pixel: CMYK and alpha. Neither engine makes a picture of more, and libvips' memory grows with them."""

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, CHANNELS, ROWS_PER_STRIP, PLANAR = 256, 257, 258, 259, 262, 277, 278, 284
TILE_WIDTH, TILE_HEIGHT, EXTRA_SAMPLES, SAMPLE_FORMAT, SUBSAMPLING = 322, 323, 338, 339, 530
ICC, DNG_VERSION = 34675, 50706
SUBFILE_TYPE, MAKER, X_RESOLUTION, Y_RESOLUTION, SUB_DIRECTORIES = 254, 271, 282, 283, 330
NOT_A_PAGE = 5  # bits of SUBFILE_TYPE: a reduced copy, a transparency mask (TIFF 6.0, page 36)
MAX_PREVIEWS = 16
SENSOR = (32803, 34892)
"""PHOTOMETRIC of raw pixels: a colour filter array, linear raw (DNG 1.4)."""
RAWS = {"NIKON": "NEF", "SONY": "ARW", "PENTAX": "PEF", "RICOH": "PEF", "SAMSUNG": "SRW", "SEIKO": "ERF", "LEAF": "MOS"}
RAWS |= {"HASSELBLAD": "3FR", "KODAK": "DCR", "EASTMAN": "DCR", "MAMIYA": "MEF", "PHASE": "IIQ"}
"""By the first word of the camera's maker."""
MOST_STRETCHED = 4  # a pixel of a fax is at most twice as high as wide
STRIPS, TILES = (273, 279), (324, 325)  # offsets and sizes of the pieces of a picture

UNSIGNED, SIGNED, FLOAT, COMPLEX = "unsigned", "signed", "float", "complex"
"""Kinds of samples. Integers go from black to white over all of their range, floats from 0 to 1."""
SEPARATE = 2
"""PlanarConfiguration: each channel in strips of its own; a row is whole when the last channel's row is there."""
UNCOMPRESSED, WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 1, 0, 1, 2, 3, 6
"""Of COMPRESSION and PHOTOMETRIC (TIFF 6.0, pages 30 and 37)."""
ONE_COLOUR = (WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE)
JPEG = (6, 7)
COMPRESSIONS = frozenset({UNCOMPRESSED, 2, 3, 4, 5, *JPEG, 8, 32766, 32771, 32773, 32809, 32946})
"""Fax, LZW, JPEG, deflate, PackBits and libtiff's older ones."""
COMPRESSIONS |= {34676, 34677, 34925, 50000, 50001}  # SGI's logarithmic ones, LZMA, Zstandard, WebP
UNREAD_COMPRESSIONS = {9: "JBIG", 10: "JBIG", 34661: "JBIG", 34887: "LERC", 50002: "JPEG XL", 52546: "JPEG XL"}
UNREAD_COMPRESSIONS |= dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000")
UNREAD_COLOURS = {4: "a transparency mask", 9: "ICC L*a*b*", 10: "ITU L*a*b*"}
NUMBERS = {2: SIGNED, 3: FLOAT, 5: COMPLEX, 6: COMPLEX}
"""Of SAMPLE_FORMAT (TIFF 6.0, page 80); every other value counts as unsigned."""
DEPTHS = {UNSIGNED: (8, 16, 32), SIGNED: (8, 16, 32), FLOAT: (16, 32), COMPLEX: ()}
"""Bits of a sample that an engine reads in every picture."""
DEPTHS_OF_ONE = (1, 2, 4)  # bits of a sample that an engine reads if a pixel has one sample
ASSOCIATED, UNASSOCIATED = 1, 2
ALPHA_SAMPLES = (ASSOCIATED, UNASSOCIATED, 999)
"""Associated and unassociated alpha, and Corel Draw's; 0 is a channel of unknown meaning (TIFF 6.0, page 31)."""

MAX_PAGES = 10_000
MAX_ENTRIES = 512
"""Of a directory. Honest ones have up to a hundred tags. libtiff searches all of them for each: 4,000 take 1 s."""
SHARED = 32 << 20
"""Values of several tags do not overlap, so that together they are no larger than the file. Shared values of up to this
many bytes cost almost nothing."""
MAX_TILE = 4 << 20  # pixels of a tile that is larger than the picture: decoders unpack it as a whole
MAX_PIECES = 1 << 20  # tiles or strips to check: a million of the smallest tiles are 268 million pixels
FAR_TAGS = (BITS, EXTRA_SAMPLES, SAMPLE_FORMAT, ARTIST, COPYRIGHT)
"""Tags with several values, or a text, which may be far from the directory."""


@dataclass(frozen=True, slots=True)
class Samples:
    compression: int
    photometric: int
    numbers: str
    bits: int
    count: int
    planar: bool
    tiled: bool
    piece_width: int  # of a tile, or of a strip
    piece_height: int
    subsampled: bool
    extra: int | None  # the meaning of the first sample beyond the colours, if the file says it

    @property
    def is_plain(self) -> bool:
        return self.compression == UNCOMPRESSED

    @property
    def plain_ycbcr(self) -> bool:
        return self.photometric == YCBCR and self.compression not in JPEG and not self.subsampled

    @property
    def has_alpha(self) -> bool:
        """By the first sample beyond the colours. Writers that say nothing of a fourth sample mean alpha."""
        if self.extra is None:
            return self.photometric == RGB and self.count == 4
        return self.extra in ALPHA_SAMPLES


def read_tiff(head: Head) -> ImageInfo:
    if head.up_to(8, 2) == b"CR":
        raise UnsupportedFormat("Canon CR2 raw")
    layout, first = _read_start(head)
    offset = _find_full_page(head, layout, first)
    count, _ = _read_extent(head, layout, offset)
    directory = read_directory(head, layout, offset + layout.count_size, count)
    width = directory.integer(WIDTH, 0)
    height = directory.integer(HEIGHT, 0) if width else 0
    if not (width and height):
        raise Corrupt("TIFF without width or height")
    _refuse_large_pixels(directory, width * height)
    missing = {tag for tag in FAR_TAGS if tag in directory.entries and not head.reaches(directory.entries[tag].end)}
    near = directory.without(missing)
    samples = _read_samples(near, width, height, depth_is_missing=BITS in missing)
    _refuse_unread(samples, little_endian=layout.order == "<")
    held = bytes_of_values(head, layout, offset, count, head.end)
    if held > head.end + SHARED:
        raise Corrupt(f"TIFF with {held} bytes of tags")
    missing_from, is_cut_known = _find_missing_row(directory, samples, width, height)
    pages, is_end_reached = _count_pages(head, layout, first)
    piece_height = samples.piece_height
    return ImageInfo(
        Format.TIFF,
        width,
        height,
        orientation=near.orientation(),
        has_alpha=samples.has_alpha,
        frames=pages,
        bit_depth=samples.bits,
        icc=ICC in directory.entries,
        channels=samples.count,
        credit=near.credit(),
        complete=is_end_reached and is_cut_known and not any(directory.entries[tag].end <= head.end for tag in missing),
        details=TiffDetails(
            shape=_read_shape(near, width, height) if samples.bits == 1 else None,
            samples=samples.count,
            palette=samples.photometric == PALETTE,
            held=held,
            misread_by=_find_misreaders(samples),
            block_rows=0 if samples.is_plain else piece_height,
            read_rows=piece_height if samples.is_plain and not samples.tiled else 0,
            band=min(piece_height, height) if samples.tiled or samples.planar else 1,
            plain_ycbcr=samples.plain_ycbcr,
            missing_from=missing_from,
        ),
    )


def _read_start(head: Head) -> tuple[Layout, int]:
    """The layout, and the offset of the first directory."""
    order = "<" if head.read(0, 2) == b"II" else ">"
    (version,) = head.unpack(order + "H", 2)
    if version == 42:  # TIFF 6.0, page 13
        return Layout(order), head.unpack(order + "I", 4)[0]
    size, zero, offset = head.unpack(order + "HHQ", 4)
    if (size, zero) != (8, 0):
        raise Corrupt("BigTIFF of an unknown offset size")
    return Layout(order, "Q", 8, "Q", 8), offset


def _find_full_page(head: Head, layout: Layout, first: int) -> int:
    """The offset of the first page that is neither a preview nor a mask; of the first page if there is none.

    Raises UnsupportedFormat for raw pictures, by name.
    """
    page, following = _read_page(head, layout, offset := first)
    for _ in range(MAX_PREVIEWS):
        _refuse_raw(page)
        if not _is_preview(page):
            return offset
        try:
            page, following = _read_page(head, layout, offset := following)
        except Corrupt:  # or there is no other page
            break
    return first


def _read_page(head: Head, layout: Layout, offset: int) -> tuple[Directory, int]:
    """A directory, and the offset of the next one."""
    count, following = _read_extent(head, layout, offset)
    return read_directory(head, layout, offset + layout.count_size, count), following


def _is_preview(page: Directory) -> bool:
    return bool(page.integer(SUBFILE_TYPE, 0) & NOT_A_PAGE)


def _refuse_raw(page: Directory) -> None:
    """Raises UnsupportedFormat, with its name, for the pixels of a sensor, and for a preview of a sub-directory."""
    if DNG_VERSION in page.entries:
        raise UnsupportedFormat("DNG raw")
    inner: list[Directory] = []
    if MAKER in page.entries or _is_preview(page):  # others have smaller copies there, often at the file's end
        with suppress(Corrupt):
            for (offset,) in page.records(SUB_DIRECTORIES, MAX_PREVIEWS):
                inner.append(_read_page(page.head, page.layout, offset)[0])
    if any(directory.integer(PHOTOMETRIC, 0) in SENSOR for directory in (page, *inner)):
        maker = (page.text(MAKER).decode("ascii", "replace").split() or ["camera"])[0].upper()
        raise UnsupportedFormat(" ".join(filter(None, (maker, RAWS.get(maker), "raw"))))
    if _is_preview(page) and not all(map(_is_preview, inner)):
        raise UnsupportedFormat("TIFF with its picture in a sub-directory")


def _read_shape(page: Directory, width: int, height: int) -> tuple[int, int] | None:
    """Of a fax, whose pixels often are not square: the side with more pixels an inch counts less. None: as stored."""
    try:
        across, down = page.rational(X_RESOLUTION), page.rational(Y_RESOLUTION)
    except Corrupt:
        return None
    least, most = sorted((across, down))
    if least == most or most > MOST_STRETCHED * least:
        return None
    return max(1, round(width * least / across)), max(1, round(height * least / down))


def _read_extent(head: Head, layout: Layout, offset: int) -> tuple[int, int]:
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


def _count_pages(head: Head, layout: Layout, offset: int) -> tuple[int, bool]:
    """The number of pages, and whether the chain was followed to its end."""
    visited: set[int] = set()
    while offset and offset not in visited:
        try:
            _, after = _read_extent(head, layout, offset)
        except (Corrupt, NeedMoreBytes) as error:
            return max(1, len(visited)), isinstance(error, Corrupt)
        visited.add(offset)
        head.allow(len(visited), MAX_PAGES, "pages")
        offset = after
    return max(1, len(visited)), True


def _refuse_large_pixels(directory: Directory, pixels: int) -> None:
    """Raises where a pixel or a tile is larger than any picture needs."""
    samples = directory.integer(CHANNELS, 1)
    width, height = directory.integer(TILE_WIDTH, 0), directory.integer(TILE_HEIGHT, 0)
    if samples > MAX_SAMPLES:
        raise UnsupportedFormat(f"TIFF of {samples} samples a pixel")
    if width * height > max(MAX_TILE, 2 * pixels):
        raise Corrupt(f"TIFF with tiles of {width} x {height}, larger than the picture")


def _find_missing_row(directory: Directory, samples: Samples, width: int, height: int) -> tuple[int | None, bool]:
    """The first row of tiles or planes with missing bytes (None: no row), and whether the bytes at hand tell.

    Decoders put black or noise in place of them. They report missing strips.
    """
    head = directory.head
    tags = TILES if samples.tiled else STRIPS
    tables = [directory.entries[tag] for tag in tags if tag in directory.entries]
    if not (samples.tiled or samples.planar) or len(tables) < len(tags):
        return None, True
    across, down = -(-width // samples.piece_width), -(-height // samples.piece_height)
    pieces = across * down * (samples.count if samples.planar else 1)
    if pieces > MAX_PIECES:
        raise Corrupt(f"TIFF of {pieces} tiles")
    if not all(table.count >= pieces and table.end <= head.end for table in tables):
        return None, True  # decoders do not read it
    if not all(head.reaches(table.end) for table in tables):
        return None, False
    cut = _find_cut_pieces(head, samples, *(directory.records(tag, pieces) for tag in tags))
    # Pieces go from left to right, then down, then on to the next plane.
    rows = (index % (across * down) // across * samples.piece_height + whole for index, whole in cut)
    return min(rows, default=None), True


def _find_cut_pieces(
    head: Head, samples: Samples, offsets: Iterator[tuple[int, ...]], sizes: Iterator[tuple[int, ...]]
) -> Iterator[tuple[int, int]]:
    """The index of each cut piece, and the number of its whole rows."""
    row_bytes = -(-samples.piece_width * samples.bits * (1 if samples.planar else samples.count) // 8)
    # Some writers count more bytes than there are.
    most = row_bytes * samples.piece_height if samples.is_plain else head.end
    for index, ((start,), (size,)) in enumerate(zip(offsets, sizes, strict=False)):
        if start + (size if size < most else most) > head.end:
            head.spend(1)
            # An uncompressed strip shows rows as far as its bytes go.
            yield index, max(0, head.end - start) // row_bytes if samples.is_plain and not samples.tiled else 0


def _read_samples(directory: Directory, width: int, height: int, depth_is_missing: bool) -> Samples:
    """`directory` has only the entries whose values are at hand."""
    tiled = TILE_WIDTH in directory.entries
    # A strip is as high as the picture unless the file says less (TIFF 6.0, page 39).
    strip_height = min(directory.integer(ROWS_PER_STRIP, height) or height, height)
    return Samples(
        compression=directory.integer(COMPRESSION, UNCOMPRESSED),
        photometric=directory.integer(PHOTOMETRIC, WHITE_IS_ZERO),
        numbers=NUMBERS.get(directory.integer(SAMPLE_FORMAT, 1), UNSIGNED),
        # Without the tag a sample has one bit (TIFF 6.0, page 29); 8 is the best guess for a tag out of reach.
        bits=max(directory.integers(BITS), default=8 if depth_is_missing else 1),
        count=max(1, directory.integer(CHANNELS, 1)),
        planar=directory.integer(PLANAR, 1) == SEPARATE,
        tiled=tiled,
        piece_width=directory.integer(TILE_WIDTH, width) or width,
        piece_height=directory.integer(TILE_HEIGHT, height) or height if tiled else strip_height,
        # Without the tag they are subsampled (TIFF 6.0, page 91).
        subsampled=list(directory.integers(SUBSAMPLING)) != [1, 1],
        extra=next(directory.integers(EXTRA_SAMPLES), None),
    )


def _find_misreaders(samples: Samples) -> frozenset[EngineName]:
    """Engines that make another picture of it without an error.

    libvips takes brightness and colour differences for colours. Pillow mistakes the range of signed samples, floats and
    samples of more than 16 bits. It does not invert white-is-zero samples of more than eight bits or in planes, and it
    reads samples in planes as if they had eight bits.
    """
    bits, planar = samples.bits, samples.planar
    range_mistaken = bits > 16 or samples.numbers != UNSIGNED
    not_inverted = samples.photometric == WHITE_IS_ZERO and (bits > 8 or planar)
    pillow = range_mistaken or not_inverted or (planar and bits != 8)
    wrong = {EngineName.PILLOW: pillow, EngineName.VIPS: samples.plain_ycbcr}
    return frozenset(name for name, is_wrong in wrong.items() if is_wrong)


def _refuse_unread(samples: Samples, little_endian: bool) -> None:
    """Raises UnsupportedFormat, with its name, for what neither engine decodes, or both decode wrongly."""
    if samples.compression not in COMPRESSIONS:
        name = UNREAD_COMPRESSIONS.get(samples.compression, f"number {samples.compression}")
        raise UnsupportedFormat(f"TIFF with the compression {name}")
    if samples.photometric in UNREAD_COLOURS:
        raise UnsupportedFormat(f"TIFF of {UNREAD_COLOURS[samples.photometric]}")
    name = f"TIFF of {samples.numbers} samples of {samples.bits} bits, {samples.count} a pixel"
    if not _are_samples_read(samples, little_endian):
        raise UnsupportedFormat(name)
    if samples.planar and not _are_planes_read(samples):
        raise UnsupportedFormat(f"{name}, in planes" + (" of tiles" if samples.tiled else ""))
    is_float, unsigned = samples.numbers == FLOAT, samples.numbers == UNSIGNED and samples.bits <= 16
    if samples.extra == ASSOCIATED and not (samples.photometric == RGB if is_float else unsigned):
        raise UnsupportedFormat(f"{name}, with premultiplied alpha")


def _are_samples_read(samples: Samples, little_endian: bool) -> bool:
    bits, unsigned = samples.bits, samples.numbers == UNSIGNED
    if samples.compression in JPEG and bits != 8:
        return False
    if not unsigned and samples.photometric == WHITE_IS_ZERO:
        return False
    if samples.count == 1 and bits == 12 and samples.numbers != COMPLEX:
        return samples.photometric == BLACK_IS_ZERO and little_endian
    return bits in DEPTHS[samples.numbers] or (samples.count == 1 and unsigned and bits in DEPTHS_OF_ONE)


def _are_planes_read(samples: Samples) -> bool:
    if samples.photometric in ONE_COLOUR and samples.count > 1:
        return False
    if samples.photometric == YCBCR and samples.is_plain:
        return False
    if samples.tiled:  # by Pillow alone
        known = samples.photometric != WHITE_IS_ZERO and samples.extra in (None, UNASSOCIATED)
        return samples.bits == 8 and samples.numbers == UNSIGNED and known and samples.count < MAX_SAMPLES
    return not (samples.numbers == FLOAT and samples.bits == 16)


def hide(head: Head) -> Iterator[Patch]:
    """Makes the shown page the only one: libvips opens each of them to count them."""
    layout, first = _read_start(head)
    offset = _find_full_page(head, layout, first)
    count, after = _read_extent(head, layout, offset)
    if offset != first:
        yield layout.inline, struct.pack(layout.order + layout.offset, offset)  # the header holds it behind its version
    if after:
        yield offset + layout.count_size + count * struct.calcsize(layout.entry), bytes(layout.inline)


FORMAT = FormatSpec("TIFF", (Format.TIFF,), starts_with(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), read_tiff, hide=hide)
