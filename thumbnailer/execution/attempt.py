"""One try to decode a picture, which threads and child processes run, and a child's reply as bytes.

A reply is the length of a JSON header, the header, and the pictures. The parent trusts none of it.
"""

import json
import re
from itertools import accumulate
from typing import Any, Final

from thumbnailer import errors
from thumbnailer.engine import Load, Rendering, render_first, render_second
from thumbnailer.model import EngineName
from thumbnailer.planning.memory import MB
from thumbnailer.planning.plan import Plan
from thumbnailer.values import dataclass


@dataclass(frozen=True, slots=True)
class Attempt:
    """The first try, or the second one if `failure` ended the first."""

    path: str
    plan: Plan
    failure: errors.Corrupt | None = None

    @property
    def memory(self) -> int:
        """Bytes beyond the idle process."""
        return self.plan.memory_estimate if self.failure is None else self.plan.second_estimate

    @property
    def engine(self) -> EngineName:
        """The engine that this attempt asks first."""
        return self.plan.engine if self.failure is None else self.plan.fallback or EngineName.PILLOW

    def render(self, load: Load) -> Rendering:
        """Raises Corrupt if no engine of this attempt can read the picture."""
        if self.failure is None:
            return render_first(load, self.path, self.plan)
        return render_second(load, self.path, self.plan, self.failure)


LENGTH_BYTES: Final = 4
MOST_HEADER_BYTES: Final = 64 * 1024
MOST_TEXT: Final = 500
MOST_SECONDS: Final = 86_400.0
KINDS: Final[dict[str, type[errors.RecordError]]] = {
    kind.__name__: kind
    for kind in (errors.Corrupt, errors.CutShort, errors.DamagedPixels, errors.EngineBug, errors.UnsupportedFormat,
                 errors.CrashesEngine, errors.EngineCrash)
}  # fmt: skip
"""The errors of engines."""
PLACEHOLDER: Final = re.compile(r"[A-Za-z0-9+/=]{1,64}")


def frame(data: bytes) -> bytes:
    """`data` after its length."""
    return len(data).to_bytes(LENGTH_BYTES) + data


def pack_reply(result: Rendering | errors.RecordError) -> bytes:
    header: dict[str, Any]
    if isinstance(result, errors.RecordError):
        pictures: tuple[bytes, ...] = ()
        header = {"error": type(result).__name__, "text": str(result)}
    else:
        pictures = result.pictures
        header = {
            "engine": result.engine,
            "sizes": [len(picture) for picture in pictures],
            "defect": result.defect,
            "seconds": [result.decode_seconds, result.encode_seconds],
            "placeholders": result.placeholders,
            "profile_ignored": result.profile_ignored,
        }
    return b"".join([frame(json.dumps(header).encode()), *pictures])


def most_reply_bytes(plan: Plan) -> int:
    """No thumbnail has more bytes a pixel than 16 bits of four channels; its metadata, or the source in its place, have
    a limit too."""
    sizes = (t.width * t.height * plan.frames * 8 + (t.most_bytes or 0) for t in plan.targets)
    return MOST_HEADER_BYTES + sum(MB + size for size in sizes)


def unpack_reply(reply: bytes, plan: Plan) -> Rendering:
    """Raises the child's RecordError, and ValueError if the reply does not belong to the plan."""
    size = LENGTH_BYTES + int.from_bytes(reply[:LENGTH_BYTES])
    if size > MOST_HEADER_BYTES:
        raise ValueError("its header is too long")
    try:
        header = json.loads(reply[LENGTH_BYTES:size])
        if "error" in header:
            raise KINDS[header["error"]](_text(header["text"]))
        sizes, seconds, placeholders = header["sizes"], header["seconds"], header["placeholders"]
        _require(len(sizes) == len(plan.targets) and min(sizes) > 0 and sum(sizes) == len(reply) - size, "sizes")
        _require(all(isinstance(value, float) and 0 <= value <= MOST_SECONDS for value in seconds), "times")
        _require(len(placeholders) == len(plan.targets) * plan.thumbhash, "placeholders")
        _require(all(map(PLACEHOLDER.fullmatch, placeholders)), "placeholders")
        return Rendering(
            engine=EngineName(header["engine"]),
            pictures=tuple(
                reply[size + end - own : size + end] for own, end in zip(sizes, accumulate(sizes), strict=True)
            ),
            defect=_text(header["defect"]),
            decode_seconds=seconds[0],
            encode_seconds=seconds[1],
            placeholders=tuple(placeholders),
            profile_ignored=header["profile_ignored"] is True,
        )
    except (KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its header is wrong: {type(error).__name__}") from error


def _require(holds: bool, part: str) -> None:
    if not holds:
        raise ValueError(f"its {part} are wrong")


def _text(value: str) -> str:
    if not isinstance(value, str):
        raise ValueError("its text is wrong")
    return value[:MOST_TEXT]
