"""What every engine is asked for and returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from thumbnailer.errors import Corrupt
from thumbnailer.model import EngineName, ImageInfo
from thumbnailer.planning.plan import Plan


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


def refuse_other_size(size: tuple[int, int], info: ImageInfo, most: int) -> None:
    """Raises Corrupt if the decoder sees more than `most` pixels: the plan's limits hold for the probed header."""
    width, height = size
    if width * height > most:
        raise Corrupt(f"the header says {info.width}x{info.height}, the decoder {width}x{height}")
