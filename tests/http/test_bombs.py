"""Hostile pictures through the HTTP door: one of each row. `tests/test_bounds.py` has all of them, with their cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import pytest

from tests.bombs import gif, heif, jpeg, png, tiff
from tests.http.service import Bench
from tests.support.pictures import gradient, saved

GB: Final = 1 << 30
BOMBS: Final[dict[str, tuple[Callable[[], bytes], int]]] = {
    "6: a header that claims 64250 x 64250": (
        lambda: b"\xff\xd8" + jpeg.frame(64_250, 64_250) + jpeg.scan((0, 1, 2), 0, 63, 0) + bytes(200),
        413,
    ),
    "7: PNG of 50000 x 50000": (partial(png.of_one_colour, 50_000, 50_000), 413),
    "8: iCCP of 1 GB behind": (partial(png.with_text, b"iCCP", GB, behind=True), 200),
    "9: 2000 refinements": (partial(jpeg.of_refinements, 256, 256, 2000), 422),
    "10: 50 MB of APPn": (
        lambda: jpeg.with_segments(saved(gradient(), "JPEG"), 0xE5, bytes(65_533), 800),
        413,
    ),
    "11: GIF of 65535 x 65535": (partial(gif.animation, (65_535, 65_535), 2), 413),
    "12: 2^32 strips": (tiff.of_all_strips_there_can_be, 422),
    "13: AVIF in a circle": (partial(heif.in_a_circle, heif.AVIF), 422),
}


@pytest.mark.parametrize("query", ["name=card", "w=99&fm=webp"], ids=["offer", "any size"])
def test_bombs_end_with_their_status_all_at_once(serving: Callable[..., None], query: str) -> None:
    async def test(bench: Bench) -> None:
        answers = await asyncio.gather(*(bench.get(f"/{number}", query) for number in range(len(BOMBS))))
        for (name, (_, status)), answer in zip(BOMBS.items(), answers, strict=True):
            assert answer.status == status, (name, answer)
        assert list(bench.store.kept()) == (["_any/2/100x.webp"] if "name" in query else [])

    objects = {f"{number}": make() for number, (make, _) in enumerate(BOMBS.values())}
    serving(test, objects, OFFERS="card=100x:webp")
