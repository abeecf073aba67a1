"""Our own grammar: `/{key}?w=&h=&fit=&fm=&q=&dpr=&v=`, or `/{key}?name=` for a rendition of the site.

Its long names and `resize.width`, `resize.height`, `resize.fit` are those of AWS's Dynamic Image Transformation.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypeVar
from urllib.parse import parse_qsl

from thumbnailer.model import Fit, Format
from thumbnailer.renditions import OUTPUT_FORMATS, Rendition
from thumbnailer.wishes.signing import EXPIRES, SIGNATURE, verify
from thumbnailer.wishes.wish import BadWish, Site, Wish, locate, once, side

T = TypeVar("T")

MOST_ENTRIES: Final = 32
ALIASES: Final = {
    "w": "width", "h": "height", "fm": "format", "q": "quality",
    "resize.width": "width", "resize.height": "height", "resize.fit": "fit",
}  # fmt: skip
SIZES: Final = frozenset({"width", "height", "fit", "format", "quality", "dpr"})
OPTIONS: Final = SIZES | {"v", "name", EXPIRES, SIGNATURE}
FITS: Final = {
    "inside": Fit.INSIDE, "contain": Fit.INSIDE, "clip": Fit.INSIDE, "max": Fit.INSIDE,
    "cover": Fit.COVER, "crop": Fit.COVER, "smart": Fit.SMART,
}  # fmt: skip
FORMATS: Final = {"auto": None, "jpg": Format.JPEG} | {str(format_): format_ for format_ in OUTPUT_FORMATS}
_RATIO: Final = re.compile(r"[0-9](\.[0-9]{1,2})?")


def parse(path: str, query: str, site: Site, now: float) -> Wish:
    """The wish of a percent-encoded path and query. Raises BadWish, NotAllowed, Expired."""
    entries, options, size = _read(query, site.most_side)
    bucket, key = locate(path, site)
    signed = verify(path, entries, site.keys, now)
    return Wish(bucket, key, size or named(options["name"], site), signed, immutable=bool(options.get("v")))


@lru_cache(256)
def _read(query: str, most: int) -> tuple[list[tuple[str, str]], dict[str, str], Rendition | None]:
    """Entries, options and rendition, None if it is named. Many pictures are asked for in few sizes. Raises BadWish."""
    try:
        entries = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MOST_ENTRIES)
    except ValueError as error:
        raise BadWish("query", f"it is not UTF-8, or has more than {MOST_ENTRIES} entries") from error
    options = once([(ALIASES.get(name, name), value) for name, value in entries])
    if unknown := sorted(options.keys() - OPTIONS):
        raise BadWish(unknown[0], f"there is no such option; there are {', '.join(sorted(OPTIONS))}")
    if "name" not in options:
        return entries, options, sized(options, most)
    if other := sorted(options.keys() & SIZES):
        raise BadWish(other[0], "a rendition has it already; leave out either this or `name`")
    return entries, options, None


def named(name: str, site: Site) -> Rendition:
    """The site's rendition. Raises BadWish."""
    named_ = {rendition.name: rendition for rendition in (*site.offers, *site.renditions)}
    if name not in named_:
        raise BadWish("name", f"there is no such rendition; there are {', '.join(sorted(named_))}")
    return named_[name]


def sized(options: Mapping[str, str], most: int) -> Rendition:
    """The rendition of width, height, fit, format, quality and dpr, in text. Raises BadWish.

    Without a side, the picture keeps its own size, at most `most` pixels a side. It is encoded quickly.
    """
    ratio = options.get("dpr", "") or "1"
    if not _RATIO.fullmatch(ratio) or float(ratio) == 0:
        raise BadWish("dpr", "a pixel ratio is a number from 0.01 to 9.99")
    width, height = (side(name, options.get(name, ""), float(ratio), most) for name in ("width", "height"))
    fit = _word("fit", options.get("fit", ""), FITS, Fit.INSIDE)
    if fit.crops and None in (width, height):
        raise BadWish("fit", f"{fit} needs both width and height")
    if width is None and height is None:
        width = height = most
    format_ = _word("format", options.get("format", ""), FORMATS, None)
    quality = _quality(options.get("quality", ""))
    return Rendition(_name(width, height), width, height, fit, format_, quality, quick=True)


def _name(width: int | None, height: int | None) -> str:
    return f"{width or ''}x{height or ''}"


def _word(option: str, text: str, words: dict[str, T], default: T) -> T:
    if not text:
        return default
    if text not in words:
        raise BadWish(option, f"it is one of {', '.join(words)}")
    return words[text]


def _quality(text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[1-9][0-9]?|100", text):
        raise BadWish("quality", "it is a whole number from 1 to 100")
    return int(text)
