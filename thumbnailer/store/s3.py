"""What both S3 stores have in common: what S3's answers mean, when to try again, and how a broken body goes on.

Retrying is here and not in the libraries, so that both stores do the same. Their own are switched off: obstore's
takes no 429, botocore's has no limit in time, and neither stops for a body that changed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol, TypeVar

from thumbnailer.errors import (
    BucketMissing,
    ObjectArchived,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreRefused,
    StoreThrottled,
    StoreUnavailable,
)
from thumbnailer.store.base import ObjectHeaders, StoreConfig

T = TypeVar("T")

CHUNK: Final = 64 * 1024
_JITTER: Final = random.SystemRandom()  # the kernel's: a seeded one is the same in every environment SnapStart restores


class CredentialsExpired(StoreRefused):
    """The token ran out under way; one new set of credentials is asked for, then this is raised."""


class BucketElsewhere(StoreRefused):
    """The bucket is in another region than the one configured."""


class ObstoreCannot(StoreRefused):
    """obstore cannot do this, aioboto3 can; `bucket_too`: nor anything else in this bucket."""

    def __init__(self, why: str, *, bucket_too: bool = False) -> None:
        super().__init__(why)
        self.bucket_too = bucket_too


_BY_CODE: Final[dict[str, type[StoreError]]] = {
    "NoSuchKey": ObjectMissing,
    "NoSuchVersion": ObjectMissing,
    "NoSuchBucket": BucketMissing,
    "InvalidObjectState": ObjectArchived,
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"), CredentialsExpired),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired"),
        StoreRefused,
    ),
    **dict.fromkeys(
        (
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
            "PermanentRedirect",
            "TemporaryRedirect",
        ),
        BucketElsewhere,
    ),
    **dict.fromkeys(
        (
            "KMS.ThrottlingException",
            "RequestLimitExceeded",
            "RequestThrottled",
            "SlowDown",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
        ),
        StoreThrottled,
    ),
    "RequestTimeout": StoreUnavailable,
    "InternalError": StoreUnavailable,
}
# 405 is the answer to a GET of a version that is a delete marker; 503 is SlowDown where the code did not come along
_BY_STATUS: Final[dict[int, type[StoreError]]] = {
    301: BucketElsewhere,
    307: BucketElsewhere,
    401: StoreRefused,
    403: StoreDenied,
    404: ObjectMissing,
    405: ObjectMissing,
    429: StoreThrottled,
    503: StoreThrottled,
}
# what a HEAD is answered when the token has run out: without a body there is no code
_WITHOUT_CODE: Final[dict[int, type[StoreError]]] = {400: CredentialsExpired}
_HINTS: Final = {
    "RequestTimeTooSkewed": "; this machine's clock is more than 15 minutes off",
    "SignatureDoesNotMatch": "; the secret key does not belong to the key id",
}


def error_for(what: str, status: int, code: str | None) -> StoreError:
    """The error an HTTP answer stands for; `what` names the operation and object, for people."""
    kind = _BY_CODE[code] if code in _BY_CODE else _BY_STATUS.get(status)
    if code is None:
        kind = _WITHOUT_CODE.get(status, kind)
    if kind is None:
        kind = StoreUnavailable if status >= 500 else StoreRefused
    return kind(f"{what}: {status} {code or 'without a code'}{_HINTS.get(code or '', '')}")


class Retry:
    """The tries that one operation has, from its first request to the end of its body."""

    def __init__(self, config: StoreConfig, refresh: Callable[[], Awaitable[None]]) -> None:
        self._config = config
        self._refresh: Callable[[], Awaitable[None]] | None = refresh
        self._failures = 0
        self._deadline: float | None = None

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` gives, in the end. Raises the StoreError of the last one."""
        while True:
            try:
                return await attempt()
            except StoreError as error:
                await self.wait_after(error)

    async def wait_after(self, error: StoreError) -> None:
        """Return when it is time for another try; raise `error` if it is not worth one or none is left."""
        if isinstance(error, CredentialsExpired) and self._refresh is not None:
            refresh, self._refresh = self._refresh, None
            await refresh()
            return
        pause = self._pause()
        if not error.again or self._failures >= self._config.retries or self._too_late(pause):
            raise error
        self._failures += 1
        await asyncio.sleep(pause)

    def _pause(self) -> float:
        """Full jitter: thousands of environments that were told to slow down must not come back in step."""
        ceiling = min(self._config.max_backoff, self._config.backoff * 4**self._failures)
        return _JITTER.uniform(0, ceiling)

    def _too_late(self, pause: float) -> bool:
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._config.retry_timeout
        return now + pause > self._deadline


class Stream(Protocol):
    """An answer's body, as an adapter gives it."""

    async def read(self) -> bytes:
        """The next piece; empty at the end. Raises StoreError."""
        ...

    def close(self) -> None:
        """Drop the connection unless the body was read to its end."""
        ...


class S3Body:
    """An ObjectBody that goes on where it broke off, if the object is still the same."""

    def __init__(
        self, headers: ObjectHeaders, stream: Stream, rest: Callable[[int], Awaitable[Stream]], retry: Retry, what: str
    ) -> None:
        """`rest(offset)` asks for the bytes from `offset` on, under the condition that the ETag is unchanged."""
        self.headers = headers
        self._stream = stream
        self._rest = rest
        self._retry = retry
        self._what = what
        self._got = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self._next():
            yield chunk

    def close(self) -> None:
        self._stream.close()

    async def _next(self) -> bytes:
        """The next piece, empty at the end: read up to it, so that the connection can be used again."""
        while True:
            try:
                return await self._read()
            except StoreError as error:
                if self._got == self.headers.size:
                    return b""
                await self._resume(error)

    async def _read(self) -> bytes:
        chunk = await self._stream.read()
        self._got += len(chunk)
        if not chunk and self._got != self.headers.size:
            raise StoreUnavailable(f"{self._what}: the body ended at byte {self._got} of {self.headers.size}")
        return chunk

    async def _resume(self, error: StoreError) -> None:
        self._stream.close()
        if self.headers.etag is None:
            raise error
        await self._retry.wait_after(error)
        self._stream = await self._retry.run(lambda: self._rest(self._got))
