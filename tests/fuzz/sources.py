"""The pictures to break: the samples of the demo, the corpus if it is there, and tiny pictures made here.

Tiny pictures matter most: nearly every byte matters.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms, features

from tests.support.corpus import rows
from tests.support.pictures import SAMPLES, saved
from thumbnailer.errors import NeedMoreBytes, Rejected
from thumbnailer.formats import probe

LARGEST: Final = 1 << 20
"""Larger files cover nothing more and take a second each."""
TINY: Final = (33, 21)
OTHER: Final = "other"
"""Unsupported formats and other files."""
KINDS: Final = ("jpeg", "png", "gif", "webp", "avif", "heic", "jxl", "tiff", "bmp", "ico", "svg")


@dataclass(frozen=True, slots=True)
class Source:
    """A file to break."""

    name: str
    kind: str
    data: bytes


@cache
def sources() -> tuple[Source, ...]:
    """All sources, in a fixed order."""
    return tuple(_source(name, data) for name, data in (*_samples(), *_corpus(), *_made()) if data)


@cache
def by_kind() -> dict[str, tuple[Source, ...]]:
    """The sources of each kind, the smallest first."""
    smallest_first = sorted(sources(), key=lambda source: len(source.data))
    return {kind: tuple(s for s in smallest_first if s.kind == kind) for kind in (*KINDS, OTHER)}


def whole() -> list[Source]:
    """The sources that every decoder reads without a warning: all but the corpus."""
    return [_source(name, data) for name, data in (*_samples(), *_made())]


def made() -> list[Source]:
    """The tiny sources."""
    return [_source(name, data) for name, data in _made()]


def _samples() -> Iterator[tuple[str, bytes]]:
    for path in SAMPLES:
        yield path.name, path.read_bytes()


def _corpus() -> Iterator[tuple[str, bytes]]:
    for row in rows():
        if row.bytes <= LARGEST:
            yield row.file, row.read()


def _source(name: str, data: bytes) -> Source:
    return Source(name, _kind(name, data), data)


def _kind(name: str, data: bytes) -> str:
    """The format that the probe finds; a file that the probe rejects counts by its suffix."""
    try:
        kind = str(probe(data, len(data)).format)
    except (Rejected, NeedMoreBytes):
        suffix = Path(name).suffix.lower().lstrip(".")
        kind = {"jpg": "jpeg", "tif": "tiff", "heif": "heic"}.get(suffix, suffix)
    return kind if kind in KINDS else OTHER


# --- made ---------------------------------------------------------------------------------------------------------


def _made() -> Iterator[tuple[str, bytes]]:
    yield from _stills()
    yield from _of_other_encoders()
    yield from _drawings()
    yield from _profiles()
    yield from _animations()
    yield from _tiffs()


def _stills() -> Iterator[tuple[str, bytes]]:
    exif = Image.Exif()
    exif[0x0112], exif[0x013B], exif[0x8298] = 6, "artist", "copyright"
    yield _saved("baseline.jpeg", "RGB", exif=exif)
    yield _saved("progressive.jpeg", "RGB", progressive=True)
    yield _saved("restarts.jpeg", "RGB", restart_marker_blocks=1)
    yield _saved("grey.jpeg", "L")
    yield _saved("cmyk.jpeg", "CMYK")
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        yield _saved(f"{mode}.png", mode, exif=exif)
    yield _saved("transparent.png", "P", transparency=3)
    yield _saved("transparent.gif", "P", transparency=3)
    yield _saved("interlaced.gif", "P", interlace=1)
    yield _saved("lossy.webp", "RGB", exif=exif)
    yield _saved("alpha.webp", "RGBA")
    yield _saved("lossless.webp", "RGBA", lossless=True)
    for mode in ("1", "L", "P", "RGB"):
        yield _saved(f"{mode}.bmp", mode)
    yield _saved("png-inside.ico", "RGBA", sizes=[(16, 16), (20, 20)])
    yield _saved("bmp-inside.ico", "RGBA", sizes=[(16, 16), (20, 20)], bitmap_format="bmp")


def _of_other_encoders() -> Iterator[tuple[str, bytes]]:
    """Formats whose encoder is optional."""
    if features.check("avif"):
        yield _saved("alpha.avif", "RGBA")
    if find_spec("pillow_heif"):
        import pillow_heif

        out = BytesIO()
        pillow_heif.from_pillow(_pixels("RGBA")).save(out)
        yield "made/alpha.heic", out.getvalue()
    if find_spec("pylibjxl"):
        import pylibjxl

        for lossless in (False, True):
            pixels = np.asarray(_pixels("RGBA"))
            yield f"made/{'lossless' if lossless else 'lossy'}.jxl", pylibjxl.encode(pixels, lossless=lossless)


def _drawings() -> Iterator[tuple[str, bytes]]:
    """Drawings with the elements that cost most or refer to something."""
    yield "made/shapes.svg", DRAWING.encode()
    yield "made/inside.svg", DRAWING.replace(PICTURE, _data_url()).encode()
    yield "made/sizeless.svg", DRAWING.replace('width="40" height="30" ', "").encode()


PICTURE: Final = "file:///etc/hostname"
DRAWING: Final = f"""<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
 width="40" height="30" viewBox="0 0 80 60">
