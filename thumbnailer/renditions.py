"""Renditions, `[name=]WxH[:fit][:format][:qN][:progressive][:small]`, and the keys of thumbnails.

>>> parse_rendition("card=512x512:cover:webp:q80").fit
<Fit.COVER: 'cover'>
"""

import re
import string
from contextlib import suppress
from typing import Final

from thumbnailer.errors import KeyTooLong, nearest
from thumbnailer.model import Fit, Format
from thumbnailer.values import dataclass, replace

OUTPUT_FORMATS: Final = (Format.JPEG, Format.PNG, Format.WEBP, Format.AVIF, Format.GIF)
AUTO: Final = "auto"
EXTENSIONS: Final = {format_: "jpg" if format_ is Format.JPEG else str(format_) for format_ in OUTPUT_FORMATS}
ACCEPTS: Final = (
    "a comma list of [name=]WxH[:fit][:format][:qN][:progressive][:small], "
    "e.g. 128x128 or card=512x512:cover:webp:q80; W or H may be empty, "
    "sides are 1 to 16383, fit is inside, cover or smart, format is auto, jpeg, png, webp, avif or gif, "
    "N is 1 to 100, progressive is for JPEG, small for JPEG, WebP and AVIF; names must differ"
)
WORDS: Final = (*Fit, AUTO, *OUTPUT_FORMATS, "progressive")
KEY_FIELDS: Final = frozenset({"key", "name", "ext", "dir", "stem"})
FORM: Final = "[name=]WxH[:fit][:format][:qN][:progressive][:small]"
SMALL_FORMATS: Final = (Format.JPEG, Format.WEBP, Format.AVIF)
MAX_KEY_BYTES: Final = 1024  # S3's limit on an object key, in UTF-8
MAX_SIDE: Final = 16383  # WebP's limit, and so that of every thumbnail

_SHAPE: Final = re.compile(
    r"(?:(?P<name>[A-Za-z0-9_-]{1,64})=)?(?P<width>\d{0,5})x(?P<height>\d{0,5})"
    rf"(?::(?P<fit>{'|'.join(Fit)}))?(?::(?P<format>auto|{'|'.join(OUTPUT_FORMATS)}))?"
    r"(?::q(?P<quality>\d{1,3}))?(?P<progressive>:progressive)?(?P<small>:small)?"
)


@dataclass(frozen=True, slots=True)
class Rendition:
    """The specification of a thumbnail. Sides are pixels, None if the picture decides; format None is `auto`."""

    name: str
    width: int | None
    height: int | None
    fit: Fit = Fit.INSIDE
    format: Format | None = None
    quality: int | None = None
    progressive: bool = False
    small: bool = False
    quick: bool = False
    """encoded in less time, for a few more bytes; no text asks for it"""

    def __str__(self) -> str:
        """The canonical text; `parse_rendition(str(r)) == r`."""
        size = _size_text(self.width, self.height)
        parts = (
            size if self.name == size else f"{self.name}={size}",
            self.fit if self.fit.crops else "",
            self.format or "",
            f"q{self.quality}" if self.quality else "",
            "progressive" if self.progressive else "",
            "small" if self.small else "",
        )
        return ":".join(filter(None, parts))


def parse_rendition(text: str) -> Rendition:
    """Reads one rendition. Raises ValueError with the reason."""
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text.strip()!r} is not of the form {FORM}{_unknown_word(text)}")
    width = _number(match["width"], "side", MAX_SIDE)
    height = _number(match["height"], "side", MAX_SIDE)
    rendition = Rendition(
        match["name"] or _size_text(width, height),
        width,
        height,
        Fit(match["fit"] or Fit.INSIDE),
        None if match["format"] in (None, AUTO) else Format(match["format"]),
        _number(match["quality"], "quality", 100),
        bool(match["progressive"]),
        bool(match["small"]),
    )
    _check(rendition)
    return rendition


def _unknown_word(text: str) -> str:
    """The end of a message about the first word that no rendition has; empty if there is none."""
    unknown = (word for word in text.strip().split(":")[1:] if not re.fullmatch(rf"{'|'.join(WORDS)}|q\d*", word))
    return next((f": {word!r} is unknown{nearest(word, WORDS)}" for word in unknown), "")


def _check(rendition: Rendition) -> None:
    """Raises ValueError if the parts contradict each other."""
    if rendition.width is None and rendition.height is None:
        raise ValueError(f"{rendition.name!r} has neither width nor height")
    if rendition.fit.crops and None in (rendition.width, rendition.height):
        raise ValueError(f"{str(rendition)!r}: {rendition.fit} needs both width and height")
    if rendition.progressive and rendition.format not in (None, Format.JPEG):
        raise ValueError(f"{str(rendition)!r}: only JPEG can be progressive")
    if rendition.small and rendition.format not in (None, *SMALL_FORMATS):
        raise ValueError(f"{str(rendition)!r}: only JPEG, WebP and AVIF can be small")


