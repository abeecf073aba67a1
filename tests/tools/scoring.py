"""Scores of similarity between pictures, and the reference for a thumbnail.

The scores compare pictures as people see them: decoded, on white, RGB, as arrays of numbers from 0 to 255.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, ImageSequence

from thumbnailer.formats import probe
from thumbnailer.planning.targets import Target

Pixels = NDArray[Any]

MOST_MEAN: Final = 2.0
LEAST_SSIM: Final = 0.97
WINDOW: Final = 7
SRGB: Final = ImageCms.createProfile("sRGB")
CONVERSION: Final[dict[str, Any]] = {
    "renderingIntent": ImageCms.Intent.RELATIVE_COLORIMETRIC,
    "flags": ImageCms.Flags.BLACKPOINTCOMPENSATION,
}
COLOUR_SPACES: Final = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK"}


@dataclass(frozen=True, slots=True)
class Score:
    """`mean`: mean absolute difference, of 255. `ssim`: structural similarity, 1 for the same picture."""

    mean: float
    ssim: float

    def within(self, mean: float = MOST_MEAN, ssim: float = LEAST_SSIM) -> bool:
        return self.mean <= mean and self.ssim >= ssim


def score(one: Pixels, other: Pixels) -> Score:
    """The score of two pictures. Raises ValueError if their sizes differ."""
    if one.shape != other.shape:
        raise ValueError(f"{one.shape} and {other.shape} cannot be compared")
    if np.array_equal(one, other):
        return Score(0, 1)
    return Score(float(np.abs(one - other).mean()), ssim(one, other))


def ssim(one: Pixels, other: Pixels) -> float:
    """Mean structural similarity over the channels, equal to scikit-image's `structural_similarity` by default.

    (scikit-image depends on Pillow by name and would overwrite Pillow-SIMD.) Windows are 7x7; a shorter side has
    windows of its whole length.
    """
    count = min(WINDOW, one.shape[0]) * min(WINDOW, one.shape[1])
    sample = count / max(1, count - 1)
    mean_one, mean_other = _window_means(one), _window_means(other)
    variance_one = sample * (_window_means(one * one) - mean_one**2)
    variance_other = sample * (_window_means(other * other) - mean_other**2)
    covariance = sample * (_window_means(one * other) - mean_one * mean_other)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_one * mean_other + c1) * (2 * covariance + c2)
    below = (mean_one**2 + mean_other**2 + c1) * (variance_one + variance_other + c2)
    return float((above / below).mean())


def _window_means(values: Pixels) -> Pixels:
    """The mean of every window inside the picture."""
    for axis in (0, 1):
        lines = np.moveaxis(values, axis, 0)
        window = min(WINDOW, len(lines))
        sums = lines[: len(lines) - window + 1].astype(np.float64)
        for offset in range(1, window):
            sums += lines[offset : offset + len(sums)]
        values = np.moveaxis(sums / window, 0, axis)
    return values


# --- what is compared ---------------------------------------------------------------------------------------------


def shown(picture: bytes) -> Pixels:
    """The picture upright, in sRGB, on white; the first frame of an animation."""
    return _on_white(_upright_srgb(picture))


def shown_frames(picture: bytes) -> list[Pixels]:
    """The first, middle and last frame of an animation; the only frame of a still."""
    try:
        with Image.open(BytesIO(picture)) as image:
            frames = getattr(image, "n_frames", 1)
            wanted = {0, frames // 2, frames - 1}
            return [
                _on_white(np.asarray(frame.convert("RGBA")))
                for number, frame in enumerate(ImageSequence.Iterator(image))
                if number in wanted
            ]
    except OSError:
        return [shown(picture)]


def frame_count(picture: bytes) -> int:
    try:
        with Image.open(BytesIO(picture)) as image:
            return getattr(image, "n_frames", 1)
    except OSError:
        return 1


def references(source: bytes, targets: Iterable[Target]) -> list[Pixels]:
    """The reference for each thumbnail: all pixels decoded, upright, in sRGB, resampled once by Lanczos3.

    It computes in floats, with colours premultiplied by alpha.
    """
    pixels = _upright_srgb(source)
    bands: list[Pixels] = [np.ascontiguousarray(pixels[..., band], np.float32) for band in range(pixels.shape[2])]
    if len(bands) == 4:
        bands[:3] = [band * bands[3] / 255 for band in bands[:3]]
    return [_reference(bands, target) for target in targets]


def _reference(premultiplied: list[Pixels], target: Target) -> Pixels:
    small = np.stack([_lanczos(band, *target.scaled) for band in premultiplied], axis=2)
    alpha = np.clip(small[..., 3:], 0, 255) if small.shape[2] == 4 else 255
    on_white = np.clip(small[..., :3], 0, alpha) + 255 - alpha
    left, top = (target.scaled[0] - target.width) // 2, (target.scaled[1] - target.height) // 2
    cropped: Pixels = on_white[top : top + target.height, left : left + target.width]
    return cropped


def _lanczos(band: Pixels, width: int, height: int) -> Pixels:
    return np.asarray(Image.fromarray(band).resize((width, height), Image.Resampling.LANCZOS), np.float64)


def _on_white(pixels: Pixels) -> Pixels:
    if pixels.shape[2] == 3:
        return pixels.astype(np.float64)
    alpha = pixels[..., 3:] / 255
    return pixels[..., :3] * alpha + 255 * (1 - alpha)


# --- decoding -----------------------------------------------------------------------------------------------------

SRGB_GAMMA = 0.45455  # that PNGs give for sRGB


def _upright_srgb(data: bytes) -> Pixels:
    """RGB or RGBA without the engines' code: by Pillow, or by libvips for what Pillow cannot read (CIELAB)."""
    _register_heif()
    _register_jxl()
    try:
        with _first_of_animated_jxl(data) or Image.open(BytesIO(data)) as image:
            return _by_pillow(image)
    except (OSError, SyntaxError, ValueError):
        return _by_libvips(data)


