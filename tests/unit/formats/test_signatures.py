"""The probe tells formats apart, and reads the fields that several formats share."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import pytest

from tests.bombs.heif import box
from tests.bombs.png import chunk
from tests.support.headers import (
    HEAD,
    TIFF_SIZE,
    TIFF_START,
    exif,
    frame,
    heif,
    ifd,
    jpeg,
    needs_avif,
    needs_jp2,
    png,
    saved,
    whole,
)
from thumbnailer.errors import Corrupt, NeedMoreBytes, NotAnImage, UnsupportedFormat
from thumbnailer.formats import probe
from thumbnailer.model import Credit, Format


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("JPEG", Format.JPEG),
        ("PNG", Format.PNG),
        ("GIF", Format.GIF),
        ("WEBP", Format.WEBP),
        ("TIFF", Format.TIFF),
        ("BMP", Format.BMP),
        pytest.param("JPEG2000", Format.JP2, marks=needs_jp2),
        pytest.param("AVIF", Format.AVIF, marks=needs_avif),
    ],
)
def test_a_format_is_known_by_its_signature(kind: str, expected: Format) -> None:
    info = whole(saved(kind))
    assert (info.format, info.width, info.height) == (expected, 40, 30)
    assert (info.orientation, info.frames, info.complete) == (1, 1, True)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "empty object"),
        (b"\n", "1 byte"),
        (b"hello, this is a text of some length", "text"),
        (b"\xff\xfeh\0e\0l\0l\0o\0", "text"),
        (b"  <!DOCTYPE html>\n<html><svg/></html>", "HTML"),
        (b"<html><body>404</body></html>", "HTML"),
        (b"<?xml version='1.0'?><feed/>", "XML"),
        (b"PK\3\4" + bytes(60), "a ZIP archive"),
        (box(b"ftyp", b"isom", bytes(4), b"mp42"), "an MP4 video"),
        (box(b"ftyp", b"qt  ", bytes(4)), "a QuickTime movie"),
        (b"\0\1\0\0\0\x0a" + bytes(60), "a font"),
        (bytes(range(0x80, 0xC0)) + bytes(64), "unknown content"),
    ],
)
def test_a_file_that_is_no_picture_is_rejected_by_name(data: bytes, name: str) -> None:
    with pytest.raises(NotAnImage, match=f"^{name}$"):
        whole(data)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"%PDF-1.4\n", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS"),
        (b"\xc5\xd0\xd3\xc6" + bytes(30), "EPS"),
        (b"8BPS\0\1", "PSD"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"<?xml version='1.0'?>\n<image><read filename='/etc/passwd'/></image>", "ImageMagick MSL"),
        (b"push graphic-context\nviewbox 0 0 640 480\n", "ImageMagick MVG"),
        (b"\0\0\2\0\1\0" + bytes(30), "CUR"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(30), "Canon CR2 raw"),
        (box(b"ftyp", b"crx ", bytes(4), b"isom"), "Canon CR3 raw"),
        (TIFF_START + ifd(*TIFF_SIZE, (50706, 1, 1)), "DNG raw"),
        (jpeg(frame(0xC3)), "lossless JPEG"),
        (jpeg(frame(0xC5)), "hierarchical JPEG"),
        (jpeg(frame(0xF7)), "JPEG-LS"),
        (heif(kind=b"avc1"), "avc1"),
    ],
)
def test_an_unsupported_format_is_rejected_by_name(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedFormat, match=name):
        whole(data)


@pytest.mark.parametrize("data", [b"x" * HEAD, b"\x93" * HEAD, b"\0" * HEAD, b"<a " * 30_000, b"x" * 32])
def test_an_unknown_head_is_rejected_without_more_bytes(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        probe(data, 1 << 30)
    with pytest.raises(NotAnImage):
        probe(data)


def test_a_few_unknown_bytes_need_more_bytes() -> None:
    with pytest.raises(NeedMoreBytes):
        probe(b"\x93" * 31)
    with pytest.raises(NotAnImage):
        probe(b"\x93" * 31, 31)


def test_a_damaged_png_signature_is_corrupt() -> None:
    with pytest.raises(Corrupt):
        whole(png(chunk(b"IEND")).replace(b"\r\n\x1a\n", b"\n\x1a\n", 1))


def test_the_probe_takes_bytes_views_and_mapped_files(tmp_path: Path) -> None:
    data = saved("PNG")
    (tmp_path / "picture").write_bytes(data)
    with (tmp_path / "picture").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert probe(mapped, len(data)) == probe(memoryview(data), len(data)) == whole(data)


def test_an_error_does_not_keep_a_mapped_file_open(tmp_path: Path) -> None:
    icon = b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 1, 1, 0, 0, 1, 32, 99, 22) + png(ihdr=bytes(13))
    (tmp_path / "icon").write_bytes(icon)
    with (tmp_path / "icon").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with pytest.raises(Corrupt):
            probe(mapped, len(icon))
        mapped.close()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_and_credit_are_read(kind: str) -> None:
    for orientation in range(1, 9):
        info = whole(saved(kind, exif=exif(orientation)))
        assert (info.width, info.height, info.orientation) == (40, 30, orientation)
        assert info.credit == Credit(b"An artist", b"(c) someone")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", pytest.param("AVIF", marks=needs_avif)])
def test_an_embedded_profile_is_found(kind: str) -> None:
    profile = pytest.importorskip("PIL.ImageCms").ImageCmsProfile
    srgb = profile(pytest.importorskip("PIL.ImageCms").createProfile("sRGB")).tobytes()
    assert whole(saved(kind, icc_profile=srgb)).icc
    assert not whole(saved(kind)).icc


def test_bytes_that_a_decoder_holds_as_a_whole_are_counted() -> None:
    plain, tagged = saved("WEBP"), saved("WEBP", xmp=bytes(100_000))
    assert whole(plain).details.held < 50
    assert 100_000 <= whole(tagged).details.held < 100_100
    assert probe(plain, 1 << 20).details.held >= (1 << 20) - len(plain)
    assert 0 < whole(heif()).details.held < len(heif())
    assert whole(heif() + box(b"free", bytes(100_000))).details.held == whole(heif()).details.held
    assert whole(saved("PNG")).details.held == 0
