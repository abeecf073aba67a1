"""Pictures of one pixel, of one row, and smaller than the rendition."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from tests.bombs.heif import AVIF, HEIC, file, picture
from tests.support.pictures import opened, saved
from tests.support.processing import EVERY_ENGINE, process, process_by
from thumbnailer.model import EngineName, Status

pytestmark = pytest.mark.matrix(19)

LONGEST = {"JPEG": 65_500, "PNG": 65_535, "GIF": 65_535, "WEBP": 16_383, "TIFF": 65_535, "BMP": 65_535, "AVIF": 16_383}
"""65,535, or the maximum of the encoder."""
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF encoder")
KINDS = [pytest.param(kind, marks=needs_avif if kind == AVIF else ()) for kind in LONGEST]
RED = (200, 30, 30)


def source(kind: str, size: tuple[int, int]) -> bytes:
    options: dict[str, Any] = {"speed": 10} if kind == AVIF else {"sizes": [size]} if kind == "ICO" else {}
    return saved(Image.new("RGB", size, RED), kind, **options)


def check(data: bytes, engine: EngineName, size: tuple[int, int], renditions: str = "128x128") -> None:
    made = process_by(engine, data, RENDITIONS=renditions)
    assert made.outcome.status is Status.STORED, made.outcome.detail
    for thumbnail, output in zip(made.thumbnails, made.outcome.outputs, strict=True):
        image = opened(thumbnail)
        assert image.size == (output.width, output.height) == size
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - RED).max() < 24


@pytest.mark.parametrize("kind", [*KINDS, "ICO"])
def test_a_picture_of_one_pixel_keeps_its_size(kind: str, engine: EngineName) -> None:
    check(source(kind, (1, 1)), engine, (1, 1), "a=128x128,b=128x128:jpeg,c=128x128:webp,d=64x:png")


@pytest.mark.skipif(find_spec("pillow_heif") is None, reason="pillow-heif is not installed")
def test_a_heic_that_claims_one_pixel_is_rejected_or_rendered() -> None:
    outcome = process(file(HEIC, picture(HEIC, (64, 64), (1, 1)))).outcome
    assert outcome.reason == "corrupt" or (outcome.outputs[0].width, outcome.outputs[0].height) == (1, 1)


@EVERY_ENGINE
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("upright", [True, False])
def test_no_side_of_a_single_row_or_column_becomes_zero(kind: str, upright: bool, engine: EngineName) -> None:
    long = LONGEST[kind]
    size, small = ((1, long), (1, 128)) if upright else ((long, 1), (128, 1))
    check(source(kind, size), engine, small)


@pytest.mark.parametrize("kind", [*KINDS, "ICO"])
@pytest.mark.parametrize("renditions", ["128x128", "128x128:cover", "128x", "x128", "128x128:smart"])
def test_a_picture_smaller_than_the_rendition_is_not_enlarged(kind: str, renditions: str, engine: EngineName) -> None:
    check(source(kind, (48, 48)), engine, (48, 48), renditions)


@EVERY_ENGINE
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_smaller_on_one_side_is_cropped_on_the_other(kind: str, engine: EngineName) -> None:
    check(source(kind, (300, 40)), engine, (128, 40), "128x128:cover")
