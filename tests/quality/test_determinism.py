"""The same bytes for the same picture: on one engine, in any order, in any company."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from tests.quality.gallery import TWINS
from tests.support.corpus import Row, needs_corpus, rows
from tests.tools.quality import plan_for
from thumbnailer.engine import installed_engines, load_engine
from thumbnailer.errors import Rejected
from thumbnailer.model import EngineName, Format
from thumbnailer.renditions import OUTPUT_FORMATS


@needs_corpus
@pytest.mark.parametrize("engine", EngineName)
def test_every_picture_gives_the_same_bytes_in_any_order_and_concurrency(engine: EngineName) -> None:
    """Each in the format that it gets by itself, and in one of the others in turn."""
    formats = itertools.cycle(format_ for format_ in OUTPUT_FORMATS if format_ in installed_engines()[engine].writes)
    sources = [(row, next(formats)) for row in rows() if row.category != "bomb" and not TWINS.match(row.file)]
    alone = dict(rendered(source, engine) for source in sources)
    others = Random(13).sample(sources, len(sources))
    with ThreadPoolExecutor(4) as pool:
        together = dict(pool.map(lambda source: rendered(source, engine), others))
    assert [file for file in alone if alone[file] != together[file]] == []
    assert sum(isinstance(made, tuple) for made in alone.values()) > len(sources) // 2


def rendered(source: tuple[Row, Format], engine: EngineName) -> tuple[str, tuple[bytes, ...] | str]:
    """A file's name and its thumbnails, or the reason why there are none."""
    row, format_ = source
    try:
        plan = plan_for(row.read(), engine, f"auto=64x64,other=48x48:cover:{format_}")
        if plan.engine is not engine:
            return row.file, "not read"
        return row.file, load_engine(engine).render(str(row.path), plan).pictures
    except Rejected as error:
        return row.file, error.reason
