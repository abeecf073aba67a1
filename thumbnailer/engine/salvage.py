"""Pictures that end too early or break off, as a browser shows them: what was decoded, white where nothing was.

Pillow's decoders write row by row into memory that this module has filled with noise beforehand: a row that still is
that noise was not decoded. libwebp counts its rows itself. At least half of the rows must be there.
"""

from __future__ import annotations

import ctypes
import random
import struct
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from mmap import ACCESS_READ, mmap
from typing import Any, Final

from PIL import Image

from thumbnailer.errors import Corrupt, CutShort
from thumbnailer.formats.tiff import TiffDetails
from thumbnailer.model import Format, ImageInfo

LEAST_SHARE: Final = 0.5
ROW_BY_ROW: Final = frozenset({Format.JPEG, Format.PNG, Format.GIF, Format.WEBP, Format.TIFF, Format.BMP, Format.ICO})
"""Formats whose decoders hand out rows as they come; of the others (AVIF, HEIC, JPEG XL) it is all or nothing."""
TAIL: Final = 128
"""Pixels at a row's end that tell whether the row was finished: rows are written from left to right."""
TAIL_OF_TILES: Final = 4
"""Of tiles the last one may be no wider, and is there or is not."""
MISSING_GREY: Final = (127, 128)
"""What libjpeg makes of rows without data, as it is and inverted."""
LAST_PIXELS: Final = 4
"""As many of them, of full size, tell whether grey is looked into: they are of one block."""
END_OF_IMAGE: Final = b"\xff\xd9"
SEGMENTS_BETWEEN_SCANS: Final = (b"\xff\xc4", b"\xff\xda")
NO_TELLING: Final = (b"\xff\xdd\0\4", b"\xff\xc9")
"""Restart markers: a decoder skips what stands in front of the next one. Arithmetic coding leaves out last zeros."""
MORE_DATA: Final = random.Random(2).randbytes(1 << 14).replace(b"\xff", b"\0")  # noqa: S311
"""For a scan; no marker is in it."""
WHITE: Final[dict[str, Any]] = {
    "CMYK": (0, 0, 0, 0),
    "I": 65535,
    "I;16": 65535,
    "I;16B": 65535,
    "LA": (255, 0),
    "LAB": (255, 128, 128),
    "RGBA": (0, 0, 0, 0),
    "YCbCr": (255, 128, 128),
}
"""In modes where it is not the largest value of every band; with alpha: nothing at all."""


def missing_from(info: ImageInfo) -> int | None:
    """First row with missing bytes, where the header tells; None: there is none."""
    return info.details.missing_from if isinstance(info.details, TiffDetails) else None


def band(info: ImageInfo) -> int:
    """Rows that are decoded together."""
    return info.details.band if isinstance(info.details, TiffDetails) else 1


