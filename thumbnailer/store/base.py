"""The protocol of object stores, its values and its configuration.

Keys are decoded text; a key is never a path. Sizes are bytes, durations seconds.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Literal, NamedTuple, Protocol, Self, runtime_checkable

from thumbnailer.values import dataclass, replace

Transport = Literal["auto", "aioboto3", "obstore"]

HEADERS: Final = {
    "content_type": "Content-Type",
    "cache_control": "Cache-Control",
    "content_disposition": "Content-Disposition",
    "content_language": "Content-Language",
}
"""The header of each field that ObjectHeaders and PutHeaders share. aioboto3 writes these names without a hyphen."""
_SENDABLE_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_SENDABLE_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class ObjectVersion(NamedTuple):
    """The identity of a key's content: equal if nothing was written in between.

    Two writes of the same bytes to a bucket without versioning give equal versions.
    """

    etag: str | None
    version_id: str | None


@dataclass(frozen=True, slots=True)
class ObjectHeaders:
    """The headers of an object. `etag` has no quotes; names in `metadata` are lower-case, without `x-amz-meta-`.

    Values are unchanged: S3 sends text that is not ASCII RFC 2047-encoded, and it stays so.
    """

    size: int
    etag: str | None
    version_id: str | None
    content_type: str | None
    cache_control: str | None
    content_disposition: str | None
    content_language: str | None
    metadata: Mapping[str, str]
    content_encoding: str | None = None

    @property
    def version(self) -> ObjectVersion:
        return ObjectVersion(self.etag, self.version_id)


@dataclass(frozen=True, slots=True)
class PutHeaders:
    """The headers of a PUT. Stores leave out values that no header can carry, see `drop_unsendable`."""

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
    """An object whose headers have arrived."""

    @property
    def headers(self) -> ObjectHeaders: ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes, once, in pieces of about 64 KiB: exactly `headers.size` of them. Raises StoreError otherwise.

        To stop early, drop the iterator and leave the context of `open`.
        """


class ObjectStore(Protocol):
    """The operations that the pipeline uses: one request each if it succeeds at once.

    All except `aclose` raise StoreErrors. Temporary errors are raised only after retries.
    """

    def open(self, bucket: str, key: str) -> AbstractAsyncContextManager[ObjectBody]:
        """One GET of the current object. Leaving the context early drops the connection and the rest of the body."""

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        """One HEAD: the current version, None if the object or the bucket is missing.

        The answer to a HEAD has no body, so an error has no code: StoreDenied can be any 403.
        """

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        """Stores `data` completely or not at all. It may be repeated."""

    async def delete(self, bucket: str, key: str) -> None:
        """Deletes the key, if it exists."""

    async def aclose(self) -> None:
        """Closes all connections; the store cannot be used afterwards."""


@runtime_checkable
class Presigner(Protocol):
    """A store whose objects can be had by URL."""

    async def presign(self, bucket: str, key: str, seconds: int) -> str:
        """A URL that GETs the object for so long, without credentials. Raises StoreError."""


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """How to reach S3: one try and up to `retries` more, within `retry_timeout` after the first failure.

    The pauses are random, up to `backoff`, then 4 and 16 times that, at most `max_backoff`.
    """

    transport: Transport = "auto"
    endpoint_url: str | None = None
    region: str = "us-east-1"
    ca_bundle: str | None = None
    """a PEM file of trusted certificates, in addition to the system's or instead of them, depending on the store"""
    connect_timeout: float = 2.0
    read_timeout: float = 5.0
    """for the start of an answer, and between two pieces of a body"""
    retries: int = 3
    retry_timeout: float = 10.0
    backoff: float = 0.1
    max_backoff: float = 2.0
    connections: int = 64
    expected_owner: str | None = None
    """the AWS account that all buckets must belong to; S3 denies requests to other accounts' buckets"""

    @classmethod
    def from_env(cls, env: Mapping[str, str], **changes: Any) -> Self:
        """Endpoint, region and CA bundle from AWS's variables, and `changes` to any field."""
        ignore = env.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"
        endpoint = None if ignore else env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
        region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1"
        bundle = env.get("AWS_CA_BUNDLE") or None
        return cls(**{"endpoint_url": endpoint or None, "region": region, "ca_bundle": bundle, **changes})


def drop_unsendable(headers: PutHeaders) -> PutHeaders:
    """`headers` without values that HTTP cannot carry.

    Measured: obstore panics in Rust on a line break in a value or a space in a name, and aioboto3 refuses a whole PUT
    for one non-ASCII value. Metadata comes from strangers' objects; a thumbnail without it is better than none.
    """
    unsendable = [field for field in HEADERS if not _SENDABLE_VALUE.fullmatch(getattr(headers, field) or "")]
    values: dict[str, Any] = dict.fromkeys(unsendable)
    if not headers.content_type or "content_type" in unsendable:
        values["content_type"] = "application/octet-stream"
    metadata = {name.lower(): text for name, text in (headers.metadata or {}).items() if _is_sendable(name, text)}
    return replace(headers, **values, metadata=metadata)


def name_unsendable(headers: PutHeaders) -> str:
    """Names the headers that `drop_unsendable` leaves out; empty if there are none."""
    names = [name for field, name in HEADERS.items() if not _SENDABLE_VALUE.fullmatch(getattr(headers, field) or "")]
    names += [f"x-amz-meta-{name}" for name, text in (headers.metadata or {}).items() if not _is_sendable(name, text)]
    return f"left out: {', '.join(names)}" if names else ""


def _is_sendable(name: str, text: str) -> bool:
    return bool(_SENDABLE_NAME.fullmatch(name) and _SENDABLE_VALUE.fullmatch(text))
