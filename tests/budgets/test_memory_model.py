"""The memory estimate of the plan is at least the peak of a real render, and not far above it.

Each render runs in its own process. By default `make lab` renders one size of every kind, and the most frequent kinds
at the size of phone photos. The whole ladder takes half an hour and some GB of disk:
THUMBNAILER_TEST_LADDER=1,4,12,24,50,100.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest

from tests.support.corpus import CORPUS, needs_corpus
from tests.tools.ladder import CJXL, KINDS
from tests.tools.memory import LEAST_COUNTED, NEAR, NEAR_FROM_MEGAPIXELS, UNTOLD, Row, measure_folder, measure_ladder
from thumbnailer.engine import installed_engines

SIZES = [float(size) for size in os.environ.get("THUMBNAILER_TEST_LADDER", "5").split(",")]
FREQUENT = ("rgb.jpg", "rgb-progressive.jpg", "rgb.png", "rgb-interlaced.png", "alpha.png", "rgb.webp")
LARGE = 24.0
THREE = "s=128x128,m=1024x1024,c=512x512:cover"


def table(rows: Iterable[Row]) -> str:
    return "\n".join("  ".join(row.cells()) for row in rows)


def underestimated(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.peak.measured > row.peak.estimate]


def overestimated(rows: Iterable[Row]) -> list[Row]:
    return [
        row
        for row in rows
        if row.peak.ended == "ok"
        and not row.name.endswith(tuple(UNTOLD))
        and row.peak.megapixels > NEAR_FROM_MEGAPIXELS
        and row.peak.estimate > NEAR * max(LEAST_COUNTED, row.peak.measured)
    ]


def lab(*case: object, id: str) -> Any:
    return pytest.param(*case, id=id, marks=pytest.mark.lab)


@pytest.mark.parametrize(
    ("sizes", "rendition", "kinds"),
    [
        pytest.param([5.0], "128x128", ("rgb.jpg", "alpha.png", "rgb.webp"), id="quick"),
        lab(SIZES, "128x128", tuple(KINDS), id="every kind"),
        lab([LARGE], "128x128", FREQUENT, id="large"),
        lab([12.0], THREE, FREQUENT, id="several thumbnails"),
    ],
)
def test_the_estimate_is_at_least_the_peak_and_not_far_above(
    sizes: list[float], rendition: str, kinds: tuple[str, ...]
) -> None:
    rows = list(measure_ladder(sizes, rendition, kinds))
    print(table(rows))
    assert {row.engine for row in rows} == set(installed_engines())
    assert len(rows) >= len(kinds)
    assert not underestimated(rows), table(underestimated(rows))
    assert not overestimated(rows), table(overestimated(rows))


@pytest.mark.skipif(CJXL is None, reason="cjxl (Debian: libjxl-tools) is not installed")
def test_the_ladder_has_the_published_kinds_of_jpeg_xl() -> None:
    """Without cjxl the ladder has none of them."""
    assert {"photo.jxl", "alpha.jxl", "modular.jxl", "squeezed-16bit.jxl"} <= set(KINDS)


@pytest.mark.lab
@needs_corpus
def test_the_estimate_of_a_corpus_file_is_at_least_its_peak_and_not_far_above() -> None:
    rows = list(measure_folder(CORPUS, "128x128"))
    print(table(rows))
    assert len(rows) > 100
    assert not underestimated(rows), table(underestimated(rows))
    assert not overestimated(rows), table(overestimated(rows))
