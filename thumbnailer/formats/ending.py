"""How a file ends, once all of it is there: what decoders do not tell, because they stop at the last pixel."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from thumbnailer.errors import Corrupt, NeedMoreBytes
from thumbnailer.formats.gif import trailer_end
from thumbnailer.formats.head import Head
from thumbnailer.formats.jpeg import scan_start
from thumbnailer.model import Format

if TYPE_CHECKING:
    from mmap import mmap

NO_END = "its end is missing"
JUNK = "junk after its end"

EOI = b"\xff\xd9"
END_OF_IMAGE = re.compile(re.escape(EOI))
PADDING = re.compile(rb"\0*\Z")
APPENDED = re.compile(rb"\0*(\xff\xd8|....ftyp)", re.DOTALL)
"""Behind a JPEG: more pictures (multi-picture format, gain maps), or a phone's moving picture."""
SAMSUNG_TRAILER = b"SEFT"
IEND = b"IEND\xae\x42\x60\x82"
GIF_TRAILER = b";"
LAST = 64 << 10
"""Bytes at the end of a PNG in which its own end is looked for, and of a GIF in which zeros are padding."""


def ending_defect(data: bytes | mmap, format_: Format) -> str:
    """What is wrong with the end of a whole file; empty where nothing is, or where its format marks none."""
    check = CHECKS.get(format_)
    if check is None:
        return ""
    with memoryview(data) as view:
        return check(Head(view, len(view)))


def _jpeg(head: Head) -> str:
    last = _last(head, 4)
    if last.endswith(EOI) or last == SAMSUNG_TRAILER:
        return ""  # this picture's end, an appended one's, or a phone's own data
    try:
        end = head.search(END_OF_IMAGE, scan_start(head), len(head))
    except (Corrupt, NeedMoreBytes):
        return NO_END
    if end is None:
        return NO_END
    return "" if APPENDED.match(head.view, end) else _beyond(head, end)


def _png(head: Head) -> str:
    last = _last(head, LAST)
    found = last.rfind(IEND)
    return NO_END if found < 0 else _beyond(head, len(head) - len(last) + found + len(IEND))


def _gif(head: Head) -> str:
    last = _last(head, LAST).rstrip(b"\0")
    if last.endswith(GIF_TRAILER):
        return ""
    return NO_END if trailer_end(head) is None else JUNK


def _webp(head: Head) -> str:
    (size,) = head.unpack("<I", 4)
    end = 8 + size
    return NO_END if end > len(head) else _beyond(head, end)


def _last(head: Head, size: int) -> bytes:
    return head.up_to(max(0, len(head) - size), size)


def _beyond(head: Head, end: int) -> str:
    """Zeros are padding, anything else is not."""
    return "" if PADDING.match(head.view, end) else JUNK


CHECKS: dict[Format, Callable[[Head], str]] = {
    Format.JPEG: _jpeg,
    Format.PNG: _png,
    Format.GIF: _gif,
    Format.WEBP: _webp,
}
