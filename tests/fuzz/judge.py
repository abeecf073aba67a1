"""The problems of an outcome that are visible from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from PIL import ExifTags, Image

from tests.fuzz.verdict import Problem
from tests.support.pictures import opened
from thumbnailer.errors import REASONS
from thumbnailer.formats import probe
from thumbnailer.model import Outcome, Output, Status

MOST_CPU_SECONDS: Final = 10.0
TAGS: Final = frozenset({"Artist", "Copyright"})
SAID_OF_ANY: Final = frozenset({"Orientation", "XResolution", "YResolution", "ResolutionUnit", "ExifOffset"})
"""Tags that libvips adds to every EXIF block; the orientation is 1."""
PRIVATE: Final = frozenset({"xmp", "XML:com.adobe.xmp", "comment", "icc_profile", "photoshop"})
NOTES: Final = "_failed/"

Key = tuple[str, str]
"""Bucket and key."""


def ending(outcome: Outcome) -> str:
    return f"{outcome.status}:{outcome.reason}" if outcome.reason else str(outcome.status)


def wrong_ending(outcome: Outcome) -> Iterator[Problem]:
    """Yields a problem unless the input is stored, or rejected with a reason and a detail."""
    if outcome.status not in (Status.STORED, Status.REJECTED, Status.SKIPPED):
        yield Problem(ending(outcome), outcome.detail or "")
    elif outcome.status is not Status.STORED and (outcome.reason not in REASONS or not outcome.detail):
        yield Problem("no reason", f"{ending(outcome)}, {outcome.detail!r}")


def wrong_objects(outcome: Outcome, written: Mapping[Key, bytes]) -> Iterator[Problem]:
    """Yields a problem unless exactly the thumbnails of the outcome, or one note, are written."""
    expected = {(output.bucket, output.key) for output in outcome.outputs}
    thumbnails = {key for key in written if not key[1].startswith(NOTES)}
    notes = len(written) - len(thumbnails)
    if thumbnails != expected or notes != (outcome.status is Status.REJECTED):
        yield Problem("wrong objects", f"{ending(outcome)} wrote {sorted(key for _, key in written)}")
        return
    for output in outcome.outputs:
        yield from wrong_thumbnail(output, written[output.bucket, output.key])


def wrong_thumbnail(output: Output, data: bytes) -> Iterator[Problem]:
    """Yields a problem if a thumbnail does not decode, differs from its plan, or carries private metadata."""
    try:
        info, image = probe(data, len(data)), opened(data)
    except Exception as error:
        yield Problem("unreadable thumbnail", f"{output.format}: {type(error).__name__}: {error}")
        return
    seen, said = (info.format, *image.size, info.orientation), (output.format, output.width, output.height, 1)
    if seen != said:
        yield Problem("wrong thumbnail", f"planned {said}, got {seen}")
    if left := sorted(private(image)):
        yield Problem("metadata left", ", ".join(left))


def private(image: Image.Image) -> set[str]:
    """The names of metadata other than timing, artist and copyright."""
    tags = {str(ExifTags.TAGS.get(tag, tag)) for tag in image.getexif()}
    return tags - TAGS - SAID_OF_ANY | {name for name in PRIVATE if image.info.get(name)}


def too_much(cpu_seconds: float, grown: int, allowed: int) -> Iterator[Problem]:
    if cpu_seconds > MOST_CPU_SECONDS:
        yield Problem("slow", f"{cpu_seconds:.0f} s of CPU")
    if grown > allowed:
        yield Problem("memory", f"grew by {grown >> 20} MB, {allowed >> 20} MB were allowed for")
