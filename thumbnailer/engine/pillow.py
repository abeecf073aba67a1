"""Pillow, or Pillow-SIMD where that is what provides `PIL`. It is handed the formats on its allow-list and no other."""

from __future__ import annotations

import ctypes
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache, partial
from importlib import import_module
from io import BytesIO
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import PIL
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageSequence, _imaging

from thumbnailer.engine import Rendering, placeholder, salvage
from thumbnailer.engine import crop as cropping
from thumbnailer.engine import versions as floors
from thumbnailer.engine.byte_limit import within_bytes
from thumbnailer.errors import Corrupt, UnsupportedFormat
from thumbnailer.formats import icc
from thumbnailer.formats.exif import build_credit
from thumbnailer.formats.gif import GifDetails
from thumbnailer.formats.heif import HeifDetails
from thumbnailer.formats.ico import with_best_icon_alone
from thumbnailer.formats.ifd import valid_orientation
from thumbnailer.formats.jxl import JxlDetails
from thumbnailer.formats.png import PngDetails
from thumbnailer.formats.tiff import TiffDetails
from thumbnailer.model import EngineName, Format, ImageInfo
from thumbnailer.planning.plan import Plan, Target, keeps_animation

ALLOWED: Final = {
    Format.JPEG: "JPEG",
    Format.PNG: "PNG",
    Format.GIF: "GIF",
    Format.WEBP: "WEBP",
    Format.AVIF: "AVIF",
    Format.HEIC: "HEIF",
    Format.TIFF: "TIFF",
    Format.BMP: "BMP",
    Format.ICO: "ICO",
    Format.JXL: "JXL",
}
PLUGINS: Final = {
    Format.WEBP: "PIL.WebPImagePlugin",
    Format.AVIF: "PIL.AvifImagePlugin",
    Format.TIFF: "PIL.TiffImagePlugin",
    Format.ICO: "PIL.IcoImagePlugin",
}
"""Of formats that Pillow has not at once: it would import every plugin it has, some forty, to find the one."""
TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SPACES: Final = {"L": icc.GREY, "P": icc.RGB, "RGB": icc.RGB}
"""By the base of a mode (`Image.getmodebase`): what a palette is made of are colours."""
REDUCING_GAP: Final = 3.0  # as in the other engine
MOST_CROPPED: Final = 4 << 20  # pixels that the probe lets a picture be larger before it is cropped
MOST_PLAYS: Final = 65_535  # of a WebP
FULL_CHROMA: Final = 90  # from this quality on, as in libvips
SRGB: Final = ImageCms.createProfile("sRGB")
CONVERSION: Final[dict[str, Any]] = {  # as in the other engine
    "renderingIntent": ImageCms.Intent.RELATIVE_COLORIMETRIC,
    "flags": ImageCms.Flags.BLACKPOINTCOMPENSATION,
}
# RuntimeError is how the AVIF and HEIF plugins say it, TypeError how the TIFF plugin does of a page without a size;
# MemoryError is a PNG chunk that claims gigabytes: what a picture truly needs was admitted before.
DECODER_ERRORS: Final = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, RuntimeError, TypeError),
    *(MemoryError, struct.error, zlib.error),
)

# Between Pillow's warning mark and its error mark the plan decides; beyond the error mark Pillow itself refuses.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # on odd tags, which we do not use


def _quiet_libtiff() -> None:
    """libtiff writes what it thinks of a file to standard error, between our lines of JSON."""
    library = ctypes.CDLL(_imaging.__file__)
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        if hasattr(library, name):
            getattr(library, name)(None)


_quiet_libtiff()
floors.require("Pillow", PIL.__version__)
if _webp := floors.bundled_libwebp():
    floors.require("libwebp", _webp)


class PillowEngine:
    """The faster one for JPEG: the decoder shrinks, SIMD resamples."""

    def render(self, path: str, plan: Plan) -> Rendering:
        return _rendered(path, plan, _all_frames, damaged=False)


def render_damaged(path: str, plan: Plan) -> Rendering:
    """What can be shown of a damaged picture. Raises Corrupt where that is less than half of its rows."""
    if plan.info.format not in salvage.ROW_BY_ROW:
        raise Corrupt(f"{plan.info.format}: it is damaged, and only all of it could be shown")
    return _rendered(path, plan, _frames_left, damaged=True)


Frames = Callable[[Image.Image, Plan], Iterator[Image.Image]]


