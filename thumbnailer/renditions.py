"""The wish for one thumbnail: `[name=]WxH[:fit][:format][:qN][:progressive]`, and the keys thumbnails are written to.

>>> parse_rendition("card=512x512:cover:webp:q80").fit
<Fit.COVER: 'cover'>
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import Final

from thumbnailer.errors import KeyTooLong
from thumbnailer.model import Fit, Format

OUTPUT_FORMATS: Final = (Format.JPEG, Format.PNG, Format.WEBP, Format.AVIF, Format.GIF)
EXTENSIONS: Final = {
    Format.JPEG: "jpg",
    Format.PNG: "png",
    Format.WEBP: "webp",
    Format.AVIF: "avif",
    Format.GIF: "gif",
}
ACCEPTS: Final = (
    "a comma list of [name=]WxH[:fit][:format][:qN][:progressive], e.g. 128x128 or card=512x512:cover:webp:q80; W or H "
    "may be empty, sides are 1 to 16383, fit is inside, cover or smart, format is auto, jpeg, png, webp, avif or gif, "
    "N is 1 to 100, progressive is for JPEG; names must differ"
)
KEY_FIELDS: Final = frozenset({"key", "name", "ext", "dir", "stem"})
FORM: Final = "[name=]WxH[:fit][:format][:qN][:progressive]"
PROGRESSIVE: Final = "progressive"
MAX_KEY_BYTES: Final = 1024  # S3's limit on an object key, in UTF-8
MAX_SIDE: Final = 16383  # the most WebP can hold; no thumbnail is larger

_SHAPE: Final = re.compile(
    r"(?:(?P<name>[A-Za-z0-9_-]{1,64})=)?(?P<width>\d{0,5})x(?P<height>\d{0,5})(?P<options>(?::.*)?)"
)


@dataclass(frozen=True, slots=True)
class Rendition:
    """A wish: sides are pixels, None where that side follows from the picture; format None is `auto`."""

    name: str
    width: int | None
    height: int | None
    fit: Fit = Fit.INSIDE
    format: Format | None = None
    quality: int | None = None
    progressive: bool = False

    def __str__(self) -> str:
        """The canonical text; `parse_rendition(str(r)) == r`."""
        size = _size_text(self.width, self.height)
        parts = [size if self.name == size else f"{self.name}={size}"]
        if self.fit is not Fit.INSIDE:
            parts.append(self.fit)
        if self.format is not None:
            parts.append(self.format)
        if self.quality is not None:
            parts.append(f"q{self.quality}")
        if self.progressive:
            parts.append(PROGRESSIVE)
        return ":".join(parts)


def parse_rendition(text: str) -> Rendition:
    """Reads one rendition. Raises ValueError that says what is wrong with it."""
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text.strip()!r} is not of the form {FORM}")
    width, height = _side(match["width"]), _side(match["height"])
    if width is None and height is None:
        raise ValueError(f"{text.strip()!r} gives neither width nor height")
    options = _options(match["options"].split(":")[1:])
    if options.fit.crops and (width is None or height is None):
        raise ValueError(f"{text.strip()!r}: {options.fit} needs both width and height")
    if options.progressive and options.format not in (None, Format.JPEG):
        raise ValueError(f"{text.strip()!r}: only JPEG can be progressive")
    return Rendition(
        match["name"] or _size_text(width, height),
        width,
        height,
        options.fit,
        options.format,
        options.quality,
        options.progressive,
    )


def parse_renditions(text: str) -> tuple[Rendition, ...]:
    """Reads a comma list. Raises ValueError on a bad part, an empty list, or a name given twice."""
    renditions = tuple(parse_rendition(part) for part in text.split(",") if part.strip())
    if not renditions:
        raise ValueError("the list is empty")
    names = [rendition.name for rendition in renditions]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the name {twice[0]!r} is given twice; names must differ (write name=WxH)")
    return renditions


def _size_text(width: int | None, height: int | None) -> str:
    return f"{width or ''}x{height or ''}"


def _side(digits: str) -> int | None:
    if not digits:
        return None
    side = int(digits)
    if not 1 <= side <= MAX_SIDE:
        raise ValueError(f"a side of {side} is not within 1 to {MAX_SIDE}")
    return side


@dataclass(frozen=True, slots=True)
class _Options:
    fit: Fit
    format: Format | None
    quality: int | None
    progressive: bool


def _options(words: list[str]) -> _Options:
    """Each at most once and in this order."""
    rest = list(words)
    fit = Fit(rest.pop(0)) if rest and rest[0] in tuple(Fit) else Fit.INSIDE
    format_ = None
    if rest and (rest[0] == "auto" or rest[0] in OUTPUT_FORMATS):
        word = rest.pop(0)
        format_ = None if word == "auto" else Format(word)
    quality = _quality(rest.pop(0)) if rest and re.fullmatch(r"q\d{1,3}", rest[0]) else None
    progressive = bool(rest) and rest[0] == PROGRESSIVE
    if rest[progressive:]:
        raise ValueError(f"{rest[progressive]!r} is no option at that place (order: fit, format, qN, progressive)")
    return _Options(fit, format_, quality, progressive)


def _quality(word: str) -> int:
    quality = int(word[1:])
    if not 1 <= quality <= 100:
        raise ValueError(f"a quality of {quality} is not within 1 to 100")
    return quality


# --- keys ---------------------------------------------------------------------------------------------------------


def default_key_template(renditions: tuple[Rendition, ...]) -> str:
    """One rendition is found under the source's own key; several lie below it as if it were a folder."""
    return "{key}" if len(renditions) == 1 else "{key}/{name}.{ext}"


