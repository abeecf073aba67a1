"""Pictures that end too early or break off, as browsers show them: the decoded rows, and white for the others.

Pillow's decoders write row by row into memory that this module has filled with noise: a row that still is noise was
not decoded. libwebp counts its rows itself. At least half of the rows must be there.
"""

import random
import struct
import zlib
from functools import partial
from io import BytesIO
from mmap import ACCESS_READ, mmap
from typing import Any, Final

from PIL import Image

from thumbnailer.engine import pillow_private
from thumbnailer.engine.pillow_colours import on_white
from thumbnailer.errors import Corrupt, CutShort
from thumbnailer.formats.base import Head, Piece, first
from thumbnailer.formats.details import TiffDetails
from thumbnailer.formats.jpeg import scan_start
from thumbnailer.model import Format, ImageInfo

# The AVIF and HEIF plugins raise RuntimeError, the TIFF plugin raises TypeError for a page without a size. MemoryError
# is a PNG chunk that claims gigabytes: memory for the picture itself was admitted before.
DECODER_ERRORS: Final = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, RuntimeError, TypeError),
    *(MemoryError, struct.error, zlib.error),
)
CHECKSUMS: Final = {Format.PNG: 4}
"""Bytes behind the pixels. A decoder that finds zlib's Adler sum (RFC 1950) wrong leaves out its last rows."""
TAIL: Final = 128  # pixels at a row's end that tell whether it is complete: decoders write from left to right
TAIL_OF_TILES: Final = 4  # the last tile may be no wider, and is there or not
MISSING_GREY: Final = (127, 128)  # libjpeg's grey for rows without data, and the same inverted
LAST_PIXELS: Final = 4  # of full size and in one block: if they are not grey, nothing is missing
END_OF_IMAGE: Final = b"\xff\xd9"
SEGMENTS_BETWEEN_SCANS: Final = (b"\xff\xc4", b"\xff\xda")
NO_TELLING: Final = (b"\xff\xdd\0\4", b"\xff\xc9")
"""Restart markers: a decoder skips data before the next one. Arithmetic coding omits trailing zeros."""
MORE_DATA: Final = random.Random(2).randbytes(1 << 14).replace(b"\xff", b"\0")  # noqa: S311
"""Data for a scan, without any marker."""
WHITE: Final[dict[str, Any]] = {
    **dict.fromkeys(("I", "I;16", "I;16B"), 65535),
    **dict.fromkeys(("CMYK", "RGBA"), (0, 0, 0, 0)),
    **dict.fromkeys(("LAB", "YCbCr"), (255, 128, 128)),
    "LA": (255, 0),
}
"""White of modes in which it is not the largest value of every band; transparent with alpha."""


