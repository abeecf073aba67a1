"""One run at a time for a destination: a lease in an object that the run renews, and that no clock decides about."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import uuid4

import typer

from thumbnailer.errors import ObjectMissing, StoreError, ThumbnailerError
from thumbnailer.store.base import ObjectStore, PutHeaders

KEY: Final = "_runs/lease.json"
RENEW_SECONDS: Final = 5.0
DEAD_AFTER: Final = 3
"""A lease that does not change for so many renewals belongs to a run that was killed."""


class OtherRun(ThumbnailerError):
    """Another run works on this destination."""


@asynccontextmanager
async def hold_lease(store: ObjectStore, bucket: str, stop: asyncio.Event) -> AsyncIterator[None]:
    """Holds the lease of a destination. Raises OtherRun; sets `stop` if another run takes the lease meanwhile."""
    await _wait_for_lease(store, bucket)
    holder = f"{uuid4()} on {socket.gethostname()}, process {os.getpid()}"
    await _write(store, bucket, holder, 0)
    renewing = asyncio.create_task(_renew(store, bucket, holder, stop))
    try:
        yield
    finally:
        renewing.cancel()
        with suppress(StoreError):
            if (await _read(store, bucket)).startswith(holder):
                await store.delete(bucket, KEY)


async def _wait_for_lease(store: ObjectStore, bucket: str) -> None:
    found = await _read(store, bucket)
    if not found:
        return
    typer.echo("A run holds the lease of this destination; waiting to see whether it still works.", err=True)
    for _ in range(DEAD_AFTER):
        await asyncio.sleep(RENEW_SECONDS)
        now = await _read(store, bucket)
        if not now:
            return
        if now != found:
            raise OtherRun(f"another run works on {bucket} ({now}): wait for its end, then run this again")


async def _renew(store: ObjectStore, bucket: str, holder: str, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        await asyncio.sleep(RENEW_SECONDS)
        number += 1
        with suppress(StoreError):  # the next renewal may succeed
            found = await _read(store, bucket)
            if found and not found.startswith(holder):
                typer.echo(f"Another run took over ({found}): this one ends.", err=True)
                stop.set()
                return
            await _write(store, bucket, holder, number)


async def _read(store: ObjectStore, bucket: str) -> str:
    """The holder and the number of its renewal; empty if nobody holds the lease."""
    try:
        async with store.open(bucket, KEY) as body:
            return str(json.loads(b"".join([chunk async for chunk in body.chunks()]))["held by"])
    except ObjectMissing:
        return ""


async def _write(store: ObjectStore, bucket: str, holder: str, renewal: int) -> None:
    data = json.dumps({"held by": f"{holder}, renewal {renewal}"}).encode()
    await store.put(bucket, KEY, data, PutHeaders("application/json"))
