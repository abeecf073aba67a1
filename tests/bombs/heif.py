"""HEIC and AVIF: coded pictures from an encoder in boxes written here."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO

from tests.support.pictures import gradient, saved
from thumbnailer.formats.base import Head
from thumbnailer.formats.boxes import boxes, children
from thumbnailer.formats.heif_items import item_extents

HEIC, AVIF = "HEIF", "AVIF"
BRANDS = {HEIC: b"heic", AVIF: b"avif"}
CODINGS = {HEIC: b"hvc1", AVIF: b"av01"}
CONFIGURATIONS = {HEIC: b"hvcC", AVIF: b"av1C"}


def box(kind: bytes, *payload: bytes) -> bytes:
    content = b"".join(payload)
    return struct.pack(">I", 8 + len(content)) + kind + content


def full_box(kind: bytes, *payload: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *payload)


def size_property(width: int, height: int) -> bytes:
    return full_box(b"ispe", struct.pack(">II", width, height))


CHANNELS = full_box(b"pixi", b"\3\x08\x08\x08")


@dataclass(frozen=True)
class Item:
    """`properties` are raw boxes, `made_of` numbers of other items, `alpha_of` is one, whose auxiliary this item is.

    The first item is the primary item.
    """

    kind: bytes
    data: bytes
    properties: tuple[bytes, ...]
    made_of: tuple[int, ...] = ()
    alpha_of: int = 0


@cache
def coded(kind: str, size: tuple[int, int]) -> tuple[bytes, bytes]:
    """A gradient encoded: the decoder configuration and the coded picture."""
    data = _encoded(kind, size)
    head = Head(memoryview(data), len(data))
    meta = children(head, next(box for box in boxes(head, 0, len(data)) if box.kind == b"meta"), skip=4)
    properties = children(head, children(head, meta[b"iprp"])[b"ipco"])
    configuration = properties[CONFIGURATIONS[kind]]
    (_, extents) = next(item_extents(head, meta))
    picture = b"".join(data[extent.start : extent.start + extent.size] for extent in extents)
    return data[configuration.start - 8 : configuration.end], picture


def _encoded(kind: str, size: tuple[int, int]) -> bytes:
    if kind == AVIF:
        return saved(gradient(size), AVIF, quality=50)
    import pillow_heif

    out = BytesIO()
    pillow_heif.from_pillow(gradient(size)).save(out, quality=50)
    return out.getvalue()


def picture(kind: str, size: tuple[int, int], said: tuple[int, int] | None = None, times: int = 1) -> Item:
    """A coded item of that size that states another size, with repeated data."""
    configuration, data = coded(kind, size)
    return Item(CODINGS[kind], data * times, (size_property(*(said or size)), configuration, CHANNELS))


def derived(how: bytes, body: bytes, size: tuple[int, int], *made_of: int) -> Item:
    return Item(how, body, (size_property(*size), CHANNELS), made_of)


def file(kind: str, *items: Item, iloc: Callable[[int], bytes] | None = None) -> bytes:
    """A file of the items, numbered from 1, with equal bytes stored once. `iloc` replaces the box of locations."""
    ftyp = box(b"ftyp", BRANDS[kind], bytes(4), b"mif1", b"miaf", BRANDS[kind])
    stored = b"".join(dict.fromkeys(item.data for item in items))
    start = len(ftyp) + len(_meta(items, [0] * len(items), iloc)) + 8
    places = [start + stored.index(item.data) for item in items]
    return ftyp + _meta(items, places, iloc) + box(b"mdat", stored)


def _meta(items: Sequence[Item], places: list[int], iloc: Callable[[int], bytes] | None) -> bytes:
    properties = list(dict.fromkeys(p for item in items for p in item.properties))
    numbers = [bytes(properties.index(p) + 1 | _essential(p) for p in item.properties) for item in items]
    links = [struct.pack(">HB", i, len(number)) + number for i, number in enumerate(numbers, 1)]
    infos = [_info(number, item) for number, item in enumerate(items, 1)]
    references = [box for number, item in enumerate(items, 1) for box in _references(number, item)]
    return full_box(
        b"meta",
        full_box(b"hdlr", bytes(4), b"pict", bytes(13)),
        full_box(b"pitm", struct.pack(">H", 1)),
        iloc(places[0]) if iloc else _iloc(items, places),
        full_box(b"iinf", struct.pack(">H", len(items)), *infos),
        box(b"iprp", box(b"ipco", *properties), full_box(b"ipma", struct.pack(">I", len(items)), *links)),
        *([full_box(b"iref", *references)] if references else []),
    )


def _essential(property_: bytes) -> int:
    """libavif rejects transformations that are not essential."""
    return 0x80 if property_[4:8] in (b"clap", b"irot", b"imir") else 0


def _info(number: int, item: Item) -> bytes:
    return full_box(b"infe", struct.pack(">HH", number, 0), item.kind, b"\0", version=2)


def _references(number: int, item: Item) -> Iterator[bytes]:
    if item.made_of:
        yield box(b"dimg", struct.pack(f">HH{len(item.made_of)}H", number, len(item.made_of), *item.made_of))
    if item.alpha_of:
        yield box(b"auxl", struct.pack(">HHH", number, 1, item.alpha_of))


def _iloc(items: Sequence[Item], places: list[int]) -> bytes:
    entries = [
        struct.pack(">HHHHII", number, 0, 0, 1, place, len(item.data))
        for number, (item, place) in enumerate(zip(items, places, strict=True), 1)
    ]
    return full_box(b"iloc", b"\x44\0", struct.pack(">H", len(items)), *entries, version=1)


def grid(kind: str, rows: int, columns: int, said: tuple[int, int] | None = None) -> bytes:
    """Tiles of 64 x 64, each its own item, all with the same bytes."""
    width, height = said or (64 * columns, 64 * rows)
    body = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)
    whole = derived(b"grid", body, (width, height), *range(2, 2 + rows * columns))
    return file(kind, whole, *[picture(kind, (64, 64))] * (rows * columns))


def crowded(kind: str, rows: int, columns: int, others: int) -> bytes:
    """Tiles of 256 x 256, and as many other items."""
    width, height = 256 * columns, 256 * rows
    body = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    whole = derived(b"grid", body, (width, height), *range(2, 2 + rows * columns))
    return file(kind, whole, *[picture(kind, (256, 256))] * (rows * columns + others))


def nested(kind: str, depth: int) -> bytes:
    """A chain of identity items of this depth."""
    links = [derived(b"iden", b"", (64, 64), number + 2) for number in range(depth)]
    return file(kind, *links, picture(kind, (64, 64)))


def doubling(kind: str, depth: int) -> bytes:
    """A grid of twice the next grid: 2^depth tiles of `depth` items."""
    grids = [
        derived(b"grid", struct.pack(">BBBBII", 0, 1, 0, 1, width, 64), (width, 64), number + 2, number + 2)
        for number, width in enumerate(64 << left for left in range(depth, 0, -1))
    ]
    return file(kind, *grids, picture(kind, (64, 64)))


def in_a_circle(kind: str) -> bytes:
    """A grid with itself as a tile."""
    body = struct.pack(">BBBBHH", 0, 0, 0, 1, 128, 64)
    return file(kind, derived(b"grid", body, (128, 64), 2, 1), picture(kind, (64, 64)))


def with_pieces(kind: str, items: int, claimed: int, written: int, size: int) -> bytes:
    """Items of that many extents, all at the same bytes of the file."""

    def iloc(place: int) -> bytes:
        one = struct.pack(">HHHH", 1, 0, 0, claimed) + struct.pack(">II", place, size) * written
        return full_box(b"iloc", b"\x44\0", struct.pack(">H", items), one, version=1)

    return file(kind, picture(kind, (64, 64)), iloc=iloc) + bytes(min(size, 1 << 20))


def with_sample_count(count: int) -> bytes:
    """An animated AVIF of two frames that claims many more, each of one byte."""
    frames = [gradient((64, 64)), gradient((64, 64)).rotate(90)]
    data = saved(frames[0], AVIF, save_all=True, append_images=frames[1:])
    at = data.index(b"stsz") + 8
    return data[:at] + struct.pack(">II", 1, count) + data[at + 8 :]


def lying(kind: str, size: tuple[int, int], said: tuple[int, int]) -> bytes:
    return file(kind, picture(kind, size, said))
