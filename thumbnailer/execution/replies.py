"""The child's reply as bytes: the length of a JSON header, the header, the pictures. Its parent trusts none of it."""

import json
import re
from typing import Any, Final

from thumbnailer import errors
from thumbnailer.engine import Rendering
from thumbnailer.model import EngineName
from thumbnailer.planning.memory import MB
from thumbnailer.planning.plan import Plan

LENGTH_BYTES: Final = 4
MOST_HEADER_BYTES: Final = 64 * 1024
MOST_TEXT: Final = 500
MOST_SECONDS: Final = 86_400.0
KINDS: Final[dict[str, type[errors.RecordError]]] = {
    kind.__name__: kind
    for kind in (errors.Corrupt, errors.CutShort, errors.DamagedPixels, errors.UnsupportedFormat, errors.CrashesEngine,
                 errors.EngineCrash)
}  # fmt: skip
"""The errors of engines."""
PLACEHOLDER: Final = re.compile(r"[A-Za-z0-9+/=]{1,64}")


def framed(data: bytes) -> bytes:
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
    return b"".join([framed(json.dumps(header).encode()), *pictures])


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
        return Rendering(
            engine=EngineName(header["engine"]),
            pictures=_pictures(reply[size:], header["sizes"], plan),
            defect=_text(header["defect"]),
            decode_seconds=_seconds(header["seconds"][0]),
            encode_seconds=_seconds(header["seconds"][1]),
            placeholders=_placeholders(header["placeholders"], plan),
            profile_ignored=header["profile_ignored"] is True,
        )
    except (KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its header is wrong: {type(error).__name__}") from error


def _pictures(data: bytes, sizes: list[int], plan: Plan) -> tuple[bytes, ...]:
    if len(sizes) != len(plan.targets) or min(sizes) < 1 or sum(sizes) != len(data):
        raise ValueError("its pictures have other sizes")
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    return tuple(data[end - size : end] for size, end in zip(sizes, ends, strict=True))


def _placeholders(texts: list[str], plan: Plan) -> tuple[str, ...]:
    if len(texts) != len(plan.targets) * plan.thumbhash or not all(map(PLACEHOLDER.fullmatch, texts)):
        raise ValueError("its placeholders are wrong")
    return tuple(texts)


def _seconds(value: float) -> float:
    if not (isinstance(value, float) and 0 <= value <= MOST_SECONDS):
        raise ValueError("its times are wrong")
    return value


def _text(value: str) -> str:
    if not isinstance(value, str):
        raise ValueError("its text is wrong")
    return value[:MOST_TEXT]