def _rendered(path: str, plan: Plan, frames_of: Frames, damaged: bool) -> Rendering:
    started = perf_counter()
    resized, plays, profile_ignored = _decoded(path, plan, frames_of, damaged)
    decoded = perf_counter()
    placeholders = tuple(_placeholder(frames[0][0]) for frames in resized) if plan.thumbhash else ()
    pictures = tuple(
        within_bytes(target, partial(_encoded, frames, plays, plan.info), path, plan, whole=not damaged)
        for frames, target in zip(resized, plan.targets, strict=True)
    )
    return Rendering(
        EngineName.PILLOW,
        pictures,
        "not all of it can be decoded" if damaged else "",
        decoded - started,
        perf_counter() - decoded,
        placeholders,
        profile_ignored,
    )


def _decoded(
    path: str, plan: Plan, frames_of: Frames, damaged: bool
) -> tuple[list[list[tuple[Image.Image, float]]], int, bool]:
    """The frames of each target, how often they are played, and whether there is a profile that cannot be used.

    The decoded picture is let go before any is encoded.
    """
    with _opened(path, plan, damaged) as image:
        plays = _plays(image, plan.info.format)
        profile_ignored = "icc_profile" in image.info and _profile(image) is None
        return _resized(frames_of(image, plan), plan), plays, profile_ignored


def _plays(image: Image.Image, format_: Format) -> int:
    """How often an animation is played, 0 for endlessly: a GIF says how often it is repeated, or nothing for never."""
    loop = image.info.get("loop")
    if format_ is not Format.GIF:
        return int(loop or 0)
    return 1 if loop is None else loop and loop + 1


@contextmanager
def _opened(path: str, plan: Plan, damaged: bool) -> Iterator[Image.Image]:
    """The file, opened as the format that was probed; what decoders raise becomes Corrupt."""
    if plan.info.format is Format.HEIC:
        _register_heif()
    try:
        with _open(path, plan.info, damaged) as image:
            _refuse_other_size(image, plan.info)
            yield image
    except Image.DecompressionBombError as error:
        raise Corrupt(f"Pillow refuses its size: {error}") from error
    except DECODER_ERRORS as error:
        raise Corrupt(f"Pillow cannot read it: {str(error)[:200]}") from error


def _open(path: str, info: ImageInfo, damaged: bool) -> Image.Image:
    _import_plugin(info.format)
    if info.format is Format.JXL:
        return _decoded_jxl(path, info)
    if damaged and info.format is Format.WEBP:  # libwebp does not even open what is not all there
        return salvage.load_webp(Path(path).read_bytes(), info)
    if info.format is Format.ICO:  # Pillow takes the one of the fewest colours, of those of the largest size
        return Image.open(BytesIO(with_best_icon_alone(Path(path).read_bytes())), formats=["ICO"])
    image = Image.open(path, formats=[ALLOWED[info.format]])
    return _differences_as_stored(image) if _is_plain_ycbcr(info) else image


def _differences_as_stored(image: Image.Image) -> Image.Image:
    """Brightness and colour differences that are not compressed: Pillow 12 takes them for four bytes of colours."""
    if image.mode == "RGB" and image.tile[0].codec_name == "raw":  # type: ignore[attr-defined]
        image._mode = "YCbCr"
        image.tile = [tile._replace(args=("YCbCr", *tile.args[1:])) for tile in image.tile]  # type: ignore[attr-defined]
    return image


def _import_plugin(format_: Format) -> None:
    if format_ in PLUGINS:
        import_module(PLUGINS[format_])


def _decoded_jxl(path: str, info: ImageInfo) -> Image.Image:
    """The first frame, by libjxl's own binding: it is asked for the size before it decodes, and keeps to one thread."""
    try:
        import pylibjxl
    except ImportError as error:
        raise UnsupportedFormat("jxl: pylibjxl is not installed") from error
    data = Path(path).read_bytes()
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
    """And their profile. Asked for the file's own, pylibjxl decodes all frames and hands out the last of them."""
    import pylibjxl

    with pylibjxl.JXL(threads=1) as codec:
        if info.icc and not _jxl_profile(info) and info.frames == 1:
            pixels, metadata = codec.decode(data, metadata=True)
            return pixels, metadata.get("icc")
        pixels = codec.decode(data)
    return pixels, _jxl_profile(info) or (b"" if info.icc else None)  # an empty one counts as one that cannot be used


def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedFormat("heic: pillow-heif is not installed") from error
    floors.require("libheif", pillow_heif.libheif_version())  # type: ignore[no-untyped-call,unused-ignore]
    pillow_heif.register_heif_opener(thumbnails=False)  # type: ignore[no-untyped-call,unused-ignore]


