"""The values that flow through the pipeline.

Everything here is frozen: a step returns a new value, no step edits another's. Sizes are bytes, picture sides
are pixels, durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class EventKind(StrEnum):
    """What happened to the object. OTHER is everything we were told of and have no work for (tags, ACLs, ...)."""

    CREATED = "created"
    REMOVED = "removed"
    RESTORED = "restored"
    OTHER = "other"


class Status(StrEnum):
    """How a record ended."""

    STORED = "stored"
    DELETED = "deleted"
    SKIPPED = "skipped"
    REJECTED = "rejected"
    """for good: trying again cannot help"""
    FAILED = "failed"
    """passing: trying again may help"""
    DEFERRED = "deferred"
    """time ran out before it was safe to start or finish"""

    @property
    def comes_back(self) -> bool:
        """Whether the record must be given back to its queue to be tried again."""
        return self in (Status.FAILED, Status.DEFERRED)


class Format(StrEnum):
    """Picture formats the probe tells apart; which of them are read is the plan's decision."""

    JPEG = "jpeg"
    PNG = "png"
    GIF = "gif"
    WEBP = "webp"
    AVIF = "avif"
    HEIC = "heic"
    TIFF = "tiff"
    BMP = "bmp"
    ICO = "ico"
    JP2 = "jp2"
    JXL = "jxl"
    SVG = "svg"
    PDF = "pdf"
    PSD = "psd"
    EPS = "eps"
    FITS = "fits"


class Fit(StrEnum):
    INSIDE = "inside"
    COVER = "cover"
    """cropped around the middle"""
    SMART = "smart"
    """cropped around what draws the eye"""

    @property
    def crops(self) -> bool:
        return self is not Fit.INSIDE


class EngineName(StrEnum):
    VIPS = "vips"
    PILLOW = "pillow"


class Numbers(StrEnum):
    """What a stored sample is. Integers go from black to white over all of their range, floats from 0 to 1."""

    UNSIGNED = "unsigned"
    SIGNED = "signed"
    FLOAT = "float"


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """One thing that happened to one object; `key` is decoded, absent fields are None."""

    kind: EventKind
    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None
    size: int | None = None
    sequencer: str | None = None
    time: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a queue, or one direct invocation; it comes back whole if any of its events must."""

    id: str
    events: tuple[ObjectEvent, ...]
    receive_count: int = 1


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a file's header says of itself. `width` x `height` is as stored, before `orientation` is applied.

    `orientation` is the EXIF value (1 to 8; anything else counts as 1). `complete` is False while parts that
    decide the result (an EXIF chunk behind the pixels) lie beyond the bytes that were probed. `progressive` is what
    must be decoded as a whole: interlaced, or in more scans than one. `defect` says what is wrong with it that does not
    keep it from being shown. What is not known of `channels` and the fields behind it is what takes most memory; the
    fields from `scans` on say nothing of the picture, only of what it costs to decode.
    """

    format: Format
    width: int
    height: int
    orientation: int = 1
    progressive: bool = False
    has_alpha: bool = False
    frames: int = 1
    bit_depth: int = 8
    icc: bool = False
    channels: int = 4
    """numbers a decoded pixel has: 1 grey or the index of a palette, 2 with alpha, 3 colours, 4 with alpha or CMYK"""
    palette: bool = False
    samples: float = 4.0
    """numbers stored a pixel, fewer than `channels` where colour is stored more coarsely: 1.5 in JPEG's 4:2:0"""
    block_rows: int = 0
    """of a TIFF: the height of its strips or tiles, each of which is decompressed as one; 0 where nothing is"""
    numbers: Numbers = Numbers.UNSIGNED
    planar: bool = False
    """of a TIFF: each channel is stored by itself"""
    white_is_zero: bool = False
    plain_ycbcr: bool = False
    """of a TIFF: brightness and two colour differences, all of them of full size, and not by way of JPEG"""
    missing_from: int | None = None
    """of a TIFF in tiles or planes: the first row of which not all bytes are in the file"""
    artist: bytes = b""
    copyright: bytes = b""
    complete: bool = True
    defect: str = ""
    odd_frames: bool = False
    """of a GIF: its canvas shows between its frames, or one goes beyond it, and decoders differ from browsers there"""
    hidden_first: bool = False
    """of an APNG: its first picture is for viewers that know no APNG, and its animation begins with the second"""
    premultiplied: bool = False
    """of an AVIF: the colours are stored multiplied by alpha"""
    crop: tuple[int, int, int, int] | None = None
    """of an AVIF: left, top, right and bottom of what is seen of the pixels that are coded, before it is turned"""
    scans: int = 1
    """Passes of a JPEG decoder over the whole picture, as far as the bytes at hand tell."""
    band: int = 1
    """Rows that must be decoded to hand out one of them, where the file decides that: a TIFF's tiles."""
    held: int = 0
    """Bytes that decoders copy and copy again, beside the pixels: a TIFF's tags, a WebP's metadata, a HEIF as a whole;
    of a PNG what its texts are unpacked."""
    read_rows: int = 0
    """Of a TIFF that is not compressed: the height of its strips, each of which Pillow reads as one."""
    whole_planes: int = 1
    """Of a JPEG XL: so many of its `samples` may have to be put together before any pixel is made of them."""
    saved_frames: int = 0
    """Of a JPEG XL: frames that are kept whole beside the one that is decoded, to take parts from."""
    profile: bytes = field(default=b"", repr=False)
    """An ICC profile for the decoded pixels, where the file says their colours otherwise and they are not sRGB."""

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def is_cut(self) -> bool:
        """Whether rows are known to be missing."""
        return self.missing_from is not None

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height after `orientation` is applied."""
        turned = self.orientation >= 5
        return (self.height, self.width) if turned else (self.width, self.height)


@dataclass(frozen=True, slots=True)
class Output:
    """A thumbnail as it was stored."""

    bucket: str
    key: str
    name: str
    width: int
    height: int
    format: Format
    bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one record ended. `timings` are (stage, seconds); `reason` is an errors.Reason, `detail` is for people."""

    event: ObjectEvent
    status: Status
    reason: str | None = None
    detail: str | None = None
    outputs: tuple[Output, ...] = ()
    bytes_in: int = 0
    info: ImageInfo | None = None
    engine: EngineName | None = None
    damaged: bool = False
    profile_ignored: bool = False
    """its colour profile is broken, or one of another colour space"""
    timings: tuple[tuple[str, float], ...] = ()

    @property
    def bytes_out(self) -> int:
        return sum(output.bytes for output in self.outputs)
