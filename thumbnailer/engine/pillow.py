"""Pillow, or Pillow-SIMD where that is what provides `PIL`. It is handed the formats on its allow-list and no other."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
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
SRGB: Final = ImageCms.createProfile("sRGB")
DECODER_ERRORS: Final = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error, zlib.error)

# Between Pillow's warning mark and its error mark the plan decides; beyond the error mark Pillow itself refuses.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # on odd tags, which we do not use


class PillowEngine:
    """The faster one for JPEG: the decoder shrinks, SIMD resamples."""

    def render(self, path: str, plan: Plan) -> Rendering:
        started = perf_counter()
        resized, timing = _decoded(path, plan)
        decoded = perf_counter()
        pictures = tuple(
            _encoded(frames, timing, plan.info, target) for frames, target in zip(resized, plan.targets, strict=True)
        )
        return Rendering(EngineName.PILLOW, pictures, False, decoded - started, perf_counter() - decoded)


def _decoded(path: str, plan: Plan) -> tuple[list[list[tuple[Image.Image, float]]], dict[str, Any]]:
    """The frames of each target, and their timing; the decoded picture is let go before any is encoded."""
    with _opened(path, plan) as image:
        return _resized(image, plan), {"duration": image.info.get("duration", 100), "loop": image.info.get("loop")}


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
    for number, frame in enumerate(ImageSequence.Iterator(image)):
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
    try:
        embedded = ImageCms.ImageCmsProfile(BytesIO(profile))
        if embedded.profile.xcolor_space != COLOUR_SPACES.get(image.mode):
            return image
        intent = ImageCms.Intent.PERCEPTUAL
        return ImageCms.profileToProfile(image, embedded, SRGB, renderingIntent=intent, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image


def _crop(image: Image.Image, target: Target) -> Image.Image:
    left, top = (image.width - target.width) // 2, (image.height - target.height) // 2
    if (left, top) == (0, 0) and image.size == (target.width, target.height):
        return image
    return image.crop((left, top, left + target.width, top + target.height))


def _encoded(frames: list[tuple[Image.Image, float]], timing: dict[str, Any], info: ImageInfo, target: Target) -> bytes:
    first = frames[0][0]
    first.info.clear()  # nothing of the source's metadata but artist and copyright
    options = _options(target)
    credit = build_credit(info.artist, info.copyright)
    if credit and target.format is not Format.GIF:
        options["exif"] = credit
    if len(frames) > 1:
        options |= {"save_all": True, "append_images": [frame for frame, _ in frames[1:]]}
        options |= {"duration": [int(duration) for _, duration in frames]}
        options |= {"loop": timing["loop"]} if timing["loop"] is not None else {}
        options |= {"disposal": 2} if target.format is Format.GIF else {}
    out = BytesIO()
    _writable(first, target).save(out, **options)
    return out.getvalue()


def _writable(image: Image.Image, target: Target) -> Image.Image:
    """JPEG has no alpha: flattened on white."""
    if target.format is Format.JPEG and image.mode == "RGBA":
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image


def _options(target: Target) -> dict[str, Any]:
    match target.format:
        case Format.JPEG:
            return {"format": "JPEG", "quality": target.quality, "optimize": True}
        case Format.PNG:
            return {"format": "PNG", "compress_level": 6}
        case Format.WEBP:
            return {"format": "WEBP", "quality": target.quality, "method": 4}
        case Format.AVIF:
            return {"format": "AVIF", "quality": target.quality, "speed": 6}
        case _:
            return {"format": "GIF"}


ImageFile.LOAD_TRUNCATED_IMAGES = False