def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener(thumbnails=False)  # type: ignore[no-untyped-call,unused-ignore]


def _register_jxl() -> None:
    try:
        import pylibjxl
    except ImportError:
        return
    pylibjxl.register_pillow()


def _first_of_animated_jxl(data: bytes) -> Image.Image | None:
    """None unless animated; pylibjxl's plugin for Pillow decodes the last frame instead."""
    if not data[:12].endswith(b"JXL \r\n\x87\n") and not data.startswith(b"\xff\x0a"):
        return None
    import pylibjxl

    return Image.fromarray(pylibjxl.decode(data)) if pylibjxl.probe(data)["have_animation"] else None


def _by_pillow(image: Image.Image) -> Pixels:
    if image.info.get("default_image"):  # of an APNG: for viewers without APNG
        image.seek(1)
    image.load()
    profile = image.info.get("icc_profile")
    gamma = 0 if profile or "srgb" in image.info else image.info.get("gamma", 0)
    pixels = _of_image(image, profile)
    return _from_gamma(pixels, gamma) if gamma and abs(gamma / SRGB_GAMMA - 1) > 0.05 else pixels


def _from_gamma(pixels: Pixels, gamma: float) -> Pixels:
    """Colours of a PNG whose gAMA is not sRGB's."""
    light = (pixels[..., :3] / 255) ** (1 / gamma)
    colours = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    return np.dstack([colours, pixels[..., 3:]])


def _of_image(image: Image.Image, profile: bytes | None) -> Pixels:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits of grey
        return np.repeat(np.asarray(image, np.float32)[..., None] / 257, 3, axis=2)
    if image.mode in ("P", "PA", "LA", "RGBA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        colours = np.asarray(_to_srgb(rgba.convert("RGB"), profile))
        return np.dstack([colours, np.asarray(rgba.getchannel("A"))])
    return np.asarray(_to_srgb(image.convert("L") if image.mode == "1" else image, profile))


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode == "CMYK" and not profile:
        import pyvips

        profile = bytes(pyvips.Operation.call("profile_load", "cmyk"))  # none embedded: that of any press
    try:
        embedded = ImageCms.ImageCmsProfile(BytesIO(profile or b""))
        if embedded.profile.xcolor_space == COLOUR_SPACES.get(image.mode):
            image = ImageCms.profileToProfile(image, embedded, SRGB, outputMode="RGB", **CONVERSION) or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        pass  # none, or a broken one
    return image.convert("RGB")


def _by_libvips(data: bytes) -> Pixels:
    from thumbnailer.engine.vips_formats import LOADERS  # importing it opens them

    loader = LOADERS[probe(data, len(data)).format].operation
    import pyvips

    image = getattr(pyvips.Image, f"{loader}_buffer")(data).autorot()
    if image.get_typeof("icc-profile-data"):
        image = image.icc_transform("srgb", embedded=True, intent="relative", black_point_compensation=True, depth=8)
    pixels: Pixels = image.colourspace("srgb").numpy()
    return pixels if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
