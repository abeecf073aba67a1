"""GIF (CompuServe GIF89a). Frames are counted by stepping over data blocks, never by decoding them.

A frame behind the first may go beyond the canvas a little, as some real ones do: browsers clip it, Pillow grows. What
no frame has painted yet, or what one was removed from, is transparent in browsers; decoders fill it with a colour,
unless the frame itself has a transparent one. `odd_frames` tells of both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thumbnailer.errors import Corrupt
from thumbnailer.formats.head import Head
from thumbnailer.model import Details, EngineName, Format, ImageInfo

if TYPE_CHECKING:
    from mmap import mmap

Box = tuple[int, int, int, int]
"""Left, top, right and bottom."""

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
HAS_TRANSPARENT = 1
NO_CONTROL = b"\0\x0a\0\0"
"""What a frame without a graphic control extension goes by: a tenth of a second."""
TO_BACKGROUND, TO_PREVIOUS = 2, (3, 4)
"""What a frame's box is restored to after it was shown; 4 is what an old draft had for 3."""


@dataclass(frozen=True, slots=True)
class GifDetails(Details):
    odd_frames: bool = False
    """the canvas shows between frames, or a frame goes beyond it: decoders differ from browsers there"""


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
    control: int = 0
    """the flags of the graphic control extension that the next picture goes by"""
    stays: bool = False
    """whether some frame was left on the canvas"""
    cleared: Box | None = None
    """where the last frame was removed, and nothing is left"""
    last_disposal: int = 0
    """as Pillow has it: none takes the frame's before"""
    misread: bool = False
    shows_canvas: bool = False
    odd: bool = False


def read_gif(head: Head) -> ImageInfo:
    head = head.called("GIF")
    if head.read(0, 6) not in VERSIONS:
        raise Corrupt("GIF of an unknown version")
    seen = _walk(head)
    if not (seen.width and seen.height):
        raise Corrupt(f"GIF of {seen.width} x {seen.height} pixels")
    odd_frames = seen.odd or seen.shows_canvas
    return ImageInfo(
        Format.GIF,
        seen.width,
        seen.height,
        progressive=seen.interlaced,
        has_alpha=seen.transparent or seen.shows_canvas,
        frames=seen.frames,
        channels=1,
        complete=seen.ended,  # another frame may come, looping or not
        details=GifDetails(
            1, palette=True, first_engine=EngineName.PILLOW if odd_frames else None, odd_frames=odd_frames
        ),
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
    _note_frame(seen, (left, top, left + width, top + height))
    seen.frames += 1
    seen.extensions = 0
    return position + 11 + _colour_table(flags)


def _extension(head: Head, seen: _Seen, position: int) -> int:
    seen.extensions += 1
    if seen.extensions > MAX_EXTENSIONS:
        raise Corrupt(f"GIF with more than {MAX_EXTENSIONS} extensions and no picture")
    label, flags = head.up_to(position + 1, 1), head.up_to(position + 3, 1)
    if label == GRAPHIC_CONTROL and flags:
        seen.control = flags[0]
        seen.transparent = seen.transparent or bool(flags[0] & HAS_TRANSPARENT)
    return position + 2


def _note_frame(seen: _Seen, box: Box) -> None:
    """Whether the canvas shows around this frame or where the one before was removed, or the frame goes beyond it."""
    opaque, disposal = not seen.control & HAS_TRANSPARENT, seen.control >> 2 & 7
    if seen.frames == 0:
        seen.shows_canvas = opaque and not _covers(box, (0, 0, seen.width, seen.height))
    elif seen.cleared is not None:
        seen.shows_canvas = seen.shows_canvas or not (opaque and _covers(box, seen.cleared))
    seen.odd = seen.odd or seen.misread or box[2] > seen.width or box[3] > seen.height
    bare = opaque if disposal == TO_BACKGROUND else disposal in TO_PREVIOUS and not seen.stays
    seen.cleared = (*box[:2], min(box[2], seen.width), min(box[3], seen.height)) if bare else None
    seen.stays = seen.stays or disposal not in (TO_BACKGROUND, *TO_PREVIOUS)
    seen.last_disposal = disposal or seen.last_disposal
    seen.misread = disposal != seen.last_disposal and seen.last_disposal >= TO_BACKGROUND
    seen.control = 0


def _covers(outer: Box, inner: Box) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]


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


# --- its frames, for whoever composes them ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """How a frame is put on the canvas, and as a file of its own, which has neither place nor transparent colour."""

    box: Box
    disposal: int
    milliseconds: int
    transparent: int | None
    """index of the colour"""
    file: bytes


def gif_frames(data: memoryview | mmap) -> Iterator[Frame]:
    """The frames of a file that was probed, as far as they go. Raises Corrupt where a descriptor breaks off."""
    head = Head(memoryview(data), len(data), "GIF")
    start = 13 + _colour_table(head.byte(10))
    position, control = start, NO_CONTROL
    while (found := head.search(BLOCK_START, position, len(head))) is not None:
        kind = head.view[found - 1]
        if kind == TRAILER:
            return
        body = found + 1 if kind == EXTENSION else found + 10 + _colour_table(head.byte(found + 8))
        position, _ = _skip_data(head.view, body, len(head))
        if kind == IMAGE:
            yield _frame(head, start, slice(found, position), control)
            control = NO_CONTROL
        elif head.read(found, 1) == GRAPHIC_CONTROL:
            control = head.read(body + 1, 4)


def _frame(head: Head, start: int, place: slice, control: bytes) -> Frame:
    """`start` is where the file's global colour table ends, `control` the body of the extension before the frame."""
    left, top, width, height = head.unpack("<HHHH", place.start)
    screen = head.read(0, 6) + head.read(place.start + 4, 4) + head.read(10, start - 10)
    pixels = head.view[place.start + 4 : place.stop]
    return Frame(
        (left, top, left + width, top + height),
        disposal=control[0] >> 2 & 7,
        milliseconds=10 * int.from_bytes(control[1:3], "little"),
        transparent=control[3] if control[0] & HAS_TRANSPARENT else None,
        file=b"".join((screen, b",", bytes(4), pixels, b";")),
    )
