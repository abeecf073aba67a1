"""What every engine is asked for and returns, and the steps that engines share."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol

from thumbnailer.errors import Corrupt
from thumbnailer.formats import strip_metadata
from thumbnailer.model import NO_CREDIT, EngineName, Format, ImageInfo
from thumbnailer.planning.capabilities import OUTPUTS
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import Target
from thumbnailer.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class Rendering:
    """One encoded picture per target of the plan. Times are seconds, `defect` is empty for a whole picture."""

    engine: EngineName
    pictures: tuple[bytes, ...]
    defect: str
    decode_seconds: float
    encode_seconds: float
    placeholders: tuple[str, ...] = ()  # a ThumbHash for each target, if the plan asks for them
    profile_ignored: bool = False  # the file has a colour profile that cannot be used


class Engine(Protocol):
    """Synchronous, releases the GIL while it decodes, does no I/O except reading the file."""

    def render(self, path: str, plan: Plan) -> Rendering:
        """The whole picture. Raises Corrupt if the decoder fails, UnsupportedFormat if a codec is missing."""
        ...


PLACEHOLDER_SIDE: Final = 32
"""The finest detail of a ThumbHash is a seventh of a side: 32 pixels suffice, at a tenth of the cost of 100."""


def refuse_other_size(size: tuple[int, int], info: ImageInfo, most: int) -> None:
    """Raises Corrupt if the decoder sees more than `most` pixels: the plan's limits hold for the probed header."""
    width, height = size
    if width * height > most:
        raise Corrupt(f"the header says {info.width}x{info.height}, the decoder {width}x{height}")


def crop_corner(width: int, height: int, target: Target, rgb: Callable[[], bytes]) -> tuple[int, int]:
    """Left and top of the crop in a resized picture, around its middle or its most striking part.

    libvips finds the striking part by edges, skin and saturation; without libvips, the middle counts as such.
    """
    if not target.smart or not find_spec("pyvips"):
        return (width - target.width) // 2, (height - target.height) // 2
    import pyvips

    image = pyvips.Image.new_from_memory(rgb(), width, height, 3, "uchar").copy(interpretation="srgb")
    window = image.smartcrop(target.width, target.height, interesting="attention")
    return -window.xoffset, -window.yoffset


def thumbhash(width: int, height: int, resized: Callable[[int, int], bytes]) -> str:
    """The ThumbHash (evanw.github.io/thumbhash) of a picture, in Base64.

    `resized` returns opaque RGBA pixels of the given size: the library fails on alpha.
    """
    from thumbhash import rgba_to_thumb_hash

    scale = min(1.0, PLACEHOLDER_SIDE / max(width, height))
    sides = max(1, round(width * scale)), max(1, round(height * scale))
    return b64encode(bytes(rgba_to_thumb_hash(*sides, list(resized(*sides))))).decode()


def within_bytes(target: Target, encode: Callable[[Target], bytes], path: str, plan: Plan, whole: bool = True) -> bytes:
    """Encoded at the target's quality, or at a lower one to meet the target's limit of bytes.

    If no quality is low enough, returns the source without its metadata if it is `whole`; for lossless formats this
    comes first, because a small file has few colours to drop. Otherwise returns the thumbnail at full quality.
    """
    best = encode(target)
    if target.most_bytes is None or len(best) <= target.most_bytes:
        return best
    output = OUTPUTS[target.format]
    lower = (encode(replace(target, quality=quality)) for quality in output.lower if quality < target.quality)
    tries: list[Iterator[bytes]] = [lower, _stripped_source(path, plan, target) if whole else iter(())]
    if output.lossless:
        tries.reverse()
    return next((data for some in tries for data in some if len(data) <= target.most_bytes), best)


def _stripped_source(path: str, plan: Plan, target: Target) -> Iterator[bytes]:
    """The source without its metadata, not encoded anew; nothing if the target differs from it in more than that."""
    info = plan.info
    same = target.format is info.format and (target.width, target.height) == (info.width, info.height)
    converted = info.icc or info.details.profile or info.bit_depth > 8
    in_srgb = not (converted or (info.channels == 4 and not info.has_alpha))
    upright = info.orientation == 1 and (info.progressive or not target.progressive)
    whole = not (info.defect or plan.still_because)
    if same and in_srgb and upright and whole and info.credit == NO_CREDIT:
        data = strip_metadata(Path(path).read_bytes(), info.format)
        if data is not None and (info.format is not Format.GIF or _pillow_reads(path, plan)):
            yield data


def _pillow_reads(path: str, plan: Plan) -> bool:
    """Whether Pillow decodes every frame: libvips reads a GIF's frame that ends early without an error."""
    from thumbnailer.engine.pillow import all_frames, open_picture

    try:
        with open_picture(path, plan) as image:
            return sum(1 for _ in all_frames(image, plan)) == plan.frames
    except Corrupt:
        return False
