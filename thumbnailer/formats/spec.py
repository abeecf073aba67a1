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


def refuse_to_strip(head: Head) -> Iterator[bytes]:
    raise NotStrippable(f"{head.label} is never stripped")


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
    ending: Callable[[Head], str] = lambda _: ""
    """the defect at the end of a whole file, empty if there is none, or if the format marks no end"""
    strip: Callable[[Head], Iterator[bytes]] = refuse_to_strip
    """the pieces of a whole file that make the picture; raises NotStrippable, Corrupt"""
    hide: Callable[[Head], Iterator[Patch]] = lambda _: iter(())
    """the changes that make decoders skip the metadata which cost them more than its size"""


def starts_with(*marks: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda start: start.startswith(marks, at)
