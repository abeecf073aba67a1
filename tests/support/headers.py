"""File headers written byte by byte, without pixels, for tests of the probe."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from PIL import Image, features

from tests.bombs import heif as heif_bombs
from tests.bombs.heif import box
from tests.bombs.jpeg import segment
from tests.bombs.png import chunk
from tests.support import jpeg_xl, pictures
from thumbnailer.formats import probe
from thumbnailer.model import ImageInfo

HEAD = 64 << 10
CPU_BOUND = 2.0
"""The bound of MATRIX.md, in seconds."""
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF encoder")
needs_jp2 = pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow has no JPEG 2000 encoder")


def saved(kind: str, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    """A picture of one colour encoded by Pillow."""
    colour = {"color": options.pop("color")} if "color" in options else {}
    return pictures.saved(Image.new(mode, size, **colour), kind, **options)


def animated(kind: str, frames: int, **options: Any) -> bytes:
    first, *rest = [Image.new("RGB", (40, 30), (80 * index, 0, 0)) for index in range(frames)]
    return pictures.saved(first, kind, save_all=True, append_images=rest, **options)


def whole(data: bytes) -> ImageInfo:
    return probe(data, len(data))


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x013B] = "An artist"
    block[0x8298] = "(c) someone"
    return block.tobytes()


def png(*chunks: bytes, ihdr: bytes = struct.pack(">IIBBBBB", 40, 30, 8, 2, 0, 0, 0)) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + b"".join(chunks)


def frame(marker: int = 0xC0, precision: int = 8, width: int = 40, height: int = 30) -> bytes:
    return segment(marker, struct.pack(">BHHB", precision, height, width, 1) + b"\1\x11\0")


def jpeg(*segments: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments) + b"\xff\xda"


def heif(*, kind: bytes = b"av01", properties: bytes = b"", links: bytes = b"\1\1", brand: bytes = b"mif1") -> bytes:
    """A file of item 1, whose properties are an `ispe` of 40 x 30 and the given ones."""
    ispe = box(b"ispe", bytes(4), struct.pack(">II", 40, 30))
    ipma = box(b"ipma", struct.pack(">IIH", 0, 1, 1), links)
    infe = box(b"infe", struct.pack(">IHH", 2 << 24, 1, 0), kind, b"\0")
    meta = box(
        b"meta",
        bytes(4),
        box(b"pitm", struct.pack(">IH", 0, 1)),
        box(b"iinf", struct.pack(">IH", 0, 1), infe),
        box(b"iprp", box(b"ipco", ispe, properties), ipma),
    )
    return box(b"ftyp", brand, bytes(4), b"mif1") + meta


def ifd(*entries: tuple[int, int, int], after: int = 0) -> bytes:
    """A little-endian directory of LONG entries."""
    fields = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return struct.pack("<H", len(entries)) + fields + struct.pack("<I", after)


TIFF_START = b"II*\0\x08\0\0\0"
TIFF_SIZE = ((256, 4, 40), (257, 4, 30))


def tiff_of(*entries: tuple[int, int, int]) -> bytes:
    return TIFF_START + ifd(*TIFF_SIZE, *entries)


def bmp(width: int, height: int, bits: int = 24, compression: int = 0) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + bytes(12) + header


def bits(*fields: tuple[int, int]) -> bytes:
    """The start of a JPEG XL, padded with zeros."""
    return jpeg_xl.bits(*fields) + bytes(64)


def clap(width: int, height: int) -> bytes:
    return box(b"clap", struct.pack(">iIiIiIiI", width, 1, height, 1, 0, 1, 0, 1))


def sized(
    kind: bytes, width: int, height: int, *properties: bytes, made_of: tuple[int, ...] = (), alpha_of: int = 0
) -> heif_bombs.Item:
    """An item without pixels."""
    return heif_bombs.Item(kind, b"", (heif_bombs.size_property(width, height), *properties), made_of, alpha_of)


ALPHA = box(b"auxC", bytes(4), b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
HVC1, AV01 = b"hvc1", b"av01"