<style>rect {{ fill: #c00; opacity: 0.5 }}</style>
<defs><linearGradient id="g"><stop offset="0" stop-color="red"/><stop offset="1" stop-color="blue"/></linearGradient>
<filter id="f"><feGaussianBlur stdDeviation="2"/><feTurbulence baseFrequency="0.1" numOctaves="2"/></filter>
<pattern id="p" width="8" height="8" patternUnits="userSpaceOnUse">
<circle cx="4" cy="4" r="3" fill="url(#g)"/></pattern>
<clipPath id="c"><path d="M10 10 H70 V50 Q40 0 10 50 Z"/></clipPath>
<g id="a"><rect x="5" y="5" width="20" height="10" filter="url(#f)"/></g>
<g id="b"><use xlink:href="#a"/><use href="#a"/></g>
</defs>
<g clip-path="url(#c)" transform="rotate(5 40 30) scale(1.1)"><rect width="80" height="60" fill="url(#p)"/>
<use xlink:href="#b" x="10"/></g><text x="5" y="50" font-size="9">text<tspan dx="2">more</tspan></text>
<image xlink:href="{PICTURE}" width="10" height="10"/><ellipse cx="60" cy="20" rx="9" ry="5" stroke-dasharray="2 1"/>
</svg>
"""


def _data_url() -> str:
    return "data:image/png;base64," + b64encode(_saved("x.png", "RGB")[1]).decode()


def _profiles() -> Iterator[tuple[str, bytes]]:
    """Pictures with an embedded profile."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    srgb = made[:24] + bytes(12) + made[36:]  # without the date, so a seed always makes the same files
    for name in ("profile.jpeg", "profile.png", "profile.webp", "profile.tiff"):
        yield _saved(name, "RGB", icc_profile=srgb)


def _animations() -> Iterator[tuple[str, bytes]]:
    frames = [_pixels("RGB", turn) for turn in (0, 90, 180)]
    for name in ("moving.gif", "moving.webp", "moving.png", "pages.tiff"):
        yield _saved(name, "RGB", save_all=True, append_images=frames, duration=50)


def _tiffs() -> Iterator[tuple[str, bytes]]:
    for compression in ("raw", "packbits", "tiff_lzw", "tiff_deflate", "jpeg"):
        yield _saved(f"{compression}.tiff", "RGB", compression=compression)
    yield _saved("group4.tiff", "1", compression="group4")
    yield _saved("palette.tiff", "P")
    yield _saved("float.tiff", "F")
    yield _saved("16bit.tiff", "I;16")
    yield _saved("cmyk.tiff", "CMYK")
    yield _saved("big.tiff", "RGBA", big_tiff=True)


def _saved(name: str, mode: str, **options: Any) -> tuple[str, bytes]:
    return f"made/{name}", saved(_pixels(mode), Path(name).suffix[1:].upper(), **options)


def _pixels(mode: str, turn: int = 0) -> Image.Image:
    """A gradient in every channel, which shows damage in any channel."""
    gradient = Image.linear_gradient("L").resize(TINY)
    turned = [gradient.rotate(turn + step) for step in (0, 90, 180)]
    colours = Image.merge("RGB", turned)
    if mode == "I;16":
        return gradient.convert("I").point(lambda value: value * 256).convert("I;16")
    if mode in ("LA", "RGBA"):
        colours.putalpha(gradient)
    return colours.convert(mode)
