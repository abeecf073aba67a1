"""The formats of Pillow: loaders and savers as rows. Pillow is handed the formats of LOADERS and no others."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import PIL
from PIL import ExifTags, Image, ImageFile

from thumbnailer.engine import pillow_private, salvage, versions
from thumbnailer.engine.pillow_colours import in_palette, on_white
from thumbnailer.errors import Corrupt, UnsupportedFormat
from thumbnailer.formats.ico import with_best_icon_alone
from thumbnailer.formats.ifd import valid_orientation
from thumbnailer.formats.jxl import JxlDetails
from thumbnailer.formats.tiff import TiffDetails
from thumbnailer.model import Format, ImageInfo
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import Target

PLUGINS: Final = {
    "WEBP": "PIL.WebPImagePlugin",
    "AVIF": "PIL.AvifImagePlugin",
    "TIFF": "PIL.TiffImagePlugin",
    "ICO": "PIL.IcoImagePlugin",
}
"""Plugins that Pillow does not load at its start: to find one, it would import all of its forty."""
MOST_PLAYS: Final = 65_535  # of a WebP
FULL_CHROMA: Final = 90  # from this quality on, as in libvips

# The plan decides between Pillow's warning and its error; beyond the error Pillow itself refuses.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # about odd tags, which are not used
ImageFile.LOAD_TRUNCATED_IMAGES = False
pillow_private.quiet_libtiff()
versions.require("Pillow", PIL.__version__)
if _webp := versions.bundled_libwebp():
    versions.require("libwebp", _webp)


# --- loaders ------------------------------------------------------------------------------------------------------


def import_plugin(name: str) -> None:
    if name in PLUGINS:
        import_module(PLUGINS[name])


def _open(path: str, plan: Plan) -> Image.Image:
    name = LOADERS[plan.info.format].name
    import_plugin(name)
    return Image.open(path, formats=[name])


def _open_tiff(path: str, plan: Plan) -> Image.Image:
    image = _open(path, plan)
    if plan.info.details_of(TiffDetails).plain_ycbcr:
        pillow_private.read_as_ycbcr(image)
    return image


def _open_ico(path: str, _: Plan) -> Image.Image:
    """Of icons with the same size, Pillow would take the one with the fewest colours."""
    import_plugin("ICO")
    return Image.open(BytesIO(with_best_icon_alone(Path(path).read_bytes())), formats=["ICO"])


def _open_heic(path: str, plan: Plan) -> Image.Image:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedFormat("heic: pillow-heif is not installed") from error
    versions.require("libheif", pillow_heif.libheif_version())  # type: ignore[no-untyped-call,unused-ignore]
    pillow_heif.register_heif_opener(thumbnails=False)  # type: ignore[no-untyped-call,unused-ignore]
    return _open(path, plan)


def _decode_jxl(path: str, plan: Plan) -> Image.Image:
    """The first frame, by libjxl's own binding: it tells the size before it decodes, and uses one thread."""
    try:
        import pylibjxl
    except ImportError as error:
        raise UnsupportedFormat("jxl: pylibjxl is not installed") from error
    info, data = plan.info, Path(path).read_bytes()
    try:
        header = pylibjxl.probe(data)
        if (header["width"], header["height"]) != (info.width, info.height):
            raise Corrupt(f"the header says {info.width}x{info.height}, libjxl {header['width']}x{header['height']}")
        pixels, profile = _jxl_pixels(data, info)
    except RuntimeError as error:
        raise Corrupt(f"libjxl cannot read it: {error}") from error
    image = Image.fromarray(pixels)
    if profile is not None:
        image.info["icc_profile"] = profile
    return image


def _jxl_pixels(data: bytes, info: ImageInfo) -> tuple[Any, bytes | None]:
    """Pixels and profile. Asked for the file's own profile, pylibjxl decodes all frames and returns the last."""
    import pylibjxl

    made = info.details_of(JxlDetails).profile
    with pylibjxl.JXL(threads=1) as codec:
        if info.icc and not made and info.frames == 1:
            pixels, metadata = codec.decode(data, metadata=True)
            return pixels, metadata.get("icc")
        pixels = codec.decode(data)
    return pixels, made or (b"" if info.icc else None)  # an empty profile counts as one that cannot be used


def _open_cut_webp(path: str, plan: Plan) -> Image.Image:
    """libwebp does not even open an incomplete file."""
    import_plugin("WEBP")
    return salvage.load_webp(Path(path).read_bytes(), plan.info)


def _load_turned_rows(image: Image.Image, info: ImageInfo) -> Image.Image:
    """Rows that are missing are rows of the stored picture, so it is turned afterwards."""
    pillow_private.keep_as_stored(image, info.width, info.height)
    return upright(salvage.load(image, info), info.orientation)


def _as_opened(image: Image.Image, _: ImageInfo) -> Image.Image:
    return image


TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _orientation_of_header(_: Image.Image, info: ImageInfo) -> int:
    return info.orientation


def _orientation_of_exif(image: Image.Image, _: ImageInfo) -> int:
    """Pillow hands an AVIF's own turn on as an EXIF tag."""
    return valid_orientation(image.getexif().get(ExifTags.Base.Orientation, 1))


def _upright_already(*_: object) -> int:
    return 1


def _plays(loop: int | None) -> int:
    return loop or 0


def _gif_plays(loop: int | None) -> int:
    """A GIF tells how often it is repeated, or nothing for never."""
    return 1 if loop is None else loop and loop + 1


@dataclass(frozen=True, slots=True)
class Loader:
    """One format's name in Pillow, and the functions that open it."""

    name: str
    open: Callable[[str, Plan], Image.Image] = _open
    # The turn that is left for a decoded picture.
    orientation: Callable[[Image.Image, ImageInfo], int] = _orientation_of_header
    # How often an animation is played, from Pillow's `loop`; 0: endlessly.
    plays: Callable[[int | None], int] = _plays
    # Raises Corrupt if a loaded picture is incomplete.
    check: Callable[[Image.Image, ImageInfo], None] | None = None
    # Loads the readable rows of an opened picture; None: the decoder returns all or nothing.
    salvage: Callable[[Image.Image, ImageInfo], Image.Image] | None = None
    open_damaged: Callable[[str, Plan], Image.Image] | None = None


LOADERS: Final[dict[Format, Loader]] = {
    Format.JPEG: Loader("JPEG", check=salvage.refuse_cut, salvage=salvage.load),
    Format.PNG: Loader("PNG", salvage=salvage.load),
    Format.GIF: Loader("GIF", plays=_gif_plays, salvage=salvage.load),
    Format.WEBP: Loader("WEBP", salvage=_as_opened, open_damaged=_open_cut_webp),
    Format.AVIF: Loader("AVIF", orientation=_orientation_of_exif),
    Format.HEIC: Loader("HEIF", _open_heic, _upright_already),
    Format.TIFF: Loader("TIFF", _open_tiff, _upright_already, salvage=_load_turned_rows),
    Format.BMP: Loader("BMP", salvage=salvage.load),
    Format.ICO: Loader("ICO", _open_ico, salvage=salvage.load),
    Format.JXL: Loader("JXL", _decode_jxl, _upright_already),
}


# --- savers -------------------------------------------------------------------------------------------------------


def _loops(_: list[Image.Image], plays: int) -> dict[str, Any]:
    return {"loop": min(plays, MOST_PLAYS)}


def _gif_loops(frames: list[Image.Image], plays: int) -> dict[str, Any]:
    """Transparent pixels must be cleared for the next frame; of opaque frames only the changes are written."""
    disposal = 2 if any("transparency" in frame.info for frame in frames) else 1
    return {"disposal": disposal} | ({} if plays == 1 else {"loop": max(0, plays - 1)})


def _every_mode(image: Image.Image, _: Target) -> Image.Image:
    return image


def _without_alpha(image: Image.Image, _: Target) -> Image.Image:
    return on_white(image) if image.mode == "RGBA" else image


def _colours(target: Target) -> int:
    return 256 if target.quality == 100 else max(2, 256 * (target.quality + 1) // 100)


def _png_mode(image: Image.Image, target: Target) -> Image.Image:
    return image.quantize(_colours(target)) if target.quality < 100 else image


def _gif_mode(image: Image.Image, target: Target) -> Image.Image:
    return image if target.quality == 100 and image.mode == "L" else in_palette(image, _colours(target))


def _chroma(target: Target) -> str:
    return "4:4:4" if target.quality >= FULL_CHROMA else "4:2:0"


@dataclass(frozen=True, slots=True)
class Saver:
    """One format's name in Pillow, its options, modes and the options of an animation."""

    name: str
    options: Callable[[Target], dict[str, Any]]
    mode: Callable[[Image.Image, Target], Image.Image] = _every_mode
    loops: Callable[[list[Image.Image], int], dict[str, Any]] = _loops
    credit: bool = True


SAVERS: Final[dict[Format, Saver]] = {
    Format.JPEG: Saver(
        "JPEG",
        lambda target: {
            "quality": target.quality,
            "optimize": True,
            "subsampling": _chroma(target),
            "progressive": target.progressive,
        },
        _without_alpha,
    ),
    Format.PNG: Saver("PNG", lambda target: {"compress_level": 6 if target.quality == 100 else 9}, _png_mode),
    Format.WEBP: Saver("WEBP", lambda target: {"quality": target.quality, "method": 4, "kmin": 0, "kmax": 0}),
    Format.AVIF: Saver("AVIF", lambda target: {"quality": target.quality, "speed": 6, "subsampling": _chroma(target)}),
    Format.GIF: Saver("GIF", lambda _: {}, _gif_mode, _gif_loops, credit=False),
}
