"""The way of one request: from a URL to a picture, which the destination has or which is made now."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from math import inf
from time import time
from typing import Final, NamedTuple

from handler.http.messages import ALWAYS, HttpAnswer, HttpRequest, Refusal, problem, refuse_outcome, refuse_wish
from thumbnailer import errors
from thumbnailer.app import App
from thumbnailer.model import Outcome, Output
from thumbnailer.planning.capabilities import OUTPUTS
from thumbnailer.planning.plan import refuse_event
from thumbnailer.planning.targets import source_version
from thumbnailer.rendering import Refused, Rendered
from thumbnailer.renditions import Rendition
from thumbnailer.reporting.logs import log_record
from thumbnailer.settings import Settings
from thumbnailer.store.base import ObjectVersion, Presigner
from thumbnailer.trace import Trace
from thumbnailer.wishes.grammars import read_url
from thumbnailer.wishes.kept import Place, find_place, source_event
from thumbnailer.wishes.negotiation import entity_tag, is_known, preferred_format
from thumbnailer.wishes.wish import BadWish, Expired, NotAllowed, Site, Wish, allow

ALLOWED: Final = "GET, HEAD, OPTIONS"
YEAR: Final = 365 * 24 * 3600
STALE: Final = "stale-while-revalidate=604800"
PRESIGNED_SECONDS: Final = 600
WAITING: Final = 2
"""Times in_flight: the pictures in work or waiting before new ones are refused."""


Name = tuple[str, str, Rendition, ObjectVersion | None]
"""Bucket, key and rendition of a picture, and the source's version if only that one may be answered."""


class Picture(NamedTuple):
    data: bytes
    content_type: str
    version: ObjectVersion
    """of the source"""
    kept: tuple[str, str] | None = None
    """bucket and key of the picture in the destination"""


def make_site(settings: Settings) -> Site:
    """What the settings let URLs ask for."""
    return Site(
        sources=settings.sources,
        renditions=settings.renditions,
        offers=settings.offers,
        negotiate=settings.negotiate,
        any_prefix=settings.any_prefix,
        keys=settings.url_keys,
        imgproxy_keys=settings.imgproxy_keys,
        thumbor_keys=settings.thumbor_keys,
        open=settings.open,
        most_side=settings.max_side,
    )


