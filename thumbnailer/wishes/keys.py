"""Keys of kept pictures in the destination: `{prefix}{key}/{W}x{H}[-fit][-qN][-progressive][-small].{ext}`.

The extension `auto` stands for the source's own format. The edge function of deploy/on-demand.yaml makes the same keys.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from thumbnailer.errors import KeyTooLong
from thumbnailer.model import Format
from thumbnailer.renditions import EXTENSIONS, MAX_KEY_BYTES, OUTPUT_FORMATS, Rendition
from thumbnailer.values import replace

PREFIX: Final = "_any/"


def any_name(rendition: Rendition) -> str:
    """The last segment of a kept picture's key. The rendition's own name is not in it."""
    words = str(replace(rendition, format=None)).rpartition("=")[2].split(":")
    extension = EXTENSIONS[rendition.format] if rendition.format else "auto"
    return f"{'-'.join(words)}.{extension}"


def any_key(key: str, rendition: Rendition, prefix: str = PREFIX) -> str:
    """The key of a kept picture. Raises KeyTooLong above S3's 1,024 bytes: such a picture is not kept."""
    made = f"{prefix}{key}/{any_name(rendition)}"
    if (size := len(made.encode(errors="surrogatepass"))) > MAX_KEY_BYTES:
        raise KeyTooLong(f"the kept picture's key would have {size} bytes, S3's limit is {MAX_KEY_BYTES}")
    return made


def with_formats(renditions: Iterable[Rendition], formats: Sequence[Format]) -> list[Rendition]:
    """The renditions with each format that they are made in: their own, or `formats` and the source's own."""
    return [
        replace(rendition, format=format_)
        for rendition in renditions
        for format_ in ((rendition.format,) if rendition.format else (None, *formats))
    ]


def possible_any_keys(key: str, renditions: Iterable[Rendition], prefix: str = PREFIX) -> tuple[str, ...]:
    """Every key of a source's kept pictures, whatever formats were negotiated: a change of the source deletes them."""
    keys: dict[str, None] = {}
    for rendition in with_formats(renditions, OUTPUT_FORMATS):
        try:
            keys[any_key(key, rendition, prefix)] = None
        except KeyTooLong:
            continue  # it was never written
    return tuple(keys)


def read_any_key(
    text: str, renditions: Iterable[Rendition], formats: Sequence[Format], prefix: str = PREFIX
) -> tuple[str, Rendition] | None:
    """The source's key and the rendition, of those that are kept; None if `text` is no key of theirs."""
    key, _, name = text.removeprefix(prefix).rpartition("/")
    if not text.startswith(prefix) or not key:
        return None
    return next((((key, made) for made in with_formats(renditions, formats) if any_name(made) == name)), None)