def _refuse_other_size(image: Image.Image, info: ImageInfo) -> None:
    """The plan's limits hold for the header that was probed; a decoder that sees another picture must not go on."""
    if image.width * image.height > 2 * info.pixels + (65_536 if _crop_box(info) is None else MOST_CROPPED):
        raise Corrupt(f"the header says {info.width}x{info.height}, the decoder {image.width}x{image.height}")


def _all_frames(image: Image.Image, plan: Plan) -> Iterator[Image.Image]:
    """Every frame that the plan counts on, decoded. Raises Corrupt where there are fewer."""
    _shrink_on_load(image, plan)
    if salvage.missing_from(plan.info) is not None:
        raise Corrupt("not all of its bytes are there")
    if _hides_first(plan.info):
        image.seek(1)
    # A still is taken as it was opened: of a HEIC with several pictures that is the primary one, not the first.
    frames = islice(_sequence(image, plan), plan.frames) if plan.frames > 1 or _has_odd_frames(plan.info) else [image]
    number = 0
    for number, frame in enumerate(frames, 1):  # noqa: B007
        frame.load()
        salvage.refuse_cut(frame, plan.info)
        yield frame
    if number < plan.frames:
        raise Corrupt(f"{number} of its {plan.frames} frames can be decoded")


def _sequence(image: Image.Image, plan: Plan) -> Iterator[Image.Image]:
    if not _has_odd_frames(plan.info):
        return iter(ImageSequence.Iterator(image))
    from thumbnailer.engine.canvas import composed

    return composed(image, plan.info)


def _frames_left(image: Image.Image, plan: Plan) -> Iterator[Image.Image]:
    """The first frame as far as it goes, and those behind it that are whole."""
    _shrink_on_load(image, plan)
    yield (
        image if plan.info.format is Format.WEBP else _turned(salvage.load(image, plan.info, DECODER_ERRORS), plan.info)
    )
    for number in range(1, plan.frames):
        try:
            image.seek(number)
            image.load()
        except DECODER_ERRORS:
            return
        yield image


def _turned(image: Image.Image, info: ImageInfo) -> Image.Image:
    """Upright, where Pillow does that once it has loaded all of a picture."""
    turn = TURNS.get(info.orientation) if info.format is Format.TIFF else None
    return image if turn is None else image.transpose(turn)


