"""Splits a file into the parts of its format and joins them with correct lengths and checksums.

A decoder stops at the first wrong checksum, so a change that is to be seen by what comes behind it needs this.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
SOI, SOS, EOI = 0xD8, 0xDA, 0xD9
STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
LONGEST_SEGMENT: Final = 65_533


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk (PNG, WebP) or segment (JPEG): name and content, without length and checksum.

    A part without a name is bytes that stay as they are.
    """

    name: bytes
    body: bytes


def split(kind: str, data: bytes) -> list[Part]:
    """The parts of a file; one part for a format that is not split here."""
    match kind:
        case "png" if data.startswith(PNG_SIGNATURE):
            return [Part(b"", PNG_SIGNATURE), *_png_chunks(data)]
        case "jpeg" if data[:2] == bytes((0xFF, SOI)):
            return [Part(b"", data[:2]), *_jpeg_segments(data)]
        case "webp" if data[:4] == b"RIFF":
            return [Part(b"", data[:12]), *_riff_chunks(data)]
        case _:
            return [Part(b"", data)]


def join(kind: str, parts: list[Part]) -> bytes:
    write = {"png": _png_chunk, "jpeg": _jpeg_segment, "webp": _riff_chunk}.get(kind)
    data = b"".join(write(part) if part.name and write else part.body for part in parts)
    if kind == "webp" and data[:4] == b"RIFF" and len(data) >= 8:
        return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    return data


def unpacked(part: Part) -> bytes | None:
    """The decompressed content of a PNG chunk; None if it has none, or it is broken."""
    at = _compressed_at(part)
    if at is None:
        return None
    try:
        return zlib.decompressobj().decompress(part.body[at:], 1 << 20)
    except zlib.error:
        return None


def packed(part: Part, content: bytes) -> Part:
    """The chunk with other compressed content."""
    at = _compressed_at(part)
    return part if at is None else replace(part, body=part.body[:at] + zlib.compress(content, 1))


def _compressed_at(part: Part) -> int | None:
    if part.name == b"IDAT":
        return 0
    if part.name in (b"iCCP", b"zTXt") and b"\0" in part.body:
        return part.body.index(b"\0") + 2
    return None


def _png_chunks(data: bytes) -> Iterator[Part]:
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            break
        yield Part(data[at + 4 : at + 8], data[at + 8 : at + 8 + length])
        at += 12 + length
    yield Part(b"", data[at:])


def _png_chunk(part: Part) -> bytes:
    named = part.name + part.body
    return struct.pack(">I", len(part.body)) + named + struct.pack(">I", zlib.crc32(named))


def _jpeg_segments(data: bytes) -> Iterator[Part]:
    """The segments before the first scan, and the rest as one part."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (*STANDALONE, SOI, SOS, EOI, 0xFF, 0):
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if end < at + 4 or end > len(data):
            break
        yield Part(data[at : at + 2], data[at + 4 : end])
        at = end
    yield Part(b"", data[at:])


def _jpeg_segment(part: Part) -> bytes:
    body = part.body[:LONGEST_SEGMENT]
    return part.name + struct.pack(">H", len(body) + 2) + body


def _riff_chunks(data: bytes) -> Iterator[Part]:
    at = 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        if at + 8 + length > len(data):
            break
        yield Part(data[at : at + 4], data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    yield Part(b"", data[at:])


def _riff_chunk(part: Part) -> bytes:
    return part.name + struct.pack("<I", len(part.body)) + part.body + b"\0" * (len(part.body) % 2)
