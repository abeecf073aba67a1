"""Both engines on every picture of the corpus: the same outcome, and pictures that look alike and as they should.

The bounds are those of `tests.tools.scoring`: a mean of 2 of 255 and a structural similarity of 0.97. The test compares
the pixels as lossless PNG, where resampling and colours show, and as users get them, where encoders add noise. Pictures
that miss a bound are listed here with their own bounds and the reason.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

from tests.quality.gallery import SIZES, TWINS, Made, References, outcomes
from tests.support.corpus import Row, needs_corpus, rows
from tests.tools.scoring import LEAST_SSIM, MOST_MEAN, frame_count, score, shown, shown_frames, ssim
from thumbnailer.engine import installed_engines
from thumbnailer.formats import probe
from thumbnailer.model import EngineName

ONE_READS_IT = {
    "pillow-truncated_end_chunk.png": EngineName.VIPS,  # the file ends within its last chunk
    "pillow-png_decompression_dos.png": EngineName.VIPS,  # text that Pillow refuses to unpack, and nobody needs
    "sharp-cielab-dagams.tiff": EngineName.VIPS,
    "sharp-tbgn2c16.png": EngineName.VIPS,  # one colour of 16 bits is transparent
    "libpng-huge_IDAT.png": EngineName.PILLOW,
    "libpng-badcrc.png": EngineName.PILLOW,
}
"""Files of a format that both engines read, and that only this one can, or gets right."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """`mean` and `ssim` of the engines' thumbnails to each other, `reference` the SSIM of each to the reference."""

    mean: float = MOST_MEAN
    ssim: float = LEAST_SSIM
    reference: float = LEAST_SSIM


COLOURED_EDGES = "WebP keeps colours at half the resolution at any quality"
ONE_BIT = "GIF has no soft edges: what is half transparent is either clear or opaque"
PALETTE = "two ways of choosing 256 colours for a photo of 64x64"
NOISE = "an encoder at this quality rounds fine noise away: JPEG at 97 or AVIF at 96 would keep it"
INKS = "single pixels of ink: engines mix inks and convert the few pixels left, the reference mixes what was converted"
ALPHA = "libheif and libavif decode this file's alpha up to 20 of 255 apart"

MISSES: dict[str, tuple[Bounds, str]] = {
    "pillow-iss634.webp": (Bounds(mean=3.5, ssim=0.96, reference=0.80), COLOURED_EDGES),
    "sharp-4.webp": (Bounds(reference=0.92), COLOURED_EDGES),
    "sharp-5_webp_a.webp": (Bounds(reference=0.87), COLOURED_EDGES),
    "imagor-dancing-banana.gif": (Bounds(reference=0.94), ONE_BIT),
    "sharp-rotating-squares.gif": (Bounds(reference=0.96), ONE_BIT),
    "pillow-hopper.gif": (Bounds(mean=3), PALETTE),
    "pillow-hopper_zero_comment_subblocks.gif": (Bounds(mean=3), PALETTE),
    "imagor-jpg-24bit-icc-adobe-rgb.jpg": (Bounds(mean=2.5), NOISE),
    "libjxl-testdata-bicycles_restarts.jpg": (Bounds(mean=2.3), NOISE),
    "pillow-icc_profile_big.jpg": (Bounds(reference=0.965), NOISE),
    "pillow-multipage.tiff": (Bounds(reference=0.95), NOISE),
    "sharp-tifftag-photoshop.tiff": (Bounds(reference=0.96), NOISE),
    "sharp-sdr_cosmos12920_cicp1-13-6_yuv444_full_qp10.avif": (Bounds(mean=3.1), NOISE),
    "bimg-test.jxl": (Bounds(reference=0.955), NOISE),
    "pillow-rot1mir0.avif": (Bounds(mean=2.5), NOISE),
    "pillow-star.avifs": (Bounds(ssim=0.95), ALPHA),
    "pillow-pil_sample_cmyk.jpg": (Bounds(reference=0.91), INKS),
    "pillow-tiff_strip_cmyk_jpeg.tif": (Bounds(reference=0.91), INKS),
}
"""As users get them."""
EXACT_MISSES: dict[str, tuple[Bounds, str]] = {
    "pillow-pil_sample_cmyk.jpg": (Bounds(reference=0.965), INKS),
    "pillow-tiff_strip_cmyk_jpeg.tif": (Bounds(reference=0.965), INKS),
}
"""Before any encoder's loss."""
WITHIN = (Bounds(), "")


