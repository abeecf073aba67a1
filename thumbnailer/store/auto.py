"""The choice of the store: obstore where it supports configuration and key, aioboto3 otherwise."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from importlib.util import find_spec
from typing import Final, Literal, NamedTuple, TypeVar, cast

from thumbnailer.store.base import ObjectBody, ObjectStore, ObjectVersion, Presigner, PutHeaders, StoreConfig
from thumbnailer.store.s3 import ObstoreCannot

T = TypeVar("T")

_BUCKETS_REMEMBERED: Final = 1024
_OTHER_PARTITIONS: Final = ("cn-", "us-iso", "eu-iso")
_ONLY_AIOBOTO3: Final = {
    "AWS_USE_FIPS_ENDPOINT": "FIPS endpoints",
    "AWS_USE_DUALSTACK_ENDPOINT": "dual-stack endpoints",
}


class Choice(NamedTuple):
    """The store and the reason, for `doctor` and the log."""

    transport: Literal["obstore", "aioboto3"]
    why: str


def choose_transport(
    config: StoreConfig, env: Mapping[str, str], exists: Callable[[str], bool] = os.path.exists
) -> Choice:
    """The store for `config` in the environment `env`; `exists` tells whether a file exists."""
    if config.transport != "auto":
        return Choice(config.transport, "as configured")
    if config.region.startswith(_OTHER_PARTITIONS) and config.endpoint_url is None:
        return Choice("aioboto3", f"obstore has no endpoint for {config.region}")
    for variable, feature in _ONLY_AIOBOTO3.items():
        if env.get(variable, "").lower() not in ("", "false"):
            return Choice("aioboto3", f"{variable} asks for {feature}")
    source = _credentials_obstore_misses(env, exists)
    return Choice("aioboto3", source) if source else Choice("obstore", "it supports everything that is configured")


def _credentials_obstore_misses(env: Mapping[str, str], exists: Callable[[str], bool]) -> str | None:
    """The source of credentials, in botocore's order, that botocore finds and object_store does not; None if none."""
    if env.get("AWS_ACCESS_KEY_ID"):
        return None
    if env.get("AWS_PROFILE") or env.get("AWS_DEFAULT_PROFILE"):
        return "credentials come from a profile"
    if env.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return None
    home = env.get("HOME", "~")
    for path in (
        env.get("AWS_SHARED_CREDENTIALS_FILE") or f"{home}/.aws/credentials",
        env.get("AWS_CONFIG_FILE") or f"{home}/.aws/config",
    ):
        if exists(path):
            return f"credentials may come from {path}"
    # measured: without a token *file* object_store ignores it and asks the instance; Lambda with SnapStart sets it
    if env.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") and not (
        env.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") or env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    ):
        return "AWS_CONTAINER_CREDENTIALS_FULL_URI comes without a token file"
    return None


def open_store(config: StoreConfig, env: Mapping[str, str]) -> ObjectStore:
    """The store for `config`; make, use and close it in the same loop.

    Keys and buckets that obstore does not support go through aioboto3, with transport `obstore` too. The first such key
    imports aioboto3.
    """
    obstore_missing = config.transport == "auto" and find_spec("obstore") is None
    if obstore_missing or choose_transport(config, env).transport == "aioboto3":
        return _aioboto3(config)
    from thumbnailer.store.obstore_ import ObstoreStore

    return FallbackStore(ObstoreStore(config), lambda: _aioboto3(config))


def _aioboto3(config: StoreConfig) -> ObjectStore:
    from thumbnailer.store.aioboto3_ import Aioboto3Store

    return Aioboto3Store(config)


class FallbackStore:
    """obstore, and another store for what obstore does not support, made when it is first needed."""

    def __init__(self, obstore: ObjectStore, make_other: Callable[[], ObjectStore]) -> None:
        self._obstore = obstore
        self._other = cache(make_other)
        self._buckets: set[str] = set()

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[ObjectBody]:
        async with AsyncExitStack() as stack:
            yield await self._do(bucket, lambda store: stack.enter_async_context(store.open(bucket, key)))

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        return await self._do(bucket, lambda store: store.head(bucket, key))

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        await self._do(bucket, lambda store: store.put(bucket, key, data, headers))

    async def delete(self, bucket: str, key: str) -> None:
        await self._do(bucket, lambda store: store.delete(bucket, key))

    async def presign(self, bucket: str, key: str, seconds: int) -> str:
        return await self._do(bucket, lambda store: cast("Presigner", store).presign(bucket, key, seconds))

    async def aclose(self) -> None:
        await self._obstore.aclose()
        if self._other.cache_info().currsize:
            await self._other().aclose()

    async def _do(self, bucket: str, operation: Callable[[ObjectStore], Awaitable[T]]) -> T:
        if bucket in self._buckets:
            return await operation(self._other())
        try:
            return await operation(self._obstore)
        except ObstoreCannot as error:
            if error.bucket_too and len(self._buckets) < _BUCKETS_REMEMBERED:
                self._buckets.add(bucket)
            try:
                other = self._other()
            except ImportError:
                raise error from None
        return await operation(other)
