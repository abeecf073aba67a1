"""The lower bound of any handler: libjpeg-turbo's scaled decode of the same bytes, without request, resize or encoder.

The bytes come from a folder and stay in memory, so the memory of this handler means nothing. The scale is the smallest
of the library's eighths that covers the thumbnail; DCT and chroma upsampling are the accurate defaults.
"""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_plus

import simplejpeg

SIDE: Final = 128


def handler(event: Mapping[str, Any], _: object) -> dict[str, Any]:
    keys = [unquote_plus(record["s3"]["object"]["key"]) for record in event["Records"]]
    for key in keys:
        decoded(picture(key))
    return {"statusCode": 200, "decoded": len(keys)}


@cache
def picture(key: str) -> bytes:
    return (Path(os.environ["BENCH_PICTURES"]) / key).read_bytes()


def decoded(data: bytes) -> Any:
    """RGB pixels as an array of rows."""
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    least_width, least_height = thumbnail_sides(int(width), int(height))
    return simplejpeg.decode_jpeg(data, colorspace="RGB", min_width=least_width, min_height=least_height)


def thumbnail_sides(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
