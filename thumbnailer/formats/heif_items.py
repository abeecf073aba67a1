"""The items of a HEIF file and where their bytes lie (ISO/IEC 14496-12 and 23008-12), and the samples of its tracks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from thumbnailer.errors import Corrupt, NeedMoreBytes
from thumbnailer.formats.boxes import boxes, children
from thumbnailer.formats.head import Head, Piece, first

MAX_ITEMS = 16_384
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
    properties: tuple[Piece, ...]
    links: Mapping[int, tuple[int, ...]]  # the numbers of each item's properties
    places: Mapping[int, tuple[Piece, ...]]
    premultiplied: bool

    def of(self, item: int) -> list[Piece]:
        """An item's properties; links count from one, and 0 is none."""
        known = len(self.properties)
        return [self.properties[index - 1] for index in self.links.get(item, ()) if 0 < index <= known]

    def size(self, item: int, default: tuple[int, int] = (0, 0)) -> tuple[int, int]:
        ispe = first(self.of(item), b"ispe")
        return (self.head.number(ispe.start + 4, 4), self.head.number(ispe.start + 8, 4)) if ispe else default


class _Fields:
    """Reads big-endian numbers one after the other."""

    def __init__(self, head: Head, position: int) -> None:
        self._head = head
        self.position = position

    def take(self, size: int) -> int:
        value = self._head.number(self.position, size)
        self.position += size
        return value


def read_items(head: Head, meta: dict[bytes, Piece]) -> Items:
    """`meta` has the boxes within the meta box. Raises Corrupt, NeedMoreBytes."""
    for required in (b"pitm", b"iinf", b"iprp"):
        if required not in meta:
            raise Corrupt(f"HEIF has no {required.decode()} box")
    properties = children(head, meta[b"iprp"]).get(b"ipco")
    references = meta.get(b"iref")
    return Items(
        head,
        primary=head.number(meta[b"pitm"].start + 4, 2 if head.byte(meta[b"pitm"].start) == 0 else 4),
        kinds=dict(_kinds(head, meta[b"iinf"])),
        inputs=_inputs(head, references) if references else {},
        properties=tuple(boxes(head, properties.start, properties.end, MAX_ITEMS)) if properties else (),
        links=dict(_links(head, meta[b"iprp"])),
        premultiplied=references is not None and b"prem" in children(head, references, skip=4),
        places=dict(item_extents(head, meta)),
    )


def _kinds(head: Head, iinf: Piece) -> Iterator[tuple[int, bytes]]:
    """Number and type of each item (ISO/IEC 14496-12 section 8.11.6); before version 2 there was no type."""
    start = iinf.start + (6 if head.byte(iinf.start) == 0 else 8)
    for infe in boxes(head, start, iinf.end, MAX_ITEMS):
        if infe.kind == b"infe":
            version = head.byte(infe.start)
            id_size = 4 if version >= 3 else 2
            item = head.number(infe.start + 4, id_size)
            yield item, head.read(infe.start + 6 + id_size, 4) if version >= 2 else b""


def _inputs(head: Head, iref: Piece) -> dict[int, tuple[int, ...]]:
    """Each derived item's inputs. An input that is listed twice is decoded twice."""
    code, size = ("H", 2) if head.byte(iref.start) == 0 else ("I", 4)
    found: dict[int, tuple[int, ...]] = {}
    for reference in boxes(head, iref.start + 4, iref.end, MAX_ITEMS):
        if reference.kind == b"dimg":
            item, count = head.unpack(f">{code}H", reference.start)
            start = reference.start + size + 2
            count = min(count, MAX_ITEMS, max(0, reference.end - start) // size)
            found.setdefault(item, head.unpack(f">{count}{code}", start))
    return found


def _links(head: Head, iprp: Piece) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Item to the numbers of its properties. There may be several ipma boxes, one for each layout."""
    for ipma in boxes(head, iprp.start, iprp.end):
        if ipma.kind != b"ipma":
            continue
        version, flags, count = head.unpack(">BxxBI", ipma.start)
        id_size, width = 2 if version == 0 else 4, 2 if flags & 1 else 1
        index = (1 << (8 * width - 1)) - 1  # without the bit that marks a property as essential
        fields = _Fields(head, ipma.start + 8)
        for _ in range(min(count, MAX_ITEMS)):
            if fields.position + id_size + 1 > ipma.end:
                break
            item = fields.take(id_size)
            yield item, tuple(fields.take(width) & index for _ in range(fields.take(1)))


def item_extents(head: Head, meta: dict[bytes, Piece]) -> Iterator[tuple[int, tuple[Piece, ...]]]:
    """Each item's pieces (ISO/IEC 14496-12 section 8.11.3)."""
    if b"iloc" not in meta:
        return
    iloc = meta[b"iloc"]
    version = head.byte(iloc.start)
    sizes, other_sizes = head.unpack(">BB", iloc.start + 4)
    offset_size, length_size, base_size = sizes >> 4, sizes & 15, other_sizes >> 4
    index_size = other_sizes & 15 if version else 0
    id_size = 4 if version >= 2 else 2
    fields = _Fields(head, iloc.start + 6)
    for _ in range(min(fields.take(id_size), MAX_ITEMS)):
        item = fields.take(id_size)
        method = fields.take(2) & 15 if version else 0
        fields.take(2)  # data reference
        base, count = fields.take(base_size), fields.take(2)
        if method == IN_IDAT and b"idat" in meta:
            base += meta[b"idat"].start
        if count > MAX_EXTENTS:
            raise Corrupt(f"HEIF item of {count} pieces")
        extents = []
        for _ in range(count):
            fields.take(index_size)
            start = base + fields.take(offset_size)
            extents.append(Piece(b"", start, start + fields.take(length_size)))
        if count > 1 and sum(extent.size for extent in extents) > head.end:
            raise Corrupt("HEIF item whose pieces overlap")
        yield item, tuple(extents)


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
        tables = [_sample_table(head, box) for box in tracks if box.kind == b"trak"]
        tables = [table for table in tables if b"stsz" in table]
        counts = [head.number(table[b"stsz"].start + 8, 4) for table in tables]
        return Sequence(max(2, *counts, 2), tuple(_first_sample(head, table) for table in tables))
    except Corrupt:
        return Sequence(2)
    except NeedMoreBytes:
        return Sequence(2, reached=False)


def _sample_table(head: Head, track: Piece) -> dict[bytes, Piece]:
    table = children(head, track)
    for kind in SAMPLE_TABLE:
        table = children(head, table[kind]) if kind in table else {}
    return table


def _first_sample(head: Head, table: dict[bytes, Piece]) -> Piece:
    """Where the first chunk begins, and the size of its first sample: its own size, or the size of all samples."""
    common, _, own = head.unpack(">III", table[b"stsz"].start + 4)
    for kind, size in ((b"co64", 8), (b"stco", 4)):
        if kind in table:
            start = head.number(table[kind].start + 8, size)
            return Piece(b"", start, start + (common or own))
    raise Corrupt("HEIF track without chunks")
