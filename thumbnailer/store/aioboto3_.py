"""S3 through aioboto3: supports every credential source, region and kind of bucket of AWS's SDK; slow to import."""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, TypeVar

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiohttp.typedefs import RawHeaders
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

from thumbnailer.errors import StoreRefused, StoreUnavailable
from thumbnailer.store.base import HEADERS, ObjectHeaders, ObjectVersion, PutHeaders, StoreConfig, drop_unsendable
from thumbnailer.store.s3 import CHUNK, NO_CREDENTIALS, Answer, S3Store, error_for

T = TypeVar("T")

_Response = Mapping[str, Any]
"""A response of botocore, which makes its type from its model at run time."""
_RENEW_EVERY: Final = 60.0


class Aioboto3Store(S3Store):
    """An ObjectStore with one client, made at the first request and open until `aclose`."""

    def __init__(self, config: StoreConfig) -> None:
        super().__init__(config)
        self._exit = AsyncExitStack()
        self._making = asyncio.Lock()
        self._current: Any = None
        self._renewed_at = float("-inf")

    async def aclose(self) -> None:
        self._current = None
        await self._exit.aclose()

    async def _get(self, bucket: str, key: str, offset: int = 0, etag: str | None = None) -> Answer:
        rest = {"Range": f"bytes={offset}-", "IfMatch": etag} if etag else {}
        response = await self._request("get_object", bucket, key, **rest)
        stream = _Stream(response, f"GET {bucket}/{key!r}")
        if "ContentLength" not in response or (etag and "ContentRange" not in response):
            stream.close()
            raise StoreRefused(f"GET {bucket}/{key!r}: no Content-Length, or Range is ignored")
        return Answer(_headers(response, offset), stream, response.get("ETag"))

    async def _head(self, bucket: str, key: str) -> ObjectVersion:
        return _version(await self._request("head_object", bucket, key))

    async def _put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        sha256 = b64encode(hashlib.sha256(data).digest()).decode()
        await self._request("put_object", bucket, key, Body=data, ChecksumSHA256=sha256, **_arguments(headers))

    async def _delete(self, bucket: str, key: str) -> None:
        await self._request("delete_object", bucket, key)

    async def presign(self, bucket: str, key: str, seconds: int) -> str:
        sign = (await self._client()).generate_presigned_url
        signing = sign("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds)
        return str(await _map_errors(f"GET {bucket}/{key!r}", signing))

    async def _renew(self) -> None:
        """Makes a new client, which looks for credentials again; the old one stays open for unfinished bodies.

        botocore itself renews credentials whose expiry it knows. At most once a minute: a token that stays expired
        would otherwise leave a client behind with every record.
        """
        now = asyncio.get_running_loop().time()
        if now - self._renewed_at > _RENEW_EVERY:
            self._renewed_at, self._current = now, None

    async def _request(self, operation: str, bucket: str, key: str | None, **more: Any) -> _Response:
        """One request, of a key or of a bucket."""
        owner = self._config.expected_owner
        arguments = {"Bucket": bucket} | ({} if key is None else {"Key": key}) | more
        arguments |= {"ExpectedBucketOwner": owner} if owner else {}
        client = await self._client()
        what = f"{operation.partition('_')[0].upper()} {bucket}" + ("" if key is None else f"/{key!r}")
        response: _Response = await _map_errors(what, getattr(client, operation)(**arguments))
        return response

    async def _client(self) -> Any:
        async with self._making:
            if self._current is None:
                config = self._config
                try:
                    session = aioboto3.Session(region_name=config.region)
                except BotoCoreError as error:  # a profile that does not exist
                    raise StoreRefused(f"AWS's settings are invalid: {error}") from error
                client = session.client(
                    "s3", endpoint_url=config.endpoint_url, verify=config.ca_bundle, config=_client_config(config)
                )
                self._current = await self._exit.enter_async_context(client)
            return self._current


class _Stream:
    def __init__(self, response: _Response, what: str) -> None:
        self._body: Any = response["Body"]
        self._what = what

    async def read(self) -> bytes:
        chunk: bytes = await _map_errors(self._what, self._body.read(CHUNK))
        return chunk

    def close(self) -> None:
        """aiohttp drops the connection unless the body was read to its end."""
        self._body.close()


class _Utf8Response(aiohttp.ClientResponse):
    """aiobotocore decodes all headers as UTF-8. Those of an object may be anything else."""

    @property
    def raw_headers(self) -> RawHeaders:
        return tuple((name, value.decode(errors="replace").encode()) for name, value in super().raw_headers)


class _HttpSession(AIOHTTPSession):
    async def _get_session(self, proxy_url: str | None) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)  # type: ignore[misc]
        session._response_class = _Utf8Response
        return session


async def _map_errors(what: str, operation: Awaitable[T]) -> T:
    """The result of `operation`. Raises StoreErrors in place of the library's errors."""
    try:
        return await operation
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        # without an XML body, botocore gives the status as the code
        raise error_for(what, status, None if code and code.isdigit() else code) from error
    except NoCredentialsError as error:
        raise StoreRefused(f"{what}: {NO_CREDENTIALS}") from error
    except ParamValidationError as error:
        raise StoreRefused(f"{what}: {error}") from error
    except (BotoCoreError, aiohttp.ClientError, TimeoutError, OSError) as error:
        raise StoreUnavailable(f"{what}: {type(error).__name__}: {error}") from error


def _version(response: _Response) -> ObjectVersion:
    etag = response.get("ETag")
    return ObjectVersion(etag.strip('"') if etag else None, response.get("VersionId"))


def _headers(response: _Response, offset: int) -> ObjectHeaders:
    """The headers of an object whose bytes from `offset` on are in the response."""
    return ObjectHeaders(
        size=offset + response["ContentLength"],
        **_version(response)._asdict(),
        content_encoding=response.get("ContentEncoding"),
        **{field: response.get(name.replace("-", "")) for field, name in HEADERS.items()},
        metadata={name.lower(): value for name, value in response.get("Metadata", {}).items()},
    )


def _arguments(headers: PutHeaders) -> dict[str, Any]:
    sent = drop_unsendable(headers)
    arguments = {name.replace("-", ""): getattr(sent, field) for field, name in HEADERS.items()} | {
        "Metadata": sent.metadata,
        "StorageClass": sent.storage_class,
        "ServerSideEncryption": sent.sse,
        "SSEKMSKeyId": sent.kms_key_id,
    }
    return {name: value for name, value in arguments.items() if value}


def _client_config(config: StoreConfig) -> AioConfig:
    return AioConfig(
        http_session_cls=_HttpSession,
        signature_version="s3v4",
        connect_timeout=config.connect_timeout,
        read_timeout=config.read_timeout,
        max_pool_connections=config.connections,
        retries={"total_max_attempts": 1, "mode": "standard"},
        s3={"addressing_style": "path" if config.endpoint_url else "virtual"},
        # other checksums come in a chunked body with a trailer; TLS and the signature protect the body
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
