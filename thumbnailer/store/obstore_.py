"""S3 through obstore, the Rust object_store: imports no boto3, copies bodies once, and runs TLS outside the GIL.

It raises ObstoreCannot for what obstore does not support, before anything is stored; `auto` then uses aioboto3. obstore
reads credentials from the environment (keys, session token, web identity, container, instance), not from profiles.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store as RustStore

from thumbnailer.errors import StoreError, StoreRefused, StoreUnavailable
from thumbnailer.store.base import HEADERS, ObjectHeaders, ObjectVersion, PutHeaders, StoreConfig, drop_unsendable
from thumbnailer.store.s3 import NO_CREDENTIALS, Answer, BucketElsewhere, ObstoreCannot, S3Store, error_for

if TYPE_CHECKING:
    from obstore import Attributes, BytesStream, GetOptions, GetResult
    from obstore.store import ClientConfig, S3Config

T = TypeVar("T")

LEAST_CHUNK: Final = 32 * 1024
"""Measured: hyper reads 8, 16, 32, ... KB at a time, so the first piece, enough to reject most objects, is 56 KB."""
STORES: Final = 64
_NOT_METADATA: Final = (*HEADERS.values(), "Content-Encoding")
_HOST_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
"""Other buckets are named by the path: a dot breaks the certificate, and a host name has no capitals."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def is_expressible(key: str) -> bool:
    """Whether object_store sends `key` byte for byte.

    Measured on 0.14: it drops one leading and one trailing slash, and refuses empty, `.` and `..` segments and ASCII
    control characters. It sends everything else unchanged: `%2e%2e`, `+`, `#`, `?`, quotes, any Unicode, 1,024 bytes.
    """
    return not _CONTROL.search(key) and not {"", ".", ".."}.intersection(key.split("/"))


class ObstoreStore(S3Store):
    """An ObjectStore. Make and use it in a running uvloop; it raises ObstoreCannot besides the StoreErrors."""

    def __init__(self, config: StoreConfig) -> None:
        super().__init__(config)
        self._store = lru_cache(STORES)(partial(_rust_store, config))

    async def aclose(self) -> None:
        self._store.cache_clear()

    async def _get(self, bucket: str, key: str, offset: int = 0, etag: str | None = None) -> Answer:
        what = _check("GET", bucket, key)
        options: GetOptions = {"range": {"offset": offset}, "if_match": etag} if etag else {}
        result = await _map_errors(what, obstore.get_async(self._store(bucket, None, None), key, options=options))
        return Answer(_headers(result), _Stream(result, what), result.meta["e_tag"])

    async def _head(self, bucket: str, key: str) -> ObjectVersion:
        meta = await _map_errors(_check("HEAD", bucket, key), obstore.head_async(self._store(bucket, None, None), key))
        return ObjectVersion(_bare(meta["e_tag"]), meta["version"])

    async def _put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        what = _check("PUT", bucket, key)
        store, attributes = self._store(bucket, headers.sse, headers.kms_key_id), _attributes(headers)
        await _map_errors(what, obstore.put_async(store, key, data, attributes=attributes, use_multipart=False))

    async def _delete(self, bucket: str, key: str) -> None:
        await _map_errors(_check("DELETE", bucket, key), obstore.delete_async(self._store(bucket, None, None), key))

    async def presign(self, bucket: str, key: str, seconds: int) -> str:
        what, valid = _check("GET", bucket, key), timedelta(seconds=seconds)
        return await _map_errors(what, obstore.sign_async(self._store(bucket, None, None), "GET", key, valid))

    async def _renew(self) -> None:
        self._store.cache_clear()


class _Stream:
    def __init__(self, result: GetResult, what: str) -> None:
        self._stream: BytesStream | None = result.stream(LEAST_CHUNK)
        self._what = what

    async def read(self) -> bytes:
        if self._stream is None:
            raise StoreRefused(f"{self._what}: read after its context was left")
        try:
            # not `async for`: a suspended loop would hold the stream, and with it the connection
            return await _map_errors(self._what, anext(self._stream))
        except StopAsyncIteration:
            return b""

    def close(self) -> None:
        """Measured: of 50 MB, after the first 64 KiB, the server had sent 4.2 MB (loopback's buffers)."""
        self._stream = None


def _check(verb: str, bucket: str, key: str) -> str:
    """The operation's name in messages. Raises ObstoreCannot for buckets and keys that obstore does not support."""
    what = f"{verb} {bucket}/{key!r}"
    if bucket.startswith("arn:") or bucket.endswith("--x-s3"):
        raise ObstoreCannot(f"{what}: not a general purpose bucket", bucket_too=True)
    if not is_expressible(key):
        raise ObstoreCannot(f"{what}: object_store would change this key")
    return what


# --- errors -------------------------------------------------------------------------------------------------------

