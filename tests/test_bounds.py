"""Hostile pictures: refused by their header or their structure, before a decoder sees them."""

from __future__ import annotations

import asyncio
import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image

from thumbnailer.app import build, new_event_loop
from thumbnailer.model import EventKind, ObjectEvent, Outcome
from thumbnailer.objects import PutHeaders
from thumbnailer.settings import Machine, parse_settings
from thumbnailer.store.memory import MemoryStore


def processed(data: bytes, memory_mb: int = 512) -> Outcome:
    """What becomes of an object with these bytes on a Lambda of that size."""

    async def work() -> Outcome:
        store = MemoryStore("photos", "photos-resized")
        await store.put("photos", "x", data, PutHeaders("image/jpeg"))
        pipeline = build(parse_settings({}), Machine(memory_mb, None), {}, store).pipeline
        outcome = await pipeline.process(ObjectEvent(EventKind.CREATED, "photos", "x"))
        await pipeline.aclose()
        return outcome

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work())


def jpeg(**options: object) -> bytes:
    out = BytesIO()
    Image.linear_gradient("L").convert("RGB").save(out, "JPEG", **options)
    return out.getvalue()


def with_scans(data: bytes, times: int) -> bytes:
    """The last scan of a progressive JPEG, said again and again."""
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * times + data[end:]


@pytest.mark.matrix(9)
def test_a_progressive_jpeg_of_more_than_a_hundred_scans_is_refused_and_one_of_ten_is_not() -> None:
    ordinary = jpeg(progressive=True)
    assert processed(ordinary).status == "stored"
    assert processed(with_scans(ordinary, 50)).status == "stored"
    outcome = processed(with_scans(ordinary, 2000))
    assert (outcome.reason, outcome.engine) == ("corrupt", "pillow")
    assert "scans" in str(outcome.detail)
    assert "decode" not in dict(outcome.timings)


@pytest.mark.matrix(10)
def test_a_frame_header_behind_50_mb_of_segments_is_not_searched_for_beyond_8() -> None:
    padding = (b"\xff\xe5" + struct.pack(">H", 65_535) + bytes(65_533)) * 800
    data = jpeg()
    outcome = processed(data[:2] + padding + data[2:])
    assert outcome.reason == "corrupt"
    assert outcome.bytes_in < 9 * 1024 * 1024


@pytest.mark.matrix(7)
def test_a_png_of_50000_by_50000_pixels_is_refused_by_its_header() -> None:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    outcome = processed(head + bytes(3_000_000))
    assert outcome.reason == "too-many-pixels"
    assert outcome.bytes_in <= 65_536
