"""Making test pictures and looking at thumbnails."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features

from thumbnailer.engine import load_engine
from thumbnailer.formats import probe
from thumbnailer.model import EngineName, Format

SAMPLE_FOLDER = Path(__file__).parents[2] / "handler" / "demo" / "samples"
SAMPLES = sorted(path for path in SAMPLE_FOLDER.iterdir() if path.suffix != ".md")
"""The sample pictures of the demo."""
Colour = tuple[int, int, int]
RED: Colour = (255, 0, 0)
GREEN: Colour = (0, 255, 0)
BLUE: Colour = (0, 0, 255)
WHITE: Colour = (255, 255, 255)
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""By EXIF orientation: the turn that makes stored pixels of an upright picture."""


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The picture encoded by Pillow."""
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(size: tuple[int, int] = (256, 256)) -> Image.Image:
    """A picture whose pixels all differ."""
    ramp = Image.linear_gradient("L").resize(size)
    return Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT), ramp.rotate(90)))


def quarters(orientation: int = 1) -> Image.Image:
    """Red and green above blue and white, 240 x 160 when upright, stored for an EXIF orientation."""
    image = Image.new("RGB", (240, 160))
    for colour, box in ((RED, (0, 0)), (GREEN, (120, 0)), (BLUE, (0, 80)), (WHITE, (120, 80))):
        image.paste(colour, (*box, box[0] + 120, box[1] + 80))
    turn = STORED_AS[orientation]
    return image if turn is None else image.transpose(turn)


def opened(data: bytes) -> Image.Image:
    """The decoded picture. libvips decodes AVIF if this Pillow cannot (Pillow-SIMD)."""
    if probe(data, len(data)).format is Format.AVIF and not features.check("avif"):
        return _through_libvips(data)
    image = Image.open(BytesIO(data))
    image.load()
    return image


def on_white(data: bytes) -> np.ndarray[Any, np.dtype[np.float64]]:
    """RGB from 0 to 255, flattened on white."""
    image = opened(data).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return np.asarray(white.convert("RGB")).astype(float)


def is_near(pixel: object, colour: Colour, within: int = 12) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(a - b) <= within for a, b in zip(pixel[:3], colour, strict=True))


def _through_libvips(data: bytes) -> Image.Image:
    load_engine(EngineName.VIPS)  # unblocks the AVIF loader
    import pyvips

    return Image.fromarray(pyvips.Image.heifload_buffer(data).colourspace("srgb").numpy())
