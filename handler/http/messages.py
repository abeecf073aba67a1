"""Requests and answers without any server's types, and the answer to each kind of error."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from thumbnailer.model import Outcome
from thumbnailer.wishes.wish import BadWish, Expired, NotAllowed

GREY_DOT: Final = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c6368000000820081772e"
    "40ba0000000049454e44ae426082"
)
"""A PNG of one grey pixel: an `<img>` shows no broken picture."""
ALWAYS: Final = {
    "Accept-Ranges": "none",
    "Content-Disposition": "inline",
    "Content-Security-Policy": "default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}
MINUTE, HOUR = 60, 3600


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """`path` and `query` are percent-encoded, as the client sent them; `headers` takes names in lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def wants_picture(self) -> bool:
        """Whether an `<img>` asks."""
        return self.headers.get("sec-fetch-dest") == "image"


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The answer to a HEAD has the headers of its GET, and no body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    kept: tuple[str, str] | None = None
    """bucket and key of the object that holds the body, if one does"""


class Refusal(Exception):
    """Ends a request with a status. `seconds` is how long a cache keeps the answer; 0: not at all."""

    def __init__(
        self, status: int, reason: str, detail: str, seconds: int = 0, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.seconds = seconds
        self.headers = headers or {}


_STATUSES: Final[Mapping[str, tuple[int, int]]] = {
    **dict.fromkeys(("gone", "access-denied", "bucket-not-allowed", "own-output", "filtered"), (404, MINUTE)),
    **dict.fromkeys(("folder-marker", "customer-encrypted"), (404, MINUTE)),
    **dict.fromkeys(("too-many-bytes", "too-many-pixels"), (413, HOUR)),
    **dict.fromkeys(("not-an-image", "unsupported-format"), (415, HOUR)),
    **dict.fromkeys(("corrupt", "engine-crash"), (422, HOUR)),
    "archived": (409, MINUTE),
    "key-too-long": (400, MINUTE),
}
"""For pictures refused for good, by reason: the status, and the seconds that a cache keeps it."""
_PASSING: Final[Mapping[str, int]] = {"source-unavailable": 502, "out-of-time": 504}
"""For a picture that may be made later, by reason. Every other reason: 503."""


def refuse_outcome(outcome: Outcome) -> Refusal:
    """The refusal for a record without a picture.

    All keys that cannot be had get one answer: it tells nobody which of them exist.
    """
    reason = outcome.reason or ""
    if outcome.status.comes_back:
        return Refusal(_PASSING.get(reason, 503), reason, "try again later", headers={"Retry-After": "1"})
    status, seconds = _STATUSES[reason]
    if status == HTTPStatus.NOT_FOUND:
        return Refusal(status, "not-found", "there is no such picture", seconds)
    return Refusal(status, reason, outcome.detail or "", seconds)


def refuse_wish(error: BadWish | NotAllowed | Expired) -> Refusal:
    if isinstance(error, Expired):
        return Refusal(HTTPStatus.GONE, "expired", str(error), MINUTE)
    if isinstance(error, NotAllowed):
        return Refusal(HTTPStatus.FORBIDDEN, "not-allowed", str(error), MINUTE)
    return Refusal(HTTPStatus.BAD_REQUEST, "bad-request", str(error), MINUTE)


def problem(refusal: Refusal, request: HttpRequest) -> HttpAnswer:
    """A problem in JSON (RFC 9457), or a grey dot with the same status for an `<img>`."""
    caching = f"public, max-age={refusal.seconds}" if refusal.seconds else "no-store"
    status = HTTPStatus(refusal.status)
    document = {"title": status.phrase, "status": refusal.status, "reason": refusal.reason, "detail": str(refusal)}
    kind, body = "application/problem+json", json.dumps(document).encode()
    if request.wants_picture:
        kind, body = "image/png", GREY_DOT
    headers = {**ALWAYS, **refusal.headers, "Cache-Control": caching, "Content-Type": kind}
    return HttpAnswer(refusal.status, headers, body)
