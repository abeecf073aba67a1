"""The headers of SVG and JPEG 2000."""

from __future__ import annotations

import pytest

from tests.support.headers import needs_jp2, saved, whole
from thumbnailer.errors import UnsupportedFormat
from thumbnailer.model import Format


@needs_jp2
def test_both_layouts_of_jpeg_2000_are_read() -> None:
    packed = saved("JPEG2000", "RGBA")
    bare = saved("JPEG2000", no_jp2=True)
    assert whole(packed).has_alpha
    assert bare.startswith(b"\xff\x4f\xff\x51")
    assert (whole(bare).width, whole(bare).height, whole(bare).has_alpha) == (40, 30, False)


@pytest.mark.parametrize(
    ("root", "size"),
    [
        ('width="40" height="30"', (40, 30)),
        ("width='40px' height='0.5in'", (40, 48)),
        ('width="100%" height="100%" viewBox="0 0 40 30"', (40, 30)),
        ('width="80" viewBox="0,0,40,30"', (80, 60)),
        ('data-x="a>b" width="40" height="30"', (40, 30)),
        ("data-x='a>\"b' width='40' height='30'", (40, 30)),
        ('width="100000mm" height="25000mm"', (8000, 2000)),
        ('width="4001" height="4001"', (4000, 4000)),
    ],
)
def test_the_size_of_an_svg_is_read_from_its_root(root: str, size: tuple[int, int]) -> None:
    prologue = '<?xml version="1.0"?>\n<!-- <html> -->\n<!DOCTYPE svg [<!ENTITY a "b>">]>\n'
    for text in (f"<svg {root}/>", f"{prologue}<svg:svg {root}></svg:svg>"):
        info = whole(text.encode())
        assert (info.format, info.width, info.height) == (Format.SVG, *size)


@pytest.mark.parametrize("root", ['viewBox="0 0 1e9 x"', 'stroke-width="3"', 'width="50%" height="9"', ""])
def test_an_svg_without_a_size_is_rejected(root: str) -> None:
    with pytest.raises(UnsupportedFormat, match="size"):
        whole(f"<svg {root}/>".encode())


def test_an_svg_in_utf_16_is_read() -> None:
    assert whole('<svg width="40" height="30"/>'.encode("utf-16")).width == 40
