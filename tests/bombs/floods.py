"""Files of one part, repeated: items, extents, chunks, blocks, tiles, boxes. FLOODS has all of them, by container.

Each maker takes the size of the file and returns about that many bytes. Honest files have a few parts a kilobyte.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from itertools import cycle, islice

from tests.bombs import gif, icons, jpeg, png, tiff, webp
from tests.bombs.heif import box, full_box
from tests.support.pictures import gradient, saved

Maker = Callable[[int], bytes]


def repeated(part: bytes, size: int) -> bytes:
    return part * max(1, size // len(part))


# --- EXIF ---------------------------------------------------------------------------------------------------------


def exif(size: int, kind: int = tiff.UNDEFINED, value: int | None = None) -> bytes:
    """A directory that fills the block with entries; each has a tag of its own and refers to `value` bytes."""
    count = min(65_535, (size - 14) // 12)
    length = size // 2 if value is None else value
    return b"II*\0\x08\0\0\0" + tiff.directory((number, kind, length, 8) for number in range(count))


# --- JPEG ---------------------------------------------------------------------------------------------------------


def jpeg_of(header: bytes, behind: bytes = b"") -> bytes:
    return b"\xff\xd8" + header + jpeg.frame(64, 64, jpeg.PROGRESSIVE) + jpeg.scan((0, 1, 2), 0, 0, 0) + behind


JPEG: dict[str, Maker] = {
    "comments": lambda size: jpeg_of(repeated(jpeg.segment(0xFE, b""), size)),
    "APPn": lambda size: jpeg_of(repeated(jpeg.segment(0xE5, bytes(60_000)), size)),
    "restart markers": lambda size: jpeg_of(repeated(b"\xff\xd0", size)),
    "fill bytes": lambda size: jpeg_of(repeated(b"\xff", size)),
    "scans": lambda size: jpeg_of(b"", repeated(jpeg.scan((0,), 1, 63, 0), size)),
    "fill bytes in a scan": lambda size: jpeg_of(b"", repeated(b"\xff", size)),
    "segments behind a scan": lambda size: jpeg_of(b"", repeated(b"\xff\xe0\0\2", size)),
    "segments of no length behind a scan": lambda size: jpeg_of(b"", repeated(b"\xff\xe0\0\0", size)),
    "scan data": lambda size: jpeg_of(b"", repeated(b"\xff\0", size)),
    "EXIF tags": lambda size: jpeg_of(repeated(jpeg.segment(0xE1, b"Exif\0\0" + exif(65_000)), size)),
}

# --- PNG ----------------------------------------------------------------------------------------------------------


def png_of(part: bytes, size: int) -> bytes:
    return png.with_chunks([part] * (size // len(part)))


PNG: dict[str, Maker] = {
    "empty IDAT": lambda size: png_of(png.chunk(b"IDAT"), size),
    "empty fcTL": lambda size: png_of(png.chunk(b"fcTL"), size),
    "texts": lambda size: png_of(png.chunk(b"tEXt", b"a\0b"), size),
    "empty deflated texts": lambda size: png_of(png.chunk(b"zTXt", b"a\0\0" + b"\x78\x9c\3\0\0\0\0\1" * 400), size),
    "empty deflated blocks": lambda size: png.with_profile(size, size),
    "empty deflated blocks in a text": lambda size: png.with_text_of(png.empty_blocks(size)),
    "text": lambda size: png.with_text(b"zTXt", size * 900),
    "EXIF tags": lambda size: png.with_chunks([png.chunk(b"eXIf", exif(size))]),
}

# --- GIF ----------------------------------------------------------------------------------------------------------

GIF_FRAME = b"," + bytes(4) + b"\1\0\1\0\0" + b"\2" + b"\2\x4c\1" + b"\0"
GIF_EMPTY_FRAME = b"," + bytes(4) + b"\1\0\1\0\0" + b"\2\0"


def gif_of(part: bytes, size: int, before: bytes = GIF_FRAME) -> bytes:
    return gif.header(64, 64) + before + repeated(part, size) + b";"


def gif_comment(size: int, block: int = 255) -> bytes:
    return b"!\xfe" + repeated(bytes((block,)) + b"c" * block, size) + b"\0"


GIF: dict[str, Maker] = {
    "frames": lambda size: gif_of(GIF_FRAME, size),
    "empty frames": lambda size: gif_of(GIF_EMPTY_FRAME, size),
    "frames with control": lambda size: gif_of(gif.CONTROL + GIF_FRAME, size),
    "comments": lambda size: gif_of(b"!\xfe\0" * 9 + GIF_FRAME, size),
    "comment of full blocks": lambda size: gif_of(gif_comment(size), 1),
    "comment of small blocks": lambda size: gif_of(gif_comment(size, block=1), 1),
    "full blocks": lambda size: gif_of(b"," + bytes(9) + b"\2" + repeated(b"\xff" + bytes(255), size) + b"\0", 1),
    "small blocks": lambda size: gif_of(b"," + bytes(9) + b"\2" + repeated(b"\1\0", size) + b"\0", 1),
    "application blocks": lambda size: gif_of(b"!\xff" + repeated(b"\1\0", size) + b"\0", 1),
    "junk": lambda size: gif_of(b"\0", size),
}

# --- WebP ---------------------------------------------------------------------------------------------------------


def webp_of(part: tuple[bytes, bytes], size: int, flags: int = 0) -> bytes:
    return webp.riff(
        webp.extended(64, 64, flags), webp.lossless(64, 64), *[part] * (size // (8 + len(part[1]) + len(part[1]) % 2))
    )


WEBP: dict[str, Maker] = {
    "empty pictures": lambda size: webp_of((b"VP8 ", b""), size),
    "empty frames": lambda size: webp_of((b"ANMF", b""), size, webp.ANIMATED),
    "frames": lambda size: webp_of(webp.frame(1, 1), size, webp.ANIMATED),
    "pictures in a frame": lambda size: webp.riff(
        webp.extended(64, 64, webp.ANIMATED), (b"ANMF", bytes(16) + repeated(b"ALPH\0\0\0\0", size))
    ),
    "junk": lambda size: webp_of((b"JUNK", b""), size),
    "EXIF tags": lambda size: webp_of((b"EXIF", exif(size)), size, 0x08),
}

# --- TIFF ---------------------------------------------------------------------------------------------------------


def tiles(size: int, cut: bool = False, step: int = 16) -> bytes:
    """Tiles of `step` x `step`, all with the same bytes; if `cut`, beyond the end of the file."""
    across = int((size / 8) ** 0.5) or 1
    count = across * across
    place = 1 << 31 if cut else tiff.PIXELS_AT
    lists = struct.pack("<I", place) * count + struct.pack("<I", 16) * count
    at = tiff.PIXELS_AT + 16
    places = [(324, tiff.LONG, count, at), (325, tiff.LONG, count, at + 4 * count)]
    places += [(322, tiff.LONG, 1, step), (323, tiff.LONG, 1, step)]
    entries = [entry for entry in tiff.grey(across * step, across * step, 0, 8) if entry[0] not in (273, 278, 279)]
    return tiff.tiff(bytes(16) + lists, sorted([*entries, *places]))


def tags(size: int, count: int) -> bytes:
    """Pages of `count` tags."""
    page = [*tiff.grey(100, 100, 10_000), *((60_000 + number, tiff.LONG, 1, 0) for number in range(count))]
    return tiff.tiff(bytes(10_000), *[page] * max(1, size // (6 + 12 * len(page))))


TIFF: dict[str, Maker] = {
    "tiles": tiles,
    "cut tiles": lambda size: tiles(size, cut=True),
    "pages": lambda size: tags(size, 0),
    "empty pages": lambda size: tiff.tiff(
        bytes(10_000), tiff.grey(100, 100, 10_000), *[[(60_000, tiff.LONG, 1, 0)]] * (size // 18)
    ),
    "tags": lambda size: tags(size, 500),
    "overlapping tags": lambda size: tiff.pages(1, [(60_000 + n, 7, size // 2, 8) for n in range(500)], size),
}

# --- HEIF and AVIF ------------------------------------------------------------------------------------------------

SIZE = full_box(b"ispe", struct.pack(">II", 64, 64))
ALPHA = full_box(b"auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
FTYP = box(b"ftyp", b"avif", bytes(4), b"mif1", b"avif")
SLOW_SEQUENCE_HEADER = b"\x0a\x80\2" + b"\4\0\0\0\0\0\0\0\0\x40" + bytes(246)
"""Of AV1: its number of variable length has 2,000 zeros."""
UNITS = b"\x12\0"
"""A temporal delimiter of AV1, which has no bytes."""


def avif(
    infos: Iterable[bytes],
    iloc: bytes,
    properties: bytes = SIZE,
    links: bytes = struct.pack(">IHB", 1, 1, 1) + b"\1",
    more: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    listed = list(infos)
    count = len(listed) + 1
    first = item(1, b"av01")
    return (
        FTYP
        + full_box(
            b"meta",
            full_box(b"pitm", struct.pack(">H", 1)),
            iloc,
            full_box(b"iinf", struct.pack(">I", count), first, *listed, version=1),
            box(b"iprp", box(b"ipco", properties), full_box(b"ipma", links)),
            more,
        )
        + behind
    )


def item(number: int, kind: bytes) -> bytes:
    return full_box(b"infe", struct.pack(">HH", number, 0), kind, version=2)


def locations(entries: bytes, count: int, sizes: bytes = b"\x44\0") -> bytes:
    return full_box(b"iloc", sizes, struct.pack(">H", min(65_535, count)), entries)


def location(number: int, *extents: tuple[int, int]) -> bytes:
    return struct.pack(">HHH", number, 0, len(extents)) + b"".join(struct.pack(">II", *extent) for extent in extents)


def shared_extent(size: int, kind: bytes = b"av01", derived: bool = True, alpha: bool = False) -> bytes:
    """Items that share half of the file, in which one unit of AV1 follows the other. They are tiles of the first."""
    count = min(65_000, size // 2 // 60)
    numbers = range(2, count + 2)
    units = repeated(UNITS, size // 2)[: len(UNITS) * 990]
    places = b"".join(location(number, (0, len(units) and 1)) for number in (1, *numbers))
    start = len(_shared(places, numbers, kind, derived, alpha))
    places = b"".join(location(number, (start, size // 2)) for number in (1, *numbers))
    return _shared(places, numbers, kind, derived, alpha) + units + bytes(size // 2)


def _shared(places: bytes, numbers: range, kind: bytes, derived: bool, alpha: bool) -> bytes:
    count = len(numbers)
    tiles = struct.pack(f">HH{count}H", 1, count, *numbers)
    links = b"".join(struct.pack(">HBBB", number, 2, 1, 2 if alpha else 1) for number in (1, *numbers))
    infos = [item(number, kind) for number in numbers]
    alphas = b"".join(box(b"auxl", struct.pack(">HHH", number, 1, 1)) for number in numbers) if alpha else b""
    more = full_box(b"iref", (box(b"dimg", tiles) if derived else b"") + alphas) if derived or alpha else b""
    made = avif(infos, locations(places, count + 1), SIZE + ALPHA, struct.pack(">I", count + 1) + links, more)
    return made.replace(item(1, b"av01"), item(1, b"grid")) if derived else made


ONE_PLACE = locations(location(1, (0, 16)), 1)


def units_of(size: int, unit: bytes = UNITS) -> bytes:
    start = len(avif((), ONE_PLACE))
    return avif((), locations(location(1, (start, size)), 1)) + repeated(unit, size)


def with_exif(size: int) -> bytes:
    block = bytes(4) + exif(size)
    start = len(avif([item(2, b"Exif")], locations(location(1, (0, 1)) + location(2, (0, 1)), 2)))
    places = locations(location(1, (0, 1)) + location(2, (start, len(block))), 2)
    return avif([item(2, b"Exif")], places, behind=block)


def nested(kind: bytes, size: int) -> bytes:
    """Boxes within boxes."""
    depth = size // 8
    return b"".join(struct.pack(">I", 8 * (depth - level)) + kind for level in range(depth))


HEIF: dict[str, Maker] = {
    "items": lambda size: avif((item(n % 65_535, b"av01") for n in range(size // 20)), ONE_PLACE),
    "items of one extent": lambda size: shared_extent(size, derived=False),
    "tiles of one extent": shared_extent,
    "alphas of one extent": lambda size: shared_extent(size, derived=False, alpha=True),
    "places": lambda size: avif((), locations(b"".join(location(n % 65_535, (0, 1)) for n in range(size // 14)), size)),
    "extents": lambda size: avif((), locations(location(1, *[(0, 1)] * 32) * (size // 262), size)),
    "empty extents": lambda size: avif((), locations(struct.pack(">HHH", 1, 0, 32) * (size // 6), size, b"\0\0")),
    "properties": lambda size: avif((), ONE_PLACE, SIZE + repeated(box(b"free"), size)),
    "associations": lambda size: avif(
        (), ONE_PLACE, SIZE, struct.pack(">I", size // 258) + repeated(b"\0\1\xff" + b"\1" * 255, size)
    ),
    "empty associations": lambda size: avif(
        (), ONE_PLACE, SIZE, struct.pack(">I", size // 3) + repeated(b"\0\1\0", size)
    ),
    "references": lambda size: avif(
        (), ONE_PLACE, more=full_box(b"iref", repeated(box(b"dimg", struct.pack(">HHH", 1, 1, 2)), size))
    ),
    "inputs": lambda size: avif(
        (), ONE_PLACE, more=full_box(b"iref", repeated(box(b"dimg", b"\0\1\x75\x30", bytes(60_000)), size))
    ),
    "boxes": lambda size: FTYP + repeated(box(b"free"), size),
    "nested boxes": lambda size: FTYP + nested(b"meta", size),
    "units": units_of,
    "sequence headers": lambda size: units_of(size, SLOW_SEQUENCE_HEADER),
    "EXIF tags": with_exif,
    "tracks": lambda size: FTYP.replace(b"avif", b"avis", 1)
    + avif((), ONE_PLACE)[len(FTYP) :]
    + box(b"moov", repeated(box(b"trak"), size)),
}  # fmt: skip


# --- the others ---------------------------------------------------------------------------------------------------

JP2_START = b"\0\0\0\x0cjP  \r\n\x87\n"
JXL_START = b"\0\0\0\x0cJXL \r\n\x87\n"

OTHERS: dict[str, Maker] = {
    "JP2: boxes": lambda size: JP2_START + repeated(box(b"free"), size),
    "JP2: nested boxes": lambda size: JP2_START + nested(b"jp2h", size),
    "JP2: headers": lambda size: JP2_START + repeated(box(b"jp2h", *[box(b"free")] * 250), size),
    "JXL: boxes": lambda size: JXL_START + repeated(box(b"free"), size),
    "JXL: parts": lambda size: JXL_START + repeated(box(b"jxlp", bytes(4)), size),
    "JXL: a bare codestream": lambda size: b"\xff\x0a" + repeated(b"\xff", size),
    "JXL: EXIF": lambda size: JXL_START + box(b"jxlc", b"\xff\x0a" + bytes(100)) + box(b"Exif", bytes(4), exif(size)),
    "ICO: entries": lambda size: icons.ico(*[(16, 16, 32, b"")] * min(256, size // 16)) + bytes(size),
    "BMP: zeros": lambda size: icons.bmp(64, 64, bytes(size)),
    "SVG: attributes": lambda size: b"<svg " + repeated(b"width = ", size) + b">",
    "SVG: entities": lambda size: b"<!DOCTYPE svg [" + repeated(b'<!ENTITY a "&a;">', size) + b"]><svg/>",
    "SVG: comments": lambda size: repeated(b"<!---->", size) + b"<svg/>",
    "SVG: declarations": lambda size: repeated(b"<!", size) + b"<svg/>",
    "SVG: processing instructions": lambda size: repeated(b"<?a", size) + b"<svg/>",
    "SVG: spaces": lambda size: b"<svg " + repeated(b" ", size) + b"width=1>",
    "text": lambda size: repeated(b"a", size),
    "zeros": bytes,
    "noise": lambda size: bytes(islice(cycle(range(1, 251)), size)),
}

FLOODS: dict[str, Maker] = {
    f"{name}: {part}": maker
    for name, makers in (("JPEG", JPEG), ("PNG", PNG), ("GIF", GIF), ("WebP", WEBP), ("TIFF", TIFF), ("AVIF", HEIF))
    for part, maker in makers.items()
} | OTHERS

# --- metadata that decoders copy or join --------------------------------------------------------------------------


def jpeg_with_directory(size: int, marker: int, prefix: bytes) -> bytes:
    """Each tag of the first segment refers to a quarter of all segments, which Pillow joins."""
    first = jpeg.segment(marker, prefix + exif(65_000, value=size // 4))
    others = jpeg.segment(marker, prefix + bytes(65_000))
    ordinary = saved(gradient(), "JPEG")
    return ordinary[:2] + first + others * (size // len(others) - 1) + ordinary[2:]


def avif_with_exif(size: int) -> bytes:
    """The block is put into the place of a harmless one."""
    harmless = b"Exif\0\0II*\0\x08\0\0\0" + tiff.directory([(1, tiff.UNDEFINED, size - 8, 26)]) + bytes(size)
    ordinary = saved(gradient(), "AVIF", exif=harmless)
    at = ordinary.rindex(b"II*\0\x08\0\0\0")
    block = exif(size, value=size // 4)
    return ordinary[:at] + block + ordinary[at + len(block) :]


METADATA: dict[str, Maker] = {
    "JPEG: EXIF tags": lambda size: jpeg_with_directory(size, 0xE1, b"Exif\0\0"),
    "JPEG: tags of more pictures": lambda size: jpeg_with_directory(size, 0xE2, b"MPF\0"),
    "AVIF: EXIF tags": avif_with_exif,
    "GIF: comment": lambda size: gif.header(64, 64) + gif_comment(size) + GIF_FRAME + b";",
    "GIF: comments": lambda size: gif.header(64, 64) + gif_comment(1000) * (size // 1026) + GIF_FRAME + b";",
    "GIF: small comments": lambda size: gif_of(gif_comment(124, block=124), size),
    "PNG: XMP": lambda size: png.with_chunks([png.chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + b"<" * size)]),
    "WebP: EXIF tags": lambda size: saved(gradient(), "WEBP", exif=exif(size)),
    "WebP: XMP": lambda size: saved(gradient(), "WEBP", xmp=b"<" * size),
}
"""Makers of ordinary pictures with that many bytes of metadata."""
