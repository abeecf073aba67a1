"""thumbor's URLs: `/{signature}/[fit-in/]WxH/[smart/][filters:format(webp):quality(80)/]{key}`.

A signature is HMAC-SHA1 over the rest of the path, in URL-safe Base64; `unsafe` stands for none.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final

from thumbnailer.model import Fit
from thumbnailer.wishes.query import sized
from thumbnailer.wishes.wish import BadWish, NotAllowed, Site, Wish, locate

UNSIGNED: Final = "unsafe"
REFUSED: Final = re.compile(r"trim(:.*)?|meta|debug|(adaptive-|full-)+fit-in|\d+x\d+:\d+x\d+|left|right|top|bottom")
"""Parts of thumbor's URLs that thumbnails do not have."""
_SIGNATURE: Final = re.compile(rf"{UNSIGNED}|[A-Za-z0-9_-]{{27}}=")
_SIZE: Final = re.compile(r"(\d{0,5})x(\d{0,5})")
_FILTER: Final = re.compile(r"([a-z_]+)\(([^()]*)\)")
FILTERS: Final = {"format": "format", "quality": "quality"}
WITHOUT_EFFECT: Final = ("no_upscale", "strip_exif", "strip_icc")


def parse(path: str, _: str, site: Site, _now: float) -> Wish | None:
    """The wish of a percent-encoded path; None if it has no signature. Raises BadWish, NotAllowed."""
    _, signature, *parts = path.split("/")
    if not parts or not _SIGNATURE.fullmatch(signature):
        return None
    signed = _verify(signature, "/".join(parts), site.thumbor_keys)
    options: dict[str, str] = {}
    fitted = smart = False
    while parts:
        if parts[0] == "fit-in":
            fitted = True
        elif parts[0] == "smart":
            smart = True
        elif size := _SIZE.fullmatch(parts[0]):
            options |= {"width": size[1].removeprefix("0"), "height": size[2].removeprefix("0")}
        elif parts[0].startswith("filters:"):
            options |= _filters(parts[0].removeprefix("filters:"))
        elif REFUSED.fullmatch(parts[0]):
            raise BadWish(parts[0], "it is not supported")
        else:
            break
        parts = parts[1:]
    if not fitted and options.get("width") and options.get("height"):
        options["fit"] = str(Fit.SMART if smart else Fit.COVER)
    bucket, key = locate("/" + "/".join(parts), site)
    return Wish(bucket, key, sized(options, site.most_side), signed)


def _verify(signature: str, path: str, keys: Sequence[bytes]) -> bool:
    """Whether the URL is signed. Raises NotAllowed for a wrong signature."""
    if signature == UNSIGNED:
        return False
    for key in keys:
        made = base64.urlsafe_b64encode(hmac.digest(key, path.encode(), hashlib.sha1))
        if hmac.compare_digest(made, signature.encode()):
            return True
    raise NotAllowed("the signature is wrong")


def _filters(text: str) -> dict[str, str]:
    found = _FILTER.findall(text)
    if ":".join(f"{name}({value})" for name, value in found) != text:
        raise BadWish("filters", "they have the form name(value):name(value)")
    for name, _ in found:
        if name not in FILTERS and name not in WITHOUT_EFFECT:
            raise BadWish(name, "this filter is not supported")
    return {FILTERS[name]: value for name, value in found if name in FILTERS}
