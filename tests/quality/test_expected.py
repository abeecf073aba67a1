"""The corpus' pictures against thumbnails that another program made of them, where there are such.

THUMBNAILER_EXPECTED names a directory with a thumbnail of no more than 128x128 for some of the pictures, named like
them, and made without loss (PNG); THUMBNAILER_CORPUS may name another set of pictures.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.quality.gallery import SIZES, outcomes
from tests.support.corpus import Row, rows
from tests.tools.quality import expected_thumbnail, fitted
from tests.tools.scoring import LEAST_SSIM, shown, ssim

EXPECTED = os.environ.get("THUMBNAILER_EXPECTED")


@pytest.mark.parametrize("row", rows() if EXPECTED else [], ids=lambda row: row.file)
def test_a_thumbnail_looks_like_another_program_s(row: Row) -> None:
    thumbnail = expected_thumbnail(Path(EXPECTED or ""), row.file)
    if thumbnail is None:
        pytest.skip("there is none of this picture")
    for made in outcomes(row, SIZES[0]):
        assert not isinstance(made, str), made
        assert ssim(shown(made.exact), fitted(thumbnail, made.target)) >= LEAST_SSIM, made.engine
