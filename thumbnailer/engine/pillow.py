"""Pillow, or Pillow-SIMD where that is what provides `PIL`. It is handed the formats on its allow-list and no other."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from io import BytesIO
from time import perf_counter
from typing import Any, Final

from PIL import ExifTags, Image, ImageCms, ImageFile, ImageSequence

from thumbnailer.engine import Rendering
from thumbnailer.errors import Corrupt, UnsupportedFormat
from thumbnailer.exif import build_credit, valid_orientation
from thumbnailer.model import EngineName, Format, ImageInfo
from thumbnailer.plan import Plan, Target, keeps_animation

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
}
TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
COLOUR_SPACES: Final = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK"}
REDUCING_GAP: Final = 3.0  # as in the other engine
FULL_CHROMA: Final = 90  # from this quality on, as in libvips
SRGB: Final = ImageCms.createProfile("sRGB")
CONVERSION: Final[dict[str, Any]] = {  # as in the other engine
    "renderingIntent": ImageCms.Intent.RELATIVE_COLORIMETRIC,
    "flags": ImageCms.Flags.BLACKPOINTCOMPENSATION,
}
DECODER_ERRORS: Final = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error, zlib.error)

# Between Pillow's warning mark and its error mark the plan decides; beyond the error mark Pillow itself refuses.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # on odd tags, which we do not use


class PillowEngine:
    """The faster one for JPEG: the decoder shrinks, SIMD resamples."""

    def render(self, path: str, plan: Plan) -> Rendering:
        started = perf_counter()
        with _opened(path, plan) as image:
            resized = _resized(image, plan)
            timing = {"duration": image.info.get("duration", 100), "loop": image.info.get("loop")}
        decoded = perf_counter()
        pictures = tuple(
            _encoded(frames, timing, plan.info, target) for frames, target in zip(resized, plan.targets, strict=True)
        )
        return Rendering(EngineName.PILLOW, pictures, False, decoded - started, perf_counter() - decoded)


@contextmanager
def _opened(path: str, plan: Plan) -> Iterator[Image.Image]:
    """The file, opened as the format that was probed; what decoders raise becomes Corrupt."""
    if plan.info.format is Format.HEIC:
        _register_heif()
    try:
        with Image.open(path, formats=[ALLOWED[plan.info.format]]) as image:
            _refuse_other_size(image, plan.info)
            yield image
    except Image.DecompressionBombError as error:
        raise Corrupt(f"Pillow refuses its size: {error}") from error
    except DECODER_ERRORS as error:
        raise Corrupt(f"Pillow cannot read it: {str(error)[:200]}") from error


def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedFormat("heic: pillow-heif is not installed") from error
    pillow_heif.register_heif_opener(thumbnails=False)  # type: ignore[no-untyped-call,unused-ignore]


def _refuse_other_size(image: Image.Image, info: ImageInfo) -> None:
    """The plan's limits hold for the header that was probed; a decoder that sees another picture must not go on."""
    if image.width * image.height > 2 * info.pixels + 65_536:
        raise Corrupt(f"the header says {info.width}x{info.height}, the decoder {image.width}x{image.height}")


