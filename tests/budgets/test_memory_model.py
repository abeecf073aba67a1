"""The plan's estimate against the peak of real renders, each in a process of its own.

The whole ladder, 1 to 100 MP, takes half an hour and some GB of disk: THUMBNAILER_TEST_LADDER=1,4,12,24,50,100. By
itself the test takes one size of every kind, and the largest that phones make of the most frequent kinds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from tests.support.corpus import CORPUS, needs_corpus
from tests.tools.ladder import CJXL, KINDS
from tests.tools.memory import LEAST_COUNTED, NEAR, NEAR_FROM_MEGAPIXELS, UNTOLD, Row, measure_folder, measure_ladder
from thumbnailer.model import EngineName

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


@pytest.mark.parametrize(
    ("sizes", "rendition", "kinds"),
    [(SIZES, "128x128", tuple(KINDS)), ([LARGE], "128x128", FREQUENT), ([12.0], THREE, FREQUENT)],
    ids=["every kind", "large", "several thumbnails"],
)
def test_no_picture_takes_more_memory_than_is_reckoned_with_nor_much_less(
    sizes: list[float], rendition: str, kinds: tuple[str, ...]
) -> None:
    rows = list(measure_ladder(sizes, rendition, kinds))
    print(table(rows))  # shown with -s, and where it fails
    assert {row.engine for row in rows} == set(EngineName)
    assert len(rows) >= len(kinds)
    assert not underestimated(rows), table(underestimated(rows))
    assert not overestimated(rows), table(overestimated(rows))


@pytest.mark.skipif(CJXL is None, reason="cjxl (Debian: libjxl-tools) is not installed")
def test_the_ladder_has_the_kinds_of_jpeg_xl_that_are_published() -> None:
    """Else the test of every kind says nothing of them."""
    assert {"photo.jxl", "alpha.jxl", "modular.jxl", "squeezed-16bit.jxl"} <= set(KINDS)


@needs_corpus
@pytest.mark.parametrize("rendition", ["128x128"])
def test_no_picture_of_the_corpus_takes_more_memory_than_is_reckoned_with_nor_much_less(rendition: str) -> None:
    rows = list(measure_folder(CORPUS, rendition))
    print(table(rows))
    assert len(rows) > 100
    assert not underestimated(rows), table(underestimated(rows))
    assert not overestimated(rows), table(overestimated(rows))