def template_fields(template: str) -> list[str]:
    """The fields of a key template, in order. Raises ValueError on an unknown field, a conversion or a stray brace."""
    fields = []
    for _, name, spec, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        if name not in KEY_FIELDS or spec or conversion:
            raise ValueError(
                f"{{{name}}} is no plain field; fields are {', '.join(f'{{{f}}}' for f in sorted(KEY_FIELDS))}"
            )
        fields.append(name)
    return fields


def check_key_template(template: str, renditions: tuple[Rendition, ...]) -> None:
    """Raises ValueError where the renditions of one source would overwrite each other or every source the last."""
    fields = template_fields(template)
    if not {"key", "stem"} & set(fields):
        raise ValueError("it holds neither {key} nor {stem}, so every source would write the same key")
    if len(renditions) > 1 and "name" not in fields:
        raise ValueError("there are several renditions and it holds no {name}, so they would overwrite each other")


def can_collide(template: str, renditions: tuple[Rendition, ...]) -> bool:
    """Whether two different sources could write the same key. True where that cannot be ruled out by its form.

    Ruled out: the whole `{key}` is there once, and a `{name}` is parted from it by `/`, which no name holds.
    """
    fields = template_fields(template)
    if fields.count("key") != 1 or {"dir", "stem"} & set(fields):
        return True
    if "name" not in fields or len(renditions) == 1:
        return False
    return not re.fullmatch(r"[^{]*(\{key\}/\{name\}(\.\{ext\})?|\{name\}(\.\{ext\})?/\{key\})[^{]*", template)


def target_key(template: str, key: str, rendition: Rendition, format_: Format) -> str:
    """The key a thumbnail is written to. Raises KeyTooLong beyond S3's 1,024 bytes."""
    directory, _, base = key.rpartition("/")
    stem = base.rpartition(".")[0] or base
    written = template.format(key=key, name=rendition.name, ext=EXTENSIONS[format_], dir=directory, stem=stem)
    if len(written.encode()) > MAX_KEY_BYTES:
        raise KeyTooLong(f"the thumbnail's key would have {len(written.encode())} bytes, S3 takes {MAX_KEY_BYTES}")
    return written


def possible_target_keys(template: str, key: str, renditions: tuple[Rendition, ...]) -> tuple[str, ...]:
    """Every key a source's thumbnails may lie under, whatever its format was: what a removal deletes."""
    keys: dict[str, None] = {}
    for rendition in renditions:
        for format_ in (rendition.format,) if rendition.format else OUTPUT_FORMATS:
            try:
                keys[target_key(template, key, rendition, format_)] = None
            except KeyTooLong:
                continue  # it was never written either
    return tuple(keys)
