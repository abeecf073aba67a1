"""libvips through pyvips. Importing this module starts libvips, with every loader blocked but those named here."""

from __future__ import annotations

import logging
import math
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import pyvips

from thumbnailer.engine import Rendering, placeholder
from thumbnailer.engine import crop as cropping
from thumbnailer.engine import versions as floors
from thumbnailer.engine.byte_limit import within_bytes
from thumbnailer.errors import Corrupt
from thumbnailer.formats import icc
from thumbnailer.formats.exif import build_credit, without_orientation
from thumbnailer.formats.heif import HeifDetails
from thumbnailer.formats.tiff import TiffDetails
from thumbnailer.model import EngineName, Format, ImageInfo
from thumbnailer.planning.capabilities import Capability
from thumbnailer.planning.plan import Plan, Target, keeps_animation

LOADERS: Final = {
    Format.JPEG: ("jpegload", "VipsForeignLoadJpeg"),
    Format.PNG: ("pngload", "VipsForeignLoadPng"),
    Format.GIF: ("gifload", "VipsForeignLoadNsgif"),
    Format.WEBP: ("webpload", "VipsForeignLoadWebp"),
    Format.TIFF: ("tiffload", "VipsForeignLoadTiff"),
    Format.AVIF: ("heifload", "VipsForeignLoadHeif"),
    Format.JP2: ("jp2kload", "VipsForeignLoadJp2k"),
    Format.SVG: ("svgload_buffer", "VipsForeignLoadSvgBuffer"),
}
LAZY: Final = frozenset({Format.SVG})
"""Opened with the first picture that needs it, because most deployments have it switched off."""
SAVERS: Final = {
    Format.JPEG: "jpegsave",
    Format.PNG: "pngsave",
    Format.WEBP: "webpsave",
    Format.AVIF: "heifsave",
    Format.GIF: "gifsave",
}
LOAD_ERROR: Final = ": load error"
CSS_DPI: Final = 96
DRAWN_LARGER: Final = 2
"""A drawing is rasterised at this many times the wanted size, which smooths what librsvg leaves jagged."""
Timing = list[tuple[str, int, Any]]
"""Name, type and value of what an animation's pace is kept in."""
WHITE: Final = [255, 255, 255]
REDUCING_GAP: Final = 3.0
"""Box-shrinking stops at this many times the wanted size; nearer to plain Lanczos than libvips' own 2 at no cost."""
CONVERSION: Final = {"intent": "relative", "black_point_compensation": True, "depth": 8}
"""To sRGB. Unlike the perceptual intent, this one gives the same colours in every release of Little CMS."""


def _start() -> None:
    floors.require("libvips", ".".join(str(pyvips.version(part)) for part in range(3)))
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)  # what it warns of is in the outcome, one line a record
    # libvips' own list of untrusted loaders leaves some open (matrix, SVG), so: all shut, these opened by name.
    pyvips.operation_block_set("VipsForeignLoad", True)
    for format_, (_, loader) in LOADERS.items():
        if format_ not in LAZY:
            pyvips.operation_block_set(loader, False)
    pyvips.cache_set_max(0)  # every picture is another one: a cache would only hold memory
    pyvips.cache_set_max_mem(0)
    pyvips.vips_lib.vips_concurrency_set(1)  # the tier's workers are the parallelism


_start()


def capability() -> Capability:
    """What this libvips has been built with."""
    reads = (format_ for format_, (loader, _) in LOADERS.items() if _has(loader))
    return Capability(frozenset(reads), frozenset(format_ for format_, saver in SAVERS.items() if _has(saver)))


def _has(operation: str) -> bool:
    return bool(pyvips.type_find("VipsOperation", operation))


class VipsEngine:
    """Streams what the format lets it stream: memory follows the width of a picture, not its area."""

    def render(self, path: str, plan: Plan) -> Rendering:
        started = perf_counter()
        try:
            resized, timing, profile_ignored = _decoded(path, plan)
            decoded = perf_counter()
            pictures = tuple(
                within_bytes(target, partial(_encoded, frames, timing, plan), path, plan)
                for frames, target in zip(resized, plan.targets, strict=True)
            )
        except (pyvips.Error, UnicodeDecodeError) as error:
            # A message that quotes the file is not always UTF-8. pyvips stumbles over it and leaves it where libvips
            # collects them, so that it would stumble over every later one as well.
            pyvips.vips_lib.vips_error_clear()
            raise Corrupt(f"libvips cannot read it: {_first_line(error)}") from error
        placeholders = tuple(_placeholder(frame_list[0]) for frame_list in resized) if plan.thumbhash else ()
        seconds = decoded - started, perf_counter() - decoded
        return Rendering(EngineName.VIPS, pictures, "", *seconds, placeholders, profile_ignored)


