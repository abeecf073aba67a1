"""Modes and colours in Pillow: what can be resampled, what is sRGB, what a palette can hold."""

from functools import cache, lru_cache
from io import BytesIO
from typing import Any, Final

from PIL import Image, ImageCms

from thumbnailer.formats import icc

SRGB: Final = ImageCms.createProfile("sRGB")
CONVERSION: Final[dict[str, Any]] = {  # as in libvips
    "renderingIntent": ImageCms.Intent.RELATIVE_COLORIMETRIC,
    "flags": ImageCms.Flags.BLACKPOINTCOMPENSATION,
}
RESAMPLED_AS: Final = {"PA": "RGBA", "La": "LA", "1": "L"}


def convert_for_resize(image: Image.Image, bit_depth: int) -> Image.Image:
    """The decoded picture in a mode that can be resampled: bits and palettes cannot."""
    if image.mode == "I;16" and "transparency" in image.info:
        return _without_key(image, image.info["transparency"])
    if image.mode == "P" or "transparency" in image.info:
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode.startswith("I"):
        steps = 16 if bit_depth == 12 else 256  # 12 or 16 bits of grey
        return image.convert("I").point(lambda value: value / steps).convert("L")
    if image.mode == "F":
        return image.convert("L")
    return image.convert(RESAMPLED_AS[image.mode]) if image.mode in RESAMPLED_AS else image


def _without_key(image: Image.Image, key: int) -> Image.Image:
    """Sixteen bits of grey with one transparent value, of which Pillow would compare only eight bits."""
    lower, upper = Image.frombytes("LA", image.size, image.tobytes()).split()  # two bytes a pixel, the lower one first
    alpha = upper.point([255 * (value != key >> 8) for value in range(256)])
    alpha.paste(255, mask=lower.point([255 * (value != key & 255) for value in range(256)]))
    grey = Image.merge("LA", (upper, alpha))
    grey.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return grey


def on_white(image: Image.Image) -> Image.Image:
    """In RGB, without alpha."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def profile_of(image: Image.Image) -> bytes | None:
    """The embedded profile if it fits pixels of this mode; a broken one is ignored."""
    profile = image.info.get("icc_profile")
    return profile if profile and any(icc.is_usable(profile, space) for space in _spaces(image.mode)) else None


def _spaces(mode: str) -> tuple[bytes, ...]:
    """Pillow has no grey of 16 bits with alpha and makes it RGBA."""
    usual = icc.GREY if Image.getmodebase(mode) == "L" else icc.RGB
    return {"CMYK": (icc.CMYK,), "RGBA": (icc.RGB, icc.GREY)}.get(mode, (usual,))


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image.convert(image.mode[:-1]) if alpha else image
    if profile and alpha and icc.is_usable(profile, icc.GREY):
        colours = colours.convert("L")
    if colours.mode not in ("L", "RGB", "CMYK"):
        colours = colours.convert("RGB")
    if profile:
        colours = _apply_transform(colours, profile)
    if colours.mode == "CMYK":
        colours = _apply_transform(colours, _press_profile())
    if colours.mode == "CMYK" or alpha:  # there is no such profile
        colours = colours.convert("RGB")
    if alpha:
        colours.putalpha(alpha)
    return colours


@cache
def _press_profile() -> bytes:
    """The CMYK profile that libvips ships, so that both engines give the same colours; empty without libvips."""
    try:
        import pyvips
    except ImportError:
        return b""
    return bytes(pyvips.Operation.call("profile_load", "cmyk"))


def _apply_transform(image: Image.Image, profile: bytes) -> Image.Image:
    """Through a profile; the picture itself if Little CMS cannot use the profile: its pixels are still right."""
    transform = _transform(profile, image.mode)
    return image if transform is None else ImageCms.applyTransform(image, transform) or image


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Cached: making a transform takes ten times as long as using it on a thumbnail."""
    try:
        embedded = ImageCms.ImageCmsProfile(BytesIO(profile))
        return ImageCms.buildTransform(embedded, SRGB, mode, "RGB", **CONVERSION)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