def _resized(image: Image.Image, plan: Plan) -> list[list[tuple[Image.Image, float]]]:
    """For each target its frames, each with its duration in milliseconds."""
    if plan.info.format is Format.JPEG and plan.shrink > 1:
        # Rounded down: Pillow takes the largest scale that leaves no side below what is asked for.
        image.draft(None, (image.width // plan.shrink, image.height // plan.shrink))
    resized: list[list[tuple[Image.Image, float]]] = [[] for _ in plan.targets]
    # A still is taken as it was opened: of a HEIC with several pictures that is the primary one, not the first.
    for number, frame in enumerate(ImageSequence.Iterator(image) if plan.frames > 1 else [image]):
        if number == plan.frames:
            break
        pixels = _resizable(frame)
        for frames, target in zip(resized, plan.targets, strict=True):
            if number == 0 or keeps_animation(plan.info, target):
                frames.append((_thumbnail(pixels, plan, target), frame.info.get("duration", 100)))
    return resized


def _resizable(image: Image.Image) -> Image.Image:
    """The decoded picture in a mode that can be resampled: bits and palettes cannot."""
    image.load()
    if image.mode == "P" or "transparency" in image.info:
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode == "PA":
        return image.convert("RGBA")
    if image.mode.startswith("I"):
        return image.convert("I").point(lambda value: value / 256).convert("L")  # 16 bits of grey
    if image.mode == "F":
        return image.convert("L")
    if image.mode == "1":
        return image.convert("L")
    return image


def _thumbnail(image: Image.Image, plan: Plan, target: Target) -> Image.Image:
    """Resized, in sRGB, upright and cropped: colours and turns come after the resize, on the few pixels left."""
    orientation = _orientation_left(image, plan.info)
    width, height = reversed(target.scaled) if orientation >= 5 else target.scaled
    box = _decoded_box(image, plan)
    small = image.resize((width, height), Image.Resampling.LANCZOS, box, reducing_gap=REDUCING_GAP)
    small = _srgb(small, image.info.get("icc_profile"))
    turn = TURNS.get(orientation)
    return _crop(small.transpose(turn) if turn is not None else small, target)


def _decoded_box(image: Image.Image, plan: Plan) -> tuple[float, float, float, float]:
    """What of the decoded pixels is picture: a shrunken decode of 631 rows has 316, of which 315.5 are."""
    shrunk = plan.shrink > 1 and plan.info.format is Format.JPEG
    width, height = (plan.info.width / plan.shrink, plan.info.height / plan.shrink) if shrunk else image.size
    return 0, 0, min(width, image.width), min(height, image.height)


def _orientation_left(image: Image.Image, info: ImageInfo) -> int:
    """What is still to be turned: Pillow turns a TIFF when it loads it, and hands an AVIF's turn on as an EXIF tag."""
    match info.format:
        case Format.TIFF | Format.HEIC:
            return 1
        case Format.AVIF:
            return valid_orientation(image.getexif().get(ExifTags.Base.Orientation, 1))
        case _:
            return info.orientation


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image.convert(image.mode[:-1]) if alpha else image
    if profile:
        colours = _transformed(colours, profile)
    if colours.mode == "CMYK":
        colours = _transformed(colours, _press_profile())
    if colours.mode not in ("L", "RGB"):
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
    """Through the embedded profile, where that is one for pixels of this kind; a broken one is ignored."""
    transform = _transform(profile, image.mode)
    return image if transform is None else ImageCms.applyTransform(image, transform) or image


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Kept for the next picture: to make one costs ten times what it costs to use it on a thumbnail."""
    try:
        embedded = ImageCms.ImageCmsProfile(BytesIO(profile))
        if embedded.profile.xcolor_space != COLOUR_SPACES.get(mode):
            return None
        return ImageCms.buildTransform(embedded, SRGB, mode, "RGB", **CONVERSION)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _crop(image: Image.Image, target: Target) -> Image.Image:
    left, top = (image.width - target.width) // 2, (image.height - target.height) // 2
    if (left, top) == (0, 0) and image.size == (target.width, target.height):
        return image
    return image.crop((left, top, left + target.width, top + target.height))


def _encoded(frames: list[tuple[Image.Image, float]], timing: dict[str, Any], info: ImageInfo, target: Target) -> bytes:
    frames[0][0].info.clear()  # nothing of the source's metadata but artist and copyright
    first, *rest = (_writable(frame, target) for frame, _ in frames)
    options = _options(target)
    credit = build_credit(info.artist, info.copyright)
    if credit and target.format is not Format.GIF:
        options["exif"] = credit
    if rest:
        options |= {"save_all": True, "append_images": rest}
        options |= {"duration": [int(duration) for _, duration in frames]}
        options |= {"loop": timing["loop"]} if timing["loop"] is not None else {}
        options |= {"disposal": _disposal([first, *rest])} if target.format is Format.GIF else {}
    out = BytesIO()
    first.save(out, **options)
    return out.getvalue()


def _disposal(frames: list[Image.Image]) -> int:
    """What is transparent must be cleared for the next frame; opaque frames stay, and only what changes is written."""
    return 2 if any("transparency" in frame.info for frame in frames) else 1


def _writable(image: Image.Image, target: Target) -> Image.Image:
    """JPEG has no alpha: flattened on white. GIF has 256 colours, and transparent is one of them."""
    if target.format is Format.JPEG and image.mode == "RGBA":
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    if target.format is Format.GIF and image.mode != "L":
        return _palette(image)
    return image


def _palette(image: Image.Image) -> Image.Image:
    """256 colours, one of them for what is less than half opaque; Pillow's own way takes all but 0 for opaque.

    One round of k-means brings its median cut as near to the original as libvips' quantiser comes.
    """
    clear = image.getchannel("A").point(lambda alpha: 255 * (alpha < 128)) if image.mode == "RGBA" else None
    if clear is None or not clear.getbbox():
        return image.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, kmeans=1)
    colours = image.convert("RGB").quantize(255, Image.Quantize.MEDIANCUT, kmeans=1)
    colours.paste(255, mask=clear)
    colours.info["transparency"] = 255
    return colours


def _options(target: Target) -> dict[str, Any]:
    chroma = "4:4:4" if target.quality >= FULL_CHROMA else "4:2:0"
    match target.format:
        case Format.JPEG:
            return {"format": "JPEG", "quality": target.quality, "optimize": True, "subsampling": chroma}
        case Format.PNG:
            return {"format": "PNG", "compress_level": 6}
        case Format.WEBP:
            return {"format": "WEBP", "quality": target.quality, "method": 4, "kmin": 0, "kmax": 0}
        case Format.AVIF:
            return {"format": "AVIF", "quality": target.quality, "speed": 6, "subsampling": chroma}
        case _:
            return {"format": "GIF"}


ImageFile.LOAD_TRUNCATED_IMAGES = False
