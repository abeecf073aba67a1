"""The JSON form of AWS's Dynamic Image Transformation: `/{base64 of {"bucket", "key", "edits", "outputFormat"}}`.

Its signature is that of our own grammar (`signing`).
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from thumbnailer.wishes.query import MOST_ENTRIES, sized
from thumbnailer.wishes.signing import verify
from thumbnailer.wishes.wish import BadWish, Site, Wish, once, place

MEMBERS: Final = frozenset({"bucket", "key", "edits", "outputFormat", "headers"})
FORMATS: Final = ("jpeg", "png", "webp", "avif", "gif")
RESIZE: Final = frozenset({"width", "height", "fit"})


def parse(path: str, query: str, site: Site, now: float) -> Wish | None:
    """The wish of a path and query; None if the path is no Base64 of an object. Raises BadWish, NotAllowed, Expired."""
    try:
        data = base64.b64decode(path[1:] + "=" * (-len(path[1:]) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    if not data.lstrip().startswith(b"{"):
        return None
    try:
        wish = _only(MEMBERS, "request", json.loads(data))
    except (ValueError, RecursionError) as error:
        raise BadWish("path", "it is not the Base64 of a JSON object") from error
    entries = parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_ENTRIES)
    once(entries)
    bucket, key = place(wish.get("bucket") or site.only_bucket or "", wish.get("key"), site)
    return Wish(bucket, key, sized(_options(wish), site.most_side), verify(path, entries, site.keys, now))


def _options(wish: Mapping[str, Any]) -> dict[str, str]:
    edits = _only(frozenset({"resize", "toFormat", *FORMATS}), "edits", wish.get("edits"))
    resize = _only(RESIZE, "resize", edits.get("resize"))
    options = {name: str(value) for name, value in resize.items() if value is not None}
    format_ = wish.get("outputFormat") or edits.get("toFormat")
    if format_:
        options["format"] = str(format_)
    for name in FORMATS:
        settings = _only(frozenset({"quality"}), name, edits.get(name))
        if "quality" in settings and name == (format_ or name):
            options["quality"] = str(settings["quality"])
    return options


def _only(names: frozenset[str], where: str, value: Any) -> Mapping[str, Any]:
    """The object `value`, empty for null. Raises BadWish if it is none, or has other members than `names`."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadWish(where, "it is a JSON object")
    if other := sorted(value.keys() - names):
        raise BadWish(other[0], f"it is not supported in {where}")
    return value
