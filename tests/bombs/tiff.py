from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from tests.bombs import deflated_zeros

SHORT, LONG, UNDEFINED, LONG8 = 3, 4, 7, 16
PLAIN, DEFLATED = 1, 8
Entry = tuple[int, int, int, int]
"""Tag, type, count, and the value or its offset."""
PIXELS_AT = 8
"""Offset of the pixels: behind the file header and before the first directory."""


def directory(entries: Iterable[Entry], after: int = 0) -> bytes:
    fields = [struct.pack("<HHII", *entry) for entry in sorted(entries)]
    return struct.pack("<H", len(fields)) + b"".join(fields) + struct.pack("<I", after)


def grey(width: int, height: int, pixels: int, compression: int = PLAIN) -> list[Entry]:
    """Entries of a picture of one strip of `pixels` bytes at PIXELS_AT."""
    sides = [(256, LONG, 1, width), (257, LONG, 1, height), (258, SHORT, 1, 8)]
    strip = [(273, LONG, 1, PIXELS_AT), (278, LONG, 1, height), (279, LONG, 1, pixels)]
    return [*sides, (259, SHORT, 1, compression), (262, SHORT, 1, 1), *strip]


def tiff(pixels: bytes, *pages: Sequence[Entry], last_link: int = 0) -> bytes:
    """The pixels, then the directories in a chain."""
    position = PIXELS_AT + len(pixels)
    start = b"II*\0" + struct.pack("<I", position) + pixels
    parts = []
    for number, page in enumerate(pages):
        position += 6 + 12 * len(page)
        parts.append(directory(page, position if number < len(pages) - 1 else last_link))
    return start + b"".join(parts)


def changed(entries: list[Entry], *others: Entry) -> list[Entry]:
    """The entries, with some replaced by tag or added."""
    tags = {entry[0] for entry in others}
    return [entry for entry in entries if entry[0] not in tags] + list(others)


def pages(count: int, more: Sequence[Entry] = (), room: int = 10_000) -> bytes:
    """Pages that share their pixels. The entries of `more` may point into `room` bytes."""
    page = [*grey(100, 100, 10_000), *more]
    return tiff(bytes(room), *[page] * count)


def tiled(width: int, height: int, tile: tuple[int, int], samples: int = 1) -> bytes:
    """A picture whose tiles share one tile of zeros."""
    pixels = deflated_zeros(tile[0] * tile[1] * samples)
    count = -(-width // tile[0]) * -(-height // tile[1])
    lists = struct.pack("<I", PIXELS_AT) * count + struct.pack("<I", len(pixels)) * count
    at = PIXELS_AT + len(pixels)
    places = [(324, LONG, count, at), (325, LONG, count, at + 4 * count)]
    if count == 1:
        places = [(324, LONG, 1, PIXELS_AT), (325, LONG, 1, len(pixels))]
    entries = [entry for entry in grey(width, height, 0, DEFLATED) if entry[0] not in (273, 278, 279)]
    entries += [(277, SHORT, 1, samples), (322, LONG, 1, tile[0]), (323, LONG, 1, tile[1]), *places]
    return tiff(pixels + lists, changed(entries, (262, SHORT, 1, 2 if samples > 1 else 1)))


def planar(width: int, height: int) -> bytes:
    """Separate planes of red, green and blue: a row is complete only in the last plane."""
    pixels = deflated_zeros(width * height)
    lists = struct.pack("<I", PIXELS_AT) * 3 + struct.pack("<I", len(pixels)) * 3 + struct.pack("<HHH", 8, 8, 8)
    at = PIXELS_AT + len(pixels)
    rgb = [(258, SHORT, 3, at + 24), (262, SHORT, 1, 2), (277, SHORT, 1, 3), (284, SHORT, 1, 2)]
    strips = [(273, LONG, 3, at), (279, LONG, 3, at + 12)]
    return tiff(pixels + lists, changed(grey(width, height, 0, DEFLATED), *rgb, *strips))


def of_all_strips_there_can_be() -> bytes:
    entries = grey(100, 100, 10_000)
    most = (1 << 32) - 1
    return tiff(bytes(10_000), changed(entries, (273, LONG, most, 8), (278, LONG, 1, 1), (279, LONG, most, 8)))


def big(strips: int = 1, at: int = 16) -> bytes:
    """A BigTIFF of 100 x 100 whose directory is at `at`, even past the end."""
    sides = [(256, LONG, 1, 100), (257, LONG, 1, 100), (258, SHORT, 1, 8), (259, SHORT, 1, 1), (262, SHORT, 1, 1)]
    pixels_at = 16 + 8 + 20 * 8 + 8
    strip = [(273, LONG8, strips, pixels_at), (278, LONG, 1, 100), (279, LONG8, strips, 10_000)]
    fields = [struct.pack("<HHQQ", *entry) for entry in sides + strip]
    start = struct.pack("<2sHHHQ", b"II", 43, 8, 0, at) + struct.pack("<Q", len(fields))
    return start + b"".join(fields) + bytes(8) + bytes(10_000)
