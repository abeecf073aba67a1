"""The way of one request: from a URL to a picture. Writes nothing to any bucket."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from math import inf
from time import time
from typing import Final, NamedTuple, Protocol

from handler.http.messages import ALWAYS, HttpAnswer, HttpRequest, Refusal, problem, refuse_outcome, refuse_wish
from thumbnailer import errors
from thumbnailer.app import App
from thumbnailer.model import EventKind, ObjectEvent, Outcome
from thumbnailer.planning.capabilities import OUTPUTS
from thumbnailer.planning.plan import refuse_event
from thumbnailer.rendering import Refused
from thumbnailer.renditions import Rendition
from thumbnailer.reporting.logs import log_record
from thumbnailer.settings import Settings
from thumbnailer.store.base import ObjectVersion
from thumbnailer.trace import Trace
from thumbnailer.wishes.grammars import read_url
from thumbnailer.wishes.negotiation import entity_tag, is_known, preferred_format
from thumbnailer.wishes.wish import BadWish, Expired, NotAllowed, Site, Wish, allow

ALLOWED: Final = "GET, HEAD, OPTIONS"
YEAR: Final = 365 * 24 * 3600
STALE: Final = "stale-while-revalidate=604800"
WAITING: Final = 2
"""Times in_flight: the pictures in work or waiting before new ones are refused."""


Name = tuple[str, str, Rendition]
"""Bucket, key and rendition of a picture."""


class Picture(NamedTuple):
    data: bytes
    content_type: str
    version: ObjectVersion


def make_site(settings: Settings) -> Site:
    """What the settings let URLs ask for."""
    return Site(
        sources=settings.sources,
        renditions=(*settings.renditions, *settings.offers),
        keys=settings.url_keys,
        imgproxy_keys=settings.imgproxy_keys,
        thumbor_keys=settings.thumbor_keys,
        open=settings.open,
        most_side=settings.max_side,
    )


class Page(Protocol):
    """What is answered beside pictures."""

    async def answer(self, request: HttpRequest) -> HttpAnswer | None:
        """None for a path of a picture."""


def make_page(app: App) -> Page | None:
    """The page for uploads, if it is switched on. Raises SettingsError."""
    if not app.settings.page:
        return None
    from handler.http.uploads import UploadPage

    return UploadPage(app)


class Service:
    """Make it inside the loop that runs it. `refused` receives the outcome of each picture that cannot be made."""

    def __init__(
        self,
        app: App,
        site: Site,
        refused: Callable[[Outcome], None] = log_record,
        clock: Callable[[], float] = time,
        page: Page | None = None,
    ) -> None:
        self._app = app
        self._site = site
        self._refused = refused
        self._clock = clock
        self._page = page
        self._flights: dict[Name, asyncio.Task[Picture]] = {}

    async def aclose(self) -> None:
        await self._app.pipeline.aclose()

    async def answer(self, request: HttpRequest, seconds: float = inf) -> HttpAnswer:
        """Within `seconds`, or a 504. Raises nothing but CancelledError."""
        if request.method == "OPTIONS":
            return HttpAnswer(HTTPStatus.NO_CONTENT, {**ALWAYS, **self._sharing(), "Allow": ALLOWED})
        try:
            answer = await self._answer(request, seconds)
        except (BadWish, NotAllowed, Expired) as error:
            answer = problem(refuse_wish(error), request)
        except Refusal as refusal:
            answer = problem(refusal, request)
        headers = {**answer.headers, **self._sharing(), "Content-Length": str(len(answer.body))}
        return HttpAnswer(answer.status, headers, b"" if request.method == "HEAD" else answer.body)

    async def _answer(self, request: HttpRequest, seconds: float) -> HttpAnswer:
        if self._page and (found := await self._page.answer(request)):
            return found
        if request.method not in ("GET", "HEAD"):
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "method", "ask with GET or HEAD", headers={"Allow": ALLOWED})
        grammars = self._app.settings.grammars
        wish = allow(read_url(request.path, request.query, self._site, self._clock(), grammars), self._site)
        wish, negotiated = self._negotiate(wish, request.headers.get("accept", ""))
        headers = {**ALWAYS, "Cache-Control": self._caching(wish), **({"Vary": "Accept"} if negotiated else {})}
        known = request.headers.get("if-none-match", "")
        if known and (tag := await self._current_tag(wish)) and is_known(known, tag):
            return HttpAnswer(HTTPStatus.NOT_MODIFIED, {**headers, "ETag": tag})
        picture = await self._share(wish, min(seconds, self._app.settings.request_timeout))
        tag = entity_tag(picture.version, wish.rendition)
        return HttpAnswer(200, {**headers, "ETag": tag, "Content-Type": picture.content_type}, picture.data)

    def _negotiate(self, wish: Wish, accept: str) -> tuple[Wish, bool]:
        """The wish with a format that the client shows, and whether its answer depends on the Accept header."""
        if wish.rendition.format is not None:
            return wish, False
        format_ = preferred_format(accept, self._app.settings.negotiate)
        return replace(wish, rendition=replace(wish.rendition, format=format_)), bool(self._app.settings.negotiate)

    async def _current_tag(self, wish: Wish) -> str | None:
        """One HEAD; None if it tells nothing: the GET will tell why."""
        try:
            version = await self._app.store.head(wish.bucket, wish.key)
        except errors.StoreError:
            return None
        return version and entity_tag(version, wish.rendition)

    async def _share(self, wish: Wish, seconds: float) -> Picture:
        """Clients that ask for the same picture wait for the same decode, which goes on if one of them leaves."""
        name = (wish.bucket, wish.key, wish.rendition)
        flight = self._flights.get(name)
        if flight is None:
            if len(self._flights) >= WAITING * self._app.tier.in_flight:
                busy = {"Retry-After": "1"}
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too many pictures wait", headers=busy)
            flight = self._flights[name] = asyncio.create_task(self._make(wish, seconds))
            flight.add_done_callback(lambda task: self._land(name, task))
        return await asyncio.shield(flight)

    def _land(self, name: Name, task: asyncio.Task[Picture]) -> None:
        del self._flights[name]
        if not task.cancelled():
            task.exception()  # every client may have left

    async def _make(self, wish: Wish, seconds: float) -> Picture:
        """Raises Refusal."""
        settings = replace(self._app.settings, renditions=(wish.rendition,), key="{key}")
        event = ObjectEvent(EventKind.CREATED, wish.bucket, wish.key)
        trace = Trace(event)
        async with trace.ending(asyncio.get_running_loop().time() + seconds):
            refuse_event(event, settings)
            result = await self._app.pipeline.renderer.render(event, settings, trace)
            if isinstance(result, Refused):
                raise result.error
            (target,), (data,) = result.plan.targets, result.rendering.pictures
            return Picture(data, OUTPUTS[target.format].content_type, result.version)
        self._refused(trace.outcome)
        raise refuse_outcome(trace.outcome)

    def _caching(self, wish: Wish) -> str:
        if wish.immutable:
            return f"public, max-age={YEAR}, immutable"
        return f"public, max-age={self._app.settings.max_age}, {STALE}"

    def _sharing(self) -> Mapping[str, str]:
        origin = self._app.settings.cors
        return {"Access-Control-Allow-Origin": origin, "Timing-Allow-Origin": origin} if origin else {}
