"""GIF (CompuServe GIF89a). Frames are counted by stepping over data blocks, never by decoding them.

A frame behind the first may go beyond the canvas a little, as some real ones do: decoders clip it, or grow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from thumbnailer.errors import Corrupt
from thumbnailer.model import Format, ImageInfo
from thumbnailer.probe.head import Head

VERSIONS = (b"GIF87a", b"GIF89a")
MAX_STEPS = 4_000_000
"""What the walk may cost: one a data block (some 1 GB of full ones), BLOCK_STEPS any other block. It is about a second;
beyond it `complete` is False."""
BLOCK_STEPS = 10
MAX_EXTENSIONS = 10_000
"""In a row, without a picture. Encoders write three or four; decoders read them one by one, and so does this walk."""
MAX_GROWTH = 2
SMALL = 65_536
"""A frame may make the canvas grow to this many times its pixels, and a small one to this many pixels: Pillow allocates
all of it, and the plan's limits were met by the canvas."""

EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
BLOCK_START = re.compile(rb"[!,;]")
GRAPHIC_CONTROL = b"\xf9"


@dataclass(slots=True)
class _Seen:
    """What the walk has met so far; changed in place, as it has a step for each of some 100,000 blocks."""

    width: int
    height: int
    frames: int = 0
    extensions: int = 0
    """since the last picture"""
    interlaced: bool = False
    transparent: bool = False
    ended: bool = False


def read_gif(head: Head) -> ImageInfo:
    head = head.called("GIF")
    if head.read(0, 6) not in VERSIONS:
        raise Corrupt("GIF of an unknown version")
    seen = _walk(head)
    if not (seen.width and seen.height):
        raise Corrupt(f"GIF of {seen.width} x {seen.height} pixels")
    return ImageInfo(
        Format.GIF,
        seen.width,
        seen.height,
        progressive=seen.interlaced,
        has_alpha=seen.transparent,
        frames=seen.frames,
        channels=1,
        palette=True,
        samples=1,
        complete=seen.ended,  # another frame may come, looping or not
    )


def _walk(head: Head) -> _Seen:
    width, height, flags = head.unpack("<HHB", 6)
    seen = _Seen(width, height)
    position = 13 + _colour_table(flags)
    steps = MAX_STEPS
    while steps > 0 and not seen.ended:
        # Pillow too looks for the next block behind junk.
        end = head.search(BLOCK_START, position, len(head))
        if end is None:
            break
        position = _block(head, seen, end - 1)
        position, taken = _skip_data(head.view, position, steps)
        steps -= taken + BLOCK_STEPS
    if seen.frames == 0 and not seen.ended:
        head.need(len(head) + 1)
    if seen.frames == 0:
        raise Corrupt("GIF has no picture")
    seen.ended = seen.ended or (head.whole and steps > 0)
    return seen


def _block(head: Head, seen: _Seen, position: int) -> int:
    """Notes one block's own fields; where its data blocks begin."""
    kind = head.view[position]
    if kind == IMAGE:
        return _image(head, seen, position)
    if kind == EXTENSION:
        return _extension(head, seen, position)
    seen.ended = True
    return position


def _image(head: Head, seen: _Seen, position: int) -> int:
    if not head.reaches(position + 10):
        return _cut_off(head, seen, position + 10)
    left, top, width, height, flags = head.unpack("<HHHHB", position + 1)
    if seen.frames == 0:
        # Decoders grow the canvas to hold a first frame that goes beyond it.
        seen.width = max(seen.width, left + width) if width else seen.width
        seen.height = max(seen.height, top + height) if height else seen.height
        seen.interlaced = bool(flags & 0x40)
    grown = max(seen.width, left + width) * max(seen.height, top + height)
    if grown > MAX_GROWTH * seen.width * seen.height + SMALL:
        raise Corrupt(f"GIF of {seen.width} x {seen.height} pixels with a frame of {width} x {height} at {left}, {top}")
    seen.frames += 1
    seen.extensions = 0
    return position + 11 + _colour_table(flags)


def _extension(head: Head, seen: _Seen, position: int) -> int:
    seen.extensions += 1
    if seen.extensions > MAX_EXTENSIONS:
        raise Corrupt(f"GIF with more than {MAX_EXTENSIONS} extensions and no picture")
    label, flags = head.up_to(position + 1, 1), head.up_to(position + 3, 1)
    if label == GRAPHIC_CONTROL and flags and flags[0] & 1:
        seen.transparent = True
    return position + 2


def _cut_off(head: Head, seen: _Seen, end: int) -> int:
    """A descriptor that goes beyond the bytes at hand: only the first one is worth asking for more."""
    if seen.frames == 0:
        head.need(end)
    return end


def trailer_end(head: Head) -> int | None:
    """Where the trailer of a whole file ends; None where it breaks off before that."""
    position = 13 + _colour_table(head.byte(10))
    steps = MAX_STEPS
    while steps > 0 and (end := head.search(BLOCK_START, position, len(head))) is not None:
        kind = head.view[end - 1]
        if kind == TRAILER:
            return end
        flags = head.up_to(end + 8, 1) if kind == IMAGE else b""
        start = end + 10 + _colour_table(flags[0]) if flags else end + 1
        position, taken = _skip_data(head.view, start, steps)
        steps -= taken + BLOCK_STEPS
    return None


def _skip_data(view: memoryview, position: int, steps: int) -> tuple[int, int]:
    """Step over data blocks up to the empty one that ends them; where it ends, and how many steps that took."""
    end = len(view)
    taken = 0
    while position < end and taken < steps:
        size = view[position]
        position += size + 1
        taken += 1
        if size == 0:
            break
    return position, taken


def _colour_table(flags: int) -> int:
    """Bytes of the colour table that the flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
