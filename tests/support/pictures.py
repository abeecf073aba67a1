"""Looking at pictures that were made: what Pillow cannot open here (AVIF in Pillow-SIMD), libvips can."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, features

from thumbnailer.engine import load_engine
from thumbnailer.formats import probe
from thumbnailer.model import EngineName, Format


def opened(data: bytes) -> Image.Image:
    """The picture, decoded."""
    if probe(data, len(data)).format is Format.AVIF and not features.check("avif"):
        return _through_libvips(data)
    image = Image.open(BytesIO(data))
    image.load()
    return image


def _through_libvips(data: bytes) -> Image.Image:
    load_engine(EngineName.VIPS)  # opens its AVIF loader
    import pyvips

    return Image.fromarray(pyvips.Image.heifload_buffer(data).colourspace("srgb").numpy())
