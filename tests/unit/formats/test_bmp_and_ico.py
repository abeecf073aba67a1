"""The headers of BMP and ICO."""

from __future__ import annotations

import struct

import pytest

from tests.bombs import icons
from tests.support.headers import bmp, png, saved, whole
from thumbnailer.errors import Corrupt, NeedMoreBytes, UnsupportedFormat
from thumbnailer.formats import probe
from thumbnailer.formats.ico import with_best_icon_alone
from thumbnailer.model import Format


def test_a_bmp_with_rows_from_the_top_down_is_read() -> None:
    assert (whole(bmp(40, -30)).width, whole(bmp(40, -30)).height) == (40, 30)


def test_an_os2_bmp_is_read() -> None:
    data = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 40, 30, 1, 24)
    assert (whole(data).width, whole(data).height) == (40, 30)


def test_an_alpha_mask_counts_as_alpha() -> None:
    header = struct.pack("<IiiHHIIiiII", 108, 40, 30, 1, 32, 3, 0, 0, 0, 0, 0) + struct.pack(
        "<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000
    )
    assert whole(b"BM" + bytes(12) + header + bytes(52)).has_alpha


def mask(bits: int, *masks: int) -> bytes:
    return bmp(40, 30, bits, 3) + struct.pack(f"<{len(masks)}I", *masks)


def test_a_bmp_with_unusual_masks_is_rejected_by_name() -> None:
    for bits_a_pixel, known in (
        (16, (0xF800, 0x7E0, 0x1F)),
        (16, (0x7C00, 0x3E0, 0x1F)),
        (32, (0xFF0000, 0xFF00, 0xFF)),
    ):
        assert whole(mask(bits_a_pixel, *known)).width == 40
    for bits_a_pixel, unknown in ((16, (0xF00, 0xF0, 0xF)), (32, (0x3FF00000, 0xFFC00, 0x3FF))):
        with pytest.raises(UnsupportedFormat, match="colour masks"):
            whole(mask(bits_a_pixel, *unknown))


def test_a_bmp_with_the_short_os2_header_is_rejected_by_name() -> None:
    with pytest.raises(UnsupportedFormat, match="OS/2"):
        whole(b"BM" + bytes(12) + struct.pack("<IIIHH", 16, 40, 30, 1, 24))


@pytest.mark.parametrize("data", [bmp(-40, 30), bmp(0, 30), bmp(40, 0), bmp(40, 30, bits=7), bmp(40, 30)[:20]])
def test_an_impossible_bmp_header_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        whole(data)


def test_an_icon_is_as_large_as_its_largest_picture() -> None:
    info = whole(saved("ICO", "RGBA", (256, 256), sizes=[(16, 16), (256, 256), (32, 32)]))
    assert (info.format, info.width, info.height, info.has_alpha) == (Format.ICO, 256, 256, True)


def test_the_size_of_a_png_in_an_icon_comes_from_the_png() -> None:
    huge = png(ihdr=struct.pack(">IIBBBBB", 50_000, 50_000, 8, 6, 0, 0, 0))
    icon = b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(huge), 22) + huge
    assert whole(icon).pixels == 50_000**2
    with pytest.raises(NeedMoreBytes):
        probe(icon[:30], len(icon))


def test_a_long_run_length_bmp_is_rejected() -> None:
    assert probe(bmp(40, 30, bits=8, compression=1), 2 << 20).width == 40
    with pytest.raises(UnsupportedFormat, match="run-length"):
        probe(bmp(40, 30, bits=8, compression=1), 3 << 20)
    assert probe(bmp(40, 30), 3 << 20).width == 40


@pytest.mark.parametrize(
    "listed",
    [
        [(16, 16, 32), (32, 32, 4), (32, 32, 32), (32, 32, 8)],
        [(32, 32, 24), (32, 32, 32)],
        [(32, 16, 32), (32, 32, 0)],
        [(32, 32, 32), (32, 32, 32), (32, 32, 8)],
    ],
)
def test_the_largest_icon_with_the_most_bits_counts(
    listed: list[tuple[int, int, int]],
) -> None:
    """Only that one is left to the decoder: a PNG within may be larger than the directory says."""
    best = max(listed, key=lambda icon: (icon[0] * icon[1], icon[2] or 8))
    sides = [9000 if number == listed.index(best) else 9001 for number in range(len(listed))]
    pngs = [png(ihdr=struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)) for side in sides]
    data = icons.ico(*((*icon, picture) for icon, picture in zip(listed, pngs, strict=True)))
    assert whole(data).width == 9000
    alone = with_best_icon_alone(data)
    assert (len(alone), alone[4:6]) == (len(data), b"\1\0")
    assert whole(alone).width == 9000


def test_a_large_icon_file_is_corrupt() -> None:
    small = icons.bitmap(16, 16)
    with pytest.raises(Corrupt, match="4 MB"):
        probe(icons.ico((16, 16, 32, small)), 5 << 20)


@pytest.mark.parametrize(("mode", "depth"), [("1", 1), ("P", 8), ("RGB", 8)])
def test_the_depth_of_a_bmp_is_per_sample(mode: str, depth: int) -> None:
    assert whole(saved("BMP", mode)).bit_depth == depth
