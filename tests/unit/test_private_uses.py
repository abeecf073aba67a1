"""The parts of libraries that their makers may change: each test says what to do when a new version does."""

from __future__ import annotations

import random
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, _imaging

from thumbnailer.engine import pillow_private

PILLOW = "Pillow has changed {}: adapt thumbnailer/engine/pillow_private.py, then raise the cap in pyproject.toml"
SIDE = 64


def encode(format_: str, **options: object) -> bytes:
    pixels = random.Random(1).randbytes(3 * SIDE * SIDE)
    out = BytesIO()
    Image.frombytes("RGB", (SIDE, SIDE), pixels).save(out, format_, **options)
    return out.getvalue()


def open_picture(format_: str, **options: object) -> Image.Image:
    return Image.open(BytesIO(encode(format_, **options)), formats=[format_])


def test_pillows_extension_holds_libtiff() -> None:
    pillow_private.quiet_libtiff()
    assert Path(_imaging.__file__).is_file(), PILLOW.format("the place of its extension module")


def test_pillow_reads_an_opened_tiff_as_another_mode() -> None:
    image = open_picture("TIFF")
    pillow_private.read_as_ycbcr(image)
    image.load()
    assert image.mode == "YCbCr", PILLOW.format("`_mode` or `tile`")


def test_pillow_keeps_a_tiff_as_stored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    out = BytesIO()
    Image.new("RGB", (SIDE, 2 * SIDE)).save(out, "TIFF", exif=exif)
    image = Image.open(out, formats=["TIFF"])
    pillow_private.keep_as_stored(image, SIDE, 2 * SIDE)
    image.load()
    assert image.size == (SIDE, 2 * SIDE), PILLOW.format("`_size` or `load_end`")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_pillow_decodes_into_memory_that_was_filled(format_: str) -> None:
    """Of a picture without data every pixel stays as filled, and counts as decoded."""
    image = open_picture(format_)
    pillow_private.read_until(image, 0, lambda: b"")
    pillow_private.fill_before_decoding(image, lambda mode: Image.new(mode, (SIDE, 1), 77))
    with pytest.raises((OSError, ValueError, SyntaxError)):
        image.load()
    message = PILLOW.format("`load_prepare`, `load_read` or `im`")
    assert pillow_private.end_decoding(image), message
    decoded = pillow_private.decoded_so_far(image)
    assert decoded.getpixel((SIDE - 1, SIDE - 1)) == Image.new(decoded.mode, (1, 1), 77).getpixel((0, 0)), message


def test_pillow_reads_uncompressed_pixels_without_mapping_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.bmp"
    path.write_bytes(encode("BMP")[:-100])
    with Image.open(path, formats=["BMP"]) as image:
        pillow_private.read_unmapped(image)
        with pytest.raises(OSError, match="truncated"):
            image.load()
        assert pillow_private.end_decoding(image), PILLOW.format("`load_read` or `fp`")


def test_pillow_tells_that_nothing_was_decoded() -> None:
    assert not pillow_private.end_decoding(open_picture("PNG")), PILLOW.format("`_im`")


def test_pillows_libwebp_counts_its_rows() -> None:
    data = encode("WEBP", lossless=True)
    halves = (pillow_private.decode_webp_rows(part, SIDE, SIDE) for part in (data[: len(data) // 2], data))
    cut, whole = (decoded[1] if decoded else 0 for decoded in halves)
    assert 0 < cut < whole == SIDE, PILLOW.format("the libwebp in its `_webp`")