def _decoded(path: str, plan: Plan) -> tuple[list[list[Any]], Timing, bool]:
    """The frames of each target, what tells their timing, and whether there is a profile that cannot be used.

    The decoded picture is let go before any is encoded.
    """
    frames = _load(path, plan)
    resized = [_in_memory(_resized(frames, plan, target)) for target in plan.targets]
    return resized, _timing(frames[0]), _ignores_profile(frames[0])


def _load(path: str, plan: Plan) -> list[Any]:
    """The frames of the picture as they are stored, one for a still."""
    if plan.info.format is Format.SVG:
        return [_drawn(path, plan)]
    if _tiff(plan.info).missing_from is not None:
        raise Corrupt("not all of its bytes are there")
    options: dict[str, Any] = {"access": "sequential", "fail_on": "error"}
    if plan.info.format is Format.JPEG:
        # To libjpeg missing data is worth a warning; it shows grey in its place.
        options |= {"shrink": plan.shrink, "fail_on": "warning"}
    if plan.info.format is Format.TIFF and _tiff(plan.info).band > 1:
        options["fail_on"] = "warning"  # tiles that cannot be decoded are worth no more to it, and are black
    if plan.info.format is Format.WEBP:
        options["scale"] = 1 / plan.shrink
    if plan.frames > 1:
        options["n"] = plan.frames
    roll = getattr(pyvips.Image, LOADERS[plan.info.format][0])(path, **options)
    _refuse_other_size(roll, plan)
    if plan.info.format is Format.TIFF:
        roll = _of_sixteen_bits(_without_unknown(roll, plan.info))
    if plan.frames > 1:
        roll = _held(roll)
        height = roll.get("page-height")
        return [roll.crop(0, top, roll.width, height) for top in range(0, roll.height, height)]
    if _is_premultiplied(plan.info) and roll.hasalpha():
        roll = roll.unpremultiply().rint().cast(roll.format)
    return [_held(roll) if len(plan.targets) > 1 else roll]


COLOURS: Final = {"b-w": 1, "grey16": 1, "cmyk": 4}
"""Channels of an interpretation before any alpha; of all others there are three."""


def _without_unknown(image: Any, info: ImageInfo) -> Any:
    """Without a TIFF's samples that are neither colours nor alpha: libvips takes the first of them for alpha."""
    known = COLOURS.get(image.interpretation, 3) + info.has_alpha
    return image.extract_band(0, n=known) if known < image.bands else image


SIXTEEN_BITS: Final = {
    "b-w": "grey16",
    "grey16": "grey16",
    "srgb": "rgb16",
    "scrgb": "rgb16",
    "rgb16": "rgb16",
    "cmyk": "cmyk",
}
"""What each interpretation is called with 16 bits. Of CIELAB and CIEXYZ libvips knows the range by itself."""


def _of_sixteen_bits(image: Any) -> Any:
    """A TIFF's floats and long or signed integers as the numbers that all else here is made for.

    All of an integer's range counts as black to white, of floats 0 to 1: what is beyond is cut off.
    """
    if image.interpretation not in SIXTEEN_BITS:
        return image
    match image.format:
        case "float":
            numbers = image.linear(65535, 0.5)
        case "uint":
            numbers = image >> 16
        case "int":
            numbers = (image >> 16) + 32768
        case "short":
            numbers = image + 32768
        case "char":
            numbers = (image + 128) * 257
        case _:
            return image
    return numbers.cast("ushort").copy(interpretation=SIXTEEN_BITS[image.interpretation])


def _held(image: Any) -> Any:
    """Decoded into memory; no longer marked as a stream, for which libvips would keep lines in caches of their own."""
    held = image.copy_memory()
    held.remove("vips-sequential")
    return held


