"""JPEG (ITU-T T.81). Nothing is decoded: segments are read up to the first scan, and scans are counted.

Tolerance follows libjpeg's `next_marker`: junk and fill bytes between segments are skipped; a scan before its frame
is an error, and so is a reserved marker.
"""

import re
from collections.abc import Iterator

from thumbnailer.errors import Corrupt, NeedMoreBytes, TooManyBytes, UnsupportedFormat
from thumbnailer.formats.base import NO_END, FormatSpec, Head, NotStrippable, Patch, Piece, first, starts_with
from thumbnailer.formats.details import JpegDetails
from thumbnailer.formats.exif import is_costly, read_ifd0
from thumbnailer.model import Format, ImageInfo

MAX_HEADER = 16 << 20
"""Where the search for the frame header ends, however much of the object is at hand (MATRIX row 10). Cardboard Camera
writes the right eye's picture and the sound into segments before it."""
MAX_SEGMENTS = 300
"""Before the first scan. Profiles and extended XMP take one segment for every 64 KB. Pillow copies all EXIF found so
far at every piece of EXIF: 50,000 pieces take minutes."""
MAX_JUNK = 64 << 10
MAX_SCANS = 100
"""Cameras and encoders write about 10. Every scan is a pass over the whole picture, and no decoder has a limit."""
MAX_COMPONENTS = 10  # libjpeg's MAX_COMPONENTS

MARKER = re.compile(rb"\xff[\x01-\xfe]")
BEHIND_FRAME = re.compile(rb"\xff[\xc4\xcc\xd9-\xdd\xe0-\xef\xfe]")
"""Scans, EOI, and segments with a length; data of scans escapes every other 0xFF."""
AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""The marker behind a scan's data, in which only restart markers stand. With fill bytes, it takes quadratic time."""
SOI, EOI, SOS, APP0, APP1, APP2, ADOBE, COMMENT = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
"""Markers; the kind of a segment is its marker as one byte."""
STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and RSTn: no length follows
APPLICATIONS = frozenset(range(0xE0, 0xF0))
WITH_LENGTH = APPLICATIONS | {0xC4, 0xCC, 0xDB, 0xDC, 0xDD, COMMENT}
READ_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
PROGRESSIVE = frozenset({0xC2, 0xCA})
UNREAD_FRAMES = {
    0xC3: "lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xDE), "hierarchical JPEG"),
    0xC7: "lossless hierarchical JPEG",
    0xC8: "JPEG with extensions",
    0xCB: "lossless arithmetic JPEG",
    **dict.fromkeys((0xCD, 0xCE), "hierarchical arithmetic JPEG"),
    0xCF: "lossless hierarchical arithmetic JPEG",
    0xF7: "JPEG-LS",
}
PRECISIONS = (8, 12)
ALL_COEFFICIENTS = bytes((0, 63, 0))
"""First and last coefficient and approximation of every scan of a sequential picture (T.81 B.2.3)."""


