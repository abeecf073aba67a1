"""JPEG (ITU-T T.81), up to the first scan; nothing is decoded, but scans are counted where there may be many.

Tolerance follows libjpeg's `next_marker`: junk and fill bytes between segments are skipped, a scan before its frame
is an error, and so is a reserved marker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from thumbnailer.errors import Corrupt, NeedMoreBytes, UnsupportedFormat
from thumbnailer.formats.exif import Ifd0, parse_ifd0
from thumbnailer.formats.head import Head
from thumbnailer.model import Details, Format, ImageInfo

MAX_HEADER = 8 << 20
"""Where the search for the frame header ends, however much of the object is at hand (MATRIX row 10)."""
MAX_SEGMENTS = 300
"""Before the first scan. Profiles and extended XMP take one for every 64 KB. Pillow copies all EXIF so far at every
piece of it: with 50,000 pieces that takes minutes."""
MAX_JUNK = 64 << 10

MARKER = re.compile(rb"\xff[\x01-\xfe]")
APP1, APP2, SOI, EOI, SOS = 0xE1, 0xE2, 0xD8, 0xD9, 0xDA
STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""TEM and RSTn: no length follows."""
WITH_LENGTH = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)})
READ_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
PROGRESSIVE = frozenset({0xC2, 0xCA})
UNREAD_FRAMES = {
    0xC3: "lossless JPEG",
    0xC5: "hierarchical JPEG",
    0xC6: "hierarchical JPEG",
    0xC7: "lossless hierarchical JPEG",
    0xC8: "JPEG with extensions",
    0xCB: "lossless arithmetic JPEG",
    0xCD: "hierarchical arithmetic JPEG",
    0xCE: "hierarchical arithmetic JPEG",
    0xCF: "lossless hierarchical arithmetic JPEG",
    0xDE: "hierarchical JPEG",
    0xF7: "JPEG-LS",
}
PRECISIONS = (8, 12)
ALL_COEFFICIENTS = (0, 63, 0)
"""What the scan of a sequential picture must say of itself: from, to, and no approximation (T.81 B.2.3)."""
SCAN = re.compile(rb"\xff\xda")
MAX_SCANS = 100
"""Cameras and encoders write about 10. Every one is a pass over the whole picture, and no decoder has a limit."""
MAX_COMPONENTS = 10
"""libjpeg's MAX_COMPONENTS."""


@dataclass(frozen=True, slots=True)
class JpegDetails(Details):
    scans: int = 1
    """passes of a decoder over the whole picture, as far as the bytes at hand tell"""


@dataclass(frozen=True, slots=True)
class _Segment:
    marker: int
    start: int
    """The first byte behind the length."""
    end: int


@dataclass(frozen=True, slots=True)
class _Header:
    segments: tuple[_Segment, ...]
    complete: bool

    def first(self, marker: int, head: Head, prefix: bytes) -> _Segment | None:
        wanted = (s for s in self.segments if s.marker == marker)
        return next((s for s in wanted if head.up_to(s.start, len(prefix)) == prefix), None)

    @property
    def scan(self) -> _Segment | None:
        return next((s for s in self.segments if s.marker == SOS), None)

    @property
    def frame(self) -> _Segment | None:
        return next((s for s in self.segments if s.marker in READ_FRAMES), None)


def read_jpeg(head: Head) -> ImageInfo:
    head = head.called("JPEG")
    header = _header(head)
    if header.frame is None:
        raise Corrupt("JPEG has no frame header")
    exif = _exif(head, header)
    precision, width, height = _frame(head, header.frame)
    channels, samples = _components(head, header.frame)
    in_scan = _in_first_scan(head, header)
    progressive = header.frame.marker in PROGRESSIVE or in_scan not in (None, channels)
    many_scans = progressive or in_scan is None
    return ImageInfo(
        Format.JPEG,
        width,
        height,
        orientation=exif.orientation,
        progressive=progressive,
        bit_depth=precision,
        icc=header.first(APP2, head, b"ICC_PROFILE\0") is not None,
        channels=channels,
        credit=exif.credit,
        complete=header.complete and (head.whole or not many_scans),
        defect=_scan_defect(head, header, header.frame),
        details=JpegDetails(samples=samples, scans=_scans(head) if many_scans else 1),
    )


def scan_start(head: Head) -> int:
    """Where the first scan's header begins. Raises Corrupt, NeedMoreBytes."""
    scan = _header(head).scan
    if scan is None:
        raise Corrupt("JPEG has no scan")
    return scan.start


