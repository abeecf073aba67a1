"""An object store in memory, for tests, the demo and other programs; with versions on request."""

import hashlib
from collections import Counter
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
    """`buckets` are the only buckets. If `versioned`, version ids are "v1", "v2", ...; old versions are not kept."""

    def __init__(self, *buckets: str, versioned: bool = False) -> None:
        self.puts: dict[tuple[str, str], PutHeaders] = {}
        self._versioned = versioned
        self._revisions: Counter[tuple[str, str]] = Counter()
        self._objects: dict[str, dict[str, _Body]] = {bucket: {} for bucket in buckets}

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[ObjectBody]:
        if (body := self._bucket(bucket).get(key)) is None:
            raise ObjectMissing(f"GET {bucket}/{key!r}: no such object")
        yield body

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        body = self._objects.get(bucket, {}).get(key)
        return body and body.headers.version

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        """`puts` keeps the headers of the last PUT of each bucket and key."""
        objects = self._bucket(bucket)
        self.puts[bucket, key] = sent = drop_unsendable(headers)
        self._revisions[bucket, key] += 1
        version = f"v{self._revisions[bucket, key]}" if self._versioned else None
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        said = {field: getattr(sent, field) for field in (*HEADERS, "metadata")}
        objects[key] = _Body(ObjectHeaders(len(data), etag, version, **said), bytes(data))

    async def delete(self, bucket: str, key: str) -> None:
        self._revisions[bucket, key] += 1
        self._bucket(bucket).pop(key, None)

    async def aclose(self) -> None: ...

    def _bucket(self, bucket: str) -> dict[str, _Body]:
        if bucket not in self._objects:
            raise BucketMissing(f"{bucket}: no such bucket")
        return self._objects[bucket]
