"""An engine makes the same bytes of a picture in any order and at any concurrency."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from tests.support.corpus import TWINS, Row, needs_corpus, rows
from tests.support.processing import EVERY_ENGINE
from tests.tools.quality import plan_for
from thumbnailer.engine import installed_engines, load_engine
from thumbnailer.errors import Rejected
from thumbnailer.model import EngineName, Format
from thumbnailer.renditions import OUTPUT_FORMATS


@EVERY_ENGINE
@needs_corpus
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_picture_gives_the_same_bytes_in_any_order_and_concurrency(engine: EngineName) -> None:
    """Each picture in its automatic format and in one other format."""
    formats = itertools.cycle(format_ for format_ in OUTPUT_FORMATS if format_ in installed_engines()[engine].writes)
    sources = [(row, next(formats)) for row in rows() if row.category != "bomb" and not TWINS.match(row.file)]
    in_order = dict(rendered(source, engine) for source in sources)
    shuffled = Random(13).sample(sources, len(sources))
    with ThreadPoolExecutor(4) as pool:
        concurrent = dict(pool.map(lambda source: rendered(source, engine), shuffled))
    assert [file for file in in_order if in_order[file] != concurrent[file]] == []
    least = 10 if engine is EngineName.NATIVE else len(sources) // 2  # that one reads JPEG only
    assert sum(isinstance(made, tuple) for made in in_order.values()) > least


def rendered(source: tuple[Row, Format], engine: EngineName) -> tuple[str, tuple[bytes, ...] | str]:
    """The name of a file and its thumbnails, or the reason of the rejection."""
    row, format_ = source
    try:
        plan = plan_for(row.read(), engine, f"auto=64x64,other=48x48:cover:{format_}")
        if plan.engine is not engine:
            return row.file, "not read"
        return row.file, load_engine(engine).render(str(row.path), plan).pictures
    except Rejected as error:
        return row.file, error.reason
