"""Pages of several listings, merged into one order."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import chain
from operator import gt, itemgetter

from thumbnailer.backfill.comparison import Event
from thumbnailer.backfill.job import Shard
from thumbnailer.errors import ThumbnailerError
from thumbnailer.store.listing import Listed, Lister

Events = AsyncIterator[list[Event]]
_PLACE = itemgetter(0)


class OutOfOrder(ThumbnailerError):
    """The bucket is a directory bucket (S3 Express): its listing cannot be compared."""


async def pages(lister: Lister, bucket: str, head: str, prefix: str, shard: Shard) -> AsyncIterator[Sequence[Listed]]:
    """The keys that begin with `head` and `prefix`, within the shard of what follows the head. Raises OutOfOrder."""
    last = after = head + shard.after if shard.after else ""
    async for page in lister.pages(bucket, head + prefix, after):
        if page[0].key <= last or any(map(gt, page, page[1:])):
            raise OutOfOrder(f"{bucket} does not list its keys in order: give them with --keys, or --compare none")
        last = page[-1].key
        if shard.upto is not None and page[-1].key > head + shard.upto:
            yield [listed for listed in page if listed.key <= head + shard.upto]
            return
        yield page


async def events(listing: AsyncIterator[Sequence[Listed]], kind: int, head: str, tails: Mapping[str, int]) -> Events:
    """The objects of a listing at their places."""
    start = len(head)
    async for page in listing:
        yield [Event(listed.key[start:], kind, listed, tails) for listed in page]


async def merge(streams: Sequence[Events]) -> Events:
    """The events of all streams in the order of their places. Holds at most two pages of each stream."""
    waiting: dict[Events, list[Event]] = {stream: [] for stream in streams}
    live = list(streams)
    while live or any(waiting.values()):
        empty = [stream for stream in live if not waiting[stream]]
        for stream, page in zip(empty, await asyncio.gather(*map(_next_page, empty)), strict=True):
            waiting[stream] = page or []
            if page is None:
                live.remove(stream)
        if not all(waiting[stream] for stream in live):
            continue  # an empty page says nothing about what follows
        last = min((waiting[stream][-1].place for stream in live), default=None)
        yield sorted(chain.from_iterable(_take(page, last) for page in waiting.values()))


def _take(page: list[Event], last: str | None) -> list[Event]:
    """Removes and returns the events up to the place `last`; all of them if it is None."""
    cut = len(page) if last is None else bisect_right(page, last, key=_PLACE)
    taken = page[:cut]
    del page[:cut]
    return taken


async def _next_page(stream: Events) -> list[Event] | None:
    return await anext(stream, None)
