"""A source stored unchanged, without its metadata."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from tests.bombs.png import chunk
from tests.support.gifs import Painted, gif, looping
from tests.support.pictures import saved
from thumbnailer.formats import strip_metadata
from thumbnailer.model import Format

SECRET = b"taken at home"


def picture() -> Image.Image:
    noise = np.random.default_rng(7).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((80, 60), Image.Resampling.BICUBIC)


def encode(format_: str, **options: Any) -> bytes:
    return saved(picture(), format_, **options)


def exif() -> bytes:
    tags = Image.Exif()
    tags[ExifTags.Base.ImageDescription] = SECRET.decode()
    return tags.tobytes()


def with_chunk(kind: bytes, body: bytes) -> bytes:
    data = encode("PNG")
    return data[:33] + chunk(kind, body) + data[33:]


FRAMES = (Painted((200, 0, 0), (0, 0), (20, 20)), Painted((0, 200, 0), (4, 4), (8, 8), disposal=2))
COMMENT = b"!\xfe\x0d" + SECRET + b"\0"
XMP = b"!\xff\x0bXMP DataXMP\x0d" + SECRET + b"\0"
MARKED = {
    "a JPEG's EXIF and comment": (Format.JPEG, encode("JPEG", exif=exif(), comment=SECRET)),
    "a progressive JPEG's EXIF": (Format.JPEG, encode("JPEG", exif=exif(), progressive=True)),
    "what follows a JPEG": (Format.JPEG, encode("JPEG") + SECRET),
    "a PNG's EXIF": (Format.PNG, encode("PNG", exif=exif())),
    "a PNG's text": (Format.PNG, with_chunk(b"tEXt", b"Comment\0" + SECRET)),
    "a GIF's comment": (Format.GIF, gif((20, 20), *FRAMES, extension=looping(3) + COMMENT)),
    "a GIF's XMP": (Format.GIF, gif((20, 20), *FRAMES, extension=XMP + looping(3, b"ANIMEXTS1.0"))),
    "a WebP's EXIF": (Format.WEBP, encode("WEBP", exif=exif())),
    "a WebP's XMP": (Format.WEBP, encode("WEBP", xmp=SECRET)),
    "an animated WebP's EXIF": (
        Format.WEBP,
        encode("WEBP", exif=exif(), save_all=True, append_images=[picture().rotate(180)], loop=3, duration=70),
    ),
}


@pytest.mark.parametrize("case", MARKED)
def test_metadata_is_removed_and_pixels_are_kept(case: str) -> None:
    format_, data = MARKED[case]
    plain = strip_metadata(data, format_)
    assert plain is not None
    assert SECRET in data
    assert SECRET not in plain
    before, after = Image.open(BytesIO(data)), Image.open(BytesIO(plain))
    assert not after.getexif()
    frames = getattr(before, "n_frames", 1)
    assert getattr(after, "n_frames", 1) == frames
    for number in range(frames):
        before.seek(number)
        after.seek(number)
        assert np.array_equal(np.asarray(before.convert("RGBA")), np.asarray(after.convert("RGBA")))
    assert after.info.get("duration") == before.info.get("duration")
    assert strip_metadata(plain, format_) == plain


def test_the_loop_count_of_a_gif_is_kept() -> None:
    data = gif((20, 20), *FRAMES, extension=COMMENT + looping(3))
    assert strip_metadata(data, Format.GIF) == gif((20, 20), *FRAMES, extension=looping(3))


REFUSED = {
    "a moving PNG": (Format.PNG, encode("PNG", save_all=True, append_images=[picture().rotate(180)])),
    "a PNG in other colours": (Format.PNG, with_chunk(b"cICP", bytes((9, 16, 0, 1)))),
    "a PNG with an unknown piece that counts": (Format.PNG, with_chunk(b"ABCD", b"")),
    "a PNG that breaks off": (Format.PNG, encode("PNG")[:-13]),
    "a JPEG that breaks off": (Format.JPEG, encode("JPEG")[:-2]),
    "a JPEG of arithmetic coding": (Format.JPEG, encode("JPEG").replace(b"\xff\xc0", b"\xff\xc9")),
    "a GIF that breaks off": (Format.GIF, gif((20, 20), *FRAMES)[:-1]),
    "a GIF that draws text": (Format.GIF, gif((20, 20), *FRAMES, extension=b"!\1\0")),
    "a GIF with junk in it": (Format.GIF, gif((20, 20), *FRAMES, extension=b"junk")),
    "a WebP that breaks off": (Format.WEBP, encode("WEBP")[:-4]),
    "a WebP in other colours": (Format.WEBP, encode("WEBP", icc_profile=b"profile")),
    "a format that is not known here": (Format.AVIF, b"avif"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_cut_or_unusual_file_is_not_stripped(case: str) -> None:
    format_, data = REFUSED[case]
    assert strip_metadata(data, format_) is None
