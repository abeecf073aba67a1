"""A format is added by one file, one row of capabilities and one loader: a made-up one is registered for a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.support.processing import process
from thumbnailer import formats
from thumbnailer.engine.pillow_formats import LOADERS, Loader
from thumbnailer.errors import Corrupt, NeedMoreBytes, NotAnImage
from thumbnailer.formats.base import NO_END, FormatSpec, Head, NotStrippable, starts_with
from thumbnailer.model import EngineName, Format, ImageInfo, Status
from thumbnailer.planning.capabilities import INPUTS, InputFormat
from thumbnailer.planning.plan import Plan

TOY = Format("toy")
"""A raster: signature, width, height, comment (its length first), three bytes a pixel, `end`."""
SIGNATURE, END = b"\x89TOY\r\n", b"end"


def toy(width: int, height: int, comment: bytes = b"") -> bytes:
    sides = width.to_bytes(2, "big") + height.to_bytes(2, "big")
    return SIGNATURE + sides + bytes((len(comment),)) + comment + b"\xc8\x32\x14" * (width * height) + END


def _read(head: Head) -> ImageInfo:
    width, height = head.unpack(">HH", len(SIGNATURE))
    if not width * height:
        raise Corrupt("toy without pixels")
    return ImageInfo(TOY, width, height, channels=3)


def _end_of_pixels(head: Head) -> int:
    width, height, comment = head.unpack(">HHB", len(SIGNATURE))
    return int(len(SIGNATURE) + 5 + comment + 3 * width * height)


def _ending(head: Head) -> str:
    end = _end_of_pixels(head)
    return "" if head.up_to(end, len(END)) == END else NO_END


def _strip(head: Head) -> Iterator[bytes]:
    if _ending(head):
        raise NotStrippable(_ending(head))
    pixels = len(SIGNATURE) + 5 + head.number(len(SIGNATURE) + 4)
    yield head.read(0, len(SIGNATURE) + 4) + b"\0"
    yield head.read(pixels, _end_of_pixels(head) + len(END) - pixels)


FORMAT = FormatSpec("toy", (TOY,), starts_with(SIGNATURE), _read, _ending, _strip)


def _open(path: str, plan: Plan) -> Image.Image:
    data, info = Path(path).read_bytes(), plan.info
    start = len(data) - len(END) - 3 * info.pixels
    return Image.frombytes("RGB", (info.width, info.height), data[start : -len(END)])


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, "toy"))
    monkeypatch.setitem(sys.modules, f"{formats.__name__}.toy", sys.modules[__name__])
    monkeypatch.setitem(INPUTS, TOY, InputFormat((EngineName.PILLOW,)))
    monkeypatch.setitem(LOADERS, TOY, Loader("TOY", _open))


def test_the_header_of_an_added_format_is_read() -> None:
    data = toy(40, 20)
    assert formats.probe(data, len(data)) == ImageInfo(TOY, 40, 20, channels=3)
    assert formats.probe(data[:10]).format is TOY


def test_an_added_format_becomes_a_thumbnail() -> None:
    made = process(toy(40, 20), RENDITIONS="20x20:png")
    assert (made.outcome.status, made.outcome.engine) == (Status.STORED, EngineName.PILLOW)
    thumbnail = Image.open(BytesIO(made.thumbnails[0]))
    assert (thumbnail.size, thumbnail.convert("RGB").getpixel((10, 5))) == ((20, 10), (200, 50, 20))


def test_the_rules_for_missing_bytes_hold_for_an_added_format() -> None:
    with pytest.raises(NeedMoreBytes, match="toy header goes on"):
        formats.probe(toy(40, 20)[:8])
    with pytest.raises(Corrupt, match="toy ends inside its header"):
        formats.probe(toy(40, 20)[:8], 8)
    with pytest.raises(Corrupt, match="without pixels"):
        formats.probe(toy(0, 20))


def test_the_end_of_an_added_format_is_checked() -> None:
    data = toy(4, 2)
    endings = [formats.ending_defect(end, TOY) for end in (data, data + bytes(9), data[:-1], data + b"junk")]
    assert endings == ["", "", NO_END, ""]


def test_an_added_format_is_stripped() -> None:
    assert formats.strip_metadata(toy(4, 2, b"taken at home"), TOY) == toy(4, 2)
    assert formats.strip_metadata(toy(4, 2)[:-1], TOY) is None


def test_without_its_file_the_format_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(NotAnImage):
        formats.probe(toy(4, 20))
