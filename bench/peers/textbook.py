"""The textbook handler, after AWS's S3 tutorial: boto3 and Pillow, one record after another.

As in the tutorial, pictures pass through /tmp, `download_file` sends HEAD before GET, the thumbnail keeps the format
and Pillow's default quality, and EXIF orientation is ignored. Unlike there, temporary files are removed.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_plus
from uuid import uuid4

import boto3
from PIL import Image

SIZE: Final = (128, 128)
s3 = boto3.client("s3")


def handler(event: Mapping[str, Any], _: object) -> dict[str, Any]:
    for record in event["Records"]:
        key = unquote_plus(record["s3"]["object"]["key"])
        make_thumbnail(record["s3"]["bucket"]["name"], key)
    return {"statusCode": 200}


def make_thumbnail(bucket: str, key: str) -> None:
    folder, name = Path(tempfile.gettempdir()), uuid4().hex
    source, thumbnail = folder / name, folder / f"resized-{name}"
    try:
        s3.download_file(bucket, key, str(source))
        resize(source, thumbnail)
        s3.upload_file(str(thumbnail), f"{bucket}-resized", key)
    finally:
        source.unlink(missing_ok=True)
        thumbnail.unlink(missing_ok=True)


def resize(source: Path, thumbnail: Path) -> None:
    with Image.open(source) as image:
        image.thumbnail(SIZE)
        image.save(thumbnail, format=image.format)
