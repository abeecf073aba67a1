"""Every use of a private part of Pillow. pyproject.toml caps Pillow's version, tests/unit/test_private_uses.py checks.

Pillow-SIMD has the same parts.
"""

import ctypes
from collections.abc import Callable
from typing import BinaryIO

from PIL import Image, _imaging

RGBA = 1  # MODE_RGBA of libwebp's decode.h


def open_as(name: str, path: str) -> Image.Image:
    """Opens a file as the format `name`, without Pillow's own limit of pixels: the plan has decided."""
    Image.preinit()
    factory: Callable[[str], Image.Image] = Image.OPEN[name][0]  # type: ignore[assignment]
    return factory(path)


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


def file_of(image: Image.Image) -> BinaryIO:
    """The file of an opened picture."""
    file: BinaryIO = image.fp  # type: ignore[attr-defined]
    return file


def read_until(image: Image.Image, end: int, then: Callable[[], bytes]) -> None:
    """Lets the decoder of an opened picture read its file up to `end`, and `then` from there on."""
    file = file_of(image)

    def read(size: int) -> bytes:
        return file.read(max(0, min(size, end - file.tell()))) or then()

    image.load_read = read  # type: ignore[attr-defined]


def hold_back_end(image: Image.Image, size: int) -> None:
    """Hides the last bytes of an opened picture's pixels from its decoder."""
    read: Callable[[int], bytes] = image.load_read  # type: ignore[attr-defined]
    held = bytearray()

    def delayed(wanted: int) -> bytes:
        while len(held) <= size and (data := read(wanted)):
            held.extend(data)
        given = bytes(held[:-size])
        del held[:-size]
        return given

    image.load_read = delayed  # type: ignore[attr-defined]


def read_unmapped(image: Image.Image) -> None:
    """Reads uncompressed pixels; Pillow would map the file, and refuse one that is too short."""
    if not hasattr(image, "load_read"):
        image.load_read = file_of(image).read  # type: ignore[attr-defined]


def end_decoding(image: Image.Image) -> bool:
    """Makes the pixels decoded so far the whole picture; False if there are none."""
    image.tile = []  # type: ignore[attr-defined]
    return image._im is not None


def decoded_so_far(image: Image.Image) -> Image.Image:
    return Image.Image()._new(image.im)


def decode_webp_rows(data: bytes, width: int, height: int) -> tuple[bytearray, int] | None:
    """RGBA pixels, and the number of rows that libwebp could decode; None if it refuses the file.

    It is Pillow's own libwebp: only its incremental decoder tells the number of rows (decode.h).
    """
    from PIL import _webp

    library = ctypes.CDLL(_webp.__file__)
    library.WebPINewRGB.restype = ctypes.c_void_p
    pixels, rows = bytearray(4 * width * height), ctypes.c_int(0)
    buffer, size = (ctypes.c_char * len(pixels)).from_buffer(pixels), ctypes.c_size_t(len(pixels))
    decoder = ctypes.c_void_p(library.WebPINewRGB(RGBA, buffer, size, 4 * width))
    if not decoder:
        return None
    try:
        library.WebPIUpdate(decoder, data, ctypes.c_size_t(len(data)))  # fails: the data ends too early, or is broken
        library.WebPIDecGetRGB(decoder, ctypes.byref(rows), None, None, None)
    finally:
        library.WebPIDelete(decoder)
    return pixels, rows.value
