"""What an object is, by its bytes alone, and what its header says of the picture. Nothing is decoded.

Each format has one file in this package, which declares a `FormatSpec`. FORMATS lists these files; each is imported
when an object has none of the formats before it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from thumbnailer.errors import NeedMoreBytes, NotAnImage, Rejected
from thumbnailer.formats.base import Budget, FormatSpec, Head, NotStrippable, Patch
from thumbnailer.model import Format, ImageInfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from mmap import mmap

__all__ = ["FORMATS", "FormatSpec", "ending_defect", "hide_metadata", "probe", "specs", "strip_metadata"]

DECISIVE = 32  # bytes from which on an unknown head stays unknown
SIGNATURE_BYTES = 512  # as far as any signature reaches
FORMATS = ("jpeg", "png", "gif", "webp", "tiff", "heif", "jp2", "jxl", "bmp", "ico", "svg")


def specs() -> Iterator[FormatSpec]:
    """The formats, the usual ones first."""
    for name in FORMATS:
        yield import_module(f"{__name__}.{name}").FORMAT


def probe(data: bytes | memoryview | mmap, total: int | None = None, budget: Budget | None = None) -> ImageInfo:
    """The header of an object, from its first bytes or all of them. `total` is its full size; None: more may follow.

    Raises NotAnImage, UnsupportedFormat, Corrupt, TooMuchWork, or NeedMoreBytes if the header of a known format goes
    on. A head of DECISIVE bytes without a known signature is refused for good. `budget` may be smaller than the file's.
    """
    with memoryview(data) as view:
        head = Head(view, total, budget=budget)
        start = head.up_to(0, SIGNATURE_BYTES)
        spec = next((spec for spec in specs() if spec.matches(start)), None)
        if spec is not None:
            head.label = spec.label
            return spec.read(head)
        from thumbnailer.formats import foreign, svg

        foreign.refuse_by_name(start)
        if len(head) < DECISIVE and not head.whole:
            raise NeedMoreBytes(f"{len(head)} bytes do not tell the format")
        if len(head) <= 1:
            raise NotAnImage("1 byte" if len(head) else "empty object")
        return svg.read_text(head)


def ending_defect(data: bytes | mmap, format_: Format, budget: Budget | None = None) -> str:
    """The defect at the end of a whole file; empty if there is none, or if its format marks no end.

    Decoders do not report it, because they stop at the last pixel. Raises TooMuchWork; `budget` as in `probe`.
    """
    spec = _find_spec(format_)
    with memoryview(data) as view:
        return spec.ending(Head(view, len(view), spec.label, budget))


def hide_metadata(data: bytes | mmap, format_: Format, budget: Budget | None = None) -> list[Patch]:
    """The changes to a whole file that make decoders skip metadata. Raises TooMuchWork; `budget` as in `probe`."""
    spec = _find_spec(format_)
    with memoryview(data) as view:
        return list(spec.hide(Head(view, len(view), spec.label, budget)))


def strip_metadata(data: bytes, format_: Format) -> bytes | None:
    """The file without its metadata, not encoded anew; None if the file has pieces that encoders do not write."""
    spec = _find_spec(format_)
    try:
        return b"".join(spec.strip(Head(memoryview(data), len(data), spec.label)))
    except (NotStrippable, Rejected):
        return None


def _find_spec(format_: Format) -> FormatSpec:
    return next(spec for spec in specs() if format_ in spec.formats)
