"""GIF (CompuServe GIF89a). Frames are counted by stepping over data blocks, never by decoding them.

Limit: a frame behind the first that is larger than the canvas does not count towards the size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from thumbnailer.errors import Corrupt
from thumbnailer.model import Format, ImageInfo
from thumbnailer.probe.head import Head

VERSIONS = (b"GIF87a", b"GIF89a")
MAX_STEPS = 4_000_000
"""What the walk may cost: one a data block (some 1 GB of full ones), BLOCK_STEPS any other block. It is about a second;
beyond it `complete` is False."""
BLOCK_STEPS = 10

EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
BLOCK_START = re.compile(rb"[!,;]")
GRAPHIC_CONTROL, APPLICATION = b"\xf9", b"\xff"
LOOPING = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the walk has met so far."""

    width: int
    height: int
    frames: int = 0
    interlaced: bool = False
    transparent: bool = False
    looping: bool = False
    ended: bool = False


def read_gif(head: Head) -> ImageInfo:
    head = head.called("GIF")
    if head.read(0, 6) not in VERSIONS:
        raise Corrupt("GIF of an unknown version")
    seen = _walk(head)
    if not (seen.width and seen.height):
        raise Corrupt(f"GIF of {seen.width} x {seen.height} pixels")
    animated = seen.looping or seen.frames > 1
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
        complete=seen.ended or not animated,
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
        seen, position = _block(head, seen, end - 1)
        position, taken = _skip_data(head.view, position, steps)
        steps -= taken + BLOCK_STEPS
    if seen.frames == 0 and not seen.ended:
        head.need(len(head) + 1)
    if seen.frames == 0:
        raise Corrupt("GIF has no picture")
    return replace(seen, ended=seen.ended or (head.whole and steps > 0))


def _block(head: Head, seen: _Seen, position: int) -> tuple[_Seen, int]:
    """One block's own fields, and where its data blocks begin."""
    kind = head.view[position]
    if kind == IMAGE:
        return _image(head, seen, position)
    if kind == EXTENSION:
        return _extension(head, seen, position)
    return replace(seen, ended=True), position


def _image(head: Head, seen: _Seen, position: int) -> tuple[_Seen, int]:
    if not head.reaches(position + 10):
        return _cut_off(head, seen, position + 10)
    left, top, width, height, flags = head.unpack("<HHHHB", position + 1)
    if seen.frames == 0:
        # Decoders grow the canvas to hold a first frame that goes beyond it.
        seen = replace(
            seen,
            width=max(seen.width, left + width) if width else seen.width,
            height=max(seen.height, top + height) if height else seen.height,
            interlaced=bool(flags & 0x40),
        )
    return replace(seen, frames=seen.frames + 1), position + 11 + _colour_table(flags)


def _extension(head: Head, seen: _Seen, position: int) -> tuple[_Seen, int]:
    label, fields = head.up_to(position + 1, 1), head.up_to(position + 3, 11)
    # Only what is new is noted: a long animation has one of these a frame.
    if label == GRAPHIC_CONTROL and not seen.transparent and fields[:1] and fields[0] & 1:
        seen = replace(seen, transparent=True)
    if label == APPLICATION and fields in LOOPING:
        seen = replace(seen, looping=True)
    return seen, position + 2


def _cut_off(head: Head, seen: _Seen, end: int) -> tuple[_Seen, int]:
    """A descriptor that goes beyond the bytes at hand: only the first one is worth asking for more."""
    if seen.frames == 0:
        head.need(end)
    return seen, end


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
