"""Every use of a private part of Pillow. pyproject.toml caps Pillow's version, tests/unit/test_private_uses.py checks.

Pillow-SIMD has the same parts.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

from PIL import Image, _imaging

RGBA = 1  # MODE_RGBA of libwebp's decode.h


def quiet_libtiff() -> None:
    """Keeps libtiff from writing to standard error, between the JSON lines of the log."""
    library = ctypes.CDLL(_imaging.__file__)
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        if hasattr(library, name):
            getattr(library, name)(None)


def read_as_ycbcr(image: Image.Image) -> None:
    """Corrects an opened TIFF of uncompressed colour differences, which Pillow 12 takes for four bytes of colours."""
    if image.mode == "RGB" and image.tile[0].codec_name == "raw":  # type: ignore[attr-defined]
        image._mode = "YCbCr"
        image.tile = [tile._replace(args=("YCbCr", *tile.args[1:])) for tile in image.tile]  # type: ignore[attr-defined]


def keep_as_stored(image: Image.Image, width: int, height: int) -> None:
    """Keeps an opened TIFF from being turned upright once it is loaded."""
    image._size = (width, height)
    image.load_end = lambda: None  # type: ignore[attr-defined]


def fill_before_decoding(image: Image.Image, row: Callable[[str], Image.Image]) -> None:
    """Fills the memory of an opened picture with a row, which is given by mode, before the decoder writes to it."""
    prepare = image.load_prepare  # type: ignore[attr-defined]

    def prepare_and_fill() -> None:
        prepare()
        filled = row(image.im.mode).resize(image.size, Image.Resampling.NEAREST)
        image.im.paste(filled.im, (0, 0, *image.size))

    image.load_prepare = prepare_and_fill  # type: ignore[attr-defined]


def read_through(image: Image.Image, read: Callable[[int], bytes]) -> None:
    """Lets the decoder of an opened picture read its data by a function of the number of bytes."""
    image.load_read = read  # type: ignore[attr-defined]


def read_unmapped(image: Image.Image) -> None:
    """Reads uncompressed pixels; Pillow would map the file, and refuse one that is too short."""
    if not hasattr(image, "load_read"):
        read_through(image, image.fp.read)  # type: ignore[attr-defined]


def end_decoding(image: Image.Image) -> bool:
    """Makes the pixels decoded so far the whole picture; False if there are none."""
    image.tile = []  # type: ignore[attr-defined]
    return image._im is not None


def decoded_so_far(image: Image.Image) -> Image.Image:
    return Image.Image()._new(image.im)


def decode_webp_rows(data: bytes, width: int, height: int) -> tuple[bytearray, int] | None:
    """RGBA pixels, and the number of rows that libwebp could decode; None if it refuses the file."""
    pixels = bytearray(4 * width * height)
    buffer = (ctypes.c_char * len(pixels)).from_buffer(pixels)
    webp = _libwebp()
    decoder = webp.WebPINewRGB(RGBA, buffer, len(pixels), 4 * width)
    if not decoder:
        return None
    try:
        webp.WebPIUpdate(decoder, data, len(data))  # its verdict is known: the data ends too early, or is broken
        rows = ctypes.c_int(0)
        webp.WebPIDecGetRGB(decoder, ctypes.byref(rows), None, None, None)
    finally:
        webp.WebPIDelete(decoder)
    return pixels, rows.value


@cache
def _libwebp() -> Any:
    """Pillow's own libwebp: only its incremental decoder tells the number of rows (decode.h)."""
    from PIL import _webp

    library = ctypes.CDLL(_webp.__file__)
    library.WebPINewRGB.restype = ctypes.c_void_p
    library.WebPINewRGB.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    library.WebPIUpdate.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    pointer = ctypes.POINTER(ctypes.c_int)
    library.WebPIDecGetRGB.restype = ctypes.c_void_p
    library.WebPIDecGetRGB.argtypes = [ctypes.c_void_p, pointer, pointer, pointer, pointer]
    library.WebPIDelete.restype = None
    library.WebPIDelete.argtypes = [ctypes.c_void_p]
    return library
