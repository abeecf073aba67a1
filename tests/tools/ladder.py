"""Pictures of any size in every kind that the pipeline reads, for measuring memory: formats, depths, channels, layouts.

Memory depends on size and kind, not on the content; noise keeps the codecs busy.
"""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pillow_heif
import pyvips
from PIL import Image

from tests.tools.quality import SAMPLES

TINY: Final = 0.02
"""megapixels of a warm-up picture: runs every code path, costs nothing"""
FRAME_SIDE: Final = 500
WIDE_ROWS: Final = 300
LARGEST_WEBP: Final = 16_383
PNG_FAST: Final[Mapping[str, Any]] = {"compression": 1, "filter": "sub"}
CJXL: Final = shutil.which("cjxl")
"""the encoder of Debian's package libjxl-tools; without it, its kinds are left out"""
Write = Callable[[Any, str], object]
"""writes an 8-bit RGB picture to a file"""


def picture(megapixels: float) -> Any:
    """A photo at that size, 4:3, with noise."""
    width = round(math.sqrt(megapixels * 1e6 * 4 / 3))
    height = round(megapixels * 1e6 / width)
    photo = pyvips.Image.new_from_file(str(SAMPLES / "hubble-progressive.jpg")).colourspace("srgb")
    scaled = photo.resize(width / photo.width, vscale=height / photo.height, kernel="linear")
    noisy = scaled + pyvips.Image.gaussnoise(width, height, sigma=6, seed=1)
    return noisy.cast("uchar").copy(interpretation="srgb").copy_memory()


def write(folder: Path, megapixels: float, kind: str, image: Any) -> Path:
    path = folder / f"{megapixels:g}-{kind}"
    KINDS[kind](image, str(path))
    return path


def fits(kind: str, megapixels: float) -> bool:
    """True if the kind can hold a picture of that size and its encoder takes reasonable time."""
    if kind.endswith((".heic", ".jxl")):
        return megapixels <= 24  # the encoders take minutes and gigabytes
    if "webp" in kind:
        return megapixels * 4 / 3 * 1e6 <= LARGEST_WEBP**2 and ("frames" not in kind or megapixels <= 24)
    return "frames" not in kind or megapixels <= 24


# --- libvips writes -----------------------------------------------------------------------------------------------


def _grey(image: Any) -> Any:
    return image.colourspace("b-w")


def _alpha(image: Any) -> Any:
    return image.bandjoin(image[1])


def _deep(image: Any) -> Any:
    return (image.cast("ushort") * 257).cast("ushort").copy(interpretation="rgb16")


def _deep_grey(image: Any) -> Any:
    return _deep(image)[1].copy(interpretation="grey16")