def _shrink_on_load(image: Image.Image, plan: Plan) -> None:
    if plan.info.format is Format.JPEG and plan.shrink > 1:
        # Rounded down: Pillow takes the largest scale that leaves no side below what is asked for.
        image.draft(None, (image.width // plan.shrink, image.height // plan.shrink))


def _resized(frames_in: Iterator[Image.Image], plan: Plan) -> list[list[tuple[Image.Image, float]]]:
    """For each target its frames, each with its duration in milliseconds."""
    resized: list[list[tuple[Image.Image, float]]] = [[] for _ in plan.targets]
    corners: list[cropping.Corner] = []
    for number, frame in enumerate(frames_in):
        pixels = _resizable(frame if _crop_box(plan.info) is None else frame.crop(_crop_box(plan.info)), plan.info)
        for index, target in enumerate(plan.targets):
            if number and not keeps_animation(plan.info, target):
                continue
            whole = _thumbnail(pixels, plan, target)
            if number == 0:
                corners.append(_corner(whole, target))
            resized[index].append((_cropped(whole, corners[index], target), frame.info.get("duration", 100)))
    return resized


RESAMPLED_AS: Final = {"PA": "RGBA", "La": "LA", "1": "L"}


def _resizable(image: Image.Image, info: ImageInfo) -> Image.Image:
    """The decoded picture in a mode that can be resampled: bits and palettes cannot."""
    if image.mode == "P" or "transparency" in image.info:
        return _with_transparency(image)
    if image.mode.startswith("I"):
        steps = 16 if info.format is Format.TIFF and info.bit_depth == 12 else 256  # 12 or 16 bits of grey
        return image.convert("I").point(lambda value: value / steps).convert("L")
    if image.mode == "F":
        return image.convert("L")
    return image.convert(RESAMPLED_AS[image.mode]) if image.mode in RESAMPLED_AS else image


def _with_transparency(image: Image.Image) -> Image.Image:
    if image.mode == "I;16":
        return _without_key(image, image.info["transparency"])
    return image.convert("RGBA" if "transparency" in image.info else "RGB")


def _without_key(image: Image.Image, key: int) -> Image.Image:
    """Sixteen bits of grey, of which one value is transparent. Pillow would compare it with eight of them."""
    lower, upper = Image.frombytes("LA", image.size, image.tobytes()).split()  # two bytes a pixel, the lower one first
    alpha = upper.point([255 * (value != key >> 8) for value in range(256)])
    alpha.paste(255, mask=lower.point([255 * (value != key & 255) for value in range(256)]))
    grey = Image.merge("LA", (upper, alpha))
    grey.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return grey


def _thumbnail(image: Image.Image, plan: Plan, target: Target) -> Image.Image:
    """Resized, in sRGB and upright: colours and turns come after the resize, on the few pixels left."""
    orientation = _orientation_left(image, plan.info)
    width, height = reversed(target.scaled) if orientation >= 5 else target.scaled
    box = _decoded_box(image, plan)
    small = image.resize((width, height), Image.Resampling.LANCZOS, box, reducing_gap=REDUCING_GAP)
    small = _srgb(small, _profile(image))
    turn = TURNS.get(orientation)
    return small.transpose(turn) if turn is not None else small


def _decoded_box(image: Image.Image, plan: Plan) -> tuple[float, float, float, float]:
    """What of the decoded pixels is picture: a shrunken decode of 631 rows has 316, of which 315.5 are."""
    shrunk = plan.shrink > 1 and plan.info.format is Format.JPEG
    width, height = (plan.info.width / plan.shrink, plan.info.height / plan.shrink) if shrunk else image.size
    return 0, 0, min(width, image.width), min(height, image.height)


def _orientation_left(image: Image.Image, info: ImageInfo) -> int:
    """What is still to be turned: Pillow turns a TIFF when it loads it, and hands an AVIF's turn on as an EXIF tag."""
    match info.format:
        case Format.TIFF | Format.HEIC | Format.JXL:
            return 1
        case Format.AVIF:
            return valid_orientation(image.getexif().get(ExifTags.Base.Orientation, 1))
        case _:
            return info.orientation


def _profile(image: Image.Image) -> bytes | None:
    """The embedded profile, where that is one for pixels of this kind; a broken one is ignored."""
    profile = image.info.get("icc_profile")
    return profile if profile and any(icc.is_usable(profile, space) for space in _spaces(image.mode)) else None


def _spaces(mode: str) -> tuple[bytes, ...]:
    """Pillow has no grey of 16 bits with alpha and makes RGBA of it."""
    if mode == "RGBA":
        return icc.RGB, icc.GREY
    return (icc.CMYK,) if mode == "CMYK" else (SPACES[Image.getmodebase(mode)],)


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image.convert(image.mode[:-1]) if alpha else image
    if profile and alpha and icc.is_usable(profile, icc.GREY):
        colours = colours.convert("L")
    if colours.mode not in ("L", "RGB", "CMYK"):
        colours = colours.convert("RGB")
    if profile:
        colours = _transformed(colours, profile)
    if colours.mode == "CMYK":
        colours = _transformed(colours, _press_profile())
    if colours.mode == "CMYK":  # there is no such profile
        colours = colours.convert("RGB")
    if alpha is None:
        return colours
    whole = colours.convert("RGB") if colours.mode == "L" else colours
    whole.putalpha(alpha)
    return whole


@cache
def _press_profile() -> bytes:
    """The CMYK profile that libvips ships: what pictures without one look right in, and the same in both engines."""
    try:
        import pyvips
    except ImportError:
        return b""  # Pillow's own formula then
    return bytes(pyvips.Operation.call("profile_load", "cmyk"))


def _transformed(image: Image.Image, profile: bytes) -> Image.Image:
    """Through a profile; one that Little CMS cannot use is ignored, because the pixels are still right."""
    transform = _transform(profile, image.mode)
    return image if transform is None else ImageCms.applyTransform(image, transform) or image


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Kept for the next picture: to make one costs ten times what it costs to use it on a thumbnail."""
    try:
        embedded = ImageCms.ImageCmsProfile(BytesIO(profile))
        return ImageCms.buildTransform(embedded, SRGB, mode, "RGB", **CONVERSION)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _corner(image: Image.Image, target: Target) -> cropping.Corner:
    if not target.smart:
        return cropping.middle(*image.size, target)
    return cropping.attention(*image.size, _rgb(image).tobytes(), target)


def _rgb(image: Image.Image) -> Image.Image:
    """On white."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _placeholder(image: Image.Image) -> str:
    size = placeholder.size_for(*image.size)
    return placeholder.thumbhash(*size, _rgb(image).resize(size, Image.Resampling.BOX).tobytes())


def _cropped(image: Image.Image, corner: cropping.Corner, target: Target) -> Image.Image:
    left, top = corner
    if image.size == (target.width, target.height):
        return image
    return image.crop((left, top, left + target.width, top + target.height))


def _encoded(frames: list[tuple[Image.Image, float]], plays: int, info: ImageInfo, target: Target) -> bytes:
    frames[0][0].info.clear()  # nothing of the source's metadata but artist and copyright
    first, *rest = (_writable(frame, target) for frame, _ in frames)
    options = _options(target)
    credit = build_credit(info.credit)
    if credit and target.format is not Format.GIF:
        options["exif"] = credit
    if rest:
        options |= {"save_all": True, "append_images": rest}
        options |= {"duration": [int(duration) for _, duration in frames]}
        options |= _looping(plays, target.format)
        options |= {"disposal": _disposal([first, *rest])} if target.format is Format.GIF else {}
    _import_plugin(target.format)
    out = BytesIO()
    first.save(out, **options)
    return out.getvalue()


def _looping(plays: int, format_: Format) -> dict[str, int]:
    if format_ is not Format.GIF:
        return {"loop": min(plays, MOST_PLAYS)}
    return {} if plays == 1 else {"loop": max(0, plays - 1)}


def _disposal(frames: list[Image.Image]) -> int:
    """What is transparent must be cleared for the next frame; opaque frames stay, and only what changes is written."""
    return 2 if any("transparency" in frame.info for frame in frames) else 1


def _writable(image: Image.Image, target: Target) -> Image.Image:
    """JPEG has no alpha: flattened on white. A GIF has a palette, and so has a PNG of less than full quality."""
    if target.format is Format.JPEG:
        return _rgb(image) if image.mode == "RGBA" else image
    if target.format is Format.GIF and target.quality == 100 and image.mode == "L":
        return image
    colours = 256 if target.quality == 100 else max(2, 256 * (target.quality + 1) // 100)
    if target.format is Format.GIF:
        return _palette(image, colours)
    return image.quantize(colours) if target.format is Format.PNG and target.quality < 100 else image


def _palette(image: Image.Image, colours: int) -> Image.Image:
    """So many colours, one of them for what is less than half opaque; Pillow's own way takes all but 0 for opaque.

    One round of k-means brings its median cut as near to the original as libvips' quantiser comes.
    """
    clear = image.getchannel("A").point(lambda alpha: 255 * (alpha < 128)) if image.mode == "RGBA" else None
    if clear is None or not clear.getbbox():
        return image.convert("RGB").quantize(colours, Image.Quantize.MEDIANCUT, kmeans=1)
    reduced = image.convert("RGB").quantize(colours - 1, Image.Quantize.MEDIANCUT, kmeans=1)
    reduced.putpalette((reduced.getpalette() or [])[: 3 * (colours - 1)] + [0] * 3)
    reduced.paste(colours - 1, mask=clear)
    reduced.info["transparency"] = colours - 1
    return reduced


def _options(target: Target) -> dict[str, Any]:
    chroma = "4:4:4" if target.quality >= FULL_CHROMA else "4:2:0"
    match target.format:
        case Format.JPEG:
            options = {"format": "JPEG", "quality": target.quality, "optimize": True, "subsampling": chroma}
            return options | {"progressive": target.progressive}
        case Format.PNG:
            return {"format": "PNG", "compress_level": 6 if target.quality == 100 else 9}
        case Format.WEBP:
            return {"format": "WEBP", "quality": target.quality, "method": 4, "kmin": 0, "kmax": 0}
        case Format.AVIF:
            return {"format": "AVIF", "quality": target.quality, "speed": 6, "subsampling": chroma}
        case _:
            return {"format": "GIF"}


ImageFile.LOAD_TRUNCATED_IMAGES = False


def _is_plain_ycbcr(info: ImageInfo) -> bool:
    return isinstance(info.details, TiffDetails) and info.details.plain_ycbcr


def _hides_first(info: ImageInfo) -> bool:
    return isinstance(info.details, PngDetails) and info.details.hidden_first


def _has_odd_frames(info: ImageInfo) -> bool:
    return isinstance(info.details, GifDetails) and info.details.odd_frames


def _jxl_profile(info: ImageInfo) -> bytes:
    return info.details.profile if isinstance(info.details, JxlDetails) else b""


def _crop_box(info: ImageInfo) -> tuple[int, int, int, int] | None:
    return info.details.crop if isinstance(info.details, HeifDetails) else None
