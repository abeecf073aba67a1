"""The handler of asyncio tutorials: aioboto3 and pyvips, with a loop and a client for each invocation.

The handler gathers all records, but libvips works in the thread of the loop: it decodes one picture at a time while
others download. Thumbnails follow EXIF orientation and have libvips' default quality.
"""

import asyncio
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import unquote_plus

import aioboto3
import pyvips

SIDE: Final = 128
WRITTEN: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif"})
session = aioboto3.Session()


def handler(event: Mapping[str, Any], _: object) -> dict[str, Any]:
    return asyncio.run(main(event))


async def main(event: Mapping[str, Any]) -> dict[str, Any]:
    async with session.client("s3") as s3:
        await asyncio.gather(*(make_thumbnail(s3, record["s3"]) for record in event["Records"]))
    return {"statusCode": 200}


async def make_thumbnail(s3: Any, entity: Mapping[str, Any]) -> None:
    bucket, key = entity["bucket"]["name"], unquote_plus(entity["object"]["key"])
    answer = await s3.get_object(Bucket=bucket, Key=key)
    data = await answer["Body"].read()
    await s3.put_object(Bucket=f"{bucket}-resized", Key=key, Body=resized(data, key))


def resized(data: bytes, key: str) -> bytes:
    ending = PurePosixPath(key).suffix.lower()
    image = pyvips.Image.thumbnail_buffer(data, SIDE, height=SIDE)
    written: bytes = image.write_to_buffer(ending if ending in WRITTEN else ".jpg")
    return written
