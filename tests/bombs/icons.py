"""BMP and ICO."""

from __future__ import annotations

import struct

RLE8 = 1
COLOURS = 256


def bmp(width: int, height: int, data: bytes, bits: int = 8, compression: int = RLE8) -> bytes:
    table = bytes(4 * COLOURS) if bits == 8 else b""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, 0, 0)
    start = 14 + len(header) + len(table)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + table + data


def bitmap(width: int, height: int) -> bytes:
    """The picture of an icon without a file header: colours, then the mask."""
    header = struct.pack("<IiiHHIIiiII", 40, width, 2 * height, 1, 32, 0, 0, 0, 0, 0, 0)
    return header + bytes(width * height * 4) + bytes((width + 31) // 32 * 4 * height)


def ico(*icons: tuple[int, int, int, bytes]) -> bytes:
    """Pictures, each with the width, height and bits of its directory entry."""
    start = 6 + 16 * len(icons)
    entries, pictures = [], []
    for width, height, bits, picture in icons:
        entries.append(struct.pack("<BBBBHHII", width % 256, height % 256, 0, 0, 1, bits, len(picture), start))
        pictures.append(picture)
        start += len(picture)
    return b"\0\0\1\0" + struct.pack("<H", len(icons)) + b"".join(entries + pictures)
