"""An object store in memory, for tests, the demo and other programs; with versions on request."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from thumbnailer.errors import BucketMissing, ObjectMissing
from thumbnailer.store.base import HEADERS, ObjectBody, ObjectHeaders, ObjectVersion, PutHeaders, drop_unsendable


class _Body(NamedTuple):
    headers: ObjectHeaders
    data: bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.data), 65536):
            yield self.data[start : start + 65536]


class MemoryStore:
    """`buckets` are the only buckets. Version ids are "v1", "v2", ... if `versioned`."""

    def __init__(self, *buckets: str, versioned: bool = False) -> None:
        self.puts: dict[tuple[str, str], PutHeaders] = {}
        self._versioned = versioned
        self._objects: dict[str, dict[str, dict[str, _Body | None]]] = {bucket: {} for bucket in buckets}

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[ObjectBody]:
        if (body := self._newest(bucket, key)) is None:
            raise ObjectMissing(f"GET {bucket}/{key!r}: no such object")
        yield body

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        body = self._newest(bucket, key) if bucket in self._objects else None
        return body and body.headers.version

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        """`puts` keeps the headers of the last PUT of each bucket and key."""
        versions, id_ = self._next(bucket, key)
        self.puts[bucket, key] = sent = drop_unsendable(headers)
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        said = {field: getattr(sent, field) for field in (*HEADERS, "metadata")}
        headers_ = ObjectHeaders(len(data), etag, id_ if self._versioned else None, **said)
        versions[id_] = _Body(headers_, bytes(data))

    async def delete(self, bucket: str, key: str) -> None:
        versions, id_ = self._next(bucket, key)
        versions[id_] = None

    async def aclose(self) -> None: ...

    def _newest(self, bucket: str, key: str) -> _Body | None:
        versions = self._versions(bucket, key)
        return versions.get(next(reversed(versions), ""))

    def _next(self, bucket: str, key: str) -> tuple[dict[str, _Body | None], str]:
        versions = self._versions(bucket, key)
        return versions, f"v{len(versions) + 1}" if self._versioned else "null"

    def _versions(self, bucket: str, key: str) -> dict[str, _Body | None]:
        if bucket not in self._objects:
            raise BucketMissing(f"{bucket}: no such bucket")
        return self._objects[bucket].setdefault(key, {})
