"""S3 through obstore, the Rust object_store: no boto3 to import, bodies copied once, TLS outside the GIL.

What it cannot do raises ObstoreCannot before anything is stored, and `auto` asks aioboto3. It reads the environment's
credentials (keys, session token, web identity, container, instance) by itself; not profile files.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from thumbnailer.errors import BucketMissing, ObjectMissing, StoreError, StoreRefused, StoreUnavailable
from thumbnailer.store.base import ObjectBody, ObjectHeaders, ObjectVersion, PutHeaders, StoreConfig, sendable
from thumbnailer.store.s3 import BucketElsewhere, ObstoreCannot, Retry, S3Body, error_for

if TYPE_CHECKING:
    from obstore import Attributes, BytesStream, GetOptions, GetResult
    from obstore.store import ClientConfig, S3Config

T = TypeVar("T")

LEAST_CHUNK: Final = 32 * 1024
"""Measured: hyper reads 8, 16, 32, ... KB at a time, so the first piece is 56 KB: what is no picture costs no more."""
STORES: Final = 64
_NAMED: Final = ("Content-Type", "Cache-Control", "Content-Disposition", "Content-Language", "Content-Encoding")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# Rust's pretty-printed error: strings in it are quoted and escaped, so no key or message can look like these lines
_STATUS: Final = re.compile(r'^ +status: (\d{3}),\n +body: (?:None|Some\(\n +"(.*)",$)', re.MULTILINE)
_CODE: Final = re.compile(r"<Code>([\w.]+)</Code>")
_REDIRECT: Final = re.compile(r"^ +inner: BareRedirect,$", re.MULTILINE)
_UNREADABLE: Final = re.compile(r"^    source: Invalid(Metadata|C[A-Za-z]+) \{$", re.MULTILINE)


def expressible(key: str) -> bool:
    """Whether object_store sends `key` byte for byte.

    Measured on 0.14: it drops one leading and one trailing slash, and refuses empty, `.` and `..` segments and ASCII
    control characters. All else arrives as it is: `%2e%2e`, `+`, `#`, `?`, quotes, any Unicode, 1,024 bytes.
    """
    return not _CONTROL.search(key) and not {"", ".", ".."}.intersection(key.split("/"))


class ObstoreStore:
    """An ObjectStore. Use it, and make it, inside a running uvloop; raises ObstoreCannot besides the StoreErrors."""

    def __init__(self, config: StoreConfig) -> None:
        self._config = config
        self._stores: OrderedDict[tuple[str, str | None, str | None], S3Store] = OrderedDict()

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[ObjectBody]:
        what = _what("GET", bucket, key)

        async def first() -> GetResult:
            return await _mapped(what, obstore.get_async(self._store(bucket), key))

        async def rest(offset: int) -> _Stream:
            # both: a store that does not know If-Match still must not hand out another object's end
            options: GetOptions = {"range": {"offset": offset}, "if_match": result.meta["e_tag"]}
            part = await _mapped(what, obstore.get_async(self._store(bucket), key, options=options))
            if part.meta["e_tag"] != result.meta["e_tag"] or part.meta["size"] != result.meta["size"]:
                raise StoreRefused(f"{what}: the object changed while it was read")
            return _Stream(part, what)

        _check(what, bucket, key)
        retry = self._retry(bucket)
        result = await retry.run(first)
        body = S3Body(_headers(result), _Stream(result, what), rest, retry, what)
        try:
            yield body
        finally:
            body.close()

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        what = _what("HEAD", bucket, key)
        _check(what, bucket, key)

        async def attempt() -> ObjectVersion | None:
            try:
                meta = await _mapped(what, obstore.head_async(self._store(bucket), key))
            except (ObjectMissing, BucketMissing):
                return None
            return ObjectVersion(_bare(meta["e_tag"]), meta["version"])

        return await self._retry(bucket).run(attempt)

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        what = _what("PUT", bucket, key)
        _check(what, bucket, key)
        attributes = _attributes(headers)

        async def attempt() -> None:
            store = self._store(bucket, headers.sse, headers.kms_key_id)
            await _mapped(what, obstore.put_async(store, key, data, attributes=attributes, use_multipart=False))

        await self._retry(bucket).run(attempt)

    async def delete(self, bucket: str, key: str) -> None:
        what = _what("DELETE", bucket, key)
        _check(what, bucket, key)

        async def attempt() -> None:
            try:
                await _mapped(what, obstore.delete_async(self._store(bucket), key))
            except ObjectMissing:
                return

        await self._retry(bucket).run(attempt)

    async def aclose(self) -> None:
        self._stores.clear()

    def _store(self, bucket: str, sse: str | None = None, kms_key_id: str | None = None) -> S3Store:
        """The S3Store for a bucket and an encryption, which obstore takes per store and not per PUT.

        Measured: each has connections of its own, keeps them between requests, and costs 4 to 10 ms to make; one with
        an encryption sends nothing of it on GET.
        """
        name = (bucket, sse, kms_key_id)
        if name not in self._stores:
            self._stores[name] = _s3_store(self._config, bucket, sse, kms_key_id)
            if len(self._stores) > STORES:
                self._stores.popitem(last=False)
        self._stores.move_to_end(name)
        return self._stores[name]

    def _retry(self, bucket: str) -> Retry:
        async def refresh() -> None:
            for name in [name for name in self._stores if name[0] == bucket]:
                del self._stores[name]

        return Retry(self._config, refresh)


class _Stream:
    def __init__(self, result: GetResult, what: str) -> None:
        self._stream: BytesStream | None = result.stream(LEAST_CHUNK)
        self._what = what

    async def read(self) -> bytes:
        if self._stream is None:
            raise StoreRefused(f"{self._what}: read after its context was left")
        try:
            # not `async for`: a suspended loop would hold the stream, and with it the connection
            return await _mapped(self._what, anext(self._stream))
        except StopAsyncIteration:
            return b""

    def close(self) -> None:
        """Measured: of 50 MB, the first 64 KiB taken, the server had sent 4.2 MB (loopback's buffers), no more."""
        self._stream = None


async def _mapped(what: str, operation: Awaitable[T]) -> T:
    """`operation`, its errors made ours."""
    try:
        return await operation
    except StopAsyncIteration:
        raise
    except Exception as error:
        raise _error(what, str(error)) from error


def _error(what: str, text: str) -> StoreError:
    """The one place that reads obstore's message: its exceptions carry no status, no code and no body but in there.

    Measured: 404 is the builtin FileNotFoundError whether the key or the bucket is missing, 403 PermissionDeniedError
    whether denied or archived, all else GenericError.
    """
    if answer := _STATUS.search(text):
        code = _CODE.search(answer[2] or "")
        error = error_for(what, int(answer[1]), code and code[1])
        return ObstoreCannot(f"{error}", bucket_too=True) if isinstance(error, BucketElsewhere) else error
    if _REDIRECT.search(text):
        return ObstoreCannot(f"{what}: the bucket is in another region", bucket_too=True)
    if _UNREADABLE.search(text):
        return ObstoreCannot(f"{what}: a header that is not ASCII")
    return StoreUnavailable(f"{what}: {text.partition(chr(10))[0]}")


def _check(what: str, bucket: str, key: str) -> None:
    if bucket.startswith("arn:") or bucket.endswith("--x-s3"):
        raise ObstoreCannot(f"{what}: not a general purpose bucket", bucket_too=True)
    if not expressible(key):
        raise ObstoreCannot(f"{what}: object_store would not send this key as it is")


def _what(verb: str, bucket: str, key: str) -> str:
    return f"{verb} {bucket}/{key!r}"


def _bare(etag: str | None) -> str | None:
    return etag and etag.strip('"')


def _headers(result: GetResult) -> ObjectHeaders:
    meta, attributes = result.meta, result.attributes
    return ObjectHeaders(
        size=meta["size"],
        etag=_bare(meta["e_tag"]),
        version_id=meta["version"],
        content_type=attributes.get("Content-Type"),
        cache_control=attributes.get("Cache-Control"),
        content_disposition=attributes.get("Content-Disposition"),
        content_language=attributes.get("Content-Language"),
        metadata={name.lower(): value for name, value in attributes.items() if name not in _NAMED},
    )


def _attributes(headers: PutHeaders) -> Attributes:
    sent = sendable(headers)
    named = {
        "Content-Type": sent.content_type,
        "Cache-Control": sent.cache_control,
        "Content-Disposition": sent.content_disposition,
        "Content-Language": sent.content_language,
        "Storage-Class": sent.storage_class,
    }
    return {**(sent.metadata or {}), **{name: value for name, value in named.items() if value is not None}}


def _s3_store(config: StoreConfig, bucket: str, sse: str | None, kms_key_id: str | None) -> S3Store:
    virtual_host = not config.path_style(bucket)
    amazon = f"https://{bucket + '.' if virtual_host else ''}s3.{config.region}.amazonaws.com"
    options: S3Config = {
        "region": config.region,
        # said even where it is the default: this goes before the four variables that obstore would read for it
        "aws_endpoint_url_s3": config.endpoint_url or amazon,
        "virtual_hosted_style_request": virtual_host,
        "disable_bulk_delete": True,  # else DELETE is a POST ?delete that answers 200 to what was denied
    }
    if sse:
        options["server_side_encryption"] = sse
    if kms_key_id:
        options["sse_kms_key_id"] = kms_key_id
    # retries: see `s3`. Its own resume of a broken body (ranged, ETag compared) is off with them
    try:
        return S3Store(bucket, config=options, client_options=_client(config), retry_config={"max_retries": 0})
    except (OSError, ValueError, BaseError) as error:
        raise StoreRefused(f"{bucket}: no client for this configuration: {error}") from error


def _client(config: StoreConfig) -> ClientConfig:
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=config.connect_timeout),
        "read_timeout": timedelta(seconds=config.read_timeout),
        # of a whole request, reading the body included: 30 s by default, which a body that waits for admission passes
        "timeout": timedelta(minutes=15),
        "pool_max_idle_per_host": str(config.connections),
    }
    if config.expected_owner:
        options["default_headers"] = {"x-amz-expected-bucket-owner": config.expected_owner}  # measured: it is signed
    if (config.endpoint_url or "").startswith("http://"):
        options["allow_http"] = True
    elif config.ca_bundle:
        options["root_certificate"] = Path(config.ca_bundle).read_bytes()
    return options