def _scan_defect(head: Head, header: _Header, frame: _Segment) -> str:
    """Some cameras write nonsense where a sequential picture's scan has no choice; decoders do not mind."""
    if header.scan is None or frame.marker in PROGRESSIVE:
        return ""
    components = head.up_to(header.scan.start, 1)
    said = head.up_to(header.scan.start + 1 + 2 * components[0], 3) if components else b""
    return "a scan header that makes no sense" if len(said) == 3 and tuple(said) != ALL_COEFFICIENTS else ""


def _in_first_scan(head: Head, header: _Header) -> int | None:
    """How many components the first scan has: if not all, libjpeg holds the picture as for a progressive frame."""
    scan = next((s for s in header.segments if s.marker == SOS), None)
    return head.byte(scan.start) if scan and head.reaches(scan.start + 1) else None


def _components(head: Head, frame: _Segment) -> tuple[int, float]:
    """How many there are, and the samples a pixel they have by their sampling factors (T.81 A.1.1)."""
    count = head.byte(frame.start + 5)
    factors = [divmod(head.byte(frame.start + 7 + 3 * index), 16) for index in range(count)]
    finest = max(across for across, _ in factors) * max(down for _, down in factors)
    return count, sum(across * down for across, down in factors) / max(1, finest)


def _scans(head: Head) -> int:
    """Counts the marker: within a scan's data no 0xFF stands unescaped. An embedded thumbnail's own counts too."""
    scans = sum(1 for _ in islice(SCAN.finditer(head.view), MAX_SCANS + 1))
    if scans > MAX_SCANS:
        raise Corrupt(f"JPEG with more than {MAX_SCANS} scans")
    return max(1, scans)


def _header(head: Head) -> _Header:
    """All segments before the first scan; what is broken behind the frame header is the decoder's to judge."""
    segments: list[_Segment] = []
    complete = True
    try:
        for segment in _segments(head):
            segments.append(segment)
    except (Corrupt, NeedMoreBytes) as error:
        if not any(s.marker in READ_FRAMES for s in segments):
            raise
        complete = isinstance(error, Corrupt)
    return _Header(tuple(segments), complete)


def _segments(head: Head) -> Iterator[_Segment]:
    position = 2
    for _ in range(MAX_SEGMENTS):
        marker, position = _next_marker(head, position)
        if marker == SOS:
            yield _Segment(SOS, position + 2, position + 2)
        if marker in (SOS, EOI):
            return
        if marker in STANDALONE:
            continue
        yield (segment := _segment(head, marker, position))
        position = segment.end
    raise Corrupt(f"JPEG has more than {MAX_SEGMENTS} segments before its first scan")


def _next_marker(head: Head, position: int) -> tuple[int, int]:
    """The next marker and where its segment begins."""
    if position > MAX_HEADER:
        raise Corrupt(f"JPEG has no frame header in its first {MAX_HEADER >> 20} MB")
    end = head.search(MARKER, position, position + MAX_JUNK)
    if end is not None:
        return head.byte(end - 1), end
    if not head.reaches(position + MAX_JUNK):
        head.need(len(head) + 1)
    raise Corrupt(f"JPEG has {MAX_JUNK >> 10} KB of junk between two segments")


def _segment(head: Head, marker: int, position: int) -> _Segment:
    if marker in UNREAD_FRAMES:
        raise UnsupportedFormat(UNREAD_FRAMES[marker])
    if marker == SOI:
        raise Corrupt("JPEG begins twice")
    if marker not in WITH_LENGTH and marker not in READ_FRAMES:
        raise Corrupt(f"JPEG has the reserved marker {marker:#04x} in its header")
    (length,) = head.unpack(">H", position)
    if length < 2:  # the length counts its own two bytes
        raise Corrupt("JPEG has a segment of impossible length")
    return _Segment(marker, position + 2, position + length)


def _frame(head: Head, frame: _Segment) -> tuple[int, int, int]:
    precision, height, width, components = head.unpack(">BHHB", frame.start)
    if frame.end - frame.start != 6 + 3 * components:
        raise Corrupt("JPEG has a frame header of impossible length")
    if precision not in PRECISIONS:
        raise Corrupt(f"JPEG has samples of {precision} bits")
    # Height 0 means that a DNL segment behind the first scan has it (T.81 B.2.5); no decoder in use reads that.
    if not (width and height and 0 < components <= MAX_COMPONENTS):
        raise Corrupt(f"JPEG of {width} x {height} pixels and {components} components")
    return precision, width, height


def _exif(head: Head, header: _Header) -> Ifd0:
    segment = header.first(APP1, head, b"Exif\0")
    return parse_ifd0(head.up_to(segment.start, segment.end - segment.start)) if segment else Ifd0()