def _drawn(path: str, plan: Plan) -> Any:
    """A drawing, rasterised at the size that is wanted. From memory: a drawing without an address can refer to nothing
    outside itself, neither file nor network (librsvg, "security and locations of referenced files").
    """
    pyvips.operation_block_set(LOADERS[Format.SVG][1], False)
    wanted = max(
        max(target.scaled[0] / plan.info.width, target.scaled[1] / plan.info.height) for target in plan.targets
    )
    drawing = Path(path).read_bytes()
    image = pyvips.Image.svgload_buffer(drawing, dpi=CSS_DPI, scale=min(1.0, DRAWN_LARGER * wanted), fail_on="error")
    _refuse_other_size(image, plan)
    return image.copy_memory()


def _refuse_other_size(image: Any, plan: Plan) -> None:
    """The plan's limits hold for the header that was probed; a decoder that sees another picture must not go on."""
    if image.width * image.height > 2 * (plan.info.pixels * plan.frames // plan.shrink**2) + 65_536:
        said = f"{plan.info.width}x{plan.info.height}"
        raise Corrupt(f"the header says {said}, the decoder {image.width}x{image.height}")


def _resized(frames: list[Any], plan: Plan, target: Target) -> list[Any]:
    wanted = frames if keeps_animation(plan.info, target) else frames[:1]
    whole = [_thumbnail(frame, plan, target) for frame in wanted]
    if target.smart:
        whole = _in_memory(whole)  # it is looked at before it is cropped
    left, top = _corner(whole[0], target)
    return [frame.crop(left, top, target.width, target.height) for frame in whole]


def _corner(image: Any, target: Target) -> cropping.Corner:
    if not target.smart:
        return cropping.middle(image.width, image.height, target)
    return cropping.attention(image.width, image.height, _rgb(image).write_to_memory(), target)


def _rgb(image: Any) -> Any:
    """On white, in three bands of a byte."""
    flat = image.flatten(background=WHITE[: image.bands - 1]) if image.hasalpha() else image
    return flat.colourspace("srgb").cast("uchar")


def _placeholder(image: Any) -> str:
    width, height = placeholder.size_for(image.width, image.height)
    small = _rgb(image).resize(width / image.width, vscale=height / image.height)
    return placeholder.thumbhash(width, height, small.write_to_memory())


def _thumbnail(image: Any, plan: Plan, target: Target) -> Any:
    """Resized, in sRGB and upright: colours and turns come after the resize, on the few pixels left."""
    orientation = 1 if _turns_itself(plan.info) else plan.info.orientation
    width, height = reversed(target.scaled) if orientation >= 5 else target.scaled
    source, times = _unrounded(image, plan)
    small = _resize(source, width * times, height * times)
    return _upright(_srgb(small.crop(0, 0, width, height)), orientation)


def _unrounded(image: Any, plan: Plan) -> tuple[Any, int]:
    """A shrunken decode that lost a fraction of a pixel, extended to `shrink` times its true size; and that factor.

    Of 631 rows halved there are 315.5, and libvips keeps 315: scaled by that, all of the picture would be a bit off.
    Of the extension nearly nothing is computed: the crop after the resize does not ask for it. WebP's decoder scales
    the whole picture to the sides that it rounds.
    """
    if plan.info.format is not Format.JPEG or plan.info.width % plan.shrink == plan.info.height % plan.shrink == 0:
        return image, 1
    return image.embed(0, 0, plan.info.width, plan.info.height, extend="copy"), plan.shrink


def _turns_itself(info: ImageInfo) -> bool:
    """libheif applies an AVIF's own turn while it decodes."""
    return info.format is Format.AVIF


def _resize(image: Any, width: int, height: int) -> Any:
    """Lanczos3 after a box shrink that leaves some pixels to it; alpha premultiplied, so that no edge is fringed."""
    if (image.width, image.height) == (width, height):
        return image
    scales = {"vscale": height / image.height, "kernel": "lanczos3", "gap": REDUCING_GAP}
    if not image.hasalpha():
        return image.resize(width / image.width, **scales)
    band_format = image.format
    return image.premultiply().resize(width / image.width, **scales).unpremultiply().rint().cast(band_format)


SPACES: Final = {"srgb": icc.RGB, "rgb16": icc.RGB, "b-w": icc.GREY, "grey16": icc.GREY, "cmyk": icc.CMYK}


def _ignores_profile(image: Any) -> bool:
    """Whether there is a profile that is no use: libvips would take another in its place and say nothing."""
    if not image.get_typeof("icc-profile-data"):
        return False
    return not icc.is_usable(image.get("icc-profile-data"), SPACES.get(image.interpretation))


def _srgb(image: Any) -> Any:
    if image.get_typeof("icc-profile-data") and not _ignores_profile(image):
        try:
            return image.icc_transform("srgb", embedded=True, **CONVERSION).copy_memory()
        except pyvips.Error:
            pass  # Little CMS sees more than we do; the pixels are still right
    if image.interpretation == "cmyk":  # the profile of libvips' own, through the same transform as an embedded one
        return image.icc_transform("srgb", input_profile="cmyk", embedded=False, **CONVERSION)
    grey = image.interpretation in ("b-w", "grey16")
    return image.colourspace("b-w" if grey else "srgb")


TURNS: Final[dict[int, tuple[str, ...]]] = {
    2: ("fliphor",),
    3: ("rot180",),
    4: ("flipver",),
    5: ("rot90", "fliphor"),
    6: ("rot90",),
    7: ("rot270", "fliphor"),
    8: ("rot270",),
}
"""What turns a picture upright that is stored with that orientation (Exif 2.32, section 4.6.5.1.5)."""


def _upright(image: Any, orientation: int) -> Any:
    for turn in TURNS.get(orientation, ()):
        image = getattr(image, turn)()
    return image


def _in_memory(frames: list[Any]) -> list[Any]:
    """Decoding happens here; what comes after works on a small picture."""
    return [frame.copy_memory() for frame in frames]


def _encoded(frames: list[Any], timing: Timing, plan: Plan, target: Target) -> bytes:
    roll = frames[0] if len(frames) == 1 else pyvips.Image.arrayjoin(frames, across=1)
    if target.format is Format.JPEG and roll.hasalpha():
        roll = roll.flatten(background=WHITE[: roll.bands - 1])
    return _save(_with_metadata(roll, len(frames), timing, plan.info), target)


def _timing(source: Any) -> Timing:
    return [(name, source.get_typeof(name), source.get(name)) for name in ("delay", "loop") if source.get_typeof(name)]


def _with_metadata(roll: Any, frames: int, timing: Timing, info: ImageInfo) -> Any:
    """Nothing of the source's metadata but timing, artist and copyright."""
    kept = roll.copy()
    for name in roll.get_fields():
        if roll.get_typeof(name) and name not in _STRUCTURE:
            kept.remove(name)
    if frames > 1:
        kept.set_type(pyvips.GValue.gint_type, "page-height", roll.height // frames)
        for name, type_, value in timing:
            kept.set_type(type_, name, value)
    credit = build_credit(info.credit)
    if credit:
        kept.set_type(pyvips.GValue.blob_type, "exif-data", credit)
    return kept


_STRUCTURE: Final = frozenset(
    {"width", "height", "bands", "format", "coding", "interpretation", "xoffset", "yoffset", "xres", "yres", "filename"}
)


def _save(image: Any, target: Target) -> bytes:
    keep = "exif" if image.get_typeof("exif-data") else "none"  # asked to keep it, libvips would make one up
    match target.format:
        case Format.JPEG:
            options = {"optimize_coding": True, "interlace": target.progressive}
            data = image.jpegsave_buffer(Q=target.quality, keep=keep, **options)
        case Format.PNG:
            data = image.pngsave_buffer(keep=keep, **_png_options(target))
        case Format.WEBP:
            data = image.webpsave_buffer(Q=target.quality, effort=4, keep=keep)
        case Format.AVIF:
            data = image.heifsave_buffer(Q=target.quality, compression="av1", effort=3, keep=keep)
        case _:
            data = image.gifsave_buffer(keep="none", bitdepth=max(1, math.ceil(8 * target.quality / 100)))
    return without_orientation(bytes(data)) if keep == "exif" else bytes(data)


def _png_options(target: Target) -> dict[str, Any]:
    """At full quality every colour; below it a palette, with the quality as its quantiser takes it."""
    if target.quality == 100:
        return {"compression": 6, "filter": "all"}
    return {"compression": 9, "palette": True, "Q": target.quality, "effort": 10}


def _first_line(error: Exception) -> str:
    """The last that says more than that it did not go."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.endswith(LOAD_ERROR)]
    return (telling or lines or ["no reason given"])[-1][:200]


def _tiff(info: ImageInfo) -> TiffDetails:
    return info.details if isinstance(info.details, TiffDetails) else TiffDetails()


def _is_premultiplied(info: ImageInfo) -> bool:
    return isinstance(info.details, HeifDetails) and info.details.premultiplied