def refuse_cut(image: Image.Image, info: ImageInfo) -> None:
    """Raises Corrupt of a loaded JPEG that ends in the grey that libjpeg puts where data is missing, without saying so.

    Of grey in its last pixels, which any picture may have, it makes sure by decoding it once more where that tells.
    """
    across = max(1, LAST_PIXELS * image.width // info.width)
    if info.format is not Format.JPEG or not _is_grey(_last_row(image, across)):
        return
    runs_out = None if info.progressive else _runs_out(image.filename)  # type: ignore[attr-defined]
    if runs_out:
        raise CutShort("its data ends before its pixels do")
    if runs_out is None and _is_grey(_last_row(image, image.width)):
        raise Corrupt("it may break off: its last row is the grey that stands for missing data")


def _last_row(image: Image.Image, across: int) -> bytes:
    return image.crop((image.width - across, image.height - 1, *image.size)).tobytes()


def _runs_out(path: str) -> bool | None:
    """Whether more data in front of its end makes other pixels of a JPEG of one scan; None where that cannot be told.

    It is decoded at an eighth of its size.
    """
    from thumbnailer.formats.head import Head  # not for a picture in a process of its own: few have any need of it
    from thumbnailer.formats.jpeg import scan_start

    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        with memoryview(data) as view:
            start = scan_start(Head(view, len(view)))
        end = data.find(END_OF_IMAGE, start)
        if end < 0 or any(mark in data[:start] for mark in NO_TELLING):
            return None
    with Image.open(path, formats=["JPEG"]) as image:
        image.draft(None, (1, 1))
        more = iter([MORE_DATA] * (1 + image.width * image.height * 64 // len(MORE_DATA)))
        scan: Any = image.fp

        def read(size: int) -> bytes:
            data: bytes = scan.read(min(size, end - scan.tell()))
            return data or next(more, END_OF_IMAGE)

        image.load_read = read  # type: ignore[attr-defined]
        image.load()
        return not _is_grey(_last_row(image, 1))


def load(image: Image.Image, info: ImageInfo, errors: tuple[type[Exception], ...]) -> Image.Image:
    """The opened picture's first frame, as far as it can be decoded. `errors` are what decoders raise.

    Raises Corrupt where less than half of its rows can.
    """
    if info.format is Format.TIFF:
        _lie_as_stored(image, info)
    if not hasattr(image, "load_read"):  # else what is not compressed is mapped, and refused if the file is too short
        image.load_read = image.fp.read  # type: ignore[attr-defined]
    noise = _noise_row(image)
    _prefill(image, noise)
    surely = _ended_early(image, noise, info) if info.format is Format.JPEG else []
    try:
        image.load()
    except errors as error:
        if image._im is None:
            raise Corrupt("nothing of it can be decoded") from error
        image.tile = []  # type: ignore[attr-defined]  # what is there counts as all there is
    return _completed(image, noise, sum(surely), info)


def _lie_as_stored(image: Image.Image, info: ImageInfo) -> None:
    """Pillow turns a TIFF upright once it is loaded; rows that are missing are rows of what is stored."""
    image._size = (info.width, info.height)
    image.load_end = lambda: None  # type: ignore[attr-defined]


# --- which rows were decoded --------------------------------------------------------------------------------------


def _noise_row(image: Image.Image) -> Callable[[str], Image.Image]:
    """A row that no picture holds, in whatever mode the decoder turns out to write; the same every time."""

    @cache
    def row(mode: str) -> Image.Image:
        size = len(Image.new(mode, (image.width, 1)).tobytes())
        return Image.frombytes(mode, (image.width, 1), random.Random(1).randbytes(size))  # noqa: S311

    return row


def _prefill(image: Image.Image, noise: Callable[[str], Image.Image]) -> None:
    """Noise in the memory that the decoder is about to write to."""
    prepare = image.load_prepare  # type: ignore[attr-defined]

    def prepare_with_noise() -> None:
        prepare()
        filled = noise(image.im.mode).resize(image.size, Image.Resampling.NEAREST)
        image.im.paste(filled.im, (0, 0, *image.size))

    image.load_prepare = prepare_with_noise  # type: ignore[attr-defined]


def _ended_early(image: Image.Image, noise: Callable[[str], Image.Image], info: ImageInfo) -> list[int]:
    """An end where the file breaks off: libjpeg then shows what the scans so far add up to, and the last row of blocks
    as far as it has bits for it. With grey for the rest, so it is noted how many rows it had written until then.
    """
    file = image.fp  # type: ignore[attr-defined]
    end = _end_of_segments(image.filename)  # type: ignore[attr-defined]
    surely: list[int] = []

    def read(size: int) -> bytes:
        data: bytes = file.read(min(size, end - file.tell()))
        if data or surely:
            return data
        surely.append(0 if info.progressive else _rows_written(image, noise))
        return END_OF_IMAGE

    image.load_read = read  # type: ignore[attr-defined]
    return surely


def _end_of_segments(path: str) -> int:
    """Where a table or a scan's header begins that the file breaks off within, else where the file ends: libjpeg would
    take an end marker for a part of it, and refuse the whole.
    """
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        last = max(data.rfind(marker) for marker in SEGMENTS_BETWEEN_SCANS)
        length = max(2, int.from_bytes(data[last + 2 : last + 4]))
        return last if last >= 0 and last + 2 + length > len(data) else len(data)


def _rows_written(image: Image.Image, noise: Callable[[str], Image.Image]) -> int:
    """How far from the top on there is no noise any more."""
    written = Image.Image()._new(image.im)
    missing = _missing_rows(_bytes(written), _bytes(noise(image.im.mode)), *image.size, TAIL, image.height)
    return min(missing, default=image.height)


def _completed(image: Image.Image, noise: Callable[[str], Image.Image], surely: int, info: ImageInfo) -> Image.Image:
    """What was not decoded painted over, the first `surely` rows apart from grey that is taken for no data.

    Raises Corrupt where that is more than half.
    """
    interlaced = info.progressive and info.format is not Format.JPEG
    decoded_pixels = Image.Image()._new(image.im)
    tail = TAIL_OF_TILES if info.format is Format.TIFF and band(info) > 1 else TAIL
    missing = _missing_rows(_bytes(decoded_pixels), _bytes(noise(image.im.mode)), *image.size, tail, surely)
    if (cut := missing_from(info)) is not None:
        missing = sorted({*missing, *range(cut, image.height)})
    decoded = image.height - len(missing)
    if decoded < LEAST_SHARE * image.height:
        raise Corrupt(f"of its {image.height} rows {decoded} can be decoded; at least half are needed")
    kept: dict[str | tuple[int, int], Any] = {
        name: image.info[name] for name in ("icc_profile", "transparency") if name in image.info
    }
    whole = image
    if image.mode in ("P", "PA"):
        whole = image.convert("RGBA" if image.mode == "PA" or "transparency" in kept else "RGB")
        kept.pop("transparency", None)  # it is in the pixels now
    for top in missing:
        row = (0, top, whole.width, top + 1)
        if interlaced and top:
            whole.paste(whole.crop((0, top - 1, whole.width, top)), row)
        else:
            whole.paste(WHITE.get(whole.mode, "white"), row)
    whole.info = kept
    return whole


def _bytes(image: Image.Image) -> bytes:
    return (image.convert("L") if image.mode == "1" else image).tobytes()


def _missing_rows(pixels: bytes, noise: bytes, width: int, height: int, tail: int, surely: int) -> list[int]:
    """Rows that still are noise, and from the bottom up those of grey, unless they are among the first `surely`."""
    stride = len(noise)
    rows = [pixels[start : start + stride] for start in range(0, stride * height, stride)]
    grey = next((number for number, row in enumerate(reversed(rows)) if not _is_grey(row)), height)
    first_grey = max(surely, height - grey)
    looked_at = _tail_of(width, stride, tail)
    return [
        number
        for number, row in enumerate(rows)
        if number >= first_grey or all(row[at] == noise[at] for at in looked_at)
    ]


def _tail_of(width: int, stride: int, tail: int) -> list[int]:
    """Bytes of a row's last odd columns: of an interlaced PNG's even rows those are the last that come."""
    depth = stride // width
    columns = [column for column in range(max(0, width - tail), width) if column % 2] or [0]
    return [column * depth + band for column in columns for band in range(depth)]


def _is_grey(row: bytes) -> bool:
    return row[0] in MISSING_GREY and row == row[:1] * len(row)


# --- WebP ---------------------------------------------------------------------------------------------------------

RGBA: Final = 1  # MODE_RGBA of libwebp's decode.h
MOST_CHUNKS: Final = 200_000


def load_webp(data: bytes, info: ImageInfo) -> Image.Image:
    """A WebP that breaks off: its whole frames where it is animated, else the rows that libwebp can decode.

    Raises Corrupt where no frame is whole, or less than half of the rows are there.
    """
    chunks = list(_chunks(data))
    icc = next((payload for kind, payload in chunks if kind == b"ICCP"), None)
    if info.frames > 1:
        return _whole_frames(chunks)
    image = _decoded_rows(data, info)
    if icc:
        image.info["icc_profile"] = icc
    return image


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and payload of each chunk that is whole (RFC 9649, section 2.3)."""
    position = 12
    for _ in range(MOST_CHUNKS):
        if position + 8 > len(data):
            return
        kind, size = struct.unpack_from("<4sI", data, position)
        if position + 8 + size > len(data):
            return
        yield kind, data[position + 8 : position + 8 + size]
        position += 8 + size + size % 2


def _whole_frames(chunks: list[tuple[bytes, bytes]]) -> Image.Image:
    if not any(kind == b"ANMF" for kind, _ in chunks):
        raise Corrupt("not one frame of the animation is whole")
    body = b"".join(struct.pack("<4sI", kind, len(part)) + part + b"\0" * (len(part) % 2) for kind, part in chunks)
    return Image.open(BytesIO(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body), formats=["WEBP"])


def _decoded_rows(data: bytes, info: ImageInfo) -> Image.Image:
    stride = 4 * info.width
    pixels = bytearray(stride * info.height)  # zeros: nothing at all
    webp = _libwebp()
    buffer = (ctypes.c_char * len(pixels)).from_buffer(pixels)
    decoder = webp.WebPINewRGB(RGBA, buffer, len(pixels), stride)
    if not decoder:
        raise Corrupt("libwebp cannot decode it")
    try:
        webp.WebPIUpdate(decoder, data, len(data))  # its verdict is known: the data ends too early, or is broken
        rows = ctypes.c_int(0)
        webp.WebPIDecGetRGB(decoder, ctypes.byref(rows), None, None, None)
    finally:
        webp.WebPIDelete(decoder)
    if rows.value < LEAST_SHARE * info.height:
        raise Corrupt(f"of its {info.height} rows {rows.value} can be decoded; at least half are needed")
    image = Image.frombuffer("RGBA", (info.width, info.height), pixels, "raw", "RGBA", 0, 1)
    return image if info.has_alpha else _on_white(image)


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


@cache
def _libwebp() -> Any:
    """The libwebp that Pillow itself uses; only its incremental decoder says how far it came (decode.h)."""
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