def cases() -> list[tuple[Row, str]]:
    """Every file at the default size, and at the others where they show something else."""
    return [(row, size) for row in rows() for size in SIZES if size == SIZES[0] or shows_more(row, size)]


def shows_more(row: Row, size: str) -> bool:
    """A picture that fits is itself at any size; of the photos that differ in their orientation alone one is enough."""
    return max(row.width or 0, row.height or 0) > int(size.partition("x")[0]) and not TWINS.match(row.file)


@needs_corpus
@pytest.mark.parametrize(("row", "size"), cases(), ids=lambda value: value if isinstance(value, str) else value.file)
def test_both_engines_make_the_same_of_a_real_file(row: Row, size: str, wanted: References) -> None:
    one, other = outcomes(row, size)
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        return
    assert_made_by_the_engine_asked(row, one, other)
    assert described(one) == described(other)
    assert one.damaged == other.damaged
    if one.damaged:
        return  # what a decoder makes up for what is missing is its own
    assert_alike(one, other, MISSES.get(row.file, WITHIN)[0], EXACT_MISSES.get(row.file, WITHIN)[0])
    reference = wanted.of(row, size)
    for made in {one.engine: one, other.engine: other}.values():
        assert ssim(shown(made.exact), reference) >= EXACT_MISSES.get(row.file, WITHIN)[0].reference, made.engine
        assert ssim(shown(made.picture), reference) >= MISSES.get(row.file, WITHIN)[0].reference, made.engine


def assert_made_by_the_engine_asked(row: Row, *both: Made) -> None:
    if row.file in ONE_READS_IT:
        assert {made.engine for made in both} == {ONE_READS_IT[row.file]}
        return
    format_ = probe(row.read(), row.bytes).format
    able = {name for name, engine in installed_engines().items() if format_ in engine.reads}
    made_by = {made.engine for made in both}
    assert made_by <= able
    assert made_by == able or is_broken(row), "one engine hands this picture on to the other"


def is_broken(row: Row) -> bool:
    """libvips hands on a JPEG that libjpeg warns of, and Pillow shows what is left of a damaged picture."""
    return row.expect == "either" or row.category.startswith(("malformed", "truncated", "jpeg-invalid"))


def described(made: Made) -> tuple[object, ...]:
    """What of a thumbnail is told without looking at it."""
    info = probe(made.picture, len(made.picture))
    assert (info.width, info.height) == (made.target.width, made.target.height)
    assert (info.format, info.orientation) == (made.target.format, 1)
    return info.format, info.width, info.height, info.has_alpha, frame_count(made.picture)


def assert_alike(one: Made, other: Made, bounds: Bounds, exact: Bounds) -> None:
    pixels = score(shown(one.exact), shown(other.exact))
    assert pixels.within(exact.mean, exact.ssim), pixels
    for ours, theirs in zip(shown_frames(one.picture), shown_frames(other.picture), strict=True):
        frame = score(ours, theirs)
        assert frame.within(bounds.mean, bounds.ssim), frame


@needs_corpus
@pytest.mark.skipif("THUMBNAILER_CORPUS" in os.environ, reason="the lists are of shared/corpus")
def test_the_lists_of_misses_name_real_files() -> None:
    files = {row.file for row in rows()}
    assert {*MISSES, *EXACT_MISSES, *ONE_READS_IT} <= files
