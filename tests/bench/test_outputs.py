"""The check of thumbnails finds every kind of wrong thumbnail and names it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from bench.cells.outputs import WrongOutput, check_thumbnail

NOW = 1_700_000_000.0
Size = tuple[int, int]


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    folder = tmp_path / "photos-resized"
    folder.mkdir()
    return folder


def picture(path: Path, size: Size = (600, 400), orientation: int = 1) -> Path:
    """A gradient, written at NOW."""
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    os.utime(path, (NOW, NOW))
    return path


@pytest.mark.parametrize(
    ("source", "thumbnail"),
    [
        ((600, 400), (128, 86)),  # 85.3: rounded up or down
        ((400, 600), (85, 128)),
        ((3000, 10), (128, 1)),
        ((100, 50), (100, 50)),  # small ones are not enlarged
    ],
)
def test_the_shorter_side_may_differ_by_a_pixel(tmp_path: Path, bucket: Path, source: Size, thumbnail: Size) -> None:
    check_thumbnail(picture(bucket / "one.png", thumbnail), picture(tmp_path / "one.png", source), NOW)


@pytest.mark.parametrize("thumbnail", [(128, 85), (85, 128)])
def test_a_picture_with_an_orientation_may_be_turned_or_not(tmp_path: Path, bucket: Path, thumbnail: Size) -> None:
    check_thumbnail(picture(bucket / "one.jpg", thumbnail), picture(tmp_path / "one.jpg", orientation=6), NOW)


@pytest.mark.parametrize(
    ("source", "thumbnail", "wrong"),
    [
        ((600, 400), (600, 400), "is 600 x 400; expected 128 x 85.3333"),
        ((600, 400), (120, 80), "is 120 x 80; expected 128 x 85.3333"),
        ((600, 400), (85, 128), "is 85 x 128; expected 128 x 85.3333"),
        ((600, 400), (128, 83), "is 128 x 83; expected 128 x 85.3333"),
        ((100, 50), (128, 64), "is 128 x 64; expected 100 x 50"),
    ],
)
def test_wrong_sides_are_found(tmp_path: Path, bucket: Path, source: Size, thumbnail: Size, wrong: str) -> None:
    written = picture(bucket / "one.png", thumbnail)
    with pytest.raises(WrongOutput, match=re.escape(f"{written}: {wrong}")):
        check_thumbnail(written, picture(tmp_path / "one.png", source), NOW)


def test_a_missing_or_old_thumbnail_is_found(tmp_path: Path, bucket: Path) -> None:
    source = picture(tmp_path / "one.jpg")
    with pytest.raises(WrongOutput, match=r"one\.jpg: does not exist"):
        check_thumbnail(bucket / "one.jpg", source, NOW)
    old = picture(bucket / "one.jpg", (128, 85))
    check_thumbnail(old, source, NOW)
    os.utime(old, (NOW - 1, NOW - 1))
    with pytest.raises(WrongOutput, match=r"one\.jpg: .* comes from an earlier run"):
        check_thumbnail(old, source, NOW)


@pytest.mark.parametrize("kept", [0.0, 0.5], ids=["empty", "cut"])
@pytest.mark.parametrize("name", ["one.jpg", "one.png", "one.webp"])
def test_a_broken_thumbnail_is_found(tmp_path: Path, bucket: Path, name: str, kept: float) -> None:
    thumbnail = picture(bucket / name, (128, 85))
    data = thumbnail.read_bytes()
    thumbnail.write_bytes(data[: int(len(data) * kept)])
    os.utime(thumbnail, (NOW, NOW))
    with pytest.raises(WrongOutput, match=f"{re.escape(str(thumbnail))}: cannot be decoded"):
        check_thumbnail(thumbnail, picture(tmp_path / name), NOW)


def test_a_thumbnail_with_a_single_colour_is_found(tmp_path: Path, bucket: Path) -> None:
    Image.new("RGB", (128, 85), "grey").save(bucket / "one.png")
    with pytest.raises(WrongOutput, match="has a single colour"):
        check_thumbnail(bucket / "one.png", picture(tmp_path / "one.png"), NOW)


def test_an_unreadable_source_is_named(tmp_path: Path, bucket: Path) -> None:
    thumbnail = picture(bucket / "one.jpg", (128, 85))
    (tmp_path / "one.jpg").write_bytes(b"no picture")
    with pytest.raises(WrongOutput, match=f"{re.escape(str(tmp_path))}/one.jpg: cannot be decoded"):
        check_thumbnail(thumbnail, tmp_path / "one.jpg", NOW)
