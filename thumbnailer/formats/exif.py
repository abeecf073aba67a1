"""The three fields of an EXIF block that matter here, read tolerantly and written minimally.

A TIFF-structured block (Exif 2.32 section 4.5.2): byte order, 42, offset of IFD0, entries of 12 bytes. Cameras and
editors break every part of it, so nothing here raises: what cannot be read counts as absent.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import TypeAlias

from thumbnailer.model import NO_CREDIT, Credit

Buffer: TypeAlias = bytes | bytearray | memoryview | mmap

PREFIX = b"Exif\0\0"
MAX_CREDIT = 256
"""Bytes kept of each credit field; longer ones are prose, or an attack on the output's size."""
MAX_BLOCK = 1 << 20
"""A JPEG segment cannot hold more than 64 KB; PNG and WebP could, and IFD0 is at the block's start in all seen."""

ORIENTATION = 0x0112
ARTIST = 0x013B
COPYRIGHT = 0x8298

ASCII = 2
SHORT = 3
LONG = 4
TEXT_TYPES = (1, ASCII, 7, 129)
"""BYTE, ASCII, UNDEFINED and UTF-8 (Exif 3.0): one byte a character in all."""
INLINE = 4
"""A value of at most this many bytes lies in the entry itself (TIFF 6.0, page 15)."""
ENTRY, LINK = 12, 4
"""Bytes of an entry, and of the offset of the next directory behind the last."""
WRITTEN_BY_LIBVIPS = re.compile(rb"II\*\0\x08\0\0\0(..)\x12\x01\x03\0\x01\0\0\0\x01\0\0\0", re.DOTALL)
"""Header, number of entries, and an orientation of 1 as the first of them."""


@dataclass(frozen=True, slots=True)
class Ifd0:
    """What was found; `orientation` is always 1 to 8."""

    orientation: int = 1
    credit: Credit = NO_CREDIT


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    count: int
    at: int
    """Where in the block the four bytes for value or offset are."""


def parse_ifd0(tiff: Buffer) -> Ifd0:
    """Read orientation and credit of an EXIF block, with or without its leading `Exif\\0\\0`."""
    with memoryview(tiff) as view:
        block = bytes(view[:MAX_BLOCK]).removeprefix(PREFIX)
    order = _byte_order(block)
    if order is None:
        return Ifd0()
    entries = _entries(block, order)
    return Ifd0(
        orientation=_orientation(block, order, entries.get(ORIENTATION)),
        credit=Credit(*(_text(block, order, entries.get(tag)) for tag in (ARTIST, COPYRIGHT))),
    )


def build_credit(credit: Credit) -> bytes:
    """A little-endian EXIF block of nothing but the credit fields that are not empty; b"" if both are."""
    texts = ((ARTIST, clean_credit(credit.artist)), (COPYRIGHT, clean_credit(credit.copyright)))
    fields = [(tag, text + b"\0") for tag, text in texts if text]
    if not fields:
        return b""
    values_at = 8 + 2 + 12 * len(fields) + 4
    entries, values = b"", b""
    for tag, text in fields:
        inline = text.ljust(INLINE, b"\0") if len(text) <= INLINE else struct.pack("<I", values_at + len(values))
        entries += struct.pack("<HHI", tag, ASCII, len(text)) + inline
        # Values begin on a word boundary (TIFF 6.0, page 15).
        values += b"" if len(text) <= INLINE else text + b"\0" * (len(text) % 2)
    header = struct.pack("<2sHIH", b"II", 42, 8, len(fields))
    return PREFIX + header + entries + struct.pack("<I", 0) + values


def without_orientation(picture: bytes) -> bytes:
    """An encoded picture without the orientation that libvips writes into every EXIF block, "since it's required".

    The block stays where it is and as long as it is: the other entries move up over that one, which comes first because
    entries are sorted, and values are found by their offsets as before.
    """
    found = WRITTEN_BY_LIBVIPS.search(picture)
    if found is None:
        return picture
    count = int.from_bytes(found[1], "little")
    first, end = found.end(1), found.end(1) + ENTRY * count + LINK
    entries = picture[first + ENTRY : end] + bytes(ENTRY)
    changed = picture[: found.start(1)] + struct.pack("<H", count - 1) + entries + picture[end:]
    return _checked_png(changed, found.start()) if picture.startswith(b"\x89PNG") else changed


def _checked_png(picture: bytes, start: int) -> bytes:
    """With the checksum of the chunk whose data begin there."""
    (length,) = struct.unpack_from(">I", picture, start - 8)
    end = start + length
    return picture[:end] + struct.pack(">I", zlib.crc32(picture[start - 4 : end])) + picture[end + 4 :]


def valid_orientation(value: int) -> int:
    """1 for everything but the eight values that exist (Exif 2.32, section 4.6.5.1.5)."""
    return value if 1 <= value <= 8 else 1  # the eight of the specification


def clean_credit(text: bytes) -> bytes:
    """A credit field as it is kept: capped, without the NULs that end or pad it."""
    return text[:MAX_CREDIT].rstrip(b"\0")


def _byte_order(block: bytes) -> str | None:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])


def _entries(block: bytes, order: str) -> dict[int, _Entry]:
    """The entries of IFD0 that lie within the block; of a tag that comes twice the first counts."""
    found: dict[int, _Entry] = {}
    for tag, entry in _walk(block, order):
        found.setdefault(tag, entry)
    return found


def _walk(block: bytes, order: str) -> Iterator[tuple[int, _Entry]]:
    try:
        (offset,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, offset)
        for at in range(offset + 2, offset + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(order + "HHI", block, at)
            yield tag, _Entry(kind, values, at + 8)
    except struct.error:
        return  # a cut block: what was read so far stands


def _orientation(block: bytes, order: str, entry: _Entry | None) -> int:
    # LONG is against the specification and written all the same.
    code = {SHORT: "H", LONG: "I"}.get(entry.kind) if entry else None
    if entry is None or code is None or entry.count < 1 or len(block) < entry.at + INLINE:
        return 1
    (value,) = struct.unpack_from(order + code, block, entry.at)
    return valid_orientation(value)


def _text(block: bytes, order: str, entry: _Entry | None) -> bytes:
    if entry is None or entry.kind not in TEXT_TYPES or len(block) < entry.at + INLINE:
        return b""
    (offset,) = struct.unpack_from(order + "I", block, entry.at)
    start = entry.at if entry.count <= INLINE else offset
    if start + entry.count > len(block):
        return b""
    return clean_credit(block[start : start + entry.count])
