"""imgproxy's URLs: `/{signature}/{option}:{values}/.../plain/s3://bucket/key@webp`, or the address in Base64.

Supported: resize, size, resizing_type, width, height, gravity (ce and sm), quality, format, dpr, expires, preset, and
what changes nothing here. A signature is HMAC-SHA256 over salt and path, in URL-safe Base64.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from thumbnailer.model import Fit
from thumbnailer.renditions import Rendition
from thumbnailer.wishes.query import named, sized
from thumbnailer.wishes.wish import BadWish, Expired, NotAllowed, Site, Wish, place

PLAIN: Final = "plain"
UNSIGNED: Final = ("_", "unsafe", "insecure")
_SIGNATURE: Final = re.compile(rf"{'|'.join(UNSIGNED)}|[A-Za-z0-9_-]{{43}}=?")
LONG: Final = {
    "rs": "resize", "s": "size", "rt": "resizing_type", "w": "width", "h": "height", "g": "gravity", "q": "quality",
    "f": "format", "ext": "format", "exp": "expires", "pr": "preset", "el": "enlarge", "ar": "auto_rotate",
    "cb": "cachebuster", "sm": "strip_metadata", "scp": "strip_color_profile", "ex": "extend",
}  # fmt: skip
GROUPS: Final = {
    "resize": ("resizing_type", "width", "height", "enlarge", "extend"),
    "size": ("width", "height", "enlarge", "extend"),
}
"""Options that stand for several: a value each."""
TYPES: Final = {"fit": Fit.INSIDE, "fill": Fit.COVER, "fill-down": Fit.COVER}
WITHOUT_EFFECT: Final = {
    "enlarge": ("", "0", "f", "false"), "extend": ("", "0", "f", "false"), "auto_rotate": ("", "1", "t", "true"),
    "strip_metadata": ("", "1", "t", "true"), "strip_color_profile": ("", "1", "t", "true"),
}  # fmt: skip
"""Options that thumbnails follow always, with the values that say so."""


def parse(path: str, _: str, site: Site, now: float) -> Wish | None:
    """The wish of a percent-encoded path; None if it has no signature. Raises BadWish, NotAllowed, Expired."""
    _, signature, *parts = path.split("/")
    if not parts or not _SIGNATURE.fullmatch(signature):
        return None
    signed = _verify(signature, path[1 + len(signature) :], site.imgproxy_keys)
    at = next((place for place, part in enumerate(parts) if ":" not in part or part.startswith("s3:")), len(parts))
    options = _options(parts[:at])
    address, format_ = _address(parts[at:])
    if format_:
        options["format"] = format_
    if "expires" in options and now > _number("expires", options["expires"]):
        raise Expired("the URL is no longer valid")
    bucket, key = place(*_bucket_and_key(address), site)
    rendition = named(options["preset"], site) if "preset" in options else _rendition(options, site.most_side)
    return Wish(bucket, key, rendition, signed, immutable="cachebuster" in options)


def _verify(signature: str, path: str, pairs: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether the URL is signed. Raises NotAllowed for a wrong signature."""
    if signature in UNSIGNED:
        return False
    for key, salt in pairs:
        made = base64.urlsafe_b64encode(hmac.digest(key, salt + path.encode(), hashlib.sha256)).rstrip(b"=")
        if hmac.compare_digest(made, signature.rstrip("=").encode()):
            return True
    raise NotAllowed("the signature is wrong")


def _options(parts: Sequence[str]) -> dict[str, str]:
    """The options by their long names. Raises BadWish for one that thumbnails do not have."""
    options: dict[str, str] = {}
    for part in parts:
        short, *values = part.split(":")
        name = LONG.get(short, short)
        options |= dict(zip(GROUPS.get(name, (name,)), values, strict=False))
        if len(values) > len(GROUPS.get(name, (name,))):
            raise BadWish(name, "it has more values than are supported")
    for name, value in options.items():
        if name not in _SUPPORTED or (name in WITHOUT_EFFECT and value not in WITHOUT_EFFECT[name]):
            raise BadWish(name, f"{value!r} is not supported")
    return options


_SUPPORTED: Final = frozenset({*LONG.values(), "dpr", *WITHOUT_EFFECT}) - GROUPS.keys()


def _rendition(options: dict[str, str], most: int) -> Rendition:
    kind = options.get("resizing_type", "") or "fit"
    if kind not in TYPES:
        raise BadWish("resizing_type", f"it is one of {', '.join(TYPES)}")
    gravity = options.get("gravity", "") or "ce"
    if gravity not in ("ce", "sm"):
        raise BadWish("gravity", "it is ce or sm")
    width, height = (options.get(name, "").removeprefix("0") for name in ("width", "height"))
    fit = TYPES[kind] if width and height else Fit.INSIDE
    if fit is Fit.COVER and gravity == "sm":
        fit = Fit.SMART
    asked = {"width": width, "height": height, "fit": str(fit)}
    return sized(asked | {name: options.get(name, "") for name in ("format", "quality", "dpr")}, most)


def _address(parts: Sequence[str]) -> tuple[str, str]:
    """The source's address and the format behind it."""
    if parts[:1] == [PLAIN]:
        address, _, format_ = "/".join(parts[1:]).partition("@")
        return _text(unquote_to_bytes(address)), format_
    encoded, _, format_ = "".join(parts).partition(".")
    try:
        return _text(base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)), format_
    except ValueError as error:  # no ASCII, or no Base64
        raise BadWish("source", "it is not Base64; write plain/s3://bucket/key or encode that") from error


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadWish("source", "it is not UTF-8") from error


def _bucket_and_key(address: str) -> tuple[str, str]:
    if not address.startswith("s3://"):
        raise BadWish("source", "only s3://bucket/key can be asked for")
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key


def _number(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise BadWish(option, "it is a whole number")
    return int(text)
