"""Whether a run made its thumbnails: a handler that is fast because it wrote nothing, or rubbish, is not compared.

The destination bucket is looked at as a folder, with Pillow; nothing of ours judges ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from PIL import Image

from thumbnailer.errors import ThumbnailerError

TURNED: Final = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""


class WrongOutput(ThumbnailerError):
    """A thumbnail is missing, there twice, or not what was asked for; the message names the file."""


def check_thumbnails(folder: Path, pictures: Sequence[Path], since: float, side: int = 128) -> None:
    """Each picture has one thumbnail in the bucket's folder, not older than `since` (seconds since 1970).

    Its key is the picture's name or stem, with or without something behind it that begins with `.` or `/`. Its longer
    side is `side`, or the picture's own if that is smaller. Raises WrongOutput.
    """
    made = by_picture(_keys(folder, since), [picture.name for picture in pictures])
    for picture in pictures:
        keys = made.get(picture.name, [])
        if not keys:
            raise WrongOutput(f"{picture.name}: there is no thumbnail of it in {folder}, or only one of an earlier run")
        if len(keys) > 1:
            raise WrongOutput(f"{picture.name}: there is more than one thumbnail of it: {', '.join(keys)}")
        _check(folder / keys[0], _shown_sides(picture), side)


def by_picture(keys: Iterable[str], names: Sequence[str]) -> Mapping[str, list[str]]:
    """The keys that belong to each picture's name: to the one whose name or stem is the longest that fits."""
    found: dict[str, list[str]] = {}
    for key in keys:
        fitting = [(len(part), name) for name in names for part in (name, _stem(name)) if _begins_with(key, part)]
        if fitting:
            _, name = max(fitting)
            found.setdefault(name, []).append(key)
    return found


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _begins_with(key: str, part: str) -> bool:
    return key == part or key.startswith((f"{part}.", f"{part}/"))


def _keys(folder: Path, since: float) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_mtime >= since:
            yield path.relative_to(folder).as_posix()


def _shown_sides(picture: Path) -> frozenset[tuple[int, int]]:
    """Width and height as they are stored, and as EXIF turns them: not every handler turns a picture."""
    _read_heic_too()
    try:
        with Image.open(picture) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112) in TURNED
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise WrongOutput(f"{picture}: the source itself cannot be read: {error}") from error
    return frozenset({(width, height), (height, width)} if turned else {(width, height)})


def _read_heic_too() -> None:
    try:
        import pillow_heif
    except ImportError:  # it is not there with Pillow-SIMD
        return
    pillow_heif.register_heif_opener(thumbnails=False)  # type: ignore[no-untyped-call,unused-ignore]


def _check(thumbnail: Path, sources: Iterable[tuple[int, int]], side: int) -> None:
    try:
        with Image.open(thumbnail) as image:
            image.load()
            size, colours = image.size, image.convert("RGB").getcolors(maxcolors=1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise WrongOutput(f"{thumbnail}: cannot be decoded: {error}") from error
    if max(size) > side:
        raise WrongOutput(f"{thumbnail}: is {_text(size)}, more than {side} on a side")
    if not any(_fits(size, source, side) for source in sources):
        wanted = " or ".join(_text(_wanted(source, side)) for source in sorted(sources))
        raise WrongOutput(f"{thumbnail}: is {_text(size)}, and {wanted} was expected")
    if colours is not None:  # None: there are more
        raise WrongOutput(f"{thumbnail}: is of a single colour")


def _wanted(source: tuple[int, int], side: int) -> tuple[float, float]:
    scale = min(1.0, side / max(source))
    return source[0] * scale, source[1] * scale


def _fits(size: tuple[int, int], source: tuple[int, int], side: int) -> bool:
    """The longer side exactly, the other within a pixel: libraries round it as they like."""
    exact = max(size) == min(side, max(source))
    return exact and all(abs(got - wanted) <= 1 for got, wanted in zip(size, _wanted(source, side), strict=True))


def _text(size: tuple[float, float]) -> str:
    return f"{size[0]:g} x {size[1]:g}"
