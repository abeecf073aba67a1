"""The parts of an image file and its EXIF tags, read without a decoder."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from thumbnailer.formats import probe
from thumbnailer.formats.base import Head
from thumbnailer.formats.boxes import boxes, children
from thumbnailer.formats.heif_items import item_extents
from thumbnailer.model import Format

EXIF = {Format.JPEG: "APP1", Format.PNG: "eXIf", Format.WEBP: "EXIF", Format.AVIF: "Exif"}
"""The kind of the part that holds EXIF."""


ALLOWED_PARTS = {
    Format.JPEG: r"APP0|APP14|C0|C1|C2|C4|DB|DD|DA",
    Format.PNG: r"IHDR|PLTE|tRNS|IDAT|IEND|pHYs|bKGD|sBIT",
    Format.GIF: r"image|F9|FF",
    Format.WEBP: r"VP8X|VP8 |VP8L|ALPH|ANIM|ANMF",
    Format.AVIF: r"ftyp|meta|mdat|free|av01|ispe|pixi|av1C|auxC|colr|pasp|irot",
}
"""The parts that hold pixels or say how to decode them. EXIF is allowed if it holds artist or copyright."""
ALLOWED_TAGS = {
    0x013B,
    0x8298,
    0x011A,
    0x011B,
    0x0128,
    0x8769,
    0x9000,
    0x9101,
    0xA000,
    0xA001,
    0xA002,
    0xA003,
    0x0213,
}
"""The credit and the tags that libvips adds: resolution, the size of the thumbnail, versions."""
MARKS = (b"adobe.com/xap", b"xmpmeta", b"8BIM", b"Photoshop", b"ICC_PROFILE", b"MPF\0", b"iTXt", b"tEXt", b"XMP ")
"""Byte strings that start metadata."""


def parts(data: bytes) -> list[tuple[str, bytes]]:
    """Kind and content of every part, in order. Raises if a byte belongs to no part."""
    readers = {
        Format.JPEG: _jpeg,
        Format.PNG: _png,
        Format.GIF: _gif,
        Format.WEBP: _webp,
        Format.AVIF: _heif,
    }
    return list(readers[probe(data, len(data)).format](data))


def exif_tags(data: bytes) -> dict[int, int]:
    """Tag and count of every entry of IFD0 and of the directories that it links to."""
    kind = EXIF.get(probe(data, len(data)).format)
    block = next((content for name, content in parts(data) if name == kind), b"")
    start = max(block.find(b"II*\0"), block.find(b"MM\0*"))
    return dict(_entries(block[start:])) if start >= 0 else {}


def assert_only_pixels_and_credit(thumbnail: bytes) -> None:
    format_ = probe(thumbnail, len(thumbnail)).format
    kinds = {kind for kind, _ in parts(thumbnail)}
    tags = exif_tags(thumbnail)
    exif = {"APP1", "eXIf", "EXIF", "Exif"} if tags else set()
    assert not [kind for kind in kinds - exif if not re.fullmatch(ALLOWED_PARTS[format_], kind)], kinds
    assert tags.keys() <= ALLOWED_TAGS, [hex(tag) for tag in tags]
    if format_ is Format.GIF:
        assert all(content[:11] == b"NETSCAPE2.0" for kind, content in parts(thumbnail) if kind == "FF")
    if format_ is Format.AVIF:
        assert all(content.startswith(b"nclx") for kind, content in parts(thumbnail) if kind == "colr")
    assert not [mark for mark in MARKS if mark in thumbnail]


def _entries(tiff: bytes) -> Iterator[tuple[int, int]]:
    order = "<" if tiff[:2] == b"II" else ">"
    waiting = list(struct.unpack_from(order + "I", tiff, 4))
    while waiting:
        at = waiting.pop()
        (count,) = struct.unpack_from(order + "H", tiff, at)
        for index in range(count):
            tag, _, number, value = struct.unpack_from(order + "HHII", tiff, at + 2 + 12 * index)
            yield tag, number
            if tag in (0x8769, 0x8825, 0xA005):
                waiting.append(value)
        (after,) = struct.unpack_from(order + "I", tiff, at + 2 + 12 * count)
        waiting += [after] if after else []


def _jpeg(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 2
    while data[at : at + 2] != b"\xff\xd9":
        marker = data[at + 1]
        assert data[at] == 0xFF, f"no marker at {at}"
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        yield f"APP{marker - 0xE0}" if 0xE0 <= marker < 0xF0 else f"{marker:02X}", data[at + 4 : end]
        if marker == 0xDA:
            while not (data[end] == 0xFF and data[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
        at = end
    assert at + 2 == len(data), f"{len(data) - at - 2} bytes behind the end"


def _png(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 8
    kind = ""
    while kind != "IEND":
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8].decode()
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length
    assert at == len(data), f"{len(data) - at} bytes behind the end"


def _gif(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while data[at] != 0x3B:
        if data[at] == 0x2C:
            flags = data[at + 9]
            kind, at = "image", at + 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        else:
            assert data[at] == 0x21
            kind, at = f"{data[at + 1]:02X}", at + 2
        content = b""
        while data[at]:
            content += data[at + 1 : at + 1 + data[at]]
            at += 1 + data[at]
        at += 1
        yield kind, content
    assert at + 1 == len(data), f"{len(data) - at - 1} bytes behind the end"


def _webp(data: bytes) -> Iterator[tuple[str, bytes]]:
    assert len(data) == 8 + int.from_bytes(data[4:8], "little")
    at = 12
    while at < len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        yield kind.decode(), data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _heif(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The boxes of the file, the kinds of its items, and the kinds of its properties."""
    head = Head(memoryview(data), len(data))
    for box in boxes(head, 0, len(data)):
        yield box.kind.decode(), b""
        if box.kind != b"meta":
            continue
        meta = children(head, box, skip=4)
        places = dict(item_extents(head, meta))
        iinf = meta[b"iinf"]
        for number, infe in enumerate(boxes(head, iinf.start + 6, iinf.end), 1):
            content = b"".join(data[e.start : e.start + e.size] for e in places.get(number, ()))
            yield data[infe.start + 8 : infe.start + 12].decode(), content
        properties = children(head, meta[b"iprp"])[b"ipco"]
        yield from ((p.kind.decode(), data[p.start : p.end]) for p in boxes(head, properties.start, properties.end))
