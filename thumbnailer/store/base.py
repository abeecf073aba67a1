"""What an object store is: the protocol, the values it takes and gives, and how it is configured.

Keys are decoded text, any of them: a key is never a path. Sizes are bytes, durations seconds.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple, Protocol

Transport = Literal["auto", "aioboto3", "obstore"]

_SENDABLE_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_SENDABLE_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class ObjectVersion(NamedTuple):
    """What tells one content of a key from another: equal exactly where nothing was written in between.

    Two writes of the same bytes to a bucket that keeps no versions are one version here.
    """

    etag: str | None
    version_id: str | None


@dataclass(frozen=True, slots=True)
class ObjectHeaders:
    """What came with an object. `etag` has no quotes; names in `metadata` are lower-case, without `x-amz-meta-`.

    Values are as S3 sent them: what is not ASCII comes RFC 2047-encoded and is passed through so.
    """

    size: int
    etag: str | None
    version_id: str | None
    content_type: str | None
    cache_control: str | None
    content_disposition: str | None
    content_language: str | None
    metadata: Mapping[str, str]

    @property
    def version(self) -> ObjectVersion:
        return ObjectVersion(self.etag, self.version_id)


@dataclass(frozen=True, slots=True)
class PutHeaders:
    """What goes with an object. Values no header can carry are left out, see `sendable`."""

    content_type: str
    cache_control: str | None = None
    content_disposition: str | None = None
    content_language: str | None = None
    metadata: Mapping[str, str] | None = None
    storage_class: str | None = None
    sse: str | None = None
    """AES256, aws:kms or aws:kms:dsse"""
    kms_key_id: str | None = None


class ObjectBody(Protocol):
    """An object that has begun to arrive."""

    @property
    def headers(self) -> ObjectHeaders: ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes, once, in pieces of some 64 KiB; exactly `headers.size` of them, or it raises.

        Whoever stops early drops the iterator and leaves the context it came from.

        Raises:
            StoreError: what was left could not be had; never a short body.
        """
        ...


class ObjectStore(Protocol):
    """The verbs the pipeline uses. One request each when nothing goes wrong.

    Every one but `aclose` raises the StoreErrors: what is passing has been retried before it is raised.
    """

    def open(self, bucket: str, key: str) -> AbstractAsyncContextManager[ObjectBody]:
        """One GET of what is there now. Leaving the context early drops the connection and what was still to come."""
        ...

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        """One HEAD: what is there now, None: nothing (the bucket may not be there either).

        The answer to a HEAD has no body, so an error has no code: StoreDenied may be any 403, and only a GET tells.
        """
        ...

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        """Store `data` whole, or not at all. Repeating it is harmless."""
        ...

    async def delete(self, bucket: str, key: str) -> None:
        """Make the key go away; that it is not there is fine."""
        ...

    async def aclose(self) -> None:
        """Let go of connections; the store is of no use afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """How to reach S3. One try and `retries` more, none begun later than `retry_timeout` after the first failure.

    The pauses between are random, up to `backoff`, 4 and 16 times that, at most `max_backoff`.
    """

    transport: Transport = "auto"
    endpoint_url: str | None = None
    region: str = "us-east-1"
    ca_bundle: str | None = None
    """a PEM file of certificates to trust, besides the system's or instead of them as the store can"""
    connect_timeout: float = 2.0
    read_timeout: float = 5.0
    """between two pieces of a body, and for an answer to begin"""
    retries: int = 3
    retry_timeout: float = 10.0
    backoff: float = 0.1
    max_backoff: float = 2.0
    connections: int = 64
    expected_owner: str | None = None
    """the AWS account that every bucket must belong to; S3 denies requests for another's"""

    @classmethod
    def from_env(cls, env: Mapping[str, str], **changes: Any) -> StoreConfig:
        """The endpoint, region and CA bundle that AWS's own variables ask for, and `changes` to any field."""
        ignore = env.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"
        endpoint = None if ignore else env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
        region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1"
        bundle = env.get("AWS_CA_BUNDLE") or None
        return cls(**{"endpoint_url": endpoint or None, "region": region, "ca_bundle": bundle, **changes})

    def path_style(self, bucket: str) -> bool:
        """Bucket in the path, not in the host name: with an endpoint, and where a dot would break the certificate."""
        return self.endpoint_url is not None or "." in bucket


def sendable(headers: PutHeaders) -> PutHeaders:
    """`headers` without what HTTP cannot carry as it is.

    Measured: obstore panics in Rust on a line break in a value or a space in a name, and aioboto3 refuses all of a
    PUT for one non-ASCII value. Metadata comes from strangers' objects; a thumbnail without it beats none.
    """

    def value(text: str | None) -> str | None:
        return text if text is not None and _SENDABLE_VALUE.fullmatch(text) else None

    return replace(
        headers,
        content_type=value(headers.content_type) or "application/octet-stream",
        cache_control=value(headers.cache_control),
        content_disposition=value(headers.content_disposition),
        content_language=value(headers.content_language),
        metadata={
            name.lower(): text
            for name, text in (headers.metadata or {}).items()
            if _SENDABLE_NAME.fullmatch(name) and _SENDABLE_VALUE.fullmatch(text)
        },
    )
