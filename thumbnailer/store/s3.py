"""The parts of both S3 stores that do not depend on the client: S3's answers, retries, and the resuming of bodies.

Retries are here and not in the libraries, so that both stores behave alike. The libraries' own are off: obstore does
not retry a 429, botocore has no limit in time, and neither stops for a body that has changed.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

from thumbnailer import errors
from thumbnailer.errors import BucketMissing, ObjectMissing, StoreError, StoreRefused, StoreThrottled, StoreUnavailable
from thumbnailer.store.base import ObjectBody, ObjectHeaders, ObjectVersion, PutHeaders, StoreConfig

T = TypeVar("T")

CHUNK: Final = 64 * 1024
_JITTER: Final = random.SystemRandom()  # SnapStart would restore a seeded generator in the same state everywhere


# --- S3's answers -------------------------------------------------------------------------------------------------


class CredentialsExpired(StoreRefused):
    """The token has expired; the store renews its credentials once and then raises this."""


class BucketElsewhere(StoreRefused):
    """The bucket is in another region than the configured one."""


class ObstoreCannot(StoreRefused):
    """obstore does not support this, aioboto3 does; `bucket_too`: this applies to the whole bucket."""

    def __init__(self, why: str, *, bucket_too: bool = False) -> None:
        super().__init__(why)
        self.bucket_too = bucket_too


_CODES: Final[dict[type[StoreError], str]] = {
    ObjectMissing: "NoSuchKey NoSuchVersion",
    BucketMissing: "NoSuchBucket",
    errors.ObjectArchived: "InvalidObjectState",
    errors.InvalidRequest: "InvalidRequest",
    CredentialsExpired: "ExpiredToken ExpiredTokenException TokenRefreshRequired",
    StoreRefused: "InvalidAccessKeyId InvalidToken SignatureDoesNotMatch RequestTimeTooSkewed RequestExpired",
    BucketElsewhere: (
        "AuthorizationHeaderMalformed IllegalLocationConstraintException PermanentRedirect TemporaryRedirect"
    ),
    StoreThrottled: (
        "KMS.ThrottlingException RequestLimitExceeded RequestThrottled SlowDown Throttling ThrottlingException "
        "TooManyRequestsException"
    ),
    StoreUnavailable: "RequestTimeout InternalError",
}
_BY_CODE: Final = {code: kind for kind, codes in _CODES.items() for code in codes.split()}
# 405: GET of a version that is a delete marker; 503 without a code: SlowDown
_BY_STATUS: Final[dict[int, type[StoreError]]] = {
    **dict.fromkeys((301, 307), BucketElsewhere),
    **dict.fromkeys((404, 405), ObjectMissing),
    **dict.fromkeys((429, 503), StoreThrottled),
    401: StoreRefused,
    403: errors.StoreDenied,
}
_HINTS: Final = {
    "RequestTimeTooSkewed": "; this machine's clock is more than 15 minutes off",
    "InvalidRequest": "; a GET lacks the key with which the uploader encrypted the object (SSE-C)",
    "SignatureDoesNotMatch": "; the secret key does not belong to the key id",
}


NO_CREDENTIALS: Final = (
    "there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run with a role"
)


def error_for(what: str, status: int, code: str | None) -> StoreError:
    """The error for an HTTP answer; `what` names the operation and the object in its message."""
    kind = _BY_CODE.get(code or "") or _BY_STATUS.get(status) or (StoreUnavailable if status >= 500 else StoreRefused)
    if code is None and status == 400:  # the answer to a HEAD with an expired token: it has no body, and so no code
        kind = CredentialsExpired
    return kind(f"{what}: {status} {code or 'without a code'}{_HINTS.get(code or '', '')}")


# --- retries ------------------------------------------------------------------------------------------------------


class Retry:
    """The tries of one operation, from its first request to the end of its body."""

    def __init__(self, config: StoreConfig, renew: Callable[[], Awaitable[None]]) -> None:
        self._config = config
        self._renew: Callable[[], Awaitable[None]] | None = renew
        self._failures = 0
        self._deadline: float | None = None

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of the first successful attempt. Raises the StoreError of the last one."""
        while True:
            try:
                return await attempt()
            except StoreError as error:
                await self.wait_after(error)

    async def wait_after(self, error: StoreError) -> None:
        """Returns when the next try may start. Raises `error` if no try is left or another one cannot help."""
        if isinstance(error, CredentialsExpired) and self._renew is not None:
            renew, self._renew = self._renew, None
            await renew()
            return
        now, config = asyncio.get_running_loop().time(), self._config
        if self._deadline is None:
            self._deadline = now + config.retry_timeout
        # full jitter: thousands of environments that are throttled must not come back at the same time
        pause = _JITTER.uniform(0, min(config.max_backoff, config.backoff * 4**self._failures))
        if not error.again or self._failures >= config.retries or now + pause > self._deadline:
            raise error
        self._failures += 1
        await asyncio.sleep(pause)


