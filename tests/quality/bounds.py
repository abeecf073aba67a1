"""How alike the thumbnails of both engines must be, and the corpus files that miss this, each with the reason.

The default bounds are those of `tests.tools.scoring`: a mean of 2 of 255 and a structural similarity of 0.97.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.tools.scoring import LEAST_SSIM, MOST_MEAN
from thumbnailer.model import EngineName

LIBVIPS_ALONE_WARNS = {"pillow-hopper_bad_exif.jpg"}
"""Its restart intervals are shorter than its data says; libjpeg skips 1,214 bytes, and Pillow passes no warning on."""

ONE_READS_IT = {
    "pillow-truncated_end_chunk.png": EngineName.VIPS,  # cut within its last chunk
    "pillow-png_decompression_dos.png": EngineName.VIPS,  # Pillow refuses to unpack its text
    "sharp-cielab-dagams.tiff": EngineName.VIPS,
    "sharp-tbgn2c16.png": EngineName.VIPS,  # one colour of 16 bits is transparent
    "codec-corpus-basn2c16.png": EngineName.VIPS,  # linear light of 16 bits
    "codec-corpus-basn6a16.png": EngineName.VIPS,
    "libpng-huge_IDAT.png": EngineName.PILLOW,
    "libpng-badcrc.png": EngineName.PILLOW,
}
"""Files that only one engine can read although both read the format."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of `mean` and `ssim` between both engines, and of the SSIM between each engine and the reference."""

    mean: float = MOST_MEAN
    ssim: float = LEAST_SSIM
    reference: float = LEAST_SSIM


LEAST_ENCODED = 0.78
"""SSIM of a thumbnail at the default quality to its own pixels before encoding, in every format."""
MOST_BETWEEN_ENCODED = 4
"""Mean difference of encoded frames by two engines."""

FRAMES_MERGED = {"pillow-iss634.webp"}
"""At this quality libwebp joins neighbouring frames that differ little, in each engine others."""

COLOURED_EDGES = "WebP stores colours at half the resolution at any quality"
ONE_BIT = "GIF has no soft edges: a half-transparent pixel becomes clear or opaque"
PALETTE = "each engine chooses 256 colours for a photo of 64x64 in its own way"
NOISE = "the encoder drops fine noise at this quality; JPEG at 97 or AVIF at 96 would keep it"
INKS = "single pixels of ink: engines shrink before they convert, the reference converts before it shrinks"
ALPHA = "libheif and libavif decode the alpha of this file up to 20 of 255 apart"

MISSES: dict[str, tuple[Bounds, str]] = {
    "pillow-iss634.webp": (Bounds(mean=8, ssim=0.96, reference=0.80), COLOURED_EDGES),
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
    "sharp-sdr_cosmos12920_cicp1-13-6_yuv444_full_qp10.avif": (Bounds(mean=8), NOISE),
    "bimg-test.jxl": (Bounds(reference=0.955), NOISE),
    "pillow-rot1mir0.avif": (Bounds(mean=6), NOISE),
    "pillow-star.avifs": (Bounds(ssim=0.95), ALPHA),
    "pillow-pil_sample_cmyk.jpg": (Bounds(reference=0.91), INKS),
    "pillow-tiff_strip_cmyk_jpeg.tif": (Bounds(reference=0.91), INKS),
}
"""Bounds of stored thumbnails."""
NATIVE_MISSES: dict[str, tuple[Bounds, str]] = {
    "libjxl-testdata-bicycles_restarts.jpg": (Bounds(mean=2.4), NOISE),
}
"""The same between Pillow and the compiled engine."""
EXACT_MISSES: dict[str, tuple[Bounds, str]] = {
    "pillow-pil_sample_cmyk.jpg": (Bounds(reference=0.965), INKS),
    "pillow-tiff_strip_cmyk_jpeg.tif": (Bounds(reference=0.965), INKS),
}
"""Bounds of lossless thumbnails."""
WITHIN = (Bounds(), "")
