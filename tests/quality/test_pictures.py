"""Every picture by both engines: outcome, size, likeness, colours and metadata, all from one set of renders.

The corpus is for `make test-all`; its pictures also have a fast pass. The samples of the demo and tiny pictures made
here need no corpus.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from tests.fuzz.sources import whole
from tests.quality.bounds import (
    EXACT_MISSES,
    FRAMES_MERGED,
    LEAST_ENCODED,
    LIBVIPS_ALONE_WARNS,
    MISSES,
    MOST_BETWEEN_ENCODED,
    NATIVE_MISSES,
    ONE_READS_IT,
    WITHIN,
    Bounds,
)
from tests.quality.gallery import SIZES, Gallery, Render
from tests.support.containers import assert_only_pixels_and_credit
from tests.support.corpus import TWINS, Row, needs_corpus, rows
from tests.support.processing import process
from tests.tools.quality import expected_thumbnail, fitted
from tests.tools.scoring import LEAST_SSIM, MOST_MEAN, frame_count, score, shown, shown_frames, ssim
from thumbnailer.engine import installed_engines
from thumbnailer.formats import probe
from thumbnailer.model import EngineName, Format, Status
from thumbnailer.planning.capabilities import NATIVE

TRANSPARENT_GIFS = ("made/transparent.gif", "made/interlaced.gif")
"""libvips declares a transparent colour in these although every pixel is opaque."""
EXPECTED = os.environ.get("THUMBNAILER_EXPECTED")
"""A folder with thumbnails by another program, at most 128x128, lossless (PNG), named like the pictures."""


@needs_corpus
@pytest.mark.slow
@pytest.mark.parametrize("row", rows(), ids=lambda row: row.file)
def test_both_engines_make_the_same_thumbnails_of_a_corpus_file(row: Row, subtests: pytest.Subtests) -> None:
    gallery = Gallery(row.path)
    for size in SIZES:
        if size != SIZES[0] and not differs_at(row, size):
            continue
        with subtests.test(size=size):
            found = gallery.by_each_engine(size)
            assert_as_the_manifest_says(row, found[0])
            renders = [made for made in found if isinstance(made, Render)]
            if len(renders) < len(found):
                assert len(set(found)) == 1
                continue
            assert_engines_of_the_plan(row, *renders)
            for one, other in pairwise(renders):
                facts = 4 if row.file in FRAMES_MERGED else 5
                assert described(one)[:facts] == described(other)[:facts]
                assert one.damaged == other.damaged or row.file in LIBVIPS_ALONE_WARNS
            for picture in {picture for made in renders for picture in made.pictures}:
                assert_only_pixels_and_credit(picture)
            if not renders[0].damaged:  # each decoder fills missing pixels in its own way
                for one, other in pairwise(renders):
                    assert_alike(one, other, bounds_of(row, other.engine), exact_bounds_of(row))
                if probe(gallery.data, row.bytes).format is not Format.SVG:
                    assert_near_the_reference(row, gallery, size)


def differs_at(row: Row, size: str) -> bool:
    """False if the picture already fits into the size, or differs from another picture in its orientation only."""
    return max(row.width or 0, row.height or 0) > int(size.partition("x")[0]) and not TWINS.match(row.file)


def bounds_of(row: Row, engine: EngineName | None = None) -> Bounds:
    """Of the thumbnails of `engine`."""
    misses = MISSES | NATIVE_MISSES if engine is NATIVE else MISSES
    return misses.get(row.file, WITHIN)[0]


def exact_bounds_of(row: Row) -> Bounds:
    return EXACT_MISSES.get(row.file, WITHIN)[0]


def assert_as_the_manifest_says(row: Row, made: Render | str) -> None:
    """Rows with `either` may be stored or rejected."""
    if isinstance(made, str):
        assert row.expect.startswith("reject") or row.expect == "either", made
    else:
        assert not row.expect.startswith("reject")


def assert_engines_of_the_plan(row: Row, *renders: Render) -> None:
    engines = {made.engine for made in renders} - {NATIVE}
    if row.file in ONE_READS_IT:
        assert engines == {ONE_READS_IT[row.file]}
        return
    format_ = probe(row.read(), row.bytes).format
    able = {name for name, engine in installed_engines().items() if format_ in engine.reads} - {NATIVE}
    assert engines <= able
    assert engines == able or is_broken(row), "one engine left this picture to the other"


def is_broken(row: Row) -> bool:
    """libvips leaves a JPEG with libjpeg warnings to Pillow, and Pillow salvages damaged pictures."""
    return row.expect == "either" or row.category.startswith(("malformed", "truncated", "jpeg-invalid"))


def assert_same_file(one: Render, other: Render) -> None:
    assert described(one) == described(other)
    assert one.damaged == other.damaged


def described(made: Render) -> tuple[object, ...]:
    """The properties of a thumbnail but for its pixels."""
    info = probe(made.picture, len(made.picture))
    assert (info.width, info.height) == (made.target.width, made.target.height)
    assert (info.format, info.orientation) == (made.target.format, 1)
    return info.format, info.width, info.height, info.has_alpha, frame_count(made.picture)


def assert_alike(one: Render, other: Render, bounds: Bounds, exact: Bounds) -> None:
    pixels = score(shown(one.exact), shown(other.exact))
    assert pixels.within(exact.mean, exact.ssim), pixels
    for ours, theirs in zip(shown_frames(one.picture), shown_frames(other.picture), strict=True):
        frame = score(ours, theirs)
        assert frame.mean <= max(bounds.mean, MOST_BETWEEN_ENCODED), frame


def assert_near_the_reference(row: Row, gallery: Gallery, size: str) -> None:
    reference = gallery.reference(size)
    for made in gallery.by_each_engine(size):
        assert isinstance(made, Render)
        assert ssim(shown(made.exact), reference) >= exact_bounds_of(row).reference, made.engine
        encoded = ssim(shown(made.picture), shown(made.exact))
        assert encoded >= min(LEAST_ENCODED, bounds_of(row).reference), (made.engine, encoded)


@needs_corpus
@pytest.mark.skipif("THUMBNAILER_CORPUS" in os.environ, reason="the lists name files of shared/corpus")
def test_the_lists_of_bounds_name_corpus_files() -> None:
    assert {*MISSES, *NATIVE_MISSES, *EXACT_MISSES, *ONE_READS_IT} <= {row.file for row in rows()}


@needs_corpus
def test_every_corpus_file_ends_as_the_manifest_says(subtests: pytest.Subtests) -> None:
    """The fast pass: the default settings only."""
    for row in rows():
        if TWINS.match(row.file):
            continue
        with subtests.test(row.file):
            made = process(row.read(), SVG="on")
            if made.outcome.status is Status.STORED:
                assert not row.expect.startswith("reject")
                assert_only_pixels_and_credit(made.thumbnails[0])
            else:
                assert made.outcome.status is Status.REJECTED
                assert row.expect.startswith("reject") or row.expect == "either", made.outcome.detail


@pytest.mark.parametrize("kind", sorted({source.kind for source in whole()}))
def test_both_engines_make_the_same_thumbnails_of_a_whole_picture(
    kind: str, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    for source in (source for source in whole() if source.kind == kind):
        path = tmp_path / source.name.replace("/", "-")
        path.write_bytes(source.data)
        gallery = Gallery(path)
        with subtests.test(source.name):
            one, *others = gallery.by_each_engine(SIZES[0])
            assert isinstance(one, Render), one
            for other in others:
                assert isinstance(other, Render), other
                for picture in {*one.pictures, *other.pictures}:
                    assert_only_pixels_and_credit(picture)
                if source.name not in TRANSPARENT_GIFS:
                    assert_same_file(one, other)
                pixels = score(shown(one.exact), shown(other.exact))
                assert pixels.within(mean=3 if source.name == "made/alpha.avif" else MOST_MEAN), pixels


@needs_corpus
@pytest.mark.slow
@pytest.mark.skipif(EXPECTED is None, reason="THUMBNAILER_EXPECTED names no thumbnails by another program")
def test_thumbnails_look_like_those_of_another_program(subtests: pytest.Subtests) -> None:
    for row in rows():
        thumbnail = expected_thumbnail(Path(EXPECTED or ""), row.file)
        if thumbnail is None:
            continue
        for made in Gallery(row.path).by_each_engine(SIZES[0]):
            with subtests.test(row.file):
                assert not isinstance(made, str), made
                assert ssim(shown(made.exact), fitted(thumbnail, made.target)) >= LEAST_SSIM, made.engine
