"""The values that flow through the pipeline.

Everything here is frozen: a step returns a new value, no step edits another's. Sizes are bytes, picture sides
are pixels, durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final


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
    """cropped around what draws the eye"""

    @property
    def crops(self) -> bool:
        return self is not Fit.INSIDE


class EngineName(StrEnum):
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
    """One message of a queue, or one direct invocation; it comes back whole if any of its events must."""

    id: str
    events: tuple[ObjectEvent, ...]
    receive_count: int = 1


@dataclass(frozen=True, slots=True)
class Credit:
    """Artist and copyright as the file has them; empty where it has none."""

    artist: bytes = b""
    copyright: bytes = b""


NO_CREDIT: Final = Credit()


@dataclass(frozen=True, slots=True)
class Details:
    """Facts of one file that only decoders and the memory model need. Formats with more facts subclass it."""

    samples: float = 4.0
    """numbers stored a pixel, fewer than `channels` where colour is stored more coarsely: 1.5 in JPEG's 4:2:0"""
    palette: bool = False
    held: int = 0
    """bytes that decoders copy beside the pixels: tags, texts, metadata"""
    first_engine: EngineName | None = None
    """the engine that shows this file as browsers do, where the other one does not"""
    misread_by: frozenset[EngineName] = frozenset()
    """engines that make a wrong picture of this file without an error"""


NO_DETAILS: Final = Details()


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a file's header says. `width` x `height` is as stored, before `orientation` is applied.

    Unknown facts (`channels` and `details`) default to the value that takes most memory.
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
    """numbers of a decoded pixel: 1 grey or palette index, 2 with alpha, 3 colours, 4 with alpha or CMYK"""
    credit: Credit = NO_CREDIT
    complete: bool = True
    """False while parts that decide the result (an EXIF chunk behind the pixels) lie beyond the probed bytes"""
    defect: str = ""
    """a fault that does not keep the picture from being shown"""
    details: Details = NO_DETAILS

    @property
    def pixels(self) -> int:
        return self.width * self.height

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
    profile_ignored: bool = False
    """its colour profile is broken, or one of another colour space"""
    timings: tuple[tuple[str, float], ...] = ()

    @property
    def bytes_out(self) -> int:
        return sum(output.bytes for output in self.outputs)
