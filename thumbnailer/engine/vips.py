"""libvips through pyvips."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import pyvips

from thumbnailer.engine.base import Rendering, crop_corner, thumbhash, within_bytes
from thumbnailer.engine.vips_formats import LOADERS, SAVERS
from thumbnailer.errors import Corrupt, DamagedPixels
from thumbnailer.formats import icc
from thumbnailer.formats.exif import build_credit, without_orientation
from thumbnailer.model import EngineName, ImageInfo
from thumbnailer.planning.capabilities import REDUCING_GAP
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import Target, keeps_animation

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

STRUCTURE: Final = frozenset(
    {"width", "height", "bands", "format", "coding", "interpretation", "xoffset", "yoffset", "xres", "yres", "filename"}
)
PACE: Final = frozenset({"delay", "loop"})  # of an animation
MOST_DURATION: Final = 655_350  # milliseconds of a GIF's frame; a frame of WebP may have five hours
WHITE: Final = [255, 255, 255]
CONVERSION: Final = {"intent": "relative", "black_point_compensation": True, "depth": 8}
"""To sRGB. Unlike the perceptual intent, this one gives the same colours in every release of Little CMS."""


class VipsEngine:
    """Streams if the format allows it: memory follows the width of a picture, not its area."""

    def render(self, path: str, plan: Plan) -> Rendering:
        started = perf_counter()
        try:
            resized, profile_ignored = _decode(path, plan)
            decoded = perf_counter()
            pictures = tuple(
                within_bytes(target, partial(_encode, frames, plan.info), path, plan)
                for frames, target in zip(resized, plan.targets, strict=True)
            )
        except (pyvips.Error, UnicodeDecodeError) as error:
            # A message that quotes the file is not always UTF-8. pyvips fails to decode it and leaves it in libvips'
            # buffer, where it would break every later message as well.
            pyvips.vips_lib.vips_error_clear()
            raise _as_corrupt(error, plan.info) from error
        placeholders = tuple(_placeholder(frames[0]) for frames in resized) if plan.thumbhash else ()
        seconds = decoded - started, perf_counter() - decoded
        return Rendering(EngineName.VIPS, pictures, "", *seconds, placeholders, profile_ignored)


def _as_corrupt(error: Exception, info: ImageInfo) -> Corrupt:
    text = getattr(error, "detail", None) or str(error)
    lines = dict.fromkeys(line.strip() for line in text.splitlines())
    reason = "; ".join(filter(None, lines)) or "no reason given"
    return (DamagedPixels if info.details.clean_header else Corrupt)(f"libvips cannot read it: {reason[:200]}")


def _decode(path: str, plan: Plan) -> tuple[list[list[Any]], bool]:
    """The frames of each target, and whether the file has a profile that cannot be used.

    The decoded picture is freed before any thumbnail is encoded.
    """
    frames = _frames(path, plan)
    resized = [_resize_frames(frames, plan, target) for target in plan.targets]
    return resized, _ignores_profile(frames[0])


def _frames(path: str, plan: Plan) -> list[Any]:
    """The frames in their stored orientation, one for a still."""
    loader = LOADERS[plan.info.format]
    roll = loader.load(path, plan)
    if plan.info.details.profile:
        roll = roll.copy()
        roll.set_type(pyvips.GValue.blob_type, "icc-profile-data", plan.info.details.profile)
    if plan.frames == 1:
        return [_hold(roll) if len(plan.targets) > 1 and loader.streams else roll]
    roll = _hold(roll)
    height = roll.get("page-height")
    return [roll.crop(0, top, roll.width, height) for top in range(0, roll.height, height)]


def _hold(image: Any) -> Any:
    """Decoded into memory, and not marked as a stream: libvips would keep lines of it in caches."""
    held = image.copy_memory()
    held.remove("vips-sequential")
    return held


def _resize_frames(frames: list[Any], plan: Plan, target: Target) -> list[Any]:
    """Decoded, resized and cropped into memory one by one: libvips keeps 0.2 MB for a frame until it is in memory."""
    corner: tuple[int, int] | None = None
    resized = []
    for frame in frames if keeps_animation(plan.info, target) else frames[:1]:
        whole = _thumbnail(frame, plan, target)
        if target.smart:
            whole = whole.copy_memory()  # read twice: to find the corner, and to crop
        corner = corner or _corner_of(whole, target)
        resized.append(whole.crop(*corner, target.width, target.height).copy_memory())
    return resized


def _corner_of(image: Any, target: Target) -> tuple[int, int]:
    return crop_corner(image.width, image.height, target, lambda: _rgb(image).write_to_memory())


def _on_white(image: Any) -> Any:
    return image.flatten(background=WHITE[: image.bands - 1]) if image.hasalpha() else image


def _rgb(image: Any) -> Any:
    """On white, three bands of a byte."""
    return _on_white(image).colourspace("srgb").cast("uchar")


def _placeholder(image: Any) -> str:
    def resized(width: int, height: int) -> bytes:
        small = _rgb(image).resize(width / image.width, vscale=height / image.height)
        return bytes(small.bandjoin(255).write_to_memory())

    return thumbhash(image.width, image.height, resized)


def _thumbnail(image: Any, plan: Plan, target: Target) -> Any:
    """Resized, in sRGB and upright: colours and turns come after the resize, on fewer pixels."""
    orientation = 1 if LOADERS[plan.info.format].turns else plan.info.orientation
    width, height = reversed(target.scaled) if orientation >= 5 else target.scaled
    source, times = _extend_rounded(image, plan)
    small = _resize(source, width * times, height * times)
    return _turn_upright(_srgb(small.crop(0, 0, width, height)), orientation)


def _extend_rounded(image: Any, plan: Plan) -> tuple[Any, int]:
    """A shrunken decode that lost a fraction of a pixel, extended to `shrink` times its true size; and that factor.

    Of 631 rows halved there are 315.5, and libvips keeps 315: scaling those would shift the picture. The extension
    costs nearly nothing, because the crop after the resize does not ask for it. WebP's decoder scales the whole picture
    to the rounded sides.
    """
    width, height = plan.info.width, plan.info.height
    if not LOADERS[plan.info.format].rounds_sides or width % plan.shrink == height % plan.shrink == 0:
        return image, 1
    return image.embed(0, 0, width, height, extend="copy"), plan.shrink


def _resize(image: Any, width: int, height: int) -> Any:
    """Lanczos3 after a box shrink; alpha is premultiplied against fringes."""
    if (image.width, image.height) == (width, height):
        return image
    scales = {"vscale": height / image.height, "kernel": "lanczos3", "gap": REDUCING_GAP}
    if not image.hasalpha():
        return image.resize(width / image.width, **scales)
    band_format = image.format
    return image.premultiply().resize(width / image.width, **scales).unpremultiply().rint().cast(band_format)


SPACES: Final = {"srgb": icc.RGB, "rgb16": icc.RGB, "b-w": icc.GREY, "grey16": icc.GREY, "cmyk": icc.CMYK}


def _ignores_profile(image: Any) -> bool:
    """Whether there is a profile without use: libvips would silently take another one."""
    if not image.get_typeof("icc-profile-data"):
        return False
    return not icc.is_usable(image.get("icc-profile-data"), SPACES.get(image.interpretation))


def _srgb(image: Any) -> Any:
    if image.get_typeof("icc-profile-data") and not _ignores_profile(image):
        try:
            return image.icc_transform("srgb", embedded=True, **CONVERSION).copy_memory()
        except pyvips.Error:
            pass  # Little CMS refuses more profiles than we do; the pixels are still right
    if image.interpretation == "cmyk":  # libvips' own profile, through the same transform as an embedded one
        return image.icc_transform("srgb", input_profile="cmyk", embedded=False, **CONVERSION)
    grey = image.interpretation in ("b-w", "grey16")
    return image.colourspace("b-w" if grey else "srgb")


def _turn_upright(image: Any, orientation: int) -> Any:
    tagged = image.copy()
    tagged.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return tagged.autorot()


def encode_pixels(frames: Sequence[tuple[PillowImage, float]], plays: int, info: ImageInfo, target: Target) -> bytes:
    """Encodes the pixels and milliseconds of another engine; `plays` 0: endlessly."""
    images = [_from_pillow(image) for image, _ in frames]
    if len(images) > 1:
        images[0].set_type(pyvips.GValue.array_int_type, "delay", [min(int(ms), MOST_DURATION) for _, ms in frames])
        images[0].set_type(pyvips.GValue.gint_type, "loop", plays)
    return _encode(images, info, target)


def _from_pillow(image: PillowImage) -> Any:
    bands = len(image.getbands())
    pixels = pyvips.Image.new_from_memory(image.tobytes(), *image.size, bands, "uchar")
    return pixels.copy(interpretation="b-w" if bands == 1 else "srgb")


def _encode(frames: list[Any], info: ImageInfo, target: Target) -> bytes:
    saver = SAVERS[target.format]
    roll = frames[0] if len(frames) == 1 else pyvips.Image.arrayjoin(frames, across=1)
    image = _without_metadata(roll if saver.alpha else _on_white(roll), len(frames))
    credit = build_credit(info.credit) if saver.credit else b""
    if credit:
        image.set_type(pyvips.GValue.blob_type, "exif-data", credit)
    # Without EXIF in the picture libvips would make up some.
    save = partial(getattr(image, f"{saver.operation}_buffer"), keep="exif" if credit else "none")
    data = bytes(save(**saver.options(target)))
    return without_orientation(data) if credit else data


def _without_metadata(roll: Any, frames: int) -> Any:
    """A copy with nothing of the source's metadata but the pace of an animation."""
    kept, structure = roll.copy(), STRUCTURE | PACE if frames > 1 else STRUCTURE
    for name in roll.get_fields():
        if roll.get_typeof(name) and name not in structure:
            kept.remove(name)
    if frames > 1:
        kept.set_type(pyvips.GValue.gint_type, "page-height", roll.height // frames)
    return kept
