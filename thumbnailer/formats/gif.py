"""GIF (CompuServe GIF89a). Frames are counted by stepping over data blocks, never by decoding them.

A frame behind the first may reach a little beyond the canvas, as some real ones do: browsers clip it, Pillow grows the
canvas. Parts of the canvas that no frame has painted yet, or from which a frame was removed, are transparent in
browsers; decoders fill them with a colour, unless the frame itself has a transparent one. `odd_frames` marks both.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from thumbnailer.errors import Corrupt
from thumbnailer.formats.base import MOST_FRAMES, NO_END, FormatSpec, Head, NotStrippable, Patch, starts_with
from thumbnailer.formats.details import GifDetails
from thumbnailer.model import EngineName, Format, ImageInfo
from thumbnailer.values import dataclass

if TYPE_CHECKING:
    from mmap import mmap

Box = tuple[int, int, int, int]  # left, top, right and bottom

VERSIONS = (b"GIF87a", b"GIF89a")
MAX_GROWTH = 2
SMALL = 65_536
"""A frame may make the canvas grow to this many times its pixels, and a small canvas to this many pixels: Pillow
allocates all of them, and the plan's limits count the pixels of the canvas."""

EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
BLOCK_START = re.compile(rb"[!,;]")
CONTROL, APPLICATION, COMMENT = 0xF9, 0xFF, 0xFE  # labels of extensions
SCREEN_END, DESCRIPTOR = 13, 10
FLAGS_AT = 3  # in a graphic control extension
HAS_TRANSPARENT = 1
NO_CONTROL = b"\0\x0a\0\0"  # the default of a frame without a graphic control extension: a tenth of a second
TO_BACKGROUND, TO_PREVIOUS = 2, (3, 4)
"""How a frame's box is restored after the frame; 4 is the number that an old draft had for 3."""


class Block(NamedTuple):
    """An image, an extension or the trailer. Bytes may be missing from a file's last block.

    A tuple, because a frozen dataclass would double the time of the walk.
    """

    kind: int
    start: int
    body: int
    """where its data blocks begin: behind the colour table of an image, or the label of an extension"""
    end: int
    fields: bytes
    """its first ten bytes: the descriptor of an image; label, size and flags of a graphic control extension"""

    @property
    def label(self) -> int:
        """Of an extension; -1 for other blocks."""
        return self.fields[1] if self.kind == EXTENSION and len(self.fields) > 1 else -1


def blocks(head: Head) -> Iterator[Block]:
    """The blocks at hand, up to the trailer or beyond MOST_FRAMES. Junk between blocks is skipped, as Pillow does."""
    position, frames = globals_end(head), 0
    while frames <= MOST_FRAMES and (found := head.search(BLOCK_START, position)) is not None:
        fields = head.up_to(found - 1, DESCRIPTOR)
        kind, body = fields[0], found
        if kind == IMAGE:
            body += 10 + (_colour_table(fields[9]) if len(fields) == DESCRIPTOR else 0)
        elif kind == EXTENSION:
            body += 1
        position = found if kind == TRAILER else head.skip_blocks(body)
        frames += kind == IMAGE
        yield Block(kind, found - 1, body, position, fields)
        if kind == TRAILER:
            return


def globals_end(head: Head) -> int:
    """Where the global colour table ends."""
    return SCREEN_END + _colour_table(head.number(10))