def refuse_cut(image: Image.Image, info: ImageInfo) -> None:
    """Raises Corrupt if a loaded JPEG ends in the grey that libjpeg silently puts in place of missing data.

    Any picture may have grey in its last pixels, so the file is decoded once more if that can tell.
    """
    across = max(1, LAST_PIXELS * image.width // info.width)
    if not _is_grey(_last_row(image, across)):
        return
    runs_out = None if info.progressive else _runs_out(image.filename)  # type: ignore[attr-defined]
    if runs_out:
        raise CutShort("its data ends before its pixels do")
    if runs_out is None and _is_grey(_last_row(image, image.width)):
        raise Corrupt("it may break off: its last row is the grey that stands for missing data")


def _last_row(image: Image.Image, across: int) -> bytes:
    return image.crop((image.width - across, image.height - 1, *image.size)).tobytes()


def _runs_out(path: str) -> bool | None:
    """Whether more data before the end of a JPEG of one scan changes its pixels; None if that cannot be told.

    The JPEG is decoded at an eighth of its size.
    """
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        with memoryview(data) as view:
            start = scan_start(Head(view, len(view)))
        end = data.find(END_OF_IMAGE, start)
        if end < 0 or any(mark in data[:start] for mark in NO_TELLING):
            return None
    with pillow_private.open_as("JPEG", path) as image:
        image.draft(None, (1, 1))
        more = iter([MORE_DATA] * (1 + image.width * image.height * 64 // len(MORE_DATA)))
        pillow_private.read_until(image, end, lambda: next(more, END_OF_IMAGE))
        image.load()
        return not _is_grey(_last_row(image, 1))


def load(image: Image.Image, info: ImageInfo) -> Image.Image:
    """The readable part of an opened picture's first frame. Raises Corrupt if that is less than half of its rows."""
    pillow_private.read_unmapped(image)
    if info.format in CHECKSUMS:
        pillow_private.hold_back_end(image, CHECKSUMS[info.format])
    pillow_private.fill_before_decoding(image, partial(_noise, image.width))
    is_jpeg = info.format is Format.JPEG
    surely = _end_early(image, info) if is_jpeg else []
    try:
        image.load()
    except DECODER_ERRORS as error:
        if not pillow_private.end_decoding(image):
            raise Corrupt("nothing of it can be decoded") from error
    missing = _missing(image, sum(surely), info)
    _refuse_too_little((image.height - len(missing)) / image.height, info)
    return _paint(image, missing, repeats=info.progressive and not is_jpeg)


def _refuse_too_little(share: float, info: ImageInfo) -> None:
    """`share` is of the rows, of which a decoder that shrinks has fewer than the picture."""
    if share < 0.5:
        rows = round(share * info.height)
        raise Corrupt(f"of its {info.height} rows {rows} can be decoded; at least half are needed")


# --- which rows were decoded --------------------------------------------------------------------------------------


def _noise(width: int, mode: str) -> Image.Image:
    """A row that no picture holds; the same every time."""
    size = len(Image.new(mode, (width, 1)).tobytes())
    return Image.frombytes(mode, (width, 1), random.Random(1).randbytes(size))  # noqa: S311


def _end_early(image: Image.Image, info: ImageInfo) -> list[int]:
    """Ends the JPEG where the file breaks off: libjpeg then shows the sum of its scans.

    libjpeg fills the last row of blocks with grey, so the list receives the number of rows written before the end.
    """
    surely: list[int] = []

    def end() -> bytes:
        if not surely:
            written = min(_missing_rows(image, TAIL, image.height), default=image.height)
            surely.append(0 if info.progressive else written)
            return END_OF_IMAGE
        return b""

    pillow_private.read_until(image, _end_of_segments(image.filename), end)  # type: ignore[attr-defined]
    return surely


def _end_of_segments(path: str) -> int:
    """The end of the file, or the start of a cut table or scan header: libjpeg would refuse an end marker in it."""
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        last = max(data.rfind(marker) for marker in SEGMENTS_BETWEEN_SCANS)
        length = max(2, int.from_bytes(data[last + 2 : last + 4]))
        return last if last >= 0 and last + 2 + length > len(data) else len(data)


def _missing(image: Image.Image, surely: int, info: ImageInfo) -> list[int]:
    """Missing rows of a loaded picture; the first `surely` rows may be grey."""
    details = info.details_of(TiffDetails)
    missing = _missing_rows(image, TAIL_OF_TILES if details.band > 1 else TAIL, surely)
    if details.missing_from is None:
        return missing
    return sorted({*missing, *range(details.missing_from, image.height)})


def _missing_rows(image: Image.Image, tail: int, surely: int) -> list[int]:
    """Rows that still are noise, and grey rows at the bottom that are not among the first `surely`."""
    decoded = pillow_private.decoded_so_far(image)
    pixels, noise_row = _bytes(decoded), _bytes(_noise(image.width, decoded.mode))
    stride, height = len(noise_row), image.height
    rows = (pixels[stride * number : stride * (number + 1)] for number in reversed(range(height)))
    grey = next((number for number, row in enumerate(rows) if not _is_grey(row)), height)
    first_grey = max(surely, height - grey)
    compared = _tail_of(image.width, stride, tail)
    return [
        number
        for number in range(height)
        if number >= first_grey or all(pixels[stride * number + at] == noise_row[at] for at in compared)
    ]


def _bytes(image: Image.Image) -> bytes:
    return (image.convert("L") if image.mode == "1" else image).tobytes()


def _tail_of(width: int, stride: int, tail: int) -> list[int]:
    """Bytes of a row's last odd columns, which come last in the even rows of an interlaced PNG."""
    depth = stride // width
    columns = [column for column in range(max(0, width - tail), width) if column % 2] or [0]
    return [column * depth + band for column in columns for band in range(depth)]


def _is_grey(row: bytes) -> bool:
    return row[0] in MISSING_GREY and row == row[:1] * len(row)


def _paint(image: Image.Image, missing: list[int], repeats: bool) -> Image.Image:
    """The picture with missing rows in white, or, if `repeats`, like the row above."""
    kept: dict[str | tuple[int, int], Any] = {
        name: image.info[name] for name in ("icc_profile", "transparency") if name in image.info
    }
    whole = image
    if image.mode in ("P", "PA"):
        whole = image.convert("RGBA" if image.mode == "PA" or "transparency" in kept else "RGB")
        kept.pop("transparency", None)  # it is in the pixels now
    for top in missing:
        row = (0, top, whole.width, top + 1)
        above = repeats and top
        whole.paste(whole.crop((0, top - 1, whole.width, top)) if above else WHITE.get(whole.mode, "white"), row)
    whole.info = kept
    return whole


# --- WebP ---------------------------------------------------------------------------------------------------------


def load_webp(data: bytes, info: ImageInfo) -> Image.Image:
    """The whole frames of a cut animation, or the rows of a cut still that libwebp can decode.

    Raises Corrupt if no frame is whole, or less than half of the rows are there.
    """
    from thumbnailer.formats.webp import chunks as chunks_of

    found = chunks_of(Head(memoryview(data), len(data), "WebP"))
    chunks = [chunk for chunk in found if chunk.end <= len(data)]
    if info.frames > 1:
        return _whole_frames(data, chunks)
    image = _decoded_rows(data, info)
    profile = first(chunks, b"ICCP")
    if profile and profile.size:
        image.info["icc_profile"] = data[profile.start : profile.end]
    return image


def _whole_frames(data: bytes, chunks: list[Piece]) -> Image.Image:
    if first(chunks, b"ANMF") is None:
        raise Corrupt("not one frame of the animation is whole")
    from thumbnailer.formats.webp import FIRST_CHUNK

    end = chunks[-1].end
    body = b"WEBP" + data[FIRST_CHUNK:end] + bytes(end % 2)
    return Image.open(BytesIO(b"RIFF" + struct.pack("<I", len(body)) + body), formats=["WEBP"])


def _decoded_rows(data: bytes, info: ImageInfo) -> Image.Image:
    decoded = pillow_private.decode_webp_rows(data, info.width, info.height)
    if decoded is None:
        raise Corrupt("libwebp cannot decode it")
    pixels, rows = decoded
    _refuse_too_little(rows / info.height, info)
    image = Image.frombuffer("RGBA", (info.width, info.height), pixels, "raw", "RGBA", 0, 1)
    return image if info.has_alpha else on_white(image)
