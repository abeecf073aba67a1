"""A format is added by one file: a made-up one is registered for the time of a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from thumbnailer import formats
from thumbnailer.errors import Corrupt, NeedMoreBytes, NotAnImage
from thumbnailer.formats.head import Head
from thumbnailer.formats.spec import JUNK, NO_END, FormatSpec, NotStrippable, starts_with
from thumbnailer.model import Format, ImageInfo

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
    return len(SIGNATURE) + 5 + comment + 3 * width * height


def _ending(head: Head) -> str:
    end = _end_of_pixels(head)
    if head.up_to(end, len(END)) != END:
        return NO_END
    return "" if head.is_padding(end + len(END)) else JUNK


def _strip(head: Head) -> Iterator[bytes]:
    if _ending(head):
        raise NotStrippable(_ending(head))
    pixels = len(SIGNATURE) + 5 + head.byte(len(SIGNATURE) + 4)
    yield head.read(0, len(SIGNATURE) + 4) + b"\0"
    yield head.read(pixels, _end_of_pixels(head) + len(END) - pixels)


FORMAT = FormatSpec("toy", (TOY,), starts_with(SIGNATURE), _read, _ending, _strip)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, FORMAT))


def test_the_header_of_an_added_format_is_read() -> None:
    data = toy(40, 20)
    assert formats.probe(data, len(data)) == ImageInfo(TOY, 40, 20, channels=3)
    assert formats.probe(data[:10]).format is TOY


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
    assert endings == ["", "", NO_END, JUNK]


def test_an_added_format_is_stripped() -> None:
    assert formats.stripped(toy(4, 2, b"taken at home"), TOY) == toy(4, 2)
    assert formats.stripped(toy(4, 2)[:-1], TOY) is None


def test_without_its_file_the_format_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(NotAnImage):
        formats.probe(toy(4, 20))
