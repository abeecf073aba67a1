"""A source without its metadata, not encoded anew: the thumbnail of one that already fits, where no encoder matches it.

What is kept of the file is what decoders draw from, piece by piece as it was. One that is laid out in a way that
encoders do not use is left alone.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from thumbnailer.model import NO_CREDIT, Format
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import Target

CMYK: Final = 4


def unchanged(path: str, plan: Plan, target: Target) -> bytes | None:
    """The stripped source; None where that is not what the thumbnail is to be."""
    info = plan.info
    same = target.format is info.format and (target.width, target.height) == (info.width, info.height)
    in_srgb = not info.icc and info.bit_depth <= 8 and not (info.format is Format.JPEG and info.channels == CMYK)
    as_asked_for = info.orientation == 1 and (info.progressive or not target.progressive)
    if not (same and in_srgb and as_asked_for) or info.defect or info.credit != NO_CREDIT:
        return None
    return stripped(Path(path).read_bytes(), info.format)


def stripped(data: bytes, format_: Format) -> bytes | None:
    """The pieces that make the picture; None where they are not all found, or others change how it looks."""
    strip = {Format.JPEG: _jpeg, Format.PNG: _png, Format.GIF: _gif, Format.WEBP: _webp}.get(format_)
    try:
        return None if strip is None else b"".join(strip(data))
    except (ValueError, IndexError, struct.error):
        return None


# --- JPEG (ITU-T T.81, annex B) -----------------------------------------------------------------------------------

MARKER: Final = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
EOI, SOS, JFIF, ADOBE, COMMENT = 0xD9, 0xDA, 0xE0, 0xEE, 0xFE
APPLICATIONS: Final = range(0xE0, 0xF0)
JPEG_PIECES: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC4, SOS, 0xDB, 0xDD})
"""Frames as all browsers show them (baseline, extended, progressive), tables, scans, restart intervals."""


def _jpeg(data: bytes) -> Iterator[bytes]:
    yield data[:2]
    position = 2
    while (marker := _marker(data, position))[0] != EOI:
        code, start = marker
        position = start + int.from_bytes(data[start : start + 2], "big")
        if code == SOS:
            position = _end_of_scan(data, position)
        segment = data[start:position]
        if code in JPEG_PIECES or _says_what_colours_are(code, segment):
            yield bytes((0xFF, code)) + segment
        elif code not in APPLICATIONS and code != COMMENT:
            raise ValueError(f"a JPEG with a segment of kind {code:#x}")
    yield bytes((0xFF, EOI))


def _marker(data: bytes, position: int) -> tuple[int, int]:
    """The marker at a place, and what follows."""
    found = MARKER.match(data, position)
    if found is None:
        raise ValueError("no marker where a segment must begin")
    return found[1][0], found.end()


def _end_of_scan(data: bytes, position: int) -> int:
    found = MARKER.search(data, position)
    if found is None:
        raise ValueError("a scan without an end")
    return found.start()


def _says_what_colours_are(code: int, segment: bytes) -> bool:
    """JFIF without a thumbnail, and Adobe's transform."""
    return (code == JFIF and len(segment) == 16 and segment[2:7] == b"JFIF\0") or (
        code == ADOBE and len(segment) == 14 and segment[2:7] == b"Adobe"
    )


# --- PNG (W3C PNG, section 11) ------------------------------------------------------------------------------------

PNG_PIECES: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
PNG_REFUSED: Final = frozenset({b"acTL", b"cICP", b"iCCP"})
"""Moving, or in colours that a thumbnail is not in. Gamma is left out, as both engines leave it out of account."""
ANCILLARY: Final = 0x20


def _png(data: bytes) -> Iterator[bytes]:
    yield data[:8]
    position, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind in PNG_REFUSED or end > len(data) or not (kind in PNG_PIECES or kind[0] & ANCILLARY):
            raise ValueError(f"a PNG with a chunk of kind {kind!r}")
        if kind in PNG_PIECES:
            yield data[position:end]
        position = end


# --- GIF (GIF89a) -------------------------------------------------------------------------------------------------

EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
CONTROL, APPLICATION, GIF_COMMENT = 0xF9, 0xFF, 0xFE
LOOPING: Final = re.compile(rb"!\xff\x0b(NETSCAPE2\.0|ANIMEXTS1\.0)\x03\x01..\0", re.DOTALL)


def _gif(data: bytes) -> Iterator[bytes]:
    position = 13 + _colour_table(data[10])
    yield data[:position]
    while data[position] != TRAILER:
        kind, end = data[position], _end_of_block(data, position)
        if kind == IMAGE or data[position + 1] == CONTROL or LOOPING.fullmatch(data, position, end):
            yield data[position:end]
        elif data[position + 1] not in (APPLICATION, GIF_COMMENT):
            raise ValueError("a GIF that draws text")
        position = end
    yield b";"


def _end_of_block(data: bytes, position: int) -> int:
    if data[position] not in (EXTENSION, IMAGE):
        raise ValueError("junk between a GIF's blocks")
    position += 2 if data[position] == EXTENSION else 11 + _colour_table(data[position + 9])
    while data[position]:
        position += 1 + data[position]
    return position + 1


def _colour_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


# --- WebP (RFC 9649) ----------------------------------------------------------------------------------------------

WEBP_PIECES: Final = frozenset({b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"})
WITHOUT_METADATA: Final = 0xFF ^ 0x0C
"""The flags of a VP8X chunk but for those of EXIF and XMP."""


def _webp(data: bytes) -> Iterator[bytes]:
    chunks = b"".join(_webp_chunks(data))
    yield b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def _webp_chunks(data: bytes) -> Iterator[bytes]:
    position, end = 12, 8 + int.from_bytes(data[4:8], "little")
    while position < end:
        kind, size = struct.unpack_from("<4sI", data, position)
        chunk = data[position : position + 8 + size + size % 2]
        position += len(chunk)
        if len(chunk) < 8 + size or kind == b"ICCP":
            raise ValueError("a WebP that breaks off, or in other colours")
        if kind == b"VP8X":
            chunk = chunk[:8] + bytes((chunk[8] & WITHOUT_METADATA,)) + chunk[9:]
        if kind in WEBP_PIECES:
            yield chunk
