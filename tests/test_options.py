"""Options of renditions and settings beyond size and format, in both engines."""

from __future__ import annotations

from base64 import b64decode
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from tests.support.gifs import Painted, gif, looping
from tests.support.pictures import opened, saved
from tests.support.processing import EVERY_ENGINE, process
from thumbnailer import app
from thumbnailer.errors import SettingsError
from thumbnailer.formats import probe
from thumbnailer.machine import Machine
from thumbnailer.model import EngineName
from thumbnailer.settings import parse_settings
from thumbnailer.store.memory import MemoryStore

needs_thumbhash = pytest.mark.skipif(find_spec("thumbhash") is None, reason="the extra `thumbhash` is not installed")


def with_something_red_at_the_left() -> Image.Image:
    image = Image.new("RGB", (600, 200), (90, 90, 90))
    image.paste((230, 60, 40), (40, 60, 120, 140))
    return image


@EVERY_ENGINE
@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_a_smart_crop_keeps_the_salient_part_and_a_plain_one_the_middle(engine: EngineName, format_: str) -> None:
    source = saved(with_something_red_at_the_left(), format_)
    made = process(source, ENGINE=engine, RENDITIONS="smart=100x100:smart:png,plain=100x100:cover:png")
    smart, plain = (np.asarray(opened(data).convert("RGB")).astype(int) for data in made.thumbnails)
    assert smart.shape == plain.shape == (100, 100, 3)
    assert (smart[..., 0] - smart[..., 2]).max() > 100
    assert (plain[..., 0] - plain[..., 2]).max() < 10


