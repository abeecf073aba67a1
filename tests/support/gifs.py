"""GIFs written block by block, with structures that encoders do not write."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.bombs.gif import blocks, lzw_zeros

Colour = tuple[int, int, int]
SCREEN_COLOUR = (255, 0, 255)
"""The first colour of the global table and the background of the header."""


@dataclass(frozen=True)
class Painted:
    """A frame of one colour. `transparent` declares a transparent colour that no pixel has."""

    colour: Colour
    at: tuple[int, int]
    size: tuple[int, int]
    disposal: int = 1
    transparent: bool = False
    control: bool = True

    def __bytes__(self) -> bytes:
        control = b"!\xf9\4" + struct.pack("<BHB", self.disposal << 2 | self.transparent, 5, 1) + b"\0"
        place = struct.pack("<HHHHB", *self.at, *self.size, 0x80)
        table = bytes(self.colour) + bytes(3)
        pixels = b"\2" + blocks(lzw_zeros(self.size[0] * self.size[1]))
        return (control if self.control else b"") + b"," + place + table + pixels


def gif(screen: tuple[int, int], *frames: Painted, extension: bytes = b"") -> bytes:
    header = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes(SCREEN_COLOUR) + bytes(3)
    return header + extension + b"".join(map(bytes, frames)) + b";"


def looping(times: int, name: bytes = b"NETSCAPE2.0") -> bytes:
    return b"!\xff\x0b" + name + b"\3\1" + struct.pack("<H", times) + b"\0"