# obstore's exceptions have no field for status, code or body, and their classes do not tell a missing key from a
# missing bucket, or denied from archived. So this section reads their text, Rust's pretty-printed error. Strings in it
# are quoted and escaped: no key or message can look like these lines. pyproject.toml bounds obstore's version, and
# test_obstore_s_error_text_has_not_changed fails if a new version changes the text.
_STATUS: Final = re.compile(r'^ +status: (\d{3}),\n +body: (?:None|Some\(\n +"(.*)",$)', re.MULTILINE)
_CODE: Final = re.compile(r"<Code>([\w.]+)</Code>")
_INSTANCE: Final = re.compile(r"^ +http://\S+/latest/(api/token|meta-data/iam/\S+),$", re.MULTILINE)
"""The credentials of an EC2 instance, the last place that object_store asks."""
_ELAPSED: Final = re.compile(r" in [\d.]+[^\s\d]+(?= - )")  # differs each time
_REDIRECT: Final = re.compile(r"^ +inner: BareRedirect,$", re.MULTILINE)
_UNREADABLE: Final = re.compile(r"^    source: Invalid(Metadata|C[A-Za-z]+) \{$", re.MULTILINE)


async def _map_errors(what: str, operation: Awaitable[T]) -> T:
    """The result of `operation`. Raises StoreErrors in place of the library's errors."""
    try:
        return await operation
    except StopAsyncIteration:
        raise
    except Exception as error:
        raise _error(what, str(error)) from error


def _error(what: str, text: str) -> StoreError:
    if _INSTANCE.search(text):
        return StoreUnavailable(f"{what}: {NO_CREDENTIALS}")
    if answer := _STATUS.search(text):
        code = _CODE.search(answer[2] or "")
        error = error_for(what, int(answer[1]), code and code[1])
        return ObstoreCannot(f"{error}", bucket_too=True) if isinstance(error, BucketElsewhere) else error
    if _REDIRECT.search(text):
        return ObstoreCannot(f"{what}: the bucket is in another region", bucket_too=True)
    if _UNREADABLE.search(text):
        return ObstoreCannot(f"{what}: a header that is not ASCII")
    return StoreUnavailable(f"{what}: {_ELAPSED.sub('', text.partition(chr(10))[0])}")


def _bare(etag: str | None) -> str | None:
    return etag and etag.strip('"')


def _headers(result: GetResult) -> ObjectHeaders:
    meta, attributes = result.meta, result.attributes
    return ObjectHeaders(
        size=meta["size"],
        etag=_bare(meta["e_tag"]),
        version_id=meta["version"],
        content_encoding=attributes.get("Content-Encoding"),
        **{field: attributes.get(name) for field, name in HEADERS.items()},
        metadata={name.lower(): value for name, value in attributes.items() if name not in _NOT_METADATA},
    )


def _attributes(headers: PutHeaders) -> Attributes:
    sent = drop_unsendable(headers)
    named = {name: getattr(sent, field) for field, name in HEADERS.items()} | {"Storage-Class": sent.storage_class}
    return {**(sent.metadata or {}), **{name: value for name, value in named.items() if value is not None}}


def _rust_store(config: StoreConfig, bucket: str, sse: str | None, kms_key_id: str | None) -> RustStore:
    """The store for a bucket and an encryption, which obstore configures per store and not per PUT.

    Measured: each keeps its own connections and takes 4 to 10 ms to make; one with an encryption sends no encryption
    header on GET.
    """
    virtual_host = config.endpoint_url is None and _HOST_LABEL.fullmatch(bucket) is not None
    amazon = f"https://{bucket + '.' if virtual_host else ''}s3.{config.region}.amazonaws.com"
    options: S3Config = {
        "region": config.region,
        # set even if it is the default, so that obstore does not read its four variables
        "aws_endpoint_url_s3": config.endpoint_url or amazon,
        "virtual_hosted_style_request": virtual_host,
        "checksum_algorithm": "SHA256",  # of PUTs: a bucket with Object Lock wants one
        "disable_bulk_delete": True,  # otherwise DELETE is a POST ?delete that answers 200 when denied
    }
    if sse:
        options["server_side_encryption"] = sse
    if kms_key_id:
        options["sse_kms_key_id"] = kms_key_id
    # `s3.Retry` retries instead; this also switches off obstore's own resuming of bodies
    try:
        return RustStore(bucket, config=options, client_options=_client(config), retry_config={"max_retries": 0})
    except (OSError, ValueError, BaseError) as error:
        raise StoreRefused(f"{bucket}: no client for this configuration: {error}") from error


def _client(config: StoreConfig) -> ClientConfig:
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=config.connect_timeout),
        "read_timeout": timedelta(seconds=config.read_timeout),
        # for a request with its body; 30 s by default, too short for a body that waits for admission
        "timeout": timedelta(minutes=15),
        "pool_max_idle_per_host": str(config.connections),
    }
    if config.expected_owner:
        # measured: obstore signs it
        options["default_headers"] = {"x-amz-expected-bucket-owner": config.expected_owner}
    if (config.endpoint_url or "").startswith("http://"):
        options["allow_http"] = True
    elif config.ca_bundle:
        options["root_certificate"] = Path(config.ca_bundle).read_bytes()
    return options
