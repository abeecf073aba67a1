"""S3 through aioboto3: every credential source, region and kind of bucket that AWS's own SDK knows; slow to import."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

from thumbnailer.errors import BucketMissing, ObjectMissing, StoreError, StoreRefused, StoreUnavailable
from thumbnailer.store.base import ObjectBody, ObjectHeaders, ObjectVersion, PutHeaders, StoreConfig, sendable
from thumbnailer.store.s3 import CHUNK, Retry, S3Body, error_for

T = TypeVar("T")

_Answer = Mapping[str, Any]
"""what get_object returns; botocore makes it from its model at run time"""
_REFRESH_EVERY: Final = 60.0


class Aioboto3Store:
    """An ObjectStore with one client, made at the first request and entered until `aclose`."""

    def __init__(self, config: StoreConfig) -> None:
        self._config = config
        self._exit = AsyncExitStack()
        self._making = asyncio.Lock()
        self._current: Any = None
        self._refreshed_at = float("-inf")

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[ObjectBody]:
        what = f"GET {bucket}/{key!r}"
        asked = self._asked(bucket, key)

        async def get(**more: str) -> _Answer:
            client = await self._client()
            answer: _Answer = await _mapped(what, client.get_object(**asked, **more))
            return answer

        async def rest(offset: int) -> _Stream:
            part = await get(Range=f"bytes={offset}-", IfMatch=first["ETag"])
            stream = _Stream(part, what)
            # both: a store that does not know If-Match still must not hand out another object's end
            same = f"bytes {offset}-{headers.size - 1}/{headers.size}", first["ETag"]
            if (part.get("ContentRange"), part["ETag"]) != same:
                stream.close()
                raise StoreRefused(f"{what}: the object changed while it was read")
            return stream

        retry = Retry(self._config, self._refresh)
        first = await retry.run(get)
        headers = _headers(first)
        body = S3Body(headers, _Stream(first, what), rest, retry, what)
        try:
            yield body
        finally:
            body.close()

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        async def attempt() -> ObjectVersion | None:
            client = await self._client()
            try:
                answer = await _mapped(f"HEAD {bucket}/{key!r}", client.head_object(**self._asked(bucket, key)))
            except (ObjectMissing, BucketMissing):
                return None
            return _version(answer)

        return await Retry(self._config, self._refresh).run(attempt)

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        asked = {**self._asked(bucket, key), "Body": data, **_arguments(headers)}

        async def attempt() -> None:
            client = await self._client()
            await _mapped(f"PUT {bucket}/{key!r}", client.put_object(**asked))

        await Retry(self._config, self._refresh).run(attempt)

    async def delete(self, bucket: str, key: str) -> None:
        async def attempt() -> None:
            client = await self._client()
            try:
                await _mapped(f"DELETE {bucket}/{key!r}", client.delete_object(**self._asked(bucket, key)))
            except ObjectMissing:
                return

        await Retry(self._config, self._refresh).run(attempt)

    async def aclose(self) -> None:
        self._current = None
        await self._exit.aclose()

    def _asked(self, bucket: str, key: str) -> dict[str, Any]:
        owner = self._config.expected_owner
        return {"Bucket": bucket, "Key": key} | ({"ExpectedBucketOwner": owner} if owner else {})

    async def _client(self) -> Any:
        async with self._making:
            if self._current is None:
                session = aioboto3.Session(region_name=self._config.region)
                context = session.client(
                    "s3",
                    endpoint_url=self._config.endpoint_url,
                    verify=self._config.ca_bundle,
                    config=_client_config(self._config),
                )
                self._current = await self._exit.enter_async_context(context)
            return self._current

    async def _refresh(self) -> None:
        """Start over with a client that looks for credentials anew; the old one lives on, for the bodies under way.

        botocore renews in time what it knows to expire, so this is for the rest; at most once a minute, since a token
        that stays expired would leave a client behind with every record.
        """
        now = asyncio.get_running_loop().time()
        if now - self._refreshed_at > _REFRESH_EVERY:
            self._refreshed_at, self._current = now, None


class _Stream:
    def __init__(self, answer: _Answer, what: str) -> None:
        self._body: Any = answer["Body"]
        self._what = what

    async def read(self) -> bytes:
        chunk: bytes = await _mapped(self._what, self._body.read(CHUNK))
        return chunk

    def close(self) -> None:
        """aiohttp drops the connection if anything is left to read, and has given it back already if not."""
        self._body.close()


async def _mapped(what: str, operation: Awaitable[T]) -> T:
    """`operation`, its errors made ours."""
    try:
        return await operation
    except ClientError as error:
        raise _error(what, error) from error
    except (NoCredentialsError, ParamValidationError) as error:
        raise StoreRefused(f"{what}: {error}") from error
    except (BotoCoreError, aiohttp.ClientError, TimeoutError, OSError) as error:
        raise StoreUnavailable(f"{what}: {type(error).__name__}: {error}") from error


def _error(what: str, error: ClientError) -> StoreError:
    code = error.response.get("Error", {}).get("Code")
    # without an XML body botocore puts the status where the code belongs
    return error_for(
        what, error.response["ResponseMetadata"]["HTTPStatusCode"], None if code and code.isdigit() else code
    )


def _version(answer: _Answer) -> ObjectVersion:
    etag = answer.get("ETag")
    return ObjectVersion(etag.strip('"') if etag else None, answer.get("VersionId"))


def _headers(answer: _Answer) -> ObjectHeaders:
    version = _version(answer)
    return ObjectHeaders(
        size=answer["ContentLength"],
        etag=version.etag,
        version_id=version.version_id,
        content_type=answer.get("ContentType"),
        cache_control=answer.get("CacheControl"),
        content_disposition=answer.get("ContentDisposition"),
        content_language=answer.get("ContentLanguage"),
        metadata={name.lower(): value for name, value in answer.get("Metadata", {}).items()},
    )


def _arguments(headers: PutHeaders) -> dict[str, Any]:
    sent = sendable(headers)
    arguments = {
        "ContentType": sent.content_type,
        "CacheControl": sent.cache_control,
        "ContentDisposition": sent.content_disposition,
        "ContentLanguage": sent.content_language,
        "Metadata": sent.metadata,
        "StorageClass": sent.storage_class,
        "ServerSideEncryption": sent.sse,
        "SSEKMSKeyId": sent.kms_key_id,
    }
    return {name: value for name, value in arguments.items() if value}


def _client_config(config: StoreConfig) -> AioConfig:
    return AioConfig(
        signature_version="s3v4",
        connect_timeout=config.connect_timeout,
        read_timeout=config.read_timeout,
        max_pool_connections=config.connections,
        retries={"total_max_attempts": 1, "mode": "standard"},
        s3={"addressing_style": "path" if config.endpoint_url else "virtual"},
        # each would add a header, and on PUT a chunked body with a trailer, to what TLS and the signature guard already
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
