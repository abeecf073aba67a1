"""The formats of libvips: loaders and savers as rows. Importing this module starts libvips.

Every loader is blocked except those of LOADERS.
"""

import logging
from collections.abc import Callable, Mapping
from math import ceil
from pathlib import Path
from typing import Any, Final

import pyvips

from thumbnailer.engine import versions
from thumbnailer.engine.base import refuse_other_size
from thumbnailer.errors import Corrupt
from thumbnailer.formats.details import HeifDetails, SvgDetails, TiffDetails
from thumbnailer.model import Format, ImageInfo
from thumbnailer.planning.capabilities import INPUTS, Capability
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import Target
from thumbnailer.values import dataclass

CSS_DPI: Final = 96
FULL_CHROMA: Final = 90  # JPEG: from this quality on
QUANTISER: Final = {"effort": 4, "dither": 0}
"""Few colours stay exact, as at the default of 7; a photo takes a quarter of its time."""
MOZJPEG: Final = {"optimize_coding": True, "trellis_quant": True, "overshoot_deringing": True, "quant_table": 3}
"""Of the tables, number 3 gives the fewest bytes at equal SSIM, with a quality that is higher by one or two."""
SCANS_PAY: Final = 32_768  # pixels from which several scans make a JPEG smaller
DRAWN_LARGER: Final = 2  # a drawing is rasterised at twice the wanted size, which smooths librsvg's jagged edges


def _load_file(path: str, plan: Plan) -> Any:
    loader = LOADERS[plan.info.format]
    frames = {"n": plan.frames} if plan.frames > 1 else {}
    options = {"access": "sequential", "fail_on": "error", **frames, **loader.options(plan)}
    image = getattr(pyvips.Image, loader.operation)(path, **options)
    _refuse_other_size(image, plan)
    return image


def _load_avif(path: str, plan: Plan) -> Any:
    image = _load_file(path, plan)
    if plan.info.details_of(HeifDetails).premultiplied and image.hasalpha():
        return image.unpremultiply().rint().cast(image.format)
    return image


def _load_tiff(path: str, plan: Plan) -> Any:
    if plan.info.details_of(TiffDetails).missing_from is not None:
        raise Corrupt("not all of its bytes are there")
    return _of_sixteen_bits(_without_unknown(_load_file(path, plan), plan.info))


def _jpeg_load_options(plan: Plan) -> dict[str, Any]:
    """libjpeg only warns of missing data, and shows grey in its place."""
    return {"shrink": plan.shrink, "fail_on": "warning"}


def _tiff_load_options(plan: Plan) -> dict[str, Any]:
    """libtiff only warns of tiles that it cannot decode, and leaves them black."""
    return {"fail_on": "warning" if plan.info.details_of(TiffDetails).band > 1 else "error"}


COLOURS: Final = {"b-w": 1, "grey16": 1, "cmyk": 4}
"""Channels of an interpretation without alpha; all others have three."""


def _without_unknown(image: Any, info: ImageInfo) -> Any:
    """Drops a TIFF's samples that are neither colours nor alpha: libvips takes the first of them for alpha."""
    known = COLOURS.get(image.interpretation, 3) + info.has_alpha
    return image.extract_band(0, n=known) if known < image.bands else image


SIXTEEN_BITS: Final = {
    **dict.fromkeys(("b-w", "grey16"), "grey16"),
    **dict.fromkeys(("srgb", "scrgb", "rgb16"), "rgb16"),
    "cmyk": "cmyk",
}
"""The 16-bit name of each interpretation. libvips itself knows the range of CIELAB and CIEXYZ."""
UNSIGNED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "float": lambda image: image.linear(65535, 0.5),
    "uint": lambda image: image >> 16,
    "int": lambda image: (image >> 16) + 32768,
    "short": lambda image: image + 32768,
    "char": lambda image: (image + 128) * 257,
}
"""Unsigned 16-bit numbers of a TIFF's samples: the whole range of integers counts, and 0 to 1 of floats."""


def _of_sixteen_bits(image: Any) -> Any:
    if image.interpretation not in SIXTEEN_BITS or image.format not in UNSIGNED:
        return image
    return UNSIGNED[image.format](image).cast("ushort").copy(interpretation=SIXTEEN_BITS[image.interpretation])


def _load_drawing(path: str, plan: Plan) -> Any:
    """A drawing, rasterised near the wanted size.

    It is loaded from memory: a drawing without an address cannot refer to files or hosts (librsvg, "security and
    locations of referenced files").
    """
    pyvips.operation_block_set(LOADERS[plan.info.format].kind, False)
    width, height = plan.info.width, plan.info.height
    wanted = max(max(target.scaled[0] / width, target.scaled[1] / height) for target in plan.targets)
    scale = min(1.0, DRAWN_LARGER * wanted) * plan.info.details_of(SvgDetails).scale
    image = pyvips.Image.svgload_buffer(Path(path).read_bytes(), dpi=CSS_DPI, scale=scale, fail_on="error")
    _refuse_other_size(image, plan)
    return image.copy_memory()