def _wide(image: Any) -> Any:
    """A panorama of few rows: libvips keeps all of them while it streams."""
    rows = min(WIDE_ROWS, image.height)
    tall = image.crop(0, 0, image.width, image.height // rows * rows)
    return pyvips.Image.arrayjoin(
        [tall.crop(0, top, tall.width, rows) for top in range(0, tall.height, rows)], across=tall.height // rows
    )


def _cmyk(image: Any) -> Any:
    return image.invert().bandjoin(20).copy(interpretation="cmyk")


def _same(image: Any) -> Any:
    return image


def _vips(saver: str, prepare: Callable[[Any], Any] = _same, **options: Any) -> Write:
    return lambda image, path: getattr(prepare(image), saver)(path, **options)


def _jpegs() -> Iterator[tuple[str, Write]]:
    for name, prepare, options in (
        ("rgb", _same, {}),
        ("444", _same, {"subsample_mode": "off"}),
        ("grey", _grey, {}),
        ("cmyk", _cmyk, {}),
    ):
        yield f"{name}.jpg", _vips("jpegsave", prepare, Q=85, **options)
        yield f"{name}-progressive.jpg", _vips("jpegsave", prepare, Q=85, interlace=True, **options)


def _pngs() -> Iterator[tuple[str, Write]]:
    for name, prepare in (
        ("rgb", _same),
        ("alpha", _alpha),
        ("grey", _grey),
        ("16bit", _deep),
        ("alpha16bit", lambda image: _alpha(_deep(image))),
        ("grey16bit", _deep_grey),
    ):
        yield f"{name}.png", _vips("pngsave", prepare, **PNG_FAST)
        yield f"{name}-interlaced.png", _vips("pngsave", prepare, interlace=True, **PNG_FAST)


def _webps_and_avifs() -> Iterator[tuple[str, Write]]:
    yield "rgb.webp", _vips("webpsave", Q=75, effort=0)
    yield "alpha.webp", _vips("webpsave", _alpha, Q=75, effort=0)
    yield "lossless.webp", _vips("webpsave", lossless=True, effort=0)
    avif: dict[str, Any] = {"compression": "av1", "effort": 0, "Q": 50}
    yield "rgb.avif", _vips("heifsave", **avif)
    yield "444.avif", _vips("heifsave", subsample_mode="off", **avif)
    yield "alpha.avif", _vips("heifsave", _alpha, **avif)
    yield "10bit.avif", _vips("heifsave", bitdepth=10, **avif)
    yield "alpha12bit.avif", _vips("heifsave", lambda image: _alpha(_deep(image)), bitdepth=12, **avif)


def _tiffs() -> Iterator[tuple[str, Write]]:
    yield "rgb.tif", _vips("tiffsave", compression="none")
    yield "lzw.tif", _vips("tiffsave", compression="lzw")
    yield "jpeg.tif", _vips("tiffsave", compression="jpeg")
    yield "grey-lzw.tif", _vips("tiffsave", _grey, compression="lzw")
    yield "alpha-lzw.tif", _vips("tiffsave", _alpha, compression="lzw")
    yield "16bit-lzw.tif", _vips("tiffsave", _deep, compression="lzw")
    yield "wide.tif", _vips("tiffsave", _wide, compression="none")
    for side in (256, 1024):
        options: dict[str, Any] = {"tile": True, "tile_width": side, "tile_height": side, "compression": "deflate"}
        yield f"tiles{side}.tif", _vips("tiffsave", **options)
    yield (
        "one-strip.tif",
        _pillow("TIFF", compression="tiff_lzw", tiffinfo=lambda image: {278: image.height}),
    )  # RowsPerStrip


# --- Pillow writes ------------------------------------------------------------------------------------------------


def _pillow(format_: str, mode: str = "RGB", **options: Any) -> Write:
    def save(image: Any, path: str) -> None:
        picture = _in_mode(Image.fromarray(image.numpy()), mode)
        picture.save(path, format_, **{k: v(picture) if callable(v) else v for k, v in options.items()})

    return save


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode == "P":
        return image.quantize(64, Image.Quantize.FASTOCTREE)
    return image.convert("L").convert("LA") if mode == "LA" else image.convert(mode)


def _heic(mode: str = "RGB", **options: Any) -> Write:
    def save(image: Any, path: str) -> None:
        pillow_heif.from_pillow(_in_mode(Image.fromarray(image.numpy()), mode)).save(
            path, quality=40, enc_params={"preset": "ultrafast"}, **options
        )

    return save


def _frames(format_: str, **options: Any) -> Write:
    """An animation of crops, with as many pixels as the picture."""

    def save(image: Any, path: str) -> None:
        whole = Image.fromarray(image.numpy())
        count = max(2, round(whole.width * whole.height / FRAME_SIDE**2))
        steps = ((number * 7 % max(1, whole.width - FRAME_SIDE), number % 50) for number in range(count))
        cut = [whole.crop((x, y, x + FRAME_SIDE, y + FRAME_SIDE)) for x, y in steps]
        frames = [_in_mode(frame, "P") for frame in cut] if format_ == "GIF" else cut
        frames[0].save(path, format_, save_all=True, append_images=frames[1:], duration=50, loop=0, **options)

    return save


def _jxl(prepare: Callable[[Any], Any] = _same, **options: Any) -> Write:
    def save(image: Any, path: str) -> None:
        import pylibjxl

        Path(path).write_bytes(pylibjxl.encode(np.ascontiguousarray(prepare(image).numpy()), effort=1, **options))

    return save


def _cjxl(prepare: Callable[[Any], Any] = _same, *options: str) -> Write:
    def save(image: Any, path: str) -> None:
        assert CJXL
        png = Path(path + ".png")
        prepare(image).pngsave(str(png), **PNG_FAST)
        subprocess.run([CJXL, "-e", "3", *options, str(png), path], check=True, capture_output=True)
        png.unlink()

    return save


def _others() -> Iterator[tuple[str, Write]]:
    for name, mode, options in (
        ("palette", "P", {"compress_level": 1}),
        ("transparent-colour", "P", {"compress_level": 1, "transparency": 3}),
        ("grey-alpha", "LA", {"compress_level": 1}),
        ("bits", "1", {}),
    ):
        yield f"{name}.png", _pillow("PNG", mode, **options)
    yield "still.gif", _pillow("GIF", "P")
    yield "transparent.gif", _pillow("GIF", "P", transparency=3)
    yield "frames.gif", _frames("GIF")
    yield "frames.webp", _frames("WEBP", method=0, quality=60)
    yield "rgb.bmp", _pillow("BMP")
    yield "palette.bmp", _pillow("BMP", "P")
    yield "fax.tif", _pillow("TIFF", "1", compression="group4")
    yield "rgb.heic", _heic()
    yield "444.heic", _heic(chroma=444)
    yield "grey.heic", _heic("L")
    yield from _jxls()


def _jxls() -> Iterator[tuple[str, Write]]:
    """pylibjxl writes files that cost little to read; cjxl of libjxl's tools writes the kinds that people publish."""
    with suppress(ImportError):
        import pylibjxl  # noqa: F401

        yield "rgb.jxl", _jxl()
        yield "grey.jxl", _jxl(_grey)
        yield "lossless.jxl", _jxl(lossless=True)
        if CJXL:
            yield "photo.jxl", _cjxl()
            yield "alpha.jxl", _cjxl(_alpha)
            yield "modular.jxl", _cjxl(_same, "-m", "1")
            yield "modular-alpha.jxl", _cjxl(_alpha, "-m", "1")
            yield "squeezed.jxl", _cjxl(_same, "-d", "0", "-R", "1")
            yield "squeezed-16bit.jxl", _cjxl(lambda image: _alpha(_deep(image)), "-d", "0", "-R", "1")


KINDS: Final[Mapping[str, Write]] = dict([*_jpegs(), *_pngs(), *_webps_and_avifs(), *_tiffs(), *_others()])
