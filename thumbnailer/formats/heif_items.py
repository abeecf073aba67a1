"""The items of a HEIF file and where their bytes lie (ISO/IEC 14496-12 and 23008-12), and the samples of its tracks."""

import struct
from collections.abc import Iterator, Mapping

from thumbnailer.errors import Corrupt, NeedMoreBytes
from thumbnailer.formats.base import Head, Piece, first
from thumbnailer.formats.boxes import boxes, children
from thumbnailer.values import dataclass

MAX_ITEMS = 4096
"""A phone's picture has 51, a grid of 17 x 17 tiles 290. libavif compares each with all others: 16,000 take 1.2 s."""
MAX_EXTENTS = 32  # pieces of an item: libheif's own limit
MAX_TRACKS = 16
SAMPLE_TABLE = (b"mdia", b"minf", b"stbl")
IN_IDAT = 1  # iloc's construction method for data within the meta box (ISO/IEC 14496-12 section 8.11.3)


@dataclass(frozen=True, slots=True)
class Items:
    """The items that the meta box lists."""

    head: Head
    primary: int
    kinds: Mapping[int, bytes]
    inputs: Mapping[int, tuple[int, ...]]  # the items that each derived item is made of
    masters: Mapping[int, tuple[int, ...]]  # the items that each auxiliary item, like alpha, belongs to
    properties: tuple[Piece, ...]
    links: Mapping[int, tuple[int, ...]]  # the numbers of each item's properties
    places: Mapping[int, tuple[Piece, ...]]
    premultiplied: bool

    def of(self, item: int) -> list[Piece]:
        """An item's properties; links count from one, and 0 is none."""
        known, links = len(self.properties), self.links.get(item, ())
        self.head.spend(1 + len(links) // 8)
        return [self.properties[index - 1] for index in links if 0 < index <= known]

    def size(self, item: int, default: tuple[int, int] = (0, 0)) -> tuple[int, int]:
        ispe = first(self.of(item), b"ispe")
        return (self.head.number(ispe.start + 4, 4), self.head.number(ispe.start + 8, 4)) if ispe else default


def read_items(head: Head, meta: dict[bytes, Piece]) -> Items:
    """`meta` has the boxes within the meta box. Raises Corrupt, NeedMoreBytes."""
    for required in (b"pitm", b"iinf", b"iprp"):
        if required not in meta:
            raise Corrupt(f"HEIF has no {required.decode()} box")
    properties = children(head, meta[b"iprp"]).get(b"ipco")
    references = meta.get(b"iref")
    return Items(
        head,
        primary=head.number(meta[b"pitm"].start + 4, 2 if head.number(meta[b"pitm"].start) == 0 else 4),
        kinds={item: kind for item, kind, _ in item_kinds(head, meta[b"iinf"])},
        inputs=_read_references(head, references, b"dimg") if references else {},
        masters=_read_references(head, references, b"auxl") if references else {},
        properties=tuple(boxes(head, properties.start, properties.end, MAX_ITEMS)) if properties else (),
        links=dict(_read_links(head, meta[b"iprp"])),
        premultiplied=references is not None and b"prem" in children(head, references, skip=4),
        places=dict(item_extents(head, meta)),
    )


def item_kinds(head: Head, iinf: Piece) -> Iterator[tuple[int, bytes, int]]:
    """Number and type of each item, and where the type is (ISO/IEC 14496-12 section 8.11.6).

    Before version 2 there was no type.
    """
    start = iinf.start + (6 if head.number(iinf.start) == 0 else 8)
    for infe in boxes(head, start, iinf.end, MAX_ITEMS):
        if infe.kind == b"infe":
            version = head.number(infe.start)
            fields = ">H" if version < 2 else ">H2x4s" if version == 2 else ">I2x4s"
            item, *kind = head.unpack(fields, infe.start + 4)
            yield item, kind[0] if kind else b"", infe.start + struct.calcsize(fields)


def _read_references(head: Head, iref: Piece, kind: bytes) -> dict[int, tuple[int, ...]]:
    """Each item's references of that kind. An input that is listed twice is decoded twice."""
    code, size = ("H", 2) if head.number(iref.start) == 0 else ("I", 4)
    found: dict[int, tuple[int, ...]] = {}
    for reference in boxes(head, iref.start + 4, iref.end, MAX_ITEMS):
        if reference.kind == kind:
            item, count = head.unpack(f">{code}H", reference.start)
            start = reference.start + size + 2
            count = min(count, MAX_ITEMS, max(0, reference.end - start) // size)
            found.setdefault(item, tuple(number for (number,) in head.records(f">{code}", start, count)))
    return found


def _read_links(head: Head, iprp: Piece) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Item to the numbers of its properties. There may be several ipma boxes, one for each layout."""
    for ipma in boxes(head, iprp.start, iprp.end):
        if ipma.kind != b"ipma":
            continue
        version, flags, count = head.unpack(">BxxBI", ipma.start)
        fields, size = (">HB", 3) if version == 0 else (">IB", 5)
        code, width, index = (">H", 2, 0x7FFF) if flags & 1 else (">B", 1, 0x7F)
        position = ipma.start + 8
        for _ in range(min(count, MAX_ITEMS)):
            if position + size > ipma.end:
                break
            item, links = head.unpack(fields, position)
            # The highest bit marks a property as essential.
            yield item, tuple(number & index for (number,) in head.records(code, position + size, links))
            position += size + width * links


def item_extents(head: Head, meta: dict[bytes, Piece]) -> Iterator[tuple[int, tuple[Piece, ...]]]:
    """Each item's pieces (ISO/IEC 14496-12 section 8.11.3)."""
    if b"iloc" not in meta:
        return
    iloc = meta[b"iloc"]
    version, sizes, other_sizes = head.unpack(">B3xBB", iloc.start)
    offset_size, length_size, base_size = sizes >> 4, sizes & 15, other_sizes >> 4
    index_size = other_sizes & 15 if version else 0
    id_size = 4 if version >= 2 else 2
    # An item: its number, the construction method, a data reference, the base of its offsets, the number of its pieces.
    base_at = id_size + (4 if version else 2)
    size = base_at + base_size + 2
    position = iloc.start + 6 + id_size
    for _ in range(min(head.number(iloc.start + 6, id_size), MAX_ITEMS)):
        fields = head.read(position, size)
        base, count = int.from_bytes(fields[base_at:-2]), int.from_bytes(fields[-2:])
        if version and fields[id_size + 1] & 15 == IN_IDAT and b"idat" in meta:
            base += meta[b"idat"].start
        head.spend(1 + count)
        if count > MAX_EXTENTS:
            raise Corrupt(f"HEIF item of {count} pieces")
        sizes_of_extent = index_size, offset_size, length_size
        extents = tuple(_read_extents(head, position + size, count, base, sizes_of_extent))
        if count > 1 and sum(extent.size for extent in extents) > head.end:
            raise Corrupt("HEIF item whose pieces overlap")
        yield int.from_bytes(fields[:id_size]), extents
        position += size + count * sum(sizes_of_extent)


def _read_extents(head: Head, position: int, count: int, base: int, sizes: tuple[int, int, int]) -> Iterator[Piece]:
    """`sizes` are the bytes of the index, the offset and the length of each."""
    for at in range(position, position + count * sum(sizes), sum(sizes)) if sum(sizes) else ():
        fields = head.read(at, sum(sizes))
        start = base + int.from_bytes(fields[sizes[0] : sizes[0] + sizes[1]])
        yield Piece(b"", start, start + int.from_bytes(fields[sizes[0] + sizes[1] :]))


@dataclass(frozen=True, slots=True)
class Sequence:
    """The tracks of an animation: samples of the longest, and where the first sample of each is."""

    frames: int = 1
    first: tuple[Piece, ...] = ()
    reached: bool = True


def read_sequence(head: Head) -> Sequence:
    """Two frames if the bytes at hand do not tell."""
    try:
        movie = first(boxes(head, 0, head.end), b"moov")
        tracks = boxes(head, movie.start, movie.end, MAX_TRACKS) if movie else iter(())
        tables = [_find_sample_table(head, box) for box in tracks if box.kind == b"trak"]
        tables = [table for table in tables if b"stsz" in table]
        counts = [head.number(table[b"stsz"].start + 8, 4) for table in tables]
        return Sequence(max(2, *counts, 2), tuple(_find_first_sample(head, table) for table in tables))
    except Corrupt:
        return Sequence(2)
    except NeedMoreBytes:
        return Sequence(2, reached=False)


def _find_sample_table(head: Head, track: Piece) -> dict[bytes, Piece]:
    table = children(head, track)
    for kind in SAMPLE_TABLE:
        table = children(head, table[kind]) if kind in table else {}
    return table


def _find_first_sample(head: Head, table: dict[bytes, Piece]) -> Piece:
    """Where the first chunk begins, and the size of its first sample: its own size, or the size of all samples."""
    common, _, own = head.unpack(">III", table[b"stsz"].start + 4)
    for kind, size in ((b"co64", 8), (b"stco", 4)):
        if kind in table:
            start = head.number(table[kind].start + 8, size)
            return Piece(b"", start, start + (common or own))
    raise Corrupt("HEIF track without chunks")
