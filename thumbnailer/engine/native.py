"""The compiled JPEG engine (`native/`): it decodes, resizes, crops and turns; Pillow converts colours and encodes."""

from typing import Final

import thumbnailer_jpeg
from PIL import Image

from thumbnailer.engine.base import Rendering
from thumbnailer.engine.pillow import Decoded, Frame, corner_of, cropped, open_picture, rendered
from thumbnailer.engine.pillow_colours import in_srgb, profile_of
from thumbnailer.errors import Corrupt, EngineBug
from thumbnailer.model import EngineName, ImageInfo
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import Target

MODES: Final = {1: "L", 3: "RGB"}
"""Pillow's modes by the number of channels."""
Pixels = tuple[int, int, int, bytes]
"""Width, height, channels and bytes."""
Wish = tuple[int, int, tuple[float, float, float, float] | None]
"""Size of a thumbnail; left, top, width and height of the part of the picture that it shows, if not all of it."""


class NativeEngine:
    """Decodes only the frequencies that a thumbnail needs. Raises Corrupt for every file that it leaves to others."""

    def render(self, path: str, plan: Plan) -> Rendering:
        return rendered(EngineName.NATIVE, _decode, path, plan)


def _decode(path: str, plan: Plan) -> Decoded:
    pictures = _pictures(path, plan)
    profile, is_ignored = _profile(path, plan)
    return (_frame(pictures.pop(0), profile, target) for target in plan.targets), 1, is_ignored


def _frame(picture: Pixels, profile: bytes | None, target: Target) -> list[Frame]:
    width, height, channels, pixels = picture
    image = in_srgb(Image.frombytes(MODES[channels], (width, height), pixels), profile)
    return [(cropped(image, corner_of(image, target), target), 0)]


def _pictures(path: str, plan: Plan) -> list[Pixels]:
    info = plan.info
    pictures: list[Pixels]
    targets = [_wish(target, info) for target in plan.targets]
    try:
        pictures, (*size, _) = thumbnailer_jpeg.render(path, targets, info.orientation, max_bytes=plan.memory_estimate)
    except thumbnailer_jpeg.Fallback as error:
        kind = EngineBug if isinstance(error, thumbnailer_jpeg.Internal) else Corrupt
        raise kind(f"{type(error).__name__}: {error}") from error
    if size != [info.width, info.height]:
        raise Corrupt(f"the header says {info.width}x{info.height}, the decoder {size[0]}x{size[1]}")
    return pictures


def _wish(target: Target, info: ImageInfo) -> Wish:
    """The size, and the part of the upright picture that shows after a crop around the middle."""
    size = (target.width, target.height)
    if target.smart or size == target.scaled:  # a smart crop needs the resized picture
        return *target.scaled, None
    (left, width), (top, height) = (
        (full * ((scaled - side) // 2) / scaled, full * side / scaled)
        for full, scaled, side in zip(info.upright, target.scaled, size, strict=True)
    )
    return *size, (left, top, width, height)


def _profile(path: str, plan: Plan) -> tuple[bytes | None, bool]:
    """The colour profile, and whether there is one that cannot be used."""
    if not plan.info.icc:
        return None, False
    with open_picture(path, plan) as image:
        profile = profile_of(image)
        return profile, profile is None and "icc_profile" in image.info
