"""The gallery page: shows outcomes as they come, originals beside their thumbnails, and accepts uploads.

The server listens on loopback, but any page open in the user's browser can send requests there. So the Host must be
ours (no DNS rebinding), uploads need our own page as Origin, the page runs only its own script, and originals, which
are untrusted bytes, are served sandboxed and only as pictures.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from secrets import token_hex
from tempfile import TemporaryFile
from typing import IO, Any, Final
from urllib.parse import quote

from aiohttp import web
from botocore.exceptions import ClientError

from handler.demo.cloud import PHOTOS, RESIZED
from handler.demo.feed import Feed
from handler.http.page import EVERYWHERE, page, page_file
from thumbnailer.model import Outcome

MOST_UPLOAD_BYTES: Final = 100 * 1024 * 1024
MOST_KEY_BYTES: Final = 1024
HEARTBEAT_SECONDS: Final = 15.0
PIECE: Final = 64 * 1024

SANDBOX: Final = {"Content-Security-Policy": "sandbox; default-src 'none'"}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_PICTURE_TYPE: Final = re.compile(r"image/[a-z0-9][a-z0-9.+-]{0,60}")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gallery:
    """The application. `s3` is an aioboto3 client of the loop that runs it."""

    def __init__(self, feed: Feed, s3: Any, renditions: str) -> None:
        self._feed = feed
        self._s3 = s3
        route = f"{PHOTOS} \N{RIGHTWARDS ARROW} {RESIZED}, at most {renditions}"
        self._facts = {"route": route, "most": MOST_UPLOAD_BYTES, "put": "upload", "events": "events"}
        self._run = token_hex(4)
        self._hosts: frozenset[str] = frozenset()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/{file:(_page/.*)?}", self._page)
        app.router.add_get("/events", self._events)
        app.router.add_put("/upload", self._upload)
        app.router.add_get("/object/{bucket}/{key:.+}", self._object)
        return app

    def bound_to(self, port: int) -> str:
        """Accepts requests for this port. Returns the page's URL."""
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        return f"http://127.0.0.1:{port}/"

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.host not in self._hosts:
            raise web.HTTPForbidden(text="only this machine may open this page")
        if request.method not in ("GET", "HEAD") and request.headers.get("Origin") != f"http://{request.host}":
            raise web.HTTPForbidden(text="only the gallery's own page may upload")
        return await handler(request)

    async def _page(self, request: web.Request) -> web.Response:
        answer = page(self._facts) if request.path == "/" else page_file(request.path)
        if answer is None:
            raise web.HTTPNotFound(text="no such file")
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: all outcomes so far, then new ones. A page that reconnects continues where it stopped."""
        stream = web.StreamResponse(headers=EVERYWHERE | {"Content-Type": "text/event-stream"})
        number = self._start_of(request)
        with contextlib.suppress(ConnectionError):  # the page was closed
            await stream.prepare(request)
            await stream.write(f"event: run\ndata: {self._run}\n\n".encode())
            while await self._alive(stream, number):
                card = json.dumps(card_of(self._feed.outcomes[number], number))
                number += 1
                await stream.write(f"id: {self._run}-{number}\ndata: {card}\n\n".encode())
        return stream

    def _start_of(self, request: web.Request) -> int:
        run, _, number = request.headers.get("Last-Event-ID", "").partition("-")
        return int(number) if run == self._run and number.isdecimal() else 0

    async def _alive(self, stream: web.StreamResponse, number: int) -> bool:
        """Waits for an outcome beyond `number` and sends keep-alives. Returns False if the feed is closed."""
        while True:
            try:
                return await asyncio.wait_for(self._feed.more_than(number), HEARTBEAT_SECONDS)
            except TimeoutError:
                await stream.write(b": keep-alive\n\n")

    async def _upload(self, request: web.Request) -> web.Response:
        """Stores the body in the bucket, through a temporary file: an aborted or too large body never gets there."""
        key = request.query.get("name", "")
        if not 1 <= len(key.encode(errors="replace")) <= MOST_KEY_BYTES or _CONTROL.search(key):
            raise web.HTTPBadRequest(text=f"?name= must have 1 to {MOST_KEY_BYTES} bytes and no control characters")
        kind = picture_type(request.content_type) or "application/octet-stream"
        with TemporaryFile() as file:
            size = await receive(request, file)
            await self._s3.put_object(Bucket=PHOTOS, Key=key, Body=file, ContentType=kind)
        return web.json_response({"key": key, "bytes": size}, status=201, headers=EVERYWHERE)

    async def _object(self, request: web.Request) -> web.StreamResponse:
        bucket, key = request.match_info["bucket"], request.match_info["key"]
        if bucket not in (PHOTOS, RESIZED):
            raise web.HTTPNotFound(text="no such bucket here")
        try:
            found = await self._s3.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            raise web.HTTPNotFound(text="no such object") from error
        stream = web.StreamResponse(headers=EVERYWHERE | _object_headers(found))
        stream.content_length = found["ContentLength"]
        async with found["Body"]:
            with contextlib.suppress(ConnectionError):  # the page was closed or no longer wants the picture
                await stream.prepare(request)
                async for piece in found["Body"].iter_chunks(PIECE):
                    await stream.write(piece)
        return stream


async def receive(request: web.Request, file: IO[bytes]) -> int:
    """Writes the body into `file`, rewinds it and returns its size. Raises 413 if the body is too large."""
    size = request.content_length or 0
    if size > MOST_UPLOAD_BYTES:
        raise web.HTTPRequestEntityTooLarge(MOST_UPLOAD_BYTES, size)
    try:
        async for piece in request.content.iter_chunked(PIECE):
            file.write(piece)
            if file.tell() > MOST_UPLOAD_BYTES:
                raise web.HTTPRequestEntityTooLarge(MOST_UPLOAD_BYTES, file.tell())
    except ConnectionError as error:
        raise web.HTTPBadRequest(text="the upload was aborted") from error
    size = file.tell()
    file.seek(0)
    return size


def picture_type(text: str) -> str | None:
    """The text if it is a harmless content type."""
    return text if _PICTURE_TYPE.fullmatch(text) else None


def _object_headers(found: Mapping[str, Any]) -> dict[str, str]:
    """Opened directly, an object is an inert picture (SVG can hold scripts) or a download."""
    kind = picture_type(found.get("ContentType", ""))
    if kind is None:
        return SANDBOX | {"Content-Type": "application/octet-stream", "Content-Disposition": "attachment"}
    return SANDBOX | {"Content-Type": kind}


# --- outcomes as JSON ---------------------------------------------------------------------------------------------


def card_of(outcome: Outcome, number: int) -> dict[str, Any]:
    """`number` makes the addresses unique when a key is written again."""
    event, info = outcome.event, outcome.info
    width, height = info.upright if info else (None, None)
    return {
        "key": event.key,
        "status": outcome.status,
        "reason": outcome.reason,
        "detail": outcome.detail,
        "engine": outcome.engine,
        "damaged": outcome.damaged,
        "source": {
            "url": object_url(event.bucket, event.key, number) if info else None,
            "format": info.format if info else None,
            "frames": info.frames if info else 1,
            "width": width,
            "height": height,
            "bytes": event.size or outcome.bytes_in,
        },
        "outputs": [
            {
                "url": object_url(output.bucket, output.key, number),
                **{name: getattr(output, name) for name in ("name", "format", "width", "height", "bytes")},
            }
            for output in outcome.outputs
        ],
        "ms": [[stage, round(seconds * 1000, 2)] for stage, seconds in outcome.timings],
    }


def object_url(bucket: str, key: str, number: int) -> str:
    """The key is one path segment, so that no browser resolves `..` or `//` in it."""
    return f"/object/{bucket}/{quote(key, safe='')}?v={number}"


# --- the server ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serve(gallery: Gallery, port: int) -> AsyncIterator[str]:
    """Yields the page's URL. Port 0 takes any free one. Raises OSError if the port is taken."""
    runner = web.AppRunner(gallery.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        yield gallery.bound_to(runner.addresses[0][1])
    finally:
        await runner.cleanup()
