"""Listings of S3 through aiobotocore. obstore cannot list: its keys are paths, so `a//b` would be `a/b`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

from thumbnailer.errors import ObjectMissing
from thumbnailer.store.aioboto3_ import Aioboto3Store
from thumbnailer.store.listing import Inspected, Listed


class S3Lister(Aioboto3Store):
    """botocore asks for EncodingType=url and decodes the keys: XML cannot carry control characters."""

    async def pages(self, bucket: str, prefix: str = "", after: str = "") -> AsyncIterator[Sequence[Listed]]:
        arguments = {"Prefix": prefix} | ({"StartAfter": after} if after else {})
        while True:
            page = await self._retry().run(partial(self._request, "list_objects_v2", bucket, None, **arguments))
            if contents := page.get("Contents"):
                yield [_line(item["Key"], item) for item in contents]
            if not page.get("IsTruncated"):
                return
            arguments = {"Prefix": prefix, "ContinuationToken": page["NextContinuationToken"]}

    async def inspect(self, bucket: str, key: str) -> Inspected | None:
        try:
            answer = await self._retry().run(lambda: self._request("head_object", bucket, key))
        except ObjectMissing:
            return None
        line = _line(key, {**answer, "Size": answer["ContentLength"]})
        return Inspected(line, {name.lower(): value for name, value in answer.get("Metadata", {}).items()})


def _line(key: str, item: Mapping[str, Any]) -> Listed:
    storage_class = item.get("StorageClass", "STANDARD")
    return Listed(key, item["Size"], item["ETag"].strip('"'), int(item["LastModified"].timestamp()), storage_class)