def _colour_table(flags: int) -> int:
    """Bytes of the colour table that the flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _read_descriptor(head: Head, block: Block) -> tuple[Box, int]:
    """The box and the flags of an image."""
    left, top, width, height, flags = head.unpack("<HHHHB", block.start + 1)
    return (left, top, left + width, top + height), flags


def read_gif(head: Head) -> ImageInfo:
    if head.read(0, 6) not in VERSIONS:
        raise Corrupt("GIF of an unknown version")
    width, height = head.unpack("<HH", 6)
    walk = _Walk(width, height)
    block = Block(0, 0, 0, globals_end(head), b"")
    for block in blocks(head):
        walk.note(head, block)
    if walk.frames == 0:
        head.need(len(head) + (block.kind != TRAILER))
        raise Corrupt("GIF has no picture")
    if not (walk.width and walk.height):
        raise Corrupt(f"GIF of {walk.width} x {walk.height} pixels")
    odd = walk.odd or walk.shows_canvas
    return ImageInfo(
        Format.GIF,
        walk.width,
        walk.height,
        progressive=walk.interlaced,
        has_alpha=walk.transparent or walk.shows_canvas,
        frames=walk.frames,
        channels=1,
        # Otherwise another frame may come, looping or not.
        complete=block.kind == TRAILER or head.whole or walk.frames > MOST_FRAMES,
        details=GifDetails(1, palette=True, first_engine=EngineName.PILLOW if odd else None, odd_frames=odd),
    )


@dataclasses.dataclass(slots=True)
class _Walk:
    """The state of the reader; it changes in place, because there may be some 100,000 blocks."""

    width: int
    height: int
    frames: int = 0
    interlaced: bool = False
    transparent: bool = False
    control: int = 0  # the flags of the graphic control extension for the next picture
    stays: bool = False  # whether some frame was left on the canvas
    cleared: Box | None = None  # the box from which the last frame was removed, if nothing is left there
    last_disposal: int = 0  # as Pillow has it: a frame without one takes the disposal of the frame before
    misread: bool = False
    shows_canvas: bool = False
    odd: bool = False

    def note(self, head: Head, block: Block) -> None:
        if block.label == CONTROL and len(block.fields) > FLAGS_AT:
            self.control = block.fields[FLAGS_AT]
            self.transparent = self.transparent or bool(self.control & HAS_TRANSPARENT)
        elif block.kind == IMAGE and len(block.fields) == DESCRIPTOR:
            self._note_image(*_read_descriptor(head, block))
        elif block.kind == IMAGE and self.frames == 0:  # only the first descriptor is worth asking for more bytes
            head.need(block.start + DESCRIPTOR)

    def _note_image(self, box: Box, flags: int) -> None:
        left, top, right, bottom = box
        if self.frames == 0:
            # Decoders grow the canvas to hold a first frame that goes beyond it.
            self.width = max(self.width, right) if right > left else self.width
            self.height = max(self.height, bottom) if bottom > top else self.height
            self.interlaced = bool(flags & 0x40)
        if max(self.width, right) * max(self.height, bottom) > MAX_GROWTH * self.width * self.height + SMALL:
            raise Corrupt(f"GIF of {self.width} x {self.height} pixels with a frame up to {right}, {bottom}")
        self._compose(box, opaque=not self.control & HAS_TRANSPARENT, disposal=self.control >> 2 & 7)
        self.frames += 1
        self.control = 0

    def _compose(self, box: Box, opaque: bool, disposal: int) -> None:
        """Notes whether the canvas shows around this frame or in a cleared box, or the frame goes beyond it."""
        left, top, right, bottom = box
        if self.frames == 0:
            self.shows_canvas = opaque and not _covers(box, (0, 0, self.width, self.height))
        elif self.cleared is not None:
            self.shows_canvas = self.shows_canvas or not (opaque and _covers(box, self.cleared))
        self.odd = self.odd or self.misread or right > self.width or bottom > self.height
        bare = opaque if disposal == TO_BACKGROUND else disposal in TO_PREVIOUS and not self.stays
        self.cleared = (left, top, min(right, self.width), min(bottom, self.height)) if bare else None
        self.stays = self.stays or disposal not in (TO_BACKGROUND, *TO_PREVIOUS)
        self.last_disposal = disposal or self.last_disposal
        self.misread = disposal != self.last_disposal and self.last_disposal >= TO_BACKGROUND


def _covers(outer: Box, inner: Box) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]


@dataclass(frozen=True, slots=True)
class Frame:
    """How a frame is put on the canvas; `file` has only this frame, without its place and its transparent colour."""

    box: Box
    disposal: int
    milliseconds: int
    transparent: int | None  # index of the colour
    file: bytes


def gif_frames(data: memoryview | mmap) -> Iterator[Frame]:
    """The frames of a probed file. Raises Corrupt for a cut descriptor."""
    head = Head(memoryview(data), len(data), "GIF")
    control = NO_CONTROL
    for block in blocks(head):
        if block.kind == IMAGE:
            screen = head.read(0, 6) + head.read(block.start + 5, 4) + head.read(10, globals_end(head) - 10)
            pixels = head.up_to(block.start + 5, block.end - block.start - 5)
            yield Frame(
                _read_descriptor(head, block)[0],
                disposal=control[0] >> 2 & 7,
                milliseconds=10 * int.from_bytes(control[1:3], "little"),
                transparent=control[3] if control[0] & HAS_TRANSPARENT else None,
                file=b"".join((screen, b",", bytes(4), pixels, b";")),
            )
            control = NO_CONTROL
        elif block.label == CONTROL:
            control = head.read(block.body + 1, 4)


MAX_COMMENTS = 256 << 10  # bytes of all comments that decoders see
LAST = 64 << 10  # bytes at the end of a file in which zeros are padding
LONGEST_LOOPING = 20  # bytes, one more than the extension has
LOOPING = re.compile(rb"!\xff\x0b(NETSCAPE2\.0|ANIMEXTS1\.0)\x03\x01..\0", re.DOTALL)


def ending_defect(head: Head) -> str:
    if head.last(LAST).rstrip(b"\0").endswith(b";"):
        return ""
    return "" if any(block.kind == TRAILER for block in blocks(head)) else NO_END


def strip(head: Head) -> Iterator[bytes]:
    end = globals_end(head)
    yield head.read(0, end)
    for block in blocks(head):
        if block.start != end:
            raise NotStrippable("junk between blocks")
        end = block.end
        if _is_kept(head, block):
            yield head.read(block.start, end - block.start)
        if block.kind == TRAILER:
            return
    raise NotStrippable("no end")


def _is_kept(head: Head, block: Block) -> bool:
    if block.kind != EXTENSION or block.label == CONTROL:
        return True
    if block.label not in (APPLICATION, COMMENT):
        raise NotStrippable("text that is drawn")
    return LOOPING.fullmatch(head.up_to(block.start, min(LONGEST_LOOPING, block.end - block.start))) is not None


def hide(head: Head) -> Iterator[Patch]:
    """Makes comments application extensions, if there are many: Pillow 12 joins their blocks in quadratic time."""
    if head.size <= MAX_COMMENTS:
        return
    comments = [block for block in blocks(head) if block.label == COMMENT and block.fields[2:3] != b"\0"]
    if sum(comment.end - comment.start for comment in comments) > MAX_COMMENTS:
        yield from ((comment.start + 1, bytes((APPLICATION,))) for comment in comments)


FORMAT = FormatSpec("GIF", (Format.GIF,), starts_with(b"GIF8"), read_gif, ending_defect, strip, hide)
