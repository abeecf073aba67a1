"""JPEG 2000 (ITU-T T.800): the JP2 file format (annex I) and the bare codestream (annex A).

The size is the codestream's own, because that is what decoders allocate, whatever the file format's `ihdr` says.
"""

from __future__ import annotations

from dataclasses import replace

from thumbnailer.errors import Corrupt
from thumbnailer.formats.boxes import Box, boxes, children
from thumbnailer.formats.head import Head
from thumbnailer.model import Format, ImageInfo

CODESTREAM = b"\xff\x4f\xff\x51"
MAX_COMPONENTS = 16384
COMPONENTS_WITH_ALPHA = (2, 4)
CMYK = 12
ICC_METHODS = (2, 3)
OPACITY = (1, 2)
"""cdef's channel types for opacity and premultiplied opacity (I.5.3.6)."""
MAX_CHANNELS = 64


def read_codestream(head: Head, start: int = 0) -> ImageInfo:
    """The SIZ marker segment (A.5.1), which must be the first."""
    head = head.called("JPEG 2000")
    if head.read(start, 4) != CODESTREAM:
        raise Corrupt("JPEG 2000 codestream does not begin with its size")
    right, bottom, left, top = head.unpack(">IIII", start + 8)
    (components,) = head.unpack(">H", start + 40)
    width, height = right - left, bottom - top
    if width <= 0 or height <= 0 or not 0 < components <= MAX_COMPONENTS:
        raise Corrupt(f"JPEG 2000 of {width} x {height} pixels and {components} components")
    depth = (head.byte(start + 42) & 0x7F) + 1
    return ImageInfo(Format.JP2, width, height, has_alpha=components in COMPONENTS_WITH_ALPHA, bit_depth=depth)


def read_jp2(head: Head) -> ImageInfo:
    head = head.called("JPEG 2000")
    header: dict[bytes, Box] = {}
    for box in boxes(head, 0, head.end):
        if box.kind == b"jp2h":
            header = children(head, box)
        if box.kind == b"jp2c":
            return _with_header(head, read_codestream(head, box.start), header)
    raise Corrupt("JPEG 2000 has no codestream")


def _with_header(head: Head, info: ImageInfo, header: dict[bytes, Box]) -> ImageInfo:
    """What the file format knows better than the codestream."""
    colour, channels = header.get(b"colr"), header.get(b"cdef")
    method = head.byte(colour.start) if colour else 0
    alpha = info.has_alpha
    if channels is not None:
        alpha = _has_opacity(head, channels)
    elif colour is not None and method == 1:
        alpha = alpha and head.unpack(">I", colour.start + 3)[0] != CMYK
    return replace(info, has_alpha=alpha, icc=method in ICC_METHODS)


def _has_opacity(head: Head, channels: Box) -> bool:
    (count,) = head.unpack(">H", channels.start)
    kinds = (head.unpack(">H", channels.start + 4 + 6 * index)[0] for index in range(min(count, MAX_CHANNELS)))
    return any(kind in OPACITY for kind in kinds)