def read_jpeg(head: Head) -> ImageInfo:
    header, frame, complete = _read_header(head)
    exif = read_ifd0(head, _find(head, header, APP1, b"Exif\0"))
    scan = first(header, bytes((SOS,)))
    precision, width, height, channels = _read_frame(head, frame)
    in_scan = head.up_to(scan.start, 1) if scan else b""
    sequential = frame.kind[0] not in PROGRESSIVE
    # If the first scan lacks components, libjpeg holds the whole picture, as for a progressive frame.
    progressive = not sequential or in_scan not in (b"", bytes((channels,)))
    many_scans = progressive or not in_scan
    defect = _find_scan_defect(head, scan) if scan and sequential else ""
    samples, scans = _count_samples(head, frame, channels), _count_scans(head, frame.end) if many_scans else 1
    clean_header = scan is not None and not defect and _is_clean(head, header)
    return ImageInfo(
        Format.JPEG,
        width,
        height,
        orientation=exif.orientation,
        progressive=progressive,
        bit_depth=precision,
        icc=_find(head, header, APP2, b"ICC_PROFILE\0") is not None,
        channels=channels,
        credit=exif.credit,
        complete=complete and (head.whole or not many_scans),
        defect=defect,
        # Pillow copies segments once; the memory model counts `held` three times.
        details=JpegDetails(samples=samples, scans=scans, held=header[-1].end // 3, clean_header=clean_header),
    )


def _find(head: Head, header: list[Piece], marker: int, prefix: bytes) -> Piece | None:
    found = (s for s in header if s.kind[0] == marker and head.up_to(s.start, len(prefix)) == prefix)
    return next(found, None)


def segments(head: Head, through_scans: bool = False) -> Iterator[Piece]:
    """The segments up to the header of the first scan, or up to EOI: a scan's segment then ends with its data."""
    position = 2
    for _ in range(MAX_SEGMENTS):
        marker, position = _next_marker(head, position)
        if marker in STANDALONE:
            continue
        yield (segment := _read_segment(head, marker, position, through_scans))
        if marker == EOI or (marker == SOS and not through_scans):
            return
        position = segment.end
    raise Corrupt(f"JPEG has more than {MAX_SEGMENTS} segments before its first scan")


def _next_marker(head: Head, position: int) -> tuple[int, int]:
    """The next marker and where its segment begins."""
    if position > MAX_HEADER:
        raise TooManyBytes(f"JPEG whose header has more than {MAX_HEADER >> 20} MB")
    end = head.search(MARKER, position, position + MAX_JUNK)
    if end is not None:
        return head.number(end - 1), end
    if not head.reaches(position + MAX_JUNK):
        head.need(len(head) + 1)
    raise Corrupt(f"JPEG has {MAX_JUNK >> 10} KB of junk between two segments")


def _read_segment(head: Head, marker: int, position: int, with_scan_data: bool) -> Piece:
    if marker in UNREAD_FRAMES:
        raise UnsupportedFormat(UNREAD_FRAMES[marker])
    if marker == SOI:
        raise Corrupt("JPEG begins twice")
    if marker in (SOS, EOI):
        has_data = marker == SOS and with_scan_data
        return Piece(bytes((marker,)), position + 2, _end_of_scan(head, position) if has_data else position + 2)
    if marker not in WITH_LENGTH and marker not in READ_FRAMES:
        raise Corrupt(f"JPEG has the reserved marker {marker:#04x} in its header")
    length = head.number(position, 2)
    if length < 2:  # the length counts its own two bytes
        raise Corrupt("JPEG has a segment of impossible length")
    return Piece(bytes((marker,)), position + 2, position + length)


def _end_of_scan(head: Head, position: int) -> int:
    start = position + head.number(position, 2)
    end = head.search(AFTER_SCAN, start)
    if end is None:
        raise Corrupt("JPEG has a scan without an end")
    return start + len(head.read(start, end - 2 - start).rstrip(b"\xff"))


def scan_start(head: Head) -> int:
    """Where the first scan's header begins. Raises Corrupt, NeedMoreBytes."""
    scan = first(_read_header(head)[0], bytes((SOS,)))
    if scan is None:
        raise Corrupt("JPEG has no scan")
    return scan.start


def _read_header(head: Head) -> tuple[list[Piece], Piece, bool]:
    """The segments up to the first scan, the one of the frame, and whether more bytes add none.

    Faults behind the frame header are left to the decoder.
    """
    found: list[Piece] = []
    fault: Corrupt | NeedMoreBytes | None = None
    try:
        for segment in segments(head):
            found.append(segment)
    except (Corrupt, NeedMoreBytes) as error:
        fault = error
    frame = next((segment for segment in found if segment.kind[0] in READ_FRAMES), None)
    if frame is None:
        raise fault or Corrupt("JPEG has no frame header")
    return found, frame, not isinstance(fault, NeedMoreBytes)


def _read_frame(head: Head, frame: Piece) -> tuple[int, int, int, int]:
    """Precision, width, height and number of components."""
    precision, height, width, components = head.unpack(">BHHB", frame.start)
    if frame.size != 6 + 3 * components:
        raise Corrupt("JPEG has a frame header of impossible length")
    if precision not in PRECISIONS:
        raise Corrupt(f"JPEG has samples of {precision} bits")
    # Height 0 announces a DNL segment behind the first scan (T.81 B.2.5); no decoder in use reads it.
    if not (width and height and 0 < components <= MAX_COMPONENTS):
        raise Corrupt(f"JPEG of {width} x {height} pixels and {components} components")
    return precision, width, height, components


def _count_samples(head: Head, frame: Piece, components: int) -> float:
    """Samples a pixel, by the sampling factors (T.81 A.1.1)."""
    factors = [divmod(head.number(frame.start + 7 + 3 * index), 16) for index in range(components)]
    finest = max(across for across, _ in factors) * max(down for _, down in factors)
    return sum(across * down for across, down in factors) / max(1, finest)


def _count_scans(head: Head, start: int) -> int:
    """The scans from the frame header up to EOI: videos and other pictures may follow (T.81 B.1.1.2)."""
    scans = 0
    while (found := head.search(BEHIND_FRAME, start)) and (marker := head.number(found - 1)) != EOI:
        scans += marker == SOS
        head.allow(scans, MAX_SCANS, "scans")
        start = found + (head.number(found, 2) if head.reaches(found + 2) else 0)
    return max(1, scans)


def _find_scan_defect(head: Head, scan: Piece) -> str:
    """Some cameras write nonsense where a sequential picture's scan has no choice; decoders accept it."""
    components = head.up_to(scan.start, 1)
    coefficients = head.up_to(scan.start + 1 + 2 * components[0], 3) if components else b""
    nonsense = len(coefficients) == 3 and coefficients != ALL_COEFFICIENTS
    return "a scan header that makes no sense" if nonsense else ""


def _is_clean(head: Head, header: list[Piece]) -> bool:
    """Whether libjpeg can read the header without a warning (jdmarker.c)."""
    ends = [2, *(segment.end for segment in header)]
    no_junk = all(_follows(head, end, segment) for end, segment in zip(ends, header, strict=False))
    jfif, adobe = _find(head, header, APP0, b"JFIF\0"), _find(head, header, ADOBE, b"Adobe")
    known_version = jfif is None or head.up_to(jfif.start + 5, 1) == b"\1"
    return no_junk and known_version and (adobe is None or head.up_to(adobe.start + 11, 1) in (b"\0", b"\1", b"\2"))


END_OF_IMAGE = re.compile(rb"\xff\xd9")


def ending_defect(head: Head) -> str:
    """Phones, cameras and editors write data of their own behind the end."""
    if head.last(2) == b"\xff\xd9":
        return ""
    try:
        return "" if head.search(END_OF_IMAGE, scan_start(head)) else NO_END
    except (Corrupt, NeedMoreBytes):
        return NO_END


DIRECTORIES = {(APP1, b"Exif"): 0, (APP2, b"MPF\0"): 4}
"""Bytes of a segment before its directory of tags. EXIF may have a prefix."""
SKIPPED = b"\xef"  # a marker that no decoder looks at
LARGE_HEADER = 1 << 20


def hide(head: Head) -> Iterator[Patch]:
    """Hides costly directories, and in a large header the pieces of XMP and EXIF that decoders join."""
    header = _read_header(head)[0]
    exif, is_large = _find(head, header, APP1, b"Exif\0"), header[-1].end > LARGE_HEADER
    for segment in header:
        skip = DIRECTORIES.get((segment.kind[0], head.up_to(segment.start, 4)))
        is_piece = is_large and segment.kind[0] == APP1 and segment is not exif
        if is_piece or (skip is not None and is_costly(head, segment, skip)):
            yield segment.start - 3, SKIPPED


KEPT = frozenset({0xC0, 0xC1, 0xC2, 0xC4, SOS, 0xDB, 0xDD})
"""Frames that all browsers show (baseline, extended, progressive), tables, scans, restart intervals."""


def strip(head: Head) -> Iterator[bytes]:
    yield head.read(0, 2)
    end = 2
    for segment in segments(head, through_scans=True):
        marker = segment.kind[0]
        if not _follows(head, end, segment):
            raise NotStrippable("junk between segments")
        if marker == EOI:
            break
        end = segment.end
        body = head.read(segment.start - 2, end - segment.start + 2)
        is_jfif = marker == APP0 and len(body) == 16 and body[2:7] == b"JFIF\0"  # without a thumbnail
        is_adobe = marker == ADOBE and len(body) == 14 and body[2:7] == b"Adobe"
        if marker in KEPT or is_jfif or is_adobe:
            yield b"\xff" + segment.kind + body
        elif marker not in APPLICATIONS and marker != COMMENT:
            raise NotStrippable(f"a segment of kind {marker:#x}")
    yield b"\xff\xd9"


def _follows(head: Head, end: int, segment: Piece) -> bool:
    """Whether nothing but fill bytes are between `end` and the segment's marker."""
    return head.read(end, segment.start - 2 - end).strip(b"\xff") == segment.kind


FORMAT = FormatSpec("JPEG", (Format.JPEG,), starts_with(b"\xff\xd8"), read_jpeg, ending_defect, strip, hide)
