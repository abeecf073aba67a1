"""Hostile pictures, made in memory: small files that claim, unpack to, or repeat far more than they hold.

Each maker is deterministic and returns the bytes of one object; what must become of it says the test.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from io import BytesIO
from typing import Any

from PIL import Image

MB = 1 << 20


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(size: tuple[int, int] = (256, 256)) -> Image.Image:
    """A picture with something in it."""
    ramp = Image.linear_gradient("L").resize(size)
    return Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT), ramp.rotate(90)))


# --- deflate ------------------------------------------------------------------------------------------------------


def deflated_zeros(size: int) -> bytes:
    """A whole zlib stream of that many zero bytes, a thousandth of them long, without compressing them all."""
    block = MB
    packer = zlib.compressobj(9, wbits=-15)
    once = packer.compress(bytes(block)) + packer.flush(
        zlib.Z_FULL_FLUSH
    )  # a flush makes it stand alone, so repeatable
    rest = zlib.compressobj(9, wbits=-15)
    end = rest.compress(bytes(size % block)) + rest.flush()
    # Adler-32 of n zeros: the first sum stays 1, the second counts them.
    return b"\x78\x01" + once * (size // block) + end + struct.pack(">HH", size % 65_521, 1)


# --- PNG ----------------------------------------------------------------------------------------------------------

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def ihdr(width: int, height: int, depth: int = 8, colour: int = RGB, interlace: int = 0) -> bytes:
    return PNG_SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def one_colour_png(width: int, height: int, depth: int = 8, colour: int = RGB) -> bytes:
    """Black, all of it really there: rows of zeros (filter 0 included)."""
    row = 1 + (width * CHANNELS[colour] * depth + 7) // 8
    return ihdr(width, height, depth, colour) + chunk(b"IDAT", deflated_zeros(row * height)) + chunk(b"IEND")


def png_with(*chunks: bytes, behind: Iterable[bytes] = ()) -> bytes:
    """An ordinary picture with more chunks before, and behind, its pixels."""
    whole = saved(gradient(), "PNG")
    return whole[:33] + b"".join(chunks) + whole[33:-12] + b"".join(behind) + whole[-12:]


def more_idat_than_needed(surplus: int) -> bytes:
    """Pixels of 256 x 256, and a stream that goes on for that many bytes behind them."""
    return ihdr(256, 256) + chunk(b"IDAT", deflated_zeros(256 * 769 + surplus)) + chunk(b"IEND")


def png_text_bomb(kind: bytes, size: int) -> bytes:
    head = {b"zTXt": b"key\0\0", b"iTXt": b"key\0\1\0\0\0", b"iCCP": b"profile\0\0"}[kind]
    return chunk(kind, head + deflated_zeros(size))


# --- JPEG ---------------------------------------------------------------------------------------------------------


def with_scans(data: bytes, times: int) -> bytes:
    """The last scan of a progressive JPEG, said again and again."""
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * times + data[end:]


def segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


def jpeg_header(width: int, height: int, marker: int = 0xC0, components: int = 3) -> bytes:
    fields = b"".join(bytes((number, 0x11, 0)) for number in range(1, components + 1))
    return b"\xff\xd8" + segment(marker, struct.pack(">BHHB", 8, height, width, components) + fields)


# --- GIF ----------------------------------------------------------------------------------------------------------


def gif(width: int, height: int, frames: int, frame: tuple[int, int] = (1, 1), loop: bool = True) -> bytes:
    """Frames of one pixel, or of `frame`, all in the corner of a canvas."""
    start = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    looping = b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0" if loop else b""
    one = b"!\xf9\4\0\1\0\0\0," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\2" + lzw_zeros(frame[0] * frame[1])
    return start + looping + one * frames + b";"


def lzw_zeros(count: int) -> bytes:
    """GIF's LZW code of that many zeros, for a code size of 2: runs of 1, 2, 3, ... up to a full table, and again."""
    clear, end, first, full = 4, 5, 6, 4096
    codes: list[str] = []  # their bits, the lowest first
    left = count
    while left or not codes:
        codes.append(_bits(clear, 12 if codes else 3))
        unknown = first  # the code that the decoder learns next; it says how wide codes are
        for run in range(1, full - first + 2):
            if left < run:
                break
            codes.append(_bits(0 if run == 1 else first + run - 2, max(3, unknown.bit_length())))
            unknown += run > 1
            left -= run
        else:
            continue
        if left:
            codes.append(_bits(0 if left == 1 else first + left - 2, unknown.bit_length()))
            unknown += 1
            left = 0
        codes.append(_bits(end, max(3, unknown.bit_length())))
        break
    bits = "".join(codes)
    return sub_blocks(int(bits[::-1], 2).to_bytes(-(-len(bits) // 8), "little"))


def _bits(code: int, width: int) -> str:
    return format(code, f"0{width}b")[::-1]


def sub_blocks(data: bytes) -> bytes:
    pieces = (data[at : at + 255] for at in range(0, len(data), 255))
    return b"".join(bytes((len(piece),)) + piece for piece in pieces) + b"\0"
