"""JPEG 2000 (ITU-T T.800): the JP2 file format (annex I) and the bare codestream (annex A).

The size is the codestream's own, whatever the file format's `ihdr` says: decoders allocate it.
"""

from dataclasses import replace

from thumbnailer.errors import Corrupt
from thumbnailer.formats.base import FormatSpec, Head, Piece, starts_with
from thumbnailer.formats.boxes import boxes, children
from thumbnailer.model import Format, ImageInfo

FILE, CODESTREAM = b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"
MAX_COMPONENTS = 16384
COMPONENTS_WITH_ALPHA = (2, 4)
CMYK = 12
ICC_METHODS = (2, 3)
OPACITY = (1, 2)  # cdef's channel types for opacity and premultiplied opacity (I.5.3.6)
MAX_CHANNELS = 64


def read_jp2(head: Head) -> ImageInfo:
    if head.up_to(0, len(CODESTREAM)) == CODESTREAM:
        return _read_codestream(head, 0)
    header: dict[bytes, Piece] = {}
    for box in boxes(head, 0, head.end):
        if box.kind == b"jp2h":
            header = children(head, box)
        if box.kind == b"jp2c":
            return _with_header(head, _read_codestream(head, box.start), header)
    raise Corrupt("JPEG 2000 has no codestream")


def _read_codestream(head: Head, start: int) -> ImageInfo:
    """The SIZ marker segment (A.5.1), which must be the first."""
    if head.read(start, 4) != CODESTREAM:
        raise Corrupt("JPEG 2000 codestream does not begin with its size")
    right, bottom, left, top, components, depth = head.unpack(">IIII16xHB", start + 8)
    width, height = right - left, bottom - top
    if width <= 0 or height <= 0 or not 0 < components <= MAX_COMPONENTS:
        raise Corrupt(f"JPEG 2000 of {width} x {height} pixels and {components} components")
    alpha = components in COMPONENTS_WITH_ALPHA
    return ImageInfo(Format.JP2, width, height, has_alpha=alpha, bit_depth=(depth & 0x7F) + 1)


def _with_header(head: Head, info: ImageInfo, header: dict[bytes, Piece]) -> ImageInfo:
    """The file format knows alpha and profile better than the codestream."""
    colour, channels = header.get(b"colr"), header.get(b"cdef")
    method = head.number(colour.start) if colour else 0
    alpha = info.has_alpha
    if channels is not None:
        count = min(head.number(channels.start, 2), MAX_CHANNELS)
        alpha = any(head.number(channels.start + 4 + 6 * index, 2) in OPACITY for index in range(count))
    elif colour is not None and method == 1:
        alpha = alpha and head.number(colour.start + 3, 4) != CMYK
    return replace(info, has_alpha=alpha, icc=method in ICC_METHODS)


FORMAT = FormatSpec("JPEG 2000", (Format.JP2,), starts_with(FILE, CODESTREAM), read_jp2)
