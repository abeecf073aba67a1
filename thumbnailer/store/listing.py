"""The protocol of listings. Every key is decoded text; S3 lists keys in the order of their UTF-8 bytes, as `str` sorts.

`modified` is epoch seconds, whole: S3 tells no more.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol


class Listed(NamedTuple):
    """One line of a listing. `etag` has no quotes."""

    key: str
    size: int
    etag: str
    modified: int
    storage_class: str = "STANDARD"


class Inspected(NamedTuple):
    """The answer to a HEAD: the object's line, and its metadata without `x-amz-meta-`."""

    listed: Listed
    metadata: Mapping[str, str]


class Lister(Protocol):
    """Both methods raise StoreErrors."""

    def pages(self, bucket: str, prefix: str = "", after: str = "") -> AsyncIterator[Sequence[Listed]]:
        """The keys that begin with `prefix` and sort behind `after`: one request a page, at most 1,000 keys a page."""

    async def inspect(self, bucket: str, key: str) -> Inspected | None:
        """One HEAD; None if the object is missing."""
