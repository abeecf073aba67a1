"""One run at a time for a destination: a lease in an object that its holder renews. No clock decides about it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import uuid4

import typer

from thumbnailer.errors import ObjectMissing, StoreError, ThumbnailerError
from thumbnailer.store.base import ObjectStore, PutHeaders

KEY: Final = "_runs/lease"
RENEW_SECONDS: Final = 5.0
DEAD_AFTER: Final = 3
"""A lease that does not change for so many renewals belongs to a run that was killed."""


class OtherRun(ThumbnailerError):
    """Another run works on this destination."""


@asynccontextmanager
async def hold_lease(store: ObjectStore, bucket: str, stop: asyncio.Event) -> AsyncIterator[None]:
    """Raises OtherRun if somebody holds the lease; sets `stop` if another run takes it meanwhile."""
    if found := await _read(store, bucket):
        typer.echo("The lease of another run is there; waiting to see whether that run still works.", err=True)
        await asyncio.sleep(DEAD_AFTER * RENEW_SECONDS)
        if await _read(store, bucket) not in (found, ""):
            raise OtherRun(f"another run works on {bucket}: wait for its end, then run this again")
    holder = uuid4().hex
    await _write(store, bucket, f"{holder} 0")
    renewing = asyncio.create_task(_renew(store, bucket, holder, stop))
    try:
        yield
    finally:
        renewing.cancel()
        with suppress(StoreError):
            if (await _read(store, bucket)).startswith(holder):
                await store.delete(bucket, KEY)


async def _renew(store: ObjectStore, bucket: str, holder: str, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        await asyncio.sleep(RENEW_SECONDS)
        number += 1
        with suppress(StoreError):  # the next renewal may succeed
            if (await _read(store, bucket)).startswith(holder):
                await _write(store, bucket, f"{holder} {number}")
            else:
                typer.echo("Another run has taken the lease: this one ends.", err=True)
                stop.set()


async def _read(store: ObjectStore, bucket: str) -> str:
    """The holder and the number of its renewal; empty if nobody holds the lease."""
    with suppress(ObjectMissing):
        async with store.open(bucket, KEY) as body:
            return b"".join([chunk async for chunk in body.chunks()]).decode(errors="replace")
    return ""


async def _write(store: ObjectStore, bucket: str, text: str) -> None:
    await store.put(bucket, KEY, text.encode(), PutHeaders("text/plain"))
