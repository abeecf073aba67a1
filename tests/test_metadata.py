"""A thumbnail holds pixels and, of the metadata, at most artist and copyright."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image, features

from tests.bombs import png, webp
from tests.bombs.jpeg import with_segments
from tests.support.containers import assert_only_pixels_and_credit, exif_tags
from tests.support.pictures import BLUE, GREEN, RED, WHITE, gradient, is_near, opened, quarters, saved
from tests.support.processing import EVERY_ENGINE, process, process_by
from thumbnailer.formats import probe
from thumbnailer.model import EngineName, Format, Status

OUTPUTS = "a=120x120:jpeg,b=120x120:png,c=120x120:webp,d=120x120:avif"
ORIENTATION, ARTIST, COPYRIGHT = 0x0112, 0x013B, 0x8298


# --- orientation (row 16) -----------------------------------------------------------------------------------------


def block(order: str, orientation: int, kind: str = "H", count: int = 1) -> bytes:
    """An EXIF block with an orientation and an artist, in little (<) or big (>) byte order."""
    codes = {"H": 3, "I": 4, "s": 2}
    value = b"6" if kind == "s" else struct.pack(order + kind, orientation)
    start = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(order + "HHI", ORIENTATION, codes[kind], count) + value.ljust(4, b"\0")
    entries += struct.pack(order + "HHII", ARTIST, 2, 5, 38)
    return b"Exif\0\0" + start + struct.pack(order + "IH", 8, 2) + entries + struct.pack(order + "I", 0) + b"Anna\0\0"


def assert_upright_and_untagged(data: bytes, engine: EngineName, artist: str = "Anna") -> None:
    made = process_by(engine, data, RENDITIONS=OUTPUTS)
    assert made.outcome.status is Status.STORED, made.outcome.detail
    for thumbnail in made.thumbnails:
        image = opened(thumbnail)
        corners = [image.convert("RGB").getpixel(at) for at in ((20, 20), (100, 20), (20, 60), (100, 60))]
        assert image.size == (120, 80)
        assert all(is_near(pixel, colour) for pixel, colour in zip(corners, (RED, GREEN, BLUE, WHITE), strict=True))
        assert ORIENTATION not in exif_tags(thumbnail)
        assert probe(thumbnail, len(thumbnail)).credit.artist == artist.encode()
        assert_only_pixels_and_credit(thumbnail)


@EVERY_ENGINE
@pytest.mark.matrix(16)
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_comes_out_upright_without_the_tag(
    format_: str, engine: EngineName, subtests: pytest.Subtests
) -> None:
    for orientation, order in itertools.product(range(1, 9), "<>"):
        with subtests.test(orientation=orientation, order=order):
            data = saved(quarters(orientation), format_, exif=block(order, orientation), quality=95)
            assert_upright_and_untagged(data, engine)


@pytest.mark.matrix(16)
def test_every_orientation_of_a_tiff_comes_out_upright(engine: EngineName, subtests: pytest.Subtests) -> None:
    for orientation in range(1, 9):
        with subtests.test(orientation=orientation):
            tags = {ORIENTATION: orientation, ARTIST: "Anna"}
            assert_upright_and_untagged(saved(quarters(orientation), "TIFF", tiffinfo=tags), engine)


BROKEN = {
    "0": block("<", 0),
    "9": block(">", 9),
    "65535": block("<", 65_535),
    "of a million values": block("<", 6, count=1_000_000)[:-6].replace(struct.pack("<I", 1_000_000), bytes(4)),
    "as text": block("<", 6, kind="s"),
    "huge and long": block(">", 1 << 20, kind="I"),
}


BROKEN_BLOCKS = {
    "cut within its entries": block("<", 6)[:20],
    "no byte order": b"Exif\0\0XX*\0" + block("<", 6)[10:],
    "directory past the end": b"Exif\0\0II*\0" + struct.pack("<I", 1 << 30) + bytes(40),
    "directory in the header": b"Exif\0\0II*\0" + struct.pack("<I", 2) + bytes(40),
    "65535 entries": b"Exif\0\0II*\0" + struct.pack("<IH", 8, 65_535) + bytes(40),
    "a loop": b"Exif\0\0II*\0" + struct.pack("<IHI", 8, 0, 8) + bytes(40),
    "empty": b"Exif\0\0",
}
UNREADABLE = {BROKEN["of a million values"], *BROKEN_BLOCKS.values()}
"""Blocks whose artist is lost, too."""


@EVERY_ENGINE
@pytest.mark.matrix(16)
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_an_invalid_orientation_or_exif_block_is_ignored(
    format_: str, engine: EngineName, subtests: pytest.Subtests
) -> None:
    for name, exif in {**BROKEN, **BROKEN_BLOCKS}.items():
        with subtests.test(name):
            artist = "" if exif in UNREADABLE else "Anna"
            assert_upright_and_untagged(saved(quarters(), format_, exif=exif, quality=95), engine, artist)


# --- private metadata (row 17) ------------------------------------------------------------------------------------

SECRET = b"SECRET"


def secret(place: str) -> bytes:
    """A text that names its place."""
    return SECRET + b"-" + place.encode() + b"-" + SECRET


def private_exif() -> bytes:
    """GPS, camera, MakerNote and an embedded thumbnail, plus the credit, which is kept."""
    exif = Image.Exif()
    exif[0x010E], exif[0x010F], exif[ARTIST], exif[COPYRIGHT] = "SECRET-title", "SECRET-camera", "Anna", "(c) Bob"
    exif[0x9C9C] = "SECRET-comment".encode("utf-16-le")
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2], gps[29] = "N", (48.0, 8.0, 14.0), "SECRET-gps"
    details = exif.get_ifd(0x8769)
    details[0x927C], details[0x9286], details[0xA431] = secret("makernote"), secret("usercomment"), "SECRET-serial"
    plain = exif.tobytes()
    thumbnail = saved(gradient((16, 16)), "JPEG", comment=secret("thumbnail"))
    at = len(plain) - 6
    ifd1 = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, at + 30, 0x0202, 4, 1, len(thumbnail), 0)
    link = 14 + 2 + 12 * int.from_bytes(plain[14:16], "little")
    return plain[:link] + struct.pack("<I", at) + plain[link + 4 :] + ifd1 + thumbnail


def xmp(place: str) -> bytes:
    return b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + secret(place) + b"</x:xmpmeta>"


def private_jpeg() -> bytes:
    data = saved(gradient(), "JPEG", exif=private_exif(), xmp=xmp("xmp"), comment=secret("comment"))
    iptc = (
        b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", 40) + b"\x1c\x02\x78\0\x20" + secret("iptc").ljust(35)
    )
    for marker, payload in (
        (0xED, iptc),
        (0xE2, b"MPF\0" + secret("mpf")),
        (0xEB, secret("jumbf")),
        (0xE0, b"JFXX\0" + secret("jfxx")),
    ):
        data = with_segments(data, marker, payload, 1)
    return data + saved(gradient(), "JPEG", comment=secret("second picture")) + secret("trailer")


def private_png() -> bytes:
    packed = zlib.compress(secret("ztxt"))
    before = [
        png.chunk(b"tEXt", b"Author\0" + secret("text")),
        png.chunk(b"zTXt", b"Author\0\0" + packed),
        png.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp("itxt")),
        png.chunk(b"eXIf", private_exif().removeprefix(b"Exif\0\0")),
        png.chunk(b"prVt", secret("private chunk")),
    ]
    return png.with_chunks(before, [png.chunk(b"tEXt", b"Author\0" + secret("behind"))]) + secret("trailer")


def private_gif() -> bytes:
    first, second = gradient((200, 100)), gradient((200, 100)).rotate(180)
    data = saved(first, "GIF", save_all=True, append_images=[second], loop=0, comment=secret("comment"))
    application = b"!\xff\x0bXMP DataXMP" + bytes((len(xmp("xmp")),)) + xmp("xmp") + b"\0"
    start = data.index(b"!\xff\x0bNETSCAPE2.0")
    return data[:start] + application + data[start:] + secret("trailer")


def private_webp() -> bytes:
    return saved(gradient(), "WEBP", exif=private_exif(), xmp=xmp("xmp")) + secret("trailer")


def private_tiff() -> bytes:
    tags = {
        270: "SECRET-description",
        305: "SECRET-software",
        700: xmp("xmp"),
        33723: secret("iptc"),
        315: "Anna",
        33432: "(c) Bob",
    }
    return saved(gradient(), "TIFF", tiffinfo=tags, exif=private_exif())


def private_avif() -> bytes:
    return saved(gradient(), "AVIF", exif=private_exif(), xmp=xmp("xmp"))


def private_heic() -> bytes:
    import pillow_heif

    out = BytesIO()
    pillow_heif.from_pillow(gradient()).save(out, exif=private_exif(), xmp=xmp("xmp"))
    return out.getvalue()


PRIVATE: dict[str, Callable[[], bytes]] = {
    "jpeg": private_jpeg,
    "png": private_png,
    "gif": private_gif,
    "webp": private_webp,
    "tiff": private_tiff,
    "heic": private_heic,
    **({"avif": private_avif} if features.check("avif") else {}),
}


@EVERY_ENGINE
@pytest.mark.matrix(17)
@pytest.mark.parametrize("source", PRIVATE)
def test_no_private_metadata_comes_out(source: str, engine: EngineName, subtests: pytest.Subtests) -> None:
    data = PRIVATE[source]()
    assert data.count(SECRET) > 2
    for format_ in ("jpeg", "png", "gif", "webp", "avif", "auto"):
        if source == "heic" and format_ == "avif" and not features.check("avif"):
            continue  # Pillow reads HEIC here and does not write AVIF
        with subtests.test(to=format_):
            made = process_by(engine, data, RENDITIONS=f"100x100:{format_}")
            assert made.outcome.status is Status.STORED, made.outcome.detail
            thumbnail = made.thumbnails[0]
            assert SECRET not in thumbnail
            assert "SECRET".encode("utf-16-le") not in thumbnail
            assert_only_pixels_and_credit(thumbnail)
            info = probe(thumbnail, len(thumbnail))
            if source != "gif" and info.format is not Format.GIF:
                assert (info.credit.artist, info.credit.copyright) == (b"Anna", b"(c) Bob")


# --- two files in one (row 20) ------------------------------------------------------------------------------------

SCRIPT = b"<script>alert('SECRET')</script>"
HTML = b"<!DOCTYPE html><html><body>" + SCRIPT + b"</body></html>"


def gif_that_is_a_script() -> bytes:
    """GIF89a/*...*/=1;... : the bytes of the canvas width are `/*`, which opens a comment in JavaScript."""
    data = saved(gradient((200, 100)), "GIF")
    return data[:6] + b"/*\x64\0" + data[10:-1] + b"!\xfe\x20*/=1;alert('SECRET');//".ljust(35, b"/") + b"\0;"


POLYGLOTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "JPEG and HTML behind": (lambda: saved(gradient(), "JPEG") + HTML, "image/jpeg"),
    "JPEG and HTML in a comment": (lambda: saved(gradient(), "JPEG", comment=b"--><!--" + HTML), "image/jpeg"),
    "JPEG and ZIP": (
        lambda: saved(gradient(), "JPEG") + b"PK\3\4SECRET" + bytes(20) + b"PK\5\6" + bytes(18),
        "image/jpeg",
    ),
    "JPEG and PDF": (lambda: with_segments(saved(gradient(), "JPEG"), 0xFE, b"%PDF-1.4 SECRET", 1), "image/jpeg"),
    "PNG and HTML": (lambda: png.with_chunks([png.chunk(b"tEXt", b"x\0" + HTML)]) + HTML, "image/png"),
    "GIF and JavaScript": (gif_that_is_a_script, "image/gif"),
    "GIF and HTML behind": (lambda: saved(gradient((200, 100)), "GIF") + HTML, "image/gif"),
    "WebP and HTML behind": (lambda: saved(gradient(), "WEBP") + HTML, "image/webp"),
    "WebP and HTML in a chunk": (
        lambda: webp.riff(webp.extended(64, 64), webp.lossless(64, 64), (b"HTML", HTML)),
        "image/webp",
    ),
}


@EVERY_ENGINE
@pytest.mark.matrix(20)
@pytest.mark.parametrize("name", POLYGLOTS)
def test_only_the_picture_of_a_polyglot_comes_out(name: str, engine: EngineName) -> None:
    make, content_type = POLYGLOTS[name]
    made = process_by(engine, make(), key="page.html")
    assert made.outcome.status is Status.STORED, made.outcome.detail
    assert not [
        mark for mark in (b"SECRET", b"<script", b"<html", b"%PDF", b"PK\3\4", b"*/=") if mark in made.thumbnails[0]
    ]
    assert made.headers[0].content_type == content_type
    assert_only_pixels_and_credit(made.thumbnails[0])


@pytest.mark.matrix(20)
def test_html_before_a_picture_is_not_an_image() -> None:
    assert process(HTML + saved(gradient(), "JPEG")).outcome.reason == "not-an-image"
