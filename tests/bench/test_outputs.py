"""Each way in which a thumbnail can be wrong is found, and named; what any of the handlers writes is accepted."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from bench.cells.outputs import WrongOutput, by_picture, check_thumbnails

NOW = 1_700_000_000.0
Size = tuple[int, int]


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    folder = tmp_path / "photos-resized"
    folder.mkdir()
    return folder


def picture(path: Path, size: Size = (600, 400), orientation: int = 1) -> Path:
    """A gradient; where it is in the bucket, it is a thumbnail that was made now."""
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif)
    os.utime(path, (NOW, NOW))
    return path


@pytest.mark.parametrize(
    "key", ["rocket.jpg", "rocket.jpg/128x128.webp", "rocket.jpg.webp", "rocket.webp", "rocket/128x128.png"]
)
def test_a_thumbnail_is_found_under_the_pictures_name_or_stem(tmp_path: Path, bucket: Path, key: str) -> None:
    picture(bucket / key, (128, 85))
    check_thumbnails(bucket, [picture(tmp_path / "rocket.jpg")], NOW)


@pytest.mark.parametrize(
    ("source", "thumbnail"),
    [
        ((600, 400), (128, 86)),  # 85.3: rounded up or down
        ((400, 600), (85, 128)),
        ((3000, 10), (128, 1)),
        ((100, 50), (100, 50)),  # small ones are not enlarged
    ],
)
def test_sides_are_right_within_a_pixel_of_the_shorter_one(
    tmp_path: Path, bucket: Path, source: Size, thumbnail: Size
) -> None:
    picture(bucket / "one.png", thumbnail)
    check_thumbnails(bucket, [picture(tmp_path / "one.png", source)], NOW)


@pytest.mark.parametrize("thumbnail", [(128, 85), (85, 128)])
def test_a_picture_with_an_orientation_may_be_turned_or_not(tmp_path: Path, bucket: Path, thumbnail: Size) -> None:
    picture(bucket / "one.jpg", thumbnail)
    check_thumbnails(bucket, [picture(tmp_path / "one.jpg", orientation=6)], NOW)


@pytest.mark.parametrize(
    ("source", "thumbnail", "wrong"),
    [
        ((600, 400), (600, 400), "is 600 x 400, more than 128 on a side"),
        ((600, 400), (120, 80), "is 120 x 80, and 128 x 85.3333 was expected"),
        ((600, 400), (85, 128), "is 85 x 128, and 128 x 85.3333 was expected"),
        ((600, 400), (128, 83), "is 128 x 83, and 128 x 85.3333 was expected"),
        ((100, 50), (128, 64), "is 128 x 64, and 100 x 50 was expected"),
    ],
)
def test_wrong_sides_are_found(tmp_path: Path, bucket: Path, source: Size, thumbnail: Size, wrong: str) -> None:
    written = picture(bucket / "one.png", thumbnail)
    with pytest.raises(WrongOutput, match=re.escape(f"{written}: {wrong}")):
        check_thumbnails(bucket, [picture(tmp_path / "one.png", source)], NOW)


def test_a_thumbnail_that_is_missing_or_of_an_earlier_run_is_found(tmp_path: Path, bucket: Path) -> None:
    sources = [picture(tmp_path / name) for name in ("one.jpg", "two.jpg")]
    picture(bucket / "one.jpg", (128, 85))
    with pytest.raises(WrongOutput, match=r"two\.jpg: there is no thumbnail of it"):
        check_thumbnails(bucket, sources, NOW)
    old = picture(bucket / "two.jpg", (128, 85))
    check_thumbnails(bucket, sources, NOW)
    os.utime(old, (NOW - 1, NOW - 1))
    with pytest.raises(WrongOutput, match=r"two\.jpg: there is no thumbnail of it"):
        check_thumbnails(bucket, sources, NOW)


def test_two_thumbnails_of_a_picture_are_found(tmp_path: Path, bucket: Path) -> None:
    for key in ("one.jpg", "one.webp"):
        picture(bucket / key, (128, 85))
    with pytest.raises(WrongOutput, match=r"one\.jpg: there is more than one thumbnail of it: one\.jpg, one\.webp"):
        check_thumbnails(bucket, [picture(tmp_path / "one.jpg")], NOW)


@pytest.mark.parametrize("kept", [0.0, 0.5], ids=["empty", "cut"])
@pytest.mark.parametrize("name", ["one.jpg", "one.png", "one.webp"])
def test_a_thumbnail_that_does_not_decode_is_found(tmp_path: Path, bucket: Path, name: str, kept: float) -> None:
    thumbnail = picture(bucket / name, (128, 85))
    data = thumbnail.read_bytes()
    thumbnail.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(WrongOutput, match=f"{re.escape(str(thumbnail))}: cannot be decoded"):
        check_thumbnails(bucket, [picture(tmp_path / name)], NOW)


def test_a_thumbnail_of_a_single_colour_is_found(tmp_path: Path, bucket: Path) -> None:
    thumbnail = picture(bucket / "one.png", (128, 85))
    Image.new("RGB", (128, 85), "grey").save(thumbnail)
    with pytest.raises(WrongOutput, match="is of a single colour"):
        check_thumbnails(bucket, [picture(tmp_path / "one.png")], NOW)


def test_a_source_that_cannot_be_read_is_named(tmp_path: Path, bucket: Path) -> None:
    picture(bucket / "one.jpg", (128, 85))
    (tmp_path / "one.jpg").write_bytes(b"no picture")
    with pytest.raises(WrongOutput, match=r"one\.jpg: the source itself cannot be read"):
        check_thumbnails(bucket, [tmp_path / "one.jpg"], NOW)


def test_a_key_belongs_to_the_picture_whose_name_fits_it_best() -> None:
    names = ["a.jpg", "a.png", "a.b.jpg", "ab.jpg"]
    keys = ["a.jpg", "a.png", "a.b.jpg", "ab.jpg", "ab.webp", "a.b/128x128.jpg", "other.jpg"]
    assert by_picture(keys, names) == {
        "a.jpg": ["a.jpg"],
        "a.png": ["a.png"],
        "a.b.jpg": ["a.b.jpg", "a.b/128x128.jpg"],
        "ab.jpg": ["ab.jpg", "ab.webp"],
    }
