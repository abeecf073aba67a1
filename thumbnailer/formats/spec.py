"""What the file of a format declares about it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from thumbnailer.formats.head import Head
from thumbnailer.model import Format, ImageInfo

NO_END = "its end is missing"
JUNK = "junk after its end"


Patch = tuple[int, bytes]
"""A position in the file, and the bytes to put there."""


class NotStrippable(Exception):
    """A file laid out in a way that encoders do not use, or whose metadata changes its colours."""


@dataclass(frozen=True, slots=True)
class FormatSpec:
    """One file format. Each function gets a `Head` that is labelled with `label`."""

    label: str
    """the format's name in messages"""
    formats: tuple[Format, ...]
    """the formats that `read` can return: HEIC and AVIF share a container"""
    matches: Callable[[bytes], bool]
    """whether an object that starts with these bytes has this format"""
    read: Callable[[Head], ImageInfo]
    """reads the header; raises UnsupportedFormat, Corrupt, NeedMoreBytes"""
    ending: Callable[[Head], str] | None = None
    """the defect at the end of a whole file, empty if there is none; None: the format marks no end"""
    strip: Callable[[Head], Iterator[bytes]] | None = None
    """the pieces of a whole file that make the picture; raises NotStrippable, Corrupt; None: never stripped"""
    hide: Callable[[Head], Iterator[Patch]] | None = None
    """the changes that make decoders skip the metadata which cost them more than its size; None: it has none"""


def starts_with(*marks: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda start: start.startswith(marks, at)
