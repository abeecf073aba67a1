"""The page for uploads: a signed link opens it, and each picture goes from the browser straight to S3."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from secrets import token_urlsafe
from time import time
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from handler.http.messages import HttpAnswer, HttpRequest, Refusal
from handler.http.page import EVERYWHERE, page, page_file
from thumbnailer.app import App
from thumbnailer.errors import SettingsError, StoreError
from thumbnailer.store.base import FormStore
from thumbnailer.wishes.signing import signed_query, verify
from thumbnailer.wishes.wish import NotAllowed

SIGNED: Final = "POST /uploads"
"""The signed text of a link begins with this. That of a picture begins with `/`, so its signature opens no page."""
FORM_SECONDS: Final = 600
MOST_FORM_BYTES: Final = 5 * 1024**3
"""S3 takes no larger objects in one request."""
_ROUTES: Final = {("GET", "/"), ("HEAD", "/"), ("POST", "/uploads")}


def link(url: str, key: bytes, valid: timedelta | None, now: datetime) -> str:
    """The link that opens the page of the server at `url`."""
    return f"{url.rstrip('/')}/?{signed_query(SIGNED, [], key, valid, now)}"


class UploadPage:
    """For whoever has the link: GET / is the page, POST /uploads a form for one picture of at most `max_bytes`."""

    def __init__(self, app: App, clock: Callable[[], float] = time) -> None:
        """Raises SettingsError."""
        settings = app.settings
        self._bucket = settings.sources[0]
        if not settings.url_keys:
            raise SettingsError("THUMBNAILER_PAGE=on needs THUMBNAILER_URL_KEYS, whose first key signs the page's link")
        if set(self._bucket) & set("*?[") or not isinstance(app.store, FormStore):
            raise SettingsError("THUMBNAILER_PAGE=on needs an S3 bucket as the first of the sources, for uploads")
        self._store, self._clock, self._keys = app.store, clock, settings.url_keys
        self._most = min(app.tier.max_bytes, MOST_FORM_BYTES)
        self._facts = {
            "route": f"Uploads to {self._bucket}",
            "most": self._most,
            "rendition": settings.renditions[0].name,
            "path": "" if len(settings.sources) == 1 else f"{self._bucket}/",
        }

    async def answer(self, request: HttpRequest) -> HttpAnswer | None:
        """None for a path that is no part of the page. Raises NotAllowed, Expired, BadWish, Refusal."""
        if (request.method, request.path) not in _ROUTES:
            return page_file(request.path)
        entries = parse_qsl(request.query, keep_blank_values=True)
        if not verify(SIGNED, entries, self._keys, self._clock()):
            raise NotAllowed("only the link that `thumbnailer page` prints opens this page")
        form = await self._form()
        if request.path == "/":
            url = urlsplit(form["url"])
            return page(self._facts, f"{url.scheme}://{url.netloc}")
        return HttpAnswer(200, {**EVERYWHERE, "Content-Type": "application/json"}, json.dumps(form).encode())

    async def _form(self) -> Mapping[str, Any]:
        """The form's `url` and `fields`; S3 refuses other keys, sizes and types. Raises Refusal."""
        conditions = [["content-length-range", 1, self._most], ["starts-with", "$Content-Type", "image/"]]
        key = f"uploads/{token_urlsafe(16)}/${{filename}}"
        try:
            return await self._store.presigned_form(self._bucket, key, conditions, FORM_SECONDS)
        except StoreError as error:
            raise Refusal(503, "source-unavailable", "S3 cannot be asked for uploads") from error
