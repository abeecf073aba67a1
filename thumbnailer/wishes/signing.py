"""Signatures over path and query: HMAC-SHA256, as in AWS's Dynamic Image Transformation, version 7.

The signed text is the path as it is sent, `?`, and the sorted query entries without the signature, decoded, joined by
`&`. `expires` is one of them, in UTC.
"""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from thumbnailer.wishes.wish import BadWish, Expired, NotAllowed

SIGNATURE: Final = "signature"
EXPIRES: Final = "expires"
TIME: Final = "%Y%m%dT%H%M%SZ"

Entries = Sequence[tuple[str, str]]


def sign(path: str, entries: Entries, key: bytes) -> str:
    """The signature in hexadecimal digits."""
    text = f"{path}?" + "&".join(sorted(f"{name}={value}" for name, value in entries if name != SIGNATURE))
    return hmac.digest(key, text.encode(), hashlib.sha256).hex()


def verify(path: str, entries: Entries, keys: Sequence[bytes], now: float) -> bool:
    """Whether the URL is signed; `now` is Unix time. Raises NotAllowed for a wrong signature, Expired, BadWish."""
    named = dict(entries)
    if (given := named.get(SIGNATURE)) is None:
        return False
    if not any(hmac.compare_digest(sign(path, entries, key).encode(), given.encode()) for key in keys):
        raise NotAllowed("the signature is wrong")
    if EXPIRES in named and now > read_time(named[EXPIRES]):
        raise Expired(f"the URL was valid until {named[EXPIRES]}")
    return True


def read_time(text: str) -> float:
    """Unix time of YYYYMMDDTHHMMSSZ. Raises BadWish."""
    try:
        return datetime.strptime(text, TIME).replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise BadWish(EXPIRES, "a time has the form YYYYMMDDTHHMMSSZ") from error


def sign_url(url: str, key: bytes, valid: timedelta | None, now: datetime) -> str:
    """The URL with `signed_query`."""
    parts = urlsplit(url)
    return parts._replace(query=signed_query(parts.path, parse_qsl(parts.query, True), key, valid, now)).geturl()


def signed_query(path: str, entries: Entries, key: bytes, valid: timedelta | None, now: datetime) -> str:
    """The entries with signature, and with an expiry at the first midnight (UTC) when `valid` has passed.

    So a page has the same URLs all day, and caches hit.
    """
    entries = [entry for entry in entries if entry[0] not in (SIGNATURE, EXPIRES)]
    if valid is not None:
        midnight = (now + valid).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        entries.append((EXPIRES, midnight.strftime(TIME)))
    return urlencode([*entries, (SIGNATURE, sign(path, entries, key))])