# --- bodies -------------------------------------------------------------------------------------------------------


class Stream(Protocol):
    """The body of one answer."""

    async def read(self) -> bytes:
        """The next piece; empty at the end. Raises StoreError."""

    def close(self) -> None:
        """Drops the connection unless the body was read to its end."""


class Answer(NamedTuple):
    """The answer to a GET; `etag` is as S3 sent it, in quotes."""

    headers: ObjectHeaders
    stream: Stream
    etag: str | None


class S3Body:
    """An ObjectBody that resumes where it broke off, if the object is still the same."""

    def __init__(self, first: Answer, what: str, get: Callable[[int, str], Awaitable[Answer]], retry: Retry) -> None:
        """`get` asks for the bytes from an offset on, of the object with an ETag."""
        self.headers = first.headers
        self._stream = first.stream
        self._etag = first.etag
        self._what = what
        self._get = get
        self._retry = retry

    async def chunks(self) -> AsyncIterator[bytes]:
        """Reads up to the empty piece, so that the connection can be used again."""
        read, size = 0, self.headers.size
        while True:
            try:
                chunk = await self._stream.read()
                read += len(chunk)
                if not chunk and read != size:
                    raise StoreUnavailable(f"{self._what}: the body ended at byte {read} of {size}")
            except StoreError as error:
                if read == size:
                    return
                await self._resume(error, read)
            else:
                if not chunk:
                    return
                yield chunk

    def close(self) -> None:
        self._stream.close()

    async def _resume(self, error: StoreError, offset: int) -> None:
        self.close()
        if not (etag := self._etag):
            raise error
        await self._retry.wait_after(error)
        rest = await self._retry.run(lambda: self._get(offset, etag))
        self._stream = rest.stream
        # both: a store that ignores If-Match must not deliver the end of another object
        if (rest.etag, rest.headers.size) != (etag, self.headers.size):
            raise StoreRefused(f"{self._what}: the object changed while it was read")


# --- the store ----------------------------------------------------------------------------------------------------


class S3Store(ABC):
    """An ObjectStore; a client implements the methods with an underscore: one request each, which raise StoreErrors."""

    def __init__(self, config: StoreConfig) -> None:
        self._config = config

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[ObjectBody]:
        retry = self._retry()
        first = await retry.run(lambda: self._get(bucket, key))
        body = S3Body(first, f"GET {bucket}/{key!r}", partial(self._get, bucket, key), retry)
        try:
            yield body
        finally:
            body.close()

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        try:
            return await self._retry().run(lambda: self._head(bucket, key))
        except (ObjectMissing, BucketMissing):
            return None

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        await self._retry().run(lambda: self._put(bucket, key, data, headers))

    async def delete(self, bucket: str, key: str) -> None:
        try:
            await self._retry().run(lambda: self._delete(bucket, key))
        except ObjectMissing:
            return

    def _retry(self) -> Retry:
        return Retry(self._config, self._renew)

    @abstractmethod
    async def aclose(self) -> None: ...

    @abstractmethod
    async def _get(self, bucket: str, key: str, offset: int = 0, etag: str | None = None) -> Answer:
        """With `etag`: asks for the bytes from `offset` on, if the object still has this ETag."""

    @abstractmethod
    async def _head(self, bucket: str, key: str) -> ObjectVersion: ...

    @abstractmethod
    async def _put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None: ...

    @abstractmethod
    async def _delete(self, bucket: str, key: str) -> None: ...

    @abstractmethod
    async def _renew(self) -> None:
        """Makes the next request look for credentials again."""