def _number(digits: str | None, name: str, most: int) -> int | None:
    if not digits:
        return None
    if not 1 <= int(digits) <= most:
        raise ValueError(f"a {name} of {digits} is not within 1 to {most}")
    return int(digits)


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


def default_key_template(renditions: tuple[Rendition, ...]) -> str:
    """The source's key for one rendition; for several, keys below it as if it were a folder."""
    return "{key}" if len(renditions) == 1 else "{key}/{name}.{ext}"


def template_fields(template: str) -> list[str]:
    """The fields of a key template, in order. Raises ValueError on an unknown field, a conversion or a stray brace."""
    fields = []
    for _, name, spec, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        if name not in KEY_FIELDS or spec or conversion:
            raise ValueError(
                f"{{{name}}} is not a field; fields are {', '.join(f'{{{f}}}' for f in sorted(KEY_FIELDS))}"
            )
        fields.append(name)
    return fields


def check_key_template(template: str, renditions: tuple[Rendition, ...]) -> None:
    """Raises ValueError if renditions or sources would overwrite each other."""
    fields = template_fields(template)
    if not {"key", "stem"} & set(fields):
        raise ValueError("it contains neither {key} nor {stem}, so every source would write the same key")
    if len(renditions) > 1 and "name" not in fields:
        raise ValueError("it does not contain {name}, so the renditions would overwrite each other")


def can_collide(template: str, renditions: tuple[Rendition, ...]) -> bool:
    """Whether two sources may write the same key.

    They cannot if `{key}` is there once and `/`, which no name contains, separates it from a `{name}`.
    """
    fields = template_fields(template)
    if fields.count("key") != 1 or {"dir", "stem"} & set(fields):
        return True
    if "name" not in fields or len(renditions) == 1:
        return False
    return not re.fullmatch(r"[^{]*(\{key\}/\{name\}(\.\{ext\})?|\{name\}(\.\{ext\})?/\{key\})[^{]*", template)


def target_key(template: str, key: str, rendition: Rendition, format_: Format) -> str:
    """The key of a thumbnail; an empty {dir} takes no slash. Raises KeyTooLong above S3's 1,024 bytes."""
    directory, _, base = key.rpartition("/")
    stem = base.rpartition(".")[0] or base
    template = template if directory else template.replace("{dir}/", "")
    written = template.format(key=key, name=rendition.name, ext=EXTENSIONS[format_], dir=directory, stem=stem)
    if (size := len(written.encode(errors="surrogatepass"))) > MAX_KEY_BYTES:
        raise KeyTooLong(f"the thumbnail's key would have {size} bytes, S3's limit is {MAX_KEY_BYTES}")
    return written


def possible_target_keys(template: str, key: str, renditions: tuple[Rendition, ...]) -> tuple[str, ...]:
    """Every key that a source's thumbnails may have, whatever its format: a removal deletes them all."""
    keys: dict[str, None] = {}
    for rendition in renditions:
        for format_ in (rendition.format,) if rendition.format else OUTPUT_FORMATS:
            try:
                keys[target_key(template, key, rendition, format_)] = None
            except KeyTooLong:
                continue  # it was never written
    return tuple(keys)


def any_name(rendition: Rendition) -> str:
    """The last part of a kept picture's key: `300x200-cover-q80.webp`; `.auto` is the source's own format."""
    words = str(replace(rendition, format=None)).rpartition("=")[2].replace(":", "-")
    return f"{words}.{EXTENSIONS[rendition.format] if rendition.format else AUTO}"


def any_key(prefix: str, key: str, rendition: Rendition) -> str:
    """The key of a picture that was made on demand and is kept. Raises KeyTooLong."""
    return target_key(any_template(prefix, rendition), key, rendition, Format.JPEG)


def any_template(prefix: str, rendition: Rendition) -> str:
    """The key template of `any_key`."""
    return f"{prefix}{{key}}/{any_name(rendition)}"


def any_keys(prefix: str, key: str, offers: tuple[Rendition, ...]) -> tuple[str, ...]:
    """Every key that a source's kept pictures may have."""
    keys: list[str] = []
    for offer in offers:
        for format_ in (offer.format,) if offer.format else (None, *OUTPUT_FORMATS):
            with suppress(KeyTooLong):  # it was never written
                keys.append(any_key(prefix, key, replace(offer, format=format_)))
    return tuple(keys)
