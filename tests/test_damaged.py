"""Cut pictures are shown as far as they go, and marked as damaged. Data behind their end is no damage."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.bombs import png
from tests.support.pictures import on_white, opened, saved
from tests.support.processing import EVERY_ENGINE, Processed, process
from tests.support.profiles import P3, rgb_profile
from tests.support.tiffs import DEFLATED, RGB, tiff
from thumbnailer.engine import load_engine
from thumbnailer.formats.base import Head
from thumbnailer.formats.png import chunks
from thumbnailer.model import EngineName, Status

SIDE = 240


def photo() -> Image.Image:
    """A picture whose rows all differ and are not white."""
    noise = np.random.default_rng(2).integers(20, 200, (24, 24, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def through_libvips(saver: str, depth: int = 8, **options: Any) -> bytes:
    load_engine(EngineName.VIPS)
    import pyvips

    image = pyvips.Image.new_from_memory(photo().tobytes(), SIDE, SIDE, 3, "uchar").copy(interpretation="srgb")
    if depth == 16:
        image = (image.cast("ushort") * 257).copy(interpretation="rgb16")
    return bytes(getattr(image, saver)(**options))


def with_alpha() -> Image.Image:
    image = photo().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


SOURCES = {
    "baseline.jpg": lambda: saved(photo(), "JPEG", quality=95),
    "grey.jpg": lambda: saved(photo().convert("L"), "JPEG", quality=95),
    "cmyk.jpg": lambda: saved(photo().convert("CMYK"), "JPEG", quality=95),
    "rgb.png": lambda: saved(photo(), "PNG"),
    "palette.png": lambda: saved(photo().quantize(64), "PNG"),
    "bits.png": lambda: saved(photo().convert("1"), "PNG"),
    "alpha.png": lambda: saved(with_alpha(), "PNG"),
    "interlaced.png": lambda: through_libvips("pngsave_buffer", interlace=True),
    "sixteen.png": lambda: through_libvips("pngsave_buffer", depth=16, bitdepth=16),
    "plain.gif": lambda: saved(photo().quantize(64), "GIF", interlace=0),
    "interlaced.gif": lambda: saved(photo().quantize(64), "GIF", interlace=1),
    "lossy.webp": lambda: saved(photo(), "WEBP", quality=90),
    "lossless.webp": lambda: saved(photo(), "WEBP", lossless=True),
    "alpha.webp": lambda: saved(with_alpha(), "WEBP", quality=90),
}


def rows_alike(made: Processed, whole: Processed) -> int:
    """The number of rows from the top that equal those of the whole picture."""
    differences = np.abs(on_white(made.thumbnails[0]) - on_white(whole.thumbnails[0])).mean(axis=(1, 2))
    return int(np.argmax(differences > 12)) if (differences > 12).any() else len(differences)


@EVERY_ENGINE
@pytest.mark.matrix(4)
@pytest.mark.parametrize("name", SOURCES)
def test_a_cut_picture_is_shown_if_half_of_its_rows_are_there(name: str, engine: EngineName) -> None:
    data = SOURCES[name]()
    whole = process(data, ENGINE=engine, RENDITIONS="120x120:png")
    assert (whole.outcome.status, whole.outcome.damaged, whole.outcome.detail) == (Status.STORED, False, None)
    shown = []
    for tenth in range(1, 10):
        made = process(data[: len(data) * tenth // 10], ENGINE=engine, RENDITIONS="120x120:png")
        if made.outcome.status is Status.REJECTED:
            assert made.outcome.reason == "corrupt"
            shown.append(0)
        else:
            assert made.outcome.damaged
            assert made.outcome.detail
            shown.append(rows_alike(made, whole))
            if "interlaced" in name:  # a missing row repeats the one above it
                assert np.abs(on_white(made.thumbnails[0]) - on_white(whole.thumbnails[0])).mean() < 12
            elif shown[-1] < 118 and "alpha" not in name:
                assert on_white(made.thumbnails[0])[-1].min() > 250, "below the cut it is not white"
    assert shown[0] == shown[1] == 0
    assert shown[7] >= 60
    if "interlaced" not in name:
        assert shown == sorted(shown)
        assert all(count == 0 or count >= 55 for count in shown)


PIECES: dict[str, dict[str, Any]] = {
    "tiles": {"tile": 48},
    "deflated tiles": {"tile": 48, "compression": DEFLATED},
    "planes": {"planar": True},
    "strips": {"rows": 16},
    "deflated strips": {"rows": 16, "compression": DEFLATED},
}
UPRIGHT = {1: 0, 3: 2, 6: 1}
"""By orientation: the quarter turns to the left that bring an upright thumbnail back to stored rows."""


@pytest.mark.matrix(4)
@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("pieces", PIECES)
def test_a_cut_tiff_is_shown_upright(pieces: str, orientation: int, engine: EngineName) -> None:
    turned = [(274, 3, [orientation])]
    data = tiff(np.asarray(photo()), RGB, more=turned, **PIECES[pieces])
    whole = process(data, ENGINE=engine, RENDITIONS="120x120:png")
    assert (whole.outcome.status, whole.outcome.damaged) == (Status.STORED, False)
    least = 0.97 if pieces == "planes" else 0.75
    cut = process(data[: int(len(data) * least)], ENGINE=engine, RENDITIONS="120x120:png")
    assert (cut.outcome.status, cut.outcome.damaged) == (Status.STORED, True)
    stored, expected = (np.rot90(on_white(made.thumbnails[0]), UPRIGHT[orientation]) for made in (cut, whole))
    alike = np.abs(stored - expected).mean(axis=(1, 2)) < 12
    rows = int(np.argmin(alike))
    assert 60 <= rows < 118
    assert stored[rows + 2 :].min() > 250, "below the cut it is not white"
    assert process(data[: int(len(data) * 0.4)], ENGINE=engine).outcome.reason == "corrupt"


def test_a_tile_that_cannot_be_decoded_is_not_black(engine: EngineName) -> None:
    data = tiff(np.asarray(photo()), RGB, tile=48, compression=DEFLATED)
    at = int(len(data) * 0.83)
    broken = data[:at] + b"\xff" * 2000 + data[at + 2000 :]
    made, whole = (process(source, ENGINE=engine, RENDITIONS="120x120:png") for source in (broken, data))
    assert (made.outcome.status, made.outcome.damaged) == (Status.STORED, True)
    assert 90 <= rows_alike(made, whole) <= 98
    assert on_white(made.thumbnails[0])[98:].min() > 250


@EVERY_ENGINE
@pytest.mark.matrix(4)
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [1, 2, 5, 10])
def test_a_jpeg_without_its_last_bytes_is_shown_whole(missing: int, progressive: bool, engine: EngineName) -> None:
    data = saved(photo(), "JPEG", quality=95, progressive=progressive)
    whole = process(data, ENGINE=engine, RENDITIONS="120x120:png")
    made = process(data[:-missing], ENGINE=engine, RENDITIONS="120x120:png")
    assert (made.outcome.status, made.outcome.damaged) == (Status.STORED, True)
    assert rows_alike(made, whole) == 120


@EVERY_ENGINE
@pytest.mark.matrix(4)
def test_a_progressive_jpeg_cut_within_a_table_or_scan_header_is_shown(engine: EngineName) -> None:
    data = saved(photo(), "JPEG", quality=95, progressive=True)
    whole = process(data, ENGINE=engine, RENDITIONS="120x120:png")
    last_scan = data.rindex(b"\xff\xda")
    last_table = data.rindex(b"\xff\xc4", 0, last_scan)
    for cut in range(last_table + 1, last_scan + 11):
        made = process(data[:cut], ENGINE=engine, RENDITIONS="120x120:png")
        assert (made.outcome.status, made.outcome.damaged) == (Status.STORED, True)
        assert rows_alike(made, whole) == 120


def test_grey_rows_before_the_cut_of_a_jpeg_are_kept() -> None:
    image = photo()
    image.paste((128, 128, 128), (0, SIDE // 2, SIDE, SIDE))
    data = saved(image, "JPEG", quality=95)
    whole, made = (process(source, RENDITIONS="120x120:png") for source in (data, data[:-3]))
    assert made.outcome.damaged
    assert rows_alike(made, whole) >= 110, "all but the last row of blocks"


@EVERY_ENGINE
@pytest.mark.matrix(4)
def test_a_cut_progressive_jpeg_is_shown_from_its_complete_scans(engine: EngineName) -> None:
    data = saved(photo(), "JPEG", quality=95, progressive=True)
    whole = process(data, ENGINE=engine, RENDITIONS="120x120:png")
    second_scan = data.index(b"\xff\xda", data.index(b"\xff\xda") + 1)
    errors = []
    for fifth in range(1, 5):
        cut = second_scan + (len(data) - second_scan) * fifth // 5
        made = process(data[:cut], ENGINE=engine, RENDITIONS="120x120:png")
        assert (made.outcome.status, made.outcome.damaged) == (Status.STORED, True)
        errors.append(np.abs(on_white(made.thumbnails[0]) - on_white(whole.thumbnails[0])).mean())
    assert errors[0] < 25
    assert errors[-1] < 5
    assert process(data[: data.index(b"\xff\xda") + 60], ENGINE=engine).outcome.reason == "corrupt"


@EVERY_ENGINE
@pytest.mark.matrix(4)
@pytest.mark.parametrize(("share", "status"), [(0.8, Status.STORED), (0.2, Status.REJECTED)])
def test_a_jpeg_with_an_early_end_marker_is_damaged(engine: EngineName, share: float, status: Status) -> None:
    """libjpeg fills the rest with grey at an early end marker, without an error."""
    data = saved(photo(), "JPEG", quality=95)
    made = process(data[: int(len(data) * share)] + b"\xff\xd9", ENGINE=engine, RENDITIONS="120x120:png")
    assert made.outcome.status is status
    if made.thumbnails:
        assert made.outcome.damaged
        assert on_white(made.thumbnails[0])[-1].min() > 250


@EVERY_ENGINE
def test_a_whole_picture_with_grey_rows_is_not_damaged(engine: EngineName) -> None:
    image = photo()
    image.paste((128, 128, 128), (0, SIDE // 4, SIDE, SIDE))
    made = process(saved(image, "JPEG", quality=95), ENGINE=engine, RENDITIONS="120x120:png")
    assert (made.outcome.status, made.outcome.damaged, made.outcome.engine) == (Status.STORED, False, engine)
    assert np.abs(on_white(made.thumbnails[0])[60:] - 128).max() < 3


@pytest.mark.parametrize("engine", ["auto", "pillow"])
def test_a_jpeg_with_missing_bytes_inside_is_shown_as_damaged(engine: str) -> None:
    data = saved(photo(), "JPEG", quality=95)
    at = len(data) * 7 // 10
    made = process(data[:at] + data[at + 300 :], ENGINE=engine, RENDITIONS="120x120:png")
    assert (made.outcome.status, made.outcome.damaged) == (Status.STORED, True)
    assert rows_alike(made, process(data, RENDITIONS="120x120:png")) >= 78


def test_libjpeg_warnings_about_pixels_mark_a_picture_as_damaged() -> None:
    data = bytearray(saved(photo(), "JPEG", quality=95, restart_marker_rows=1))
    at = data.index(b"\xff\xd2") + 20
    data[at : at + 300] = b"\xaa" * 300
    whole = saved(photo(), "JPEG", quality=95, restart_marker_rows=1)
    longer_interval = whole.replace(b"\xff\xd0", bytes(50) + b"\xff\xd0", 1)
    for damaged in (bytes(data), longer_interval):
        made = process(damaged, ENGINE=EngineName.VIPS)
        assert (made.outcome.status, made.outcome.damaged) == (Status.STORED, True)
        assert made.outcome.detail == "libjpeg warns of damaged pixels"


def test_libjpeg_warnings_about_the_header_do_not_mark_a_picture_as_damaged() -> None:
    data = saved(photo(), "JPEG", quality=95)
    version = data.index(b"JFIF\0") + 5
    no_jfif = data[:2] + data[20:]
    adobe = b"\xff\xee\0\x0eAdobe" + bytes((0, 100, 0, 0, 0, 0, 7))
    for name, odd in {
        "junk": data.replace(b"\xff\xdb", b"junk\xff\xdb", 1),
        "JFIF 2": data[:version] + b"\2" + data[version + 1 :],
        "an unknown transform": no_jfif[:2] + adobe + no_jfif[2:],
    }.items():
        made = process(odd, ENGINE=EngineName.VIPS)
        assert (made.outcome.status, made.outcome.damaged) == (Status.STORED, False), name
        assert made.outcome.engine is EngineName.PILLOW, name


APPENDED = {
    "newline": b"\r\n",
    "zeros": bytes(3000),
    "picture": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    "video": b"\0\0\0\x18ftypmp42 a moving picture",
    "ZIP": b"PK\3\4" + bytes(range(256)) * 500,
    "trailer of a phone": b"data SEFT",
}
"""What phones, cameras and editors write behind the end of a picture."""


@pytest.mark.parametrize("name", ["baseline.jpg", "rgb.png", "plain.gif", "lossy.webp"])
@pytest.mark.parametrize("tail", APPENDED)
def test_data_behind_the_end_is_no_damage(engine: EngineName, name: str, tail: str) -> None:
    data = SOURCES[name]()
    made = process(data + APPENDED[tail], ENGINE=engine)
    assert (made.outcome.status, made.outcome.damaged, made.outcome.detail) == (Status.STORED, False, None)
    assert made.thumbnails == process(data, ENGINE=engine).thumbnails


@pytest.mark.parametrize("name", ["baseline.jpg", "rgb.png", "plain.gif", "lossy.webp"])
def test_data_behind_a_cut_picture_hides_no_damage(name: str) -> None:
    data = SOURCES[name]()
    outcome = process(data[: len(data) * 8 // 10] + APPENDED["newline"]).outcome
    assert (outcome.status, outcome.damaged) == (Status.STORED, True)


def test_a_png_with_a_wrong_checksum_of_its_pixels_loses_nothing(engine: EngineName) -> None:
    data = SOURCES["rgb.png"]()
    idats = [piece for piece in chunks(Head(memoryview(data), len(data))) if piece.kind == b"IDAT"]
    body = b"".join(data[piece.start : piece.end] for piece in idats)
    body = body[:-4] + bytes(byte ^ 255 for byte in body[-4:])
    for size in (len(body), 1001):  # in chunks of that size
        parts = [png.chunk(b"IDAT", body[start : start + size]) for start in range(0, len(body), size)]
        wrong = data[: idats[0].start - 8] + b"".join(parts) + png.chunk(b"IEND")
        made = process(wrong, ENGINE=engine, RENDITIONS="120x120:png")
        assert made.outcome.status is Status.STORED, made.outcome.detail
        assert made.thumbnails == process(data, ENGINE=EngineName.PILLOW, RENDITIONS="120x120:png").thumbnails


@pytest.mark.parametrize("share", [0.6, 0.7, 0.8, 0.9])
def test_a_cut_gif_has_no_end_even_if_its_pixels_look_like_one(share: float, engine: EngineName) -> None:
    """Compressed data can contain the bytes of an end."""
    noise = np.random.default_rng(4).integers(0, 256, (300, 300), dtype=np.uint8)
    data = saved(Image.fromarray(noise), "GIF")
    cut = data[: int(len(data) * share)]
    assert b"\0;" in cut
    made = process(cut + b"x", ENGINE=engine)
    assert str(made.outcome.detail).startswith("its end is missing")


@EVERY_ENGINE
def test_an_invalid_scan_header_is_reported(engine: EngineName) -> None:
    data = bytearray(saved(photo(), "JPEG", quality=95))
    end_of_scan_header = data.index(b"\xff\xda") + 2 + 12
    data[end_of_scan_header - 3 : end_of_scan_header] = b"\1\2\3"
    made = process(bytes(data), ENGINE=engine)
    assert (made.outcome.status, made.outcome.damaged) == (Status.STORED, True)
    assert made.outcome.detail == "a scan header that makes no sense"


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "GIF"])
@pytest.mark.parametrize("profile", [None, rgb_profile(P3)], ids=["plain", "profile"])
def test_a_cut_picture_with_a_palette_keeps_its_colours(kind: str, profile: bytes | None) -> None:
    options = {"icc_profile": profile} if profile else {}
    data = saved(photo().quantize(64), kind, **options)
    whole, made = (
        process(source, ENGINE=EngineName.PILLOW, RENDITIONS="120x120:png")
        for source in (data, data[: len(data) * 8 // 10])
    )
    assert (whole.outcome.engine, made.outcome.engine) == (EngineName.PILLOW, EngineName.PILLOW)
    assert (made.outcome.status, made.outcome.damaged) == (Status.STORED, True)
    assert rows_alike(made, whole) >= 60


def test_a_cut_animation_keeps_its_whole_frames(engine: EngineName) -> None:
    frames = [photo().rotate(angle).quantize(32) for angle in (0, 90, 180, 270)]
    for format_ in ("GIF", "WEBP"):
        pictures = frames if format_ == "GIF" else [frame.convert("RGB") for frame in frames]
        data = saved(pictures[0], format_, save_all=True, append_images=pictures[1:], duration=100, loop=0)
        made = process(data[: len(data) * 6 // 10], ENGINE=engine)
        assert (made.outcome.status, made.outcome.damaged) == (Status.STORED, True)
        assert 2 <= opened(made.thumbnails[0]).n_frames <= 3  # type: ignore[attr-defined]


@EVERY_ENGINE
def test_decoders_write_nothing_to_standard_error(engine: EngineName, capfd: pytest.CaptureFixture[str]) -> None:
    """Messages of decoders would break the JSON lines of the log."""
    data = bytearray(saved(photo(), "TIFF", compression="tiff_lzw"))
    data[200:400] = b"\xff" * 200
    for source in (bytes(data), SOURCES["baseline.jpg"]()[:5000], SOURCES["rgb.png"]()[:5000]):
        process(source, ENGINE=engine)
    assert capfd.readouterr().err == ""


def test_salvage_does_not_affect_concurrent_pictures() -> None:
    """Salvage changes no setting of a decoder for the whole process."""
    cut = SOURCES["baseline.jpg"]()
    cut, too_short = cut[: len(cut) * 8 // 10], cut[: len(cut) * 3 // 10]
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda data: process(data).outcome, [cut, too_short] * 8))
    assert [outcome.status for outcome in outcomes] == [Status.STORED, Status.REJECTED] * 8