class Service:
    """Make it inside the loop that runs it. `refused` receives the outcome of each picture that cannot be made.

    `shared` is called for each request that waits for another one's picture.
    """

    shared: Callable[[], object] = staticmethod(lambda: None)

    def __init__(
        self, app: App, site: Site, refused: Callable[[Outcome], None] = log_record, clock: Callable[[], float] = time
    ) -> None:
        self._app = app
        self._site = site
        self._refused = refused
        self._clock = clock
        self._making = 0
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
        body = b"" if request.method == "HEAD" else answer.body
        return HttpAnswer(answer.status, headers, body, answer.kept)

    async def _answer(self, request: HttpRequest, seconds: float) -> HttpAnswer:
        if request.method not in ("GET", "HEAD"):
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "method", "ask with GET or HEAD", headers={"Allow": ALLOWED})
        grammars = self._app.settings.grammars
        wish = allow(read_url(request.path, request.query, self._site, self._clock(), grammars), self._site)
        wish, negotiated = self._negotiate(wish, request.headers.get("accept", ""))
        vary = {"Vary": "Accept"} if negotiated else {}
        headers = {**ALWAYS, "Cache-Control": self._caching(wish.immutable), **vary}
        known = request.headers.get("if-none-match", "")
        current = await self._current_version(wish) if known else None
        if current and is_known(known, tag := entity_tag(current, wish.rendition)):
            return HttpAnswer(HTTPStatus.NOT_MODIFIED, {**headers, "ETag": tag})
        place = find_place(wish, self._app.settings)
        if place and wish.immutable and not known:  # an older picture must not be cached for ever
            current = await self._current_version(wish)
        picture = await self._share(wish, place, current, min(seconds, self._app.settings.request_timeout))
        headers |= {"ETag": entity_tag(picture.version, wish.rendition), "Content-Type": picture.content_type}
        return HttpAnswer(200, headers, picture.data, picture.kept)

    async def redirect(self, answer: HttpAnswer) -> HttpAnswer:
        """A 307 to the object that holds the body, or `answer` itself if there is none."""
        store = self._app.store
        if answer.kept is None or not isinstance(store, Presigner):
            return answer
        try:
            url = await store.presign(*answer.kept, PRESIGNED_SECONDS)
        except errors.StoreError:
            return answer
        caching = f"public, max-age={PRESIGNED_SECONDS // 2}"
        headers = {**answer.headers, "Location": url, "Cache-Control": caching, "Content-Length": "0"}
        return HttpAnswer(HTTPStatus.TEMPORARY_REDIRECT, headers)

    def _negotiate(self, wish: Wish, accept: str) -> tuple[Wish, bool]:
        """The wish with a format that the client shows, and whether its answer depends on the Accept header.

        Records have chosen the format of the renditions.
        """
        if wish.rendition.format is not None or wish.rendition in self._app.settings.renditions:
            return wish, False
        format_ = preferred_format(accept, self._app.settings.negotiate)
        if format_ is None:
            return wish, bool(self._app.settings.negotiate)
        return replace(wish, rendition=replace(wish.rendition, format=format_)), True

    async def _current_version(self, wish: Wish) -> ObjectVersion | None:
        """The source's. One HEAD; None if it tells nothing: the GET will tell why."""
        try:
            return await self._app.store.head(wish.bucket, wish.key)
        except errors.StoreError:
            return None

    async def _share(self, wish: Wish, place: Place | None, current: ObjectVersion | None, seconds: float) -> Picture:
        """Clients that ask for the same picture wait for the same decode, which goes on if one of them leaves."""
        name = (wish.bucket, wish.key, wish.rendition, current if place else None)
        flight = self._flights.get(name)
        if flight is None:
            flight = self._flights[name] = asyncio.create_task(self._get(wish, place, current, seconds))
            flight.add_done_callback(lambda task: self._land(name, task))
        else:
            self.shared()
        return await asyncio.shield(flight)

    def _land(self, name: Name, task: asyncio.Task[Picture]) -> None:
        del self._flights[name]
        if not task.cancelled():
            task.exception()  # every client may have left

    async def _get(self, wish: Wish, place: Place | None, current: ObjectVersion | None, seconds: float) -> Picture:
        """From the destination, or made now. Raises Refusal."""
        deadline = asyncio.get_running_loop().time() + seconds
        if place and (picture := await self._find(wish.bucket, place.key, current, deadline)):
            return picture
        if self._making >= WAITING * self._app.tier.in_flight:
            busy = {"Retry-After": "1"}
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too many pictures wait", headers=busy)
        self._making += 1
        try:
            return await self._make(wish, place and place.template, deadline)
        finally:
            self._making -= 1

    async def _find(self, source: str, key: str, current: ObjectVersion | None, deadline: float) -> Picture | None:
        """The destination's picture: one GET. None if it is missing, no thumbnail, or not of `current`, if known."""
        app, bucket = self._app, self._app.settings.destination_bucket(source)
        with suppress(errors.StoreError, TimeoutError):
            async with asyncio.timeout_at(deadline), app.store.open(bucket, key) as body:
                version, kind = source_version(body.headers), body.headers.content_type
                if version is None or kind is None or current not in (None, version):
                    return None
                with app.pipeline.renderer.memory.count(body.headers.size):
                    data = b"".join([bytes(chunk) async for chunk in body.chunks()])
                return Picture(data, kind, version, (bucket, key))
        return None

    async def _make(self, wish: Wish, template: str | None, deadline: float) -> Picture:
        """`template`: the picture is kept under this key. Raises Refusal."""
        event, settings = source_event(wish), self._app.settings
        trace = Trace(event)
        async with trace.ending(deadline):
            refuse_event(event, settings)
            chosen = replace(settings, renditions=(wish.rendition,), key=template or "{key}", offers=())
            if template:
                chosen = replace(chosen, cache_control=settings.cache_control or self._caching())
                return _picture(*await self._app.pipeline.keep(event, chosen, trace))
            result = await self._app.pipeline.renderer.render(event, chosen, trace)
            if isinstance(result, Refused):
                raise result.error
            return _picture(result)
        self._refused(trace.outcome)
        raise refuse_outcome(trace.outcome)

    def _caching(self, immutable: bool = False) -> str:
        if immutable:
            return f"public, max-age={YEAR}, immutable"
        return f"public, max-age={self._app.settings.max_age}, {STALE}"

    def _sharing(self) -> Mapping[str, str]:
        origin = self._app.settings.cors
        return {"Access-Control-Allow-Origin": origin, "Timing-Allow-Origin": origin} if origin else {}


def _picture(rendered: Rendered, outputs: Sequence[Output] = ()) -> Picture:
    (target,), (data,) = rendered.plan.targets, rendered.rendering.pictures
    kept = (target.bucket, target.key) if outputs else None
    return Picture(data, OUTPUTS[target.format].content_type, rendered.version, kept)