def _refuse_other_size(image: Any, plan: Plan) -> None:
    most = 2 * (plan.info.pixels * plan.frames // plan.shrink**2) + 65_536
    refuse_other_size((image.width, image.height), plan.info, most)


@dataclass(frozen=True, slots=True)
class Loader:
    """One format's operation, its class in libvips, and the function that calls it."""

    operation: str
    kind: str
    load: Callable[[str, Plan], Any] = _load_file
    options: Callable[[Plan], dict[str, Any]] = lambda _: {}
    streams: bool = True
    rounds_sides: bool = False  # a shrunken decode drops a fraction of a pixel
    turns: bool = False  # the decoder applies the orientation


LOADERS: Final[dict[Format, Loader]] = {
    Format.JPEG: Loader("jpegload", "VipsForeignLoadJpeg", options=_jpeg_load_options, rounds_sides=True),
    Format.PNG: Loader("pngload", "VipsForeignLoadPng"),
    Format.GIF: Loader("gifload", "VipsForeignLoadNsgif"),
    Format.WEBP: Loader("webpload", "VipsForeignLoadWebp", options=lambda plan: {"scale": 1 / plan.shrink}),
    Format.TIFF: Loader("tiffload", "VipsForeignLoadTiff", _load_tiff, options=_tiff_load_options),
    Format.AVIF: Loader("heifload", "VipsForeignLoadHeif", _load_avif, turns=True),
    Format.JP2: Loader("jp2kload", "VipsForeignLoadJp2k"),
    Format.SVG: Loader("svgload_buffer", "VipsForeignLoadSvgBuffer", _load_drawing, streams=False),
}


@dataclass(frozen=True, slots=True)
class Saver:
    """One format's operation and its options."""

    operation: str
    options: Callable[[Target], dict[str, Any]]
    alpha: bool = True
    credit: bool = True


def _png_options(target: Target) -> dict[str, Any]:
    """All colours at full quality; below it a palette, and the quality is the quantiser's."""
    if target.quality == 100:
        return {"compression": 4 if target.quick else 6, "filter": "all"}
    return {"compression": 9, "palette": True, "Q": target.quality, **QUANTISER}


def _jpeg_options(target: Target) -> dict[str, Any]:
    if not target.small:
        return {"Q": target.quality, "optimize_coding": not target.quick, "interlace": target.progressive}
    many = target.width * target.height > SCANS_PAY
    return {
        "Q": min(100, target.quality + (2 if many else 1)),
        **MOZJPEG,
        "subsample_mode": "off" if target.quality >= FULL_CHROMA else "on",
        "interlace": many or target.progressive,
        "optimize_scans": many or target.progressive,
    }


def _webp_options(target: Target) -> dict[str, Any]:
    if target.small:
        return {"Q": max(1, target.quality - 2), "effort": 6}
    return {"Q": target.quality, "effort": 2 if target.quick else 4}


def _avif_options(target: Target) -> dict[str, Any]:
    """As sharp's defaults at quality 50. More effort than 4 takes twice the time for 4 % of the bytes; 3 a quarter of
    the time for as many bytes."""
    known = {"compression": "av1", "subsample_mode": "off"}
    if target.small:
        return {"Q": max(1, target.quality - 4), "effort": 6, **known}
    return {"Q": target.quality, "effort": 3 if target.quick else 4, **known}


SAVERS: Final[dict[Format, Saver]] = {
    Format.JPEG: Saver("jpegsave", _jpeg_options, alpha=False),
    Format.PNG: Saver("pngsave", _png_options),
    Format.WEBP: Saver("webpsave", _webp_options),
    Format.AVIF: Saver("heifsave", _avif_options),
    Format.GIF: Saver(
        "gifsave", lambda target: {"bitdepth": max(1, ceil(8 * target.quality / 100)), **QUANTISER}, credit=False
    ),
}


def has_mozjpeg() -> bool:
    """Whether this libvips was built with mozjpeg; another libjpeg ignores its options with a warning only."""
    noise = pyvips.Image.gaussnoise(64, 64, mean=128, sigma=40, seed=1).cast("uchar")
    plain, small = (noise.jpegsave_buffer(optimize_coding=True, trellis_quant=trellis) for trellis in (False, True))
    return len(small) < len(plain)


def _start() -> None:
    versions.require("libvips")
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)  # the outcome's one log line says what is wrong
    # libvips' own list of untrusted loaders leaves some open (matrix, SVG): block all, then open these by name.
    pyvips.operation_block_set("VipsForeignLoad", True)
    for format_, loader in LOADERS.items():
        if not INPUTS[format_].opt_in:  # most deployments never need it: its first picture opens it
            pyvips.operation_block_set(loader.kind, False)
    pyvips.cache_set_max(0)  # every picture is another one: a cache would only hold memory
    pyvips.cache_set_max_mem(0)
    pyvips.vips_lib.vips_concurrency_set(1)  # the tier's workers are the parallelism


_start()


def capability() -> Capability:
    """The formats that this libvips was built with."""
    return Capability(_built_with(LOADERS), _built_with(SAVERS))


def _built_with(table: Mapping[Format, Loader | Saver]) -> frozenset[Format]:
    operations = {format_: row.operation for format_, row in table.items()}
    return frozenset(format_ for format_, name in operations.items() if pyvips.type_find("VipsOperation", name))