def test_a_smart_crop_is_the_same_for_every_frame(engine: EngineName) -> None:
    first = with_something_red_at_the_left()
    source = saved(first, "GIF", save_all=True, append_images=[first.transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
    made = opened(process(source, ENGINE=engine, RENDITIONS="100x100:smart").thumbnails[0])
    reds = []
    for number in range(2):
        made.seek(number)
        frame = np.asarray(made.convert("RGB")).astype(int)
        reds.append((frame[..., 0] - frame[..., 2]).max() > 100)
    assert reds == [True, False]


@EVERY_ENGINE
def test_a_jpeg_is_progressive_if_the_rendition_asks_for_it(engine: EngineName) -> None:
    source = saved(with_something_red_at_the_left(), "JPEG")
    made = process(source, ENGINE=engine, RENDITIONS="a=100x100:progressive,b=100x100,c=100x100:jpeg:q70:progressive")
    assert [probe(data, len(data)).progressive for data in made.thumbnails] == [True, False, True]


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_source_that_fits_does_not_grow(engine: EngineName, format_: str) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((120, 120), Image.Resampling.BICUBIC)
    palette = {"PNG": 32, "GIF": 16}.get(format_)
    options = {"quality": 45} if palette is None else {}
    source = saved(image.quantize(palette) if palette else image, format_, **options)
    made = process(source, ENGINE=engine, RENDITIONS="128x128")
    info = probe(made.thumbnails[0], len(made.thumbnails[0]))
    assert (info.width, info.height) == (120, 120)
    assert len(made.thumbnails[0]) <= len(source)
    difference = np.abs(
        np.asarray(opened(made.thumbnails[0]).convert("RGB")).astype(int)
        - np.asarray(opened(source).convert("RGB")).astype(int)
    )
    assert difference.mean() < 12


FEW_COLOURS = Image.fromarray(np.random.default_rng(5).integers(0, 2, (40, 40), dtype=np.uint8) * 255)
"""Noise in black and white, which the engines' encoders write larger than the source."""


def as_small_as_can_be(format_: str) -> bytes:
    """A file smaller than any engine would write it, with private metadata."""
    if format_ == "PNG":
        return saved(FEW_COLOURS.convert("1"), "PNG", optimize=True, pnginfo=_text("where it was taken"))
    comment = b"!\xfe\x12where it was taken\0"
    frames = [Painted((40 * number, 0, 0), (number, 0), (3, 20)) for number in range(6)]
    return gif((20, 20), Painted((9, 9, 9), (0, 0), (20, 20)), *frames, extension=looping(2) + comment)


def _text(text: str) -> PngInfo:
    info = PngInfo()
    info.add_text("Comment", text)
    return info


@pytest.mark.parametrize("format_", ["PNG", "GIF"])
def test_a_small_source_is_stored_unchanged_without_its_metadata(engine: EngineName, format_: str) -> None:
    source = as_small_as_can_be(format_)
    made = process(source, ENGINE=engine, RENDITIONS="128x128").thumbnails[0]
    assert len(made) < len(source)
    assert b"where it was taken" in source
    assert b"where" not in made
    before, after = opened(source), opened(made)
    assert getattr(after, "n_frames", 1) == getattr(before, "n_frames", 1)
    for number in range(getattr(before, "n_frames", 1)):
        before.seek(number)
        after.seek(number)
        assert np.array_equal(np.asarray(before.convert("RGBA")), np.asarray(after.convert("RGBA")))
    assert after.info.get("loop") == before.info.get("loop")


def test_a_source_to_be_rotated_cropped_or_credited_is_encoded(engine: EngineName) -> None:
    source = saved(FEW_COLOURS.convert("1"), "PNG", optimize=True)
    assert process(source, ENGINE=engine).thumbnails[0] == source
    for tag, value in {ExifTags.Base.Orientation: 6, ExifTags.Base.Copyright: "A. Author"}.items():
        exif = Image.Exif()
        exif[tag] = value
        other = process(saved(FEW_COLOURS.convert("1"), "PNG", optimize=True, exif=exif), ENGINE=engine)
        assert other.thumbnails[0] != source
    assert opened(process(source, ENGINE=engine, RENDITIONS="20x20:cover").thumbnails[0]).size == (20, 20)


def test_a_source_that_fits_does_not_grow_in_another_format(engine: EngineName) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((120, 120), Image.Resampling.BICUBIC)
    source = saved(image, "TIFF", compression="jpeg", quality=60)
    made = process(source, ENGINE=engine, RENDITIONS="a=128x128,b=128x128:webp,c=128x128:png")
    assert made.outcome.engine is engine
    jpeg, webp, png = made.thumbnails
    assert max(len(jpeg), len(webp)) <= len(source)
    assert opened(png).mode == "RGB"  # only fewer colours could make it smaller


@pytest.mark.parametrize(
    ("format_", "loop", "expected"),
    [
        ("GIF", None, (None, 1)),
        ("GIF", 0, (0, 0)),
        ("GIF", 1, (1, 2)),
        ("GIF", 3, (3, 4)),
        ("WEBP", 0, (0, 0)),
        ("WEBP", 1, (None, 1)),
        ("WEBP", 3, (2, 3)),
    ],
)
def test_the_loop_count_is_the_same_in_every_format(
    engine: EngineName, format_: str, loop: int | None, expected: tuple[int | None, int]
) -> None:
    """GIF states the repetitions after the first play, WebP the number of plays."""
    first, second = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (40, 40), "blue")
    options = {} if loop is None else {"loop": loop}
    source = saved(first, format_, save_all=True, append_images=[second], duration=100, **options)
    made = process(source, ENGINE=engine, RENDITIONS="a=20x20:gif,b=20x20:webp")
    assert made.outcome.engine is engine
    assert tuple(opened(data).info.get("loop") for data in made.thumbnails) == expected


def test_a_png_below_full_quality_has_a_palette(engine: EngineName) -> None:
    source = saved(Image.linear_gradient("L").convert("RGB").rotate(30), "PNG")
    full, less = process(source, ENGINE=engine, RENDITIONS="a=200x200:png,b=200x200:png:q50").thumbnails
    assert (opened(full).mode, opened(less).mode) == ("RGB", "P")
    assert len(less) < len(full)


@EVERY_ENGINE
@needs_thumbhash
def test_a_setting_adds_a_thumbhash_to_the_metadata(engine: EngineName) -> None:
    from thumbhash import thumb_hash_to_average_rgba

    image = Image.new("RGBA", (300, 200), (0, 0, 0, 0))
    image.paste((200, 40, 40, 255), (0, 0, 300, 200))
    source = saved(image, "PNG")
    made = process(source, ENGINE=engine, THUMBHASH="on", RENDITIONS="a=100x100,b=50x50:cover:jpeg")
    for headers in made.headers:
        hashed = list(b64decode(headers.metadata["thumbhash"]))
        assert len(hashed) <= 25
        average = [255 * band for band in thumb_hash_to_average_rgba(hashed)[:3]]
        assert average == pytest.approx([200, 40, 40], abs=12)
    assert all("thumbhash" not in headers.metadata for headers in process(source, ENGINE=engine).headers)


def test_a_thumbhash_without_its_package_is_a_settings_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"thumbnailer\[thumbhash\]"):
        app.build(parse_settings({"THUMBNAILER_THUMBHASH": "on"}), Machine(512, None), {}, MemoryStore())


@pytest.mark.parametrize("wish", ["64x64:gif", "64x64:png:q50", "64x64:avif"])
@pytest.mark.parametrize("frames", [1, 3])
def test_pillow_encodes_where_libvips_is_missing(wish: str, frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thumbnailer.engine.pillow.HAS_VIPS", False)
    pictures = [Image.new("RGB", (200, 100), (80 * number, 90, 90)) for number in range(frames)]
    source = saved(pictures[0], "GIF", save_all=True, append_images=pictures[1:], loop=0)
    made = process(source, ENGINE="pillow", RENDITIONS=wish)
    thumbnail = opened(made.thumbnails[0])
    info = probe(made.thumbnails[0], len(made.thumbnails[0]))
    assert (info.format, thumbnail.size) == (wish.split(":")[1], (64, 32))
    assert getattr(thumbnail, "n_frames", 1) == (frames if "gif" in wish else 1)


def test_small_needs_libvips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match="mozjpeg"):
        app.check_extras(parse_settings({"THUMBNAILER_RENDITIONS": "64x64:small"}))
