"""The values that flow through the pipeline.

All of them are frozen: a step returns a new value and never edits one. Sizes are bytes, picture sides are pixels,
durations are seconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final, TypeVar

from thumbnailer.values import dataclass, field


class EventKind(StrEnum):
    """What happened to the object. OTHER is an event without work for the pipeline (tags, ACLs, ...)."""

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
    """for good: a retry cannot help"""
    FAILED = "failed"
    """passing: a retry may help"""
    DEFERRED = "deferred"
    """time ran out before it was safe to start or finish"""

    @property
    def comes_back(self) -> bool:
        """Whether the record must return to its queue for a retry."""
        return self in (Status.FAILED, Status.DEFERRED)


class Format(str):
    """The name of a picture format. Equal names are one object, so `is` compares them.

    No enum, because a format is added by its file in `formats/` alone.
    """

    __slots__ = ()
    _known: ClassVar[dict[str, Format]] = {}
    JPEG: ClassVar[Format]
    PNG: ClassVar[Format]
    GIF: ClassVar[Format]
    WEBP: ClassVar[Format]
    AVIF: ClassVar[Format]
    HEIC: ClassVar[Format]
    TIFF: ClassVar[Format]
    BMP: ClassVar[Format]
    ICO: ClassVar[Format]
    JP2: ClassVar[Format]
    JXL: ClassVar[Format]
    SVG: ClassVar[Format]

    def __new__(cls, name: str) -> Format:
        return cls._known.setdefault(name, super().__new__(cls, name))

    @classmethod
    def all(cls) -> frozenset[Format]:
        return frozenset(cls._known.values())

    def __reduce__(self) -> tuple[type[Format], tuple[str]]:
        return Format, (str(self),)


for _name in ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "HEIC", "TIFF", "BMP", "ICO", "JP2", "JXL", "SVG"):
    setattr(Format, _name, Format(_name.lower()))


class Fit(StrEnum):
    INSIDE = "inside"
    COVER = "cover"
    """cropped around the middle"""
    SMART = "smart"
    """cropped around the part that draws the eye"""

    @property
    def crops(self) -> bool:
        return self is not Fit.INSIDE


class EngineName(StrEnum):
    NATIVE = "native"
    """the compiled JPEG engine; optional, and the other two take every file that it leaves to them"""
    VIPS = "vips"
    PILLOW = "pillow"


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
    """One message of a queue, or one direct invocation; the whole message returns if one of its events must."""

    id: str
    events: tuple[ObjectEvent, ...]
    receive_count: int = 1
    error: str = ""
    """why it is unreadable: it has no events and goes back, so that it ends in the dead-letter queue"""


@dataclass(frozen=True, slots=True)
class Credit:
    """Artist and copyright in the file's own bytes; empty if the file has none."""

    artist: bytes = b""
    copyright: bytes = b""


NO_CREDIT: Final = Credit()


@dataclass(frozen=True, slots=True)
class Details:
    """Facts of one file that only decoders and the memory model need. Formats with more facts subclass it."""

    samples: float = 4.0
    """numbers stored a pixel; fewer than `channels` if colour is subsampled: 1.5 in JPEG's 4:2:0"""
    palette: bool = False
    held: int = 0
    """bytes of tags, texts and metadata that decoders copy"""
    first_engine: EngineName | None = None
    """the engine that shows this file as browsers do, if the other engine does not"""
    misread_by: frozenset[EngineName] = frozenset()
    """engines that decode this file wrongly without an error, or never end"""
    most_shrink: int = 8
    """the largest factor by which a decoder can shrink this file, if it shrinks its format"""
    clean_header: bool = False
    """whether every warning of a decoder is about pixels, because it has nothing to warn of in the header"""
    profile: bytes = field(default=b"", repr=False)
    """ICC profile of the decoded pixels, if the file gives their colours in numbers and they are not sRGB"""
    shape: tuple[int, int] | None = None
    """width and height with square pixels, if the stored pixels are not square"""


NO_DETAILS: Final = Details()
D = TypeVar("D", bound=Details)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """The facts of a file's header. `width` x `height` is the stored size, before `orientation` is applied.

    Unknown `channels` and `details` default to the value that takes most memory.
    """

    format: Format
    width: int
    height: int
    orientation: int = 1
    """EXIF value, 1 to 8; every other value counts as 1"""
    progressive: bool = False
    """interlaced, or in several scans: decoders need all of it before the first row"""
    has_alpha: bool = False
    frames: int = 1
    bit_depth: int = 8
    icc: bool = False
    channels: int = 4
    """numbers of a decoded pixel: 1 grey or palette index, 2 grey and alpha, 3 colours, 4 colours and alpha, or CMYK"""
    credit: Credit = NO_CREDIT
    complete: bool = True
    """False while parts that decide the result (an EXIF chunk behind the pixels) lie beyond the probed bytes"""
    defect: str = ""
    """a fault of a picture that can still be shown"""
    details: Details = NO_DETAILS

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height, with square pixels, after `orientation` is applied."""
        width, height = self.details.shape or (self.width, self.height)
        return (height, width) if self.orientation >= 5 else (width, height)

    def details_of(self, kind: type[D]) -> D:
        """`details` if they are of that format, else the defaults of `kind`."""
        return self.details if isinstance(self.details, kind) else kind()


@dataclass(frozen=True, slots=True)
class Output:
    """A stored thumbnail."""

    bucket: str
    key: str
    name: str
    width: int
    height: int
    format: Format
    bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one record ended. `timings` are (stage, seconds); `reason`: see errors.REASONS; `detail` is for people."""

    event: ObjectEvent
    status: Status
    reason: str | None = None
    detail: str | None = None
    outputs: tuple[Output, ...] = ()
    bytes_in: int = 0
    info: ImageInfo | None = None
    engine: EngineName | None = None
    damaged: bool = False
    first_frame_only: bool = False
    """the whole animation did not fit; `detail` says why"""
    profile_ignored: bool = False
    """its colour profile is broken, or belongs to another colour space"""
    engine_bug: str = ""
    """message of a panic in the compiled engine; another engine took the picture"""
    timings: tuple[tuple[str, float], ...] = ()

    @property
    def bytes_out(self) -> int:
        return sum(output.bytes for output in self.outputs)
