"""A service over a store in memory that counts its requests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import asynccontextmanager
from typing import Any

from handler.http.messages import HttpAnswer, HttpRequest
from handler.http.service import Service, make_site
from thumbnailer.app import App
from thumbnailer.model import Outcome
from thumbnailer.store.base import PutHeaders
from thumbnailer.store.memory import MemoryStore


class CountingStore(MemoryStore):
    """Lists requests: the verb for a source, with `*` for the destination. A GET waits while `gate` is closed.

    `errors` has what a request meets; `before` is awaited just before a request, once.
    """

    def __init__(self) -> None:
        super().__init__("photos", "photos-resized")
        self.requests: list[str] = []
        self.errors: dict[str, Exception] = {}
        self.before: dict[str, Coroutine[Any, Any, None]] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> Any:
        await self._count("GET", bucket)
        async with super().open(bucket, key) as body:
            yield body

    async def head(self, bucket: str, key: str) -> Any:
        await self._count("HEAD", bucket)
        return await super().head(bucket, key)

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        if bucket != "photos":
            await self._count("PUT", bucket)
        await super().put(bucket, key, data, headers)

    async def delete(self, bucket: str, key: str) -> None:
        if bucket != "photos":
            await self._count("DELETE", bucket)
        await super().delete(bucket, key)

    async def upload(self, key: str, data: bytes) -> None:
        await self.put("photos", key, data, PutHeaders("image/jpeg"))

    def kept(self) -> dict[str, str]:
        """The content type of each object in the destination."""
        return {key: str(body.headers.content_type) for key, body in self._objects["photos-resized"].items()}

    async def _count(self, verb: str, bucket: str) -> None:
        what = verb if bucket == "photos" else f"{verb}*"
        self.requests.append(what)
        if what == "GET":
            await self.gate.wait()
        if what in self.before:
            await self.before.pop(what)
        if what in self.errors:
            raise self.errors[what]


class Bench:
    """A service over a store with the sample pictures."""

    def __init__(self, app: App, store: CountingStore) -> None:
        self.store = store
        self.app = app
        self.refused: list[Outcome] = []
        self.service = Service(app, make_site(app.settings), self.refused.append)

    async def get(self, path: str, query: str = "", method: str = "GET", **headers: str) -> HttpAnswer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.service.answer(HttpRequest(method, path, query, named))
