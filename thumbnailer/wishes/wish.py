"""A wish is the picture that a URL asks for, whatever the URL's grammar; a site is what may be asked for."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from thumbnailer.errors import ThumbnailerError
from thumbnailer.model import Format
from thumbnailer.renditions import MAX_KEY_BYTES, Rendition
from thumbnailer.values import dataclass, replace

_SIDE: Final = re.compile(r"[1-9][0-9]{0,4}")


class BadWish(ThumbnailerError):
    """The URL asks for something that does not exist; the message begins with the option's name."""

    def __init__(self, option: str, why: str) -> None:
        super().__init__(f"{option[:100]}: {why}")


class NotAllowed(ThumbnailerError):
    """Only a signed URL may ask for this picture."""


class Expired(ThumbnailerError):
    """The URL was signed for a time that is over."""


@dataclass(frozen=True, slots=True)
class Site:
    """What URLs may ask for. `sources` are bucket names and globs, `keys` verify signatures, the first one signs."""

    sources: tuple[str, ...]
    renditions: tuple[Rendition, ...]
    """for everybody"""
    keys: tuple[bytes, ...] = ()
    imgproxy_keys: tuple[tuple[bytes, bytes], ...] = ()
    """pairs of key and salt"""
    thumbor_keys: tuple[bytes, ...] = ()
    open: bool = False
    """every size is for everybody"""
    most_side: int = 4096
    offers: tuple[Rendition, ...] = ()
    """for everybody, beside the renditions"""
    negotiate: tuple[Format, ...] = ()
    """formats that everybody may have of a rendition or offer without a format"""
    any_prefix: str = ""
    """where the destination keeps offers; empty: nowhere"""

    @property
    def only_bucket(self) -> str | None:
        """The bucket that URLs leave out, because there is no other."""
        one = len(self.sources) == 1 and not set(self.sources[0]) & set("*?[")
        return self.sources[0] if one else None


@dataclass(frozen=True, slots=True)
class Wish:
    """A rendition of an object. Without a format in it, the client's Accept header decides."""

    bucket: str
    key: str
    rendition: Rendition
    signed: bool = False
    immutable: bool = False
    """The URL names a version, so its answer never changes."""


def allow(wish: Wish, site: Site) -> Wish:
    """The wish, with the site's own rendition if it is one of them. Raises NotAllowed."""
    asked = wish.rendition
    if same := [offered for offered in (*site.renditions, *site.offers) if _is_same(asked, offered, site)]:
        chosen = max(same, key=lambda offered: offered.name == asked.name)  # the first one, or that of the name
        return replace(wish, rendition=replace(chosen, format=asked.format or chosen.format))
    if wish.signed or site.open:
        return wish
    raise NotAllowed("only signed URLs may ask for other sizes than the renditions")


def _is_same(asked: Rendition, offered: Rendition, site: Site) -> bool:
    """Whether the URL asks for a rendition by its size, and for nothing else than it has."""
    return (
        (asked.width, asked.height, asked.fit) == (offered.width, offered.height, offered.fit)
        and asked.format in (None, offered.format, *(() if offered.format else site.negotiate))
        and asked.quality in (None, offered.quality)
    )


def locate(path: str, site: Site) -> tuple[str, str]:
    """Bucket and key of a percent-encoded path that begins with `/`. Raises BadWish."""
    try:
        text = unquote_to_bytes(path[1:]).decode()
    except UnicodeDecodeError as error:
        raise BadWish("path", "it is not UTF-8") from error
    if site.only_bucket is not None:
        return place(site.only_bucket, text, site)
    bucket, _, key = text.partition("/")
    return place(bucket, key, site)


def place(bucket: Any, key: Any, site: Site) -> tuple[str, str]:
    """Bucket and key, if the bucket is a source. Raises BadWish, NotAllowed."""
    if not isinstance(bucket, str) or not any(fnmatchcase(bucket, glob) for glob in site.sources):
        raise NotAllowed("this bucket is no source")
    if not isinstance(key, str) or not 0 < len(key.encode(errors="surrogatepass")) <= MAX_KEY_BYTES:
        raise BadWish("key", f"a key has 1 to {MAX_KEY_BYTES} bytes")
    if not key.isprintable() and any("\ud800" <= character <= "\udfff" for character in key):
        raise BadWish("key", "it has characters that UTF-8 does not have")
    return bucket, key


def side(option: str, text: str, times: float, most: int) -> int | None:
    """A side of `times` the pixels; an empty text is none. Raises BadWish."""
    if not text:
        return None
    if not _SIDE.fullmatch(text) or (pixels := round(int(text) * times)) > most or pixels < 1:
        raise BadWish(option, f"a side is a whole number, at most {most} pixels with its pixel ratio")
    return pixels


def once(entries: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The entries by name. Raises BadWish for a name that is given twice."""
    named: dict[str, str] = {}
    for name, value in entries:
        if name in named:
            raise BadWish(name, "it is given twice")
        named[name] = value
    return named
