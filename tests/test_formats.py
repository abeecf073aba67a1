"""Formats with special rules: SVG, JPEG XL, GIF, APNG, ICO, AVIF and unusual TIFF."""

from __future__ import annotations

import struct
import subprocess
import zlib
from dataclasses import replace
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from tests.bombs import heif, icons, png
from tests.bombs.png import chunk
from tests.support import facts, jpeg_xl, profiles
from tests.support.gifs import Painted, gif, looping
from tests.support.pictures import is_near, opened, saved
from tests.support.processing import Processed, process
from tests.tools.ladder import CJXL
from thumbnailer.formats import probe
from thumbnailer.model import EngineName, Status

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF encoder")
needs_jxl = pytest.mark.skipif(find_spec("pylibjxl") is None, reason="pylibjxl (the extra `jxl`) is not installed")


def drawing(body: str, size: str = 'width="200" height="100"') -> bytes:
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"<svg {names} {size}>{body}</svg>".encode()


def svg(data: bytes, renditions: str = "100x100") -> Processed:
    return process(data, SVG="on", RENDITIONS=renditions)


@pytest.mark.matrix(14)
def test_an_svg_is_rejected_unless_a_setting_allows_it() -> None:
    outcome = process(drawing("")).outcome
    assert (outcome.status, outcome.reason) == (Status.REJECTED, "unsupported-format")
    assert "THUMBNAILER_SVG=on" in str(outcome.detail)


@pytest.mark.parametrize("size", ['width="200" height="100"', 'viewBox="0 0 200 100"', 'width="150pt" height="75pt"'])
def test_an_svg_is_never_drawn_larger_than_its_size(size: str) -> None:
    box = "" if "viewBox" in size or "pt" in size else 'viewBox="0 0 200 100"'
    made = svg(drawing('<rect width="100" height="100" fill="red"/>', f"{size} {box}"), "100x100,big=900x900")
    small, big = (opened(data).convert("RGBA") for data in made.thumbnails)
    assert (small.size, big.size) == ((100, 50), (200, 100))
    assert small.getpixel((20, 25)) == (255, 0, 0, 255)


def test_the_size_of_a_drawing_on_paper_costs_nothing() -> None:
    size = 'width="100000mm" height="50000mm" viewBox="0 0 200 100"'
    made = svg(drawing('<rect width="200" height="100" fill="red"/>', size))
    assert made.outcome.status is Status.STORED
    assert opened(made.thumbnails[0]).size == (100, 50)
    assert is_near(opened(made.thumbnails[0]).convert("RGB").getpixel((99, 49)), (255, 0, 0))


def test_an_svg_without_a_size_is_rejected() -> None:
    outcome = svg(drawing("<rect/>", size="")).outcome
    assert outcome.reason == "unsupported-format"
    assert "without a size" in str(outcome.detail)


@pytest.mark.matrix(14)
@pytest.mark.parametrize("address", ["file://{path}", "{path}", "{name}", "http://127.0.0.1:9/x.png"])
def test_an_svg_reads_no_file_and_opens_no_connection(address: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (200, 100), "red").save(secret)
    reference = address.format(path=secret, name=secret.name)
    made = svg(drawing(f'<image width="200" height="100" xlink:href="{reference}"/>'))
    assert made.outcome.status is Status.STORED
    assert np.asarray(opened(made.thumbnails[0]).convert("RGBA"))[..., 3].max() == 0


@pytest.mark.matrix(14)
def test_an_svg_with_external_entities_is_rejected() -> None:
    doctype = b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    assert svg(doctype + drawing("<text>&x;</text>")).outcome.reason == "corrupt"


@pytest.mark.matrix(14)
@pytest.mark.slow
def test_an_svg_with_endless_uses_is_rejected() -> None:
    uses = "".join(f'<g id="g{n}">' + f'<use xlink:href="#g{n - 1}"/>' * 10 + "</g>" for n in range(1, 9))
    endless = drawing(f'<defs><g id="g0"><rect width="9" height="9"/></g>{uses}</defs><use xlink:href="#g8"/>')
    assert svg(endless).outcome.reason == "corrupt"


@pytest.mark.skipif(which("cjpeg") is None, reason="cjpeg (libjpeg-turbo-progs) is not installed")
@pytest.mark.parametrize("options", [[], ["-progressive"]], ids=["sequential", "progressive"])
@pytest.mark.parametrize("engine", ["auto", *EngineName])
def test_libvips_reads_a_jpeg_in_arithmetic_coding(options: list[str], engine: str) -> None:
    """Pillow feeds a file to libjpeg in pieces, which arithmetic coding does not support."""
    noise = Image.fromarray(np.random.default_rng(5).integers(60, 200, (400, 400), dtype=np.uint8))
    source = BytesIO()
    noise.save(source, "PPM")
    command = ["cjpeg", "-arithmetic", "-quality", "95", *options]
    data = subprocess.run(command, input=source.getvalue(), capture_output=True, check=True).stdout
    assert len(data) > 100_000
    made = process(data, ENGINE=engine, RENDITIONS="100x100:png")
    assert (made.outcome.status, made.outcome.damaged, made.outcome.engine) == (Status.STORED, False, EngineName.VIPS)
    reference = noise.resize((100, 100), Image.Resampling.LANCZOS)
    wrong = np.abs(np.asarray(opened(made.thumbnails[0]).convert("L")).astype(int) - np.asarray(reference))
    assert wrong.mean() < 3


needs_cjxl = pytest.mark.skipif(CJXL is None, reason="cjxl (Debian: libjxl-tools) is not installed")


def cjxl(source: Path, *options: str) -> bytes:
    assert CJXL
    made = source.with_suffix(".jxl")
    subprocess.run([CJXL, "-e", "3", *options, str(source), str(made)], check=True, capture_output=True)
    return made.read_bytes()


@needs_jxl
@pytest.mark.parametrize("shape", [(90, 120), (90, 120, 3), (90, 120, 4)], ids=["grey", "colour", "alpha"])
def test_a_jpeg_xl_is_read(shape: tuple[int, ...]) -> None:
    import pylibjxl

    pixels = np.full(shape, 200, dtype=np.uint8)
    pixels[:, :60] = 60
    made = process(pylibjxl.encode(pixels, lossless=True, distance=0.0), RENDITIONS="60x60:png")
    assert (made.outcome.status, made.outcome.info and made.outcome.info.format) == (Status.STORED, "jxl")
    image = np.asarray(opened(made.thumbnails[0]))
    assert image.shape[:2] == (45, 60)
    assert abs(int(image[20, 10].flat[0]) - 60) < 3
    assert abs(int(image[20, 50].flat[0]) - 200) < 3


@needs_jxl
@pytest.mark.parametrize(
    ("colours", "space"),
    [
        (jpeg_xl.space(11, 13), profiles.P3),
        (jpeg_xl.space(1, 8), profiles.Space(profiles.SRGB_TO_XYZ, 1.0)),
        (jpeg_xl.space(11, 8), profiles.Space(profiles.P3.matrix, 1.0)),
    ],
    ids=["P3", "linear", "linear P3"],
)
def test_colours_of_a_jpeg_xl_without_a_profile_are_converted(
    colours: tuple[jpeg_xl.Field, ...], space: profiles.Space
) -> None:
    colour = np.array([150, 120, 90], np.uint8)
    pixels = np.broadcast_to(colour, (jpeg_xl.HEIGHT, jpeg_xl.WIDTH, 3))
    made = process(jpeg_xl.lossless(pixels, colours), RENDITIONS="32x20:png")
    assert (made.outcome.status, made.outcome.engine) == (Status.STORED, "pillow")
    wanted = profiles.srgb(colour / 255, space) * 255
    assert np.abs(np.asarray(opened(made.thumbnails[0]))[10, 10] - wanted).max() < 1.5


@needs_jxl
def test_the_highlights_of_an_hdr_jpeg_xl_stay_apart() -> None:
    for curve, white in ((16, 0.5807), (18, 0.75)):  # the signal of 203 cd/m2 in PQ, and three quarters in HLG
        pixels = np.full((jpeg_xl.HEIGHT, jpeg_xl.WIDTH, 3), 60, np.uint8)
        pixels[:, 20:40], pixels[:, 40:] = round(white * 255), 230
        made = process(jpeg_xl.lossless(pixels, jpeg_xl.space(9, curve)), RENDITIONS="64x40:png")
        dark, graphics, bright = np.asarray(opened(made.thumbnails[0])).astype(int)[20, [8, 30, 54], 0]
        assert dark < 64
        assert abs(graphics - 188) <= 2  # half of the light
        assert 200 <= bright <= 255


@needs_cjxl
def test_a_lossy_jpeg_xl_with_a_custom_profile_is_converted(tmp_path: Path) -> None:
    """libjxl returns linear light for a lossy picture if only a profile defines its colour space."""
    colour = np.array([150, 120, 90], np.uint8)
    png = tmp_path / "a.png"
    pixels = np.ascontiguousarray(np.broadcast_to(colour, (64, 64, 3)))
    Image.fromarray(pixels).save(png, icc_profile=profiles.rgb_profile(profiles.PROPHOTO))
    made = process(cjxl(png, "-d", "0.5"), RENDITIONS="32x32:png")
    wanted = profiles.srgb(colour / 255, profiles.PROPHOTO) * 255
    assert np.abs(np.asarray(opened(made.thumbnails[0]))[10, 10] - wanted).max() < 4


@needs_cjxl
def test_the_first_frame_of_an_animated_jpeg_xl_is_shown(tmp_path: Path) -> None:
    gif = tmp_path / "a.gif"
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(gif, save_all=True, append_images=frames[1:], duration=100)
    made = process(cjxl(gif, "-d", "0"), RENDITIONS="20x20:png")
    assert made.outcome.info is not None
    assert made.outcome.info.frames == 2  # more than one
    assert opened(made.thumbnails[0]).convert("RGB").getpixel((10, 7)) == (255, 0, 0)


@needs_jxl
def test_a_cut_jpeg_xl_is_corrupt() -> None:
    import pylibjxl

    noise = np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    data = pylibjxl.encode(noise, lossless=True, distance=0.0)
    assert process(data[: len(data) // 2]).outcome.reason == "corrupt"


# --- GIF: as browsers show it --------------------------------------------------------------------------------------

WHOLE = ((0, 0), (40, 30))
RED, GREEN, BLUE, NOTHING = (255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255), (0, 0, 0, 0)


def painted(colour: tuple[int, ...], at: tuple[int, int], size: tuple[int, int], **options: Any) -> Painted:
    return Painted((colour[0], colour[1], colour[2]), at, size, **options)


def last_frame(data: bytes, renditions: str = "20x15:webp:q100", engine: str = "auto") -> np.ndarray[Any, Any]:
    """The last frame of a thumbnail of half the size. Pillow composes the frames."""
    made = process(data, RENDITIONS=renditions, ENGINE=engine)
    assert (made.outcome.status, made.outcome.engine) == (Status.STORED, EngineName.PILLOW)
    image = opened(made.thumbnails[0])
    image.seek(getattr(image, "n_frames", 1) - 1)
    pixels = np.asarray(image.convert("RGBA"))
    return np.where(pixels[..., 3:] == 0, 0, pixels)


def is_about(pixel: np.ndarray[Any, Any], colour: tuple[int, ...]) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() < 40)


SMALL = ((8, 6), (12, 10))
CLEARED = {
    "first frame smaller than the screen": [painted(RED, *SMALL), painted(BLUE, (0, 0), (4, 4))],
    "a still smaller than the screen": [painted(RED, *SMALL)],
    "restored to the background": [painted(RED, *WHOLE, disposal=2), painted(GREEN, *SMALL)],
    "restored to what was before the first": [painted(RED, *WHOLE, disposal=3), painted(GREEN, *SMALL)],
    "restored to the same, in an old draft's number": [painted(RED, *WHOLE, disposal=4), painted(GREEN, *SMALL)],
    "restored, behind one that names a transparent colour": [
        painted(BLUE, *WHOLE, transparent=True),
        painted(RED, *WHOLE, disposal=2),
        painted(GREEN, *SMALL),
    ],
}


@pytest.mark.parametrize("engine", ["auto", "vips", "pillow"])
@pytest.mark.parametrize("case", CLEARED)
def test_the_uncovered_canvas_of_a_gif_is_transparent(case: str, engine: str) -> None:
    data = gif((40, 30), *CLEARED[case], extension=looping(0))
    info = probe(data, len(data))
    assert info.has_alpha
    shown = last_frame(data, engine=engine)
    assert shown.shape == (15, 20, 4)
    assert is_about(shown[12, 17], NOTHING)
    assert is_about(shown[5, 6], RED if "smaller" in case else GREEN)
    as_jpeg = opened(process(data, ENGINE=engine, RENDITIONS="40x30:jpeg").thumbnails[0])
    first = (255, 255, 255) if "smaller" in case else BLUE[:3] if "names" in case else RED[:3]
    assert is_about(np.asarray(as_jpeg)[25, 35], first)


@pytest.mark.parametrize("engine", ["auto", "vips", "pillow"])
def test_frames_of_a_gif_are_clipped_and_disposed_one_by_one(engine: str) -> None:
    frames = [
        painted(RED, *WHOLE),
        painted(GREEN, (30, 20), (20, 20)),  # beyond the right and bottom edges
        painted(BLUE, (0, 0), (10, 10), disposal=3),
        painted(GREEN, (10, 0), (10, 10), disposal=0),  # Pillow still applies the disposal of the frame before
        painted(BLUE, (20, 0), (10, 10), control=False),
    ]
    shown = last_frame(gif((40, 30), *frames), engine=engine)
    assert shown.shape == (15, 20, 4)
    expected = {(7, 2): RED, (12, 17): GREEN, (2, 2): RED, (2, 7): GREEN, (2, 12): BLUE}
    assert [place for place, colour in expected.items() if not is_about(shown[place], colour)] == []


def test_a_composed_gif_keeps_its_delays() -> None:
    frames = [painted(RED, *SMALL), painted(GREEN, *SMALL), painted(BLUE, *SMALL, control=False)]
    data = gif((40, 30), *frames)
    assert facts.gif(probe(data, len(data))).odd_frames
    image = opened(process(data, RENDITIONS="20x15").thumbnails[0])
    delays = []
    for number in range(3):
        image.seek(number)
        delays.append(image.info["duration"])
    assert delays == [50, 50, 100]


def test_a_cut_composed_gif_is_damaged_or_corrupt() -> None:
    noise = Image.fromarray(np.random.default_rng(2).integers(0, 256, (60, 80), dtype=np.uint8)).quantize(64)
    partial = saved(noise, "GIF").replace(struct.pack("<HH", 80, 60), struct.pack("<HH", 90, 70), 1)
    assert last_frame(partial, "90x70:webp").shape == (70, 90, 4)
    assert facts.gif(probe(partial, len(partial))).odd_frames
    assert process(partial[: len(partial) * 9 // 10]).outcome.damaged
    assert process(partial[: len(partial) // 5]).outcome.reason == "corrupt"


# --- APNG -----------------------------------------------------------------------------------------------------------


def apng(still: tuple[int, ...], frame: tuple[int, ...], size: tuple[int, int] = (40, 30), blend: int = 0) -> bytes:
    """An APNG of one frame, with a fallback picture for viewers without APNG."""
    data = saved(Image.new("RGBA", (40, 30), still), "PNG")
    end = len(data) - 12
    picture = saved(Image.new("RGBA", size, frame), "PNG")
    pixels = picture[picture.index(b"IDAT") + 4 : -16]
    control = struct.pack(">IIIIIHHBB", 0, *size, 0, 0, 1, 10, 0, blend)
    moving = chunk(b"fcTL", control) + chunk(b"fdAT", struct.pack(">I", 1) + pixels)
    return data[:33] + chunk(b"acTL", struct.pack(">II", 1, 0)) + data[33:end] + moving + data[end:]


@pytest.mark.parametrize("engine", ["auto", "vips", "pillow"])
def test_the_first_frame_of_an_apng_is_shown_and_not_its_fallback(engine: str) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    ordinary = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    half = (255, 0, 0, 128)
    small = apng(RED, BLUE, (9, 9), blend=1)
    for data, corner, middle in (
        (ordinary, RED, RED),
        (apng(RED, BLUE), BLUE, BLUE),
        (apng(BLUE, half, blend=1), half, half),
        (apng(RED, BLUE, (9, 9)), BLUE, NOTHING),
        (small, BLUE, NOTHING),
    ):
        made = process(data, ENGINE=engine, RENDITIONS="20x15:png")
        assert not made.outcome.damaged
        pixels = np.asarray(opened(made.thumbnails[0]).convert("RGBA"))
        assert is_about(pixels[1, 1], corner)
        assert is_about(pixels[10, 10], middle)
    assert process(apng(RED, BLUE), ENGINE=engine).outcome.engine is EngineName.PILLOW


def test_the_colours_of_the_first_frame_of_an_apng_are_converted() -> None:
    profile = profiles.rgb_profile(profiles.P3)
    for size in ((40, 30), (20, 15)):
        data = apng(RED, (200, 150, 130, 255), size)
        data = data[:33] + chunk(b"iCCP", b"P3\0\0" + zlib.compress(profile)) + data[33:]
        shown = np.asarray(opened(process(data, RENDITIONS="40x30:png").thumbnails[0]).convert("RGBA"))[5, 5, :3]
        assert np.abs(shown - profiles.srgb(np.array([200, 150, 130]) / 255, profiles.P3) * 255).max() < 2


# --- BMP ------------------------------------------------------------------------------------------------------------


def bmp_with_alpha(header: int, compression: int, alpha: int, alpha_mask: int = 0xFF000000) -> bytes:
    """40 x 30 pixels of 32 bits with a mask for alpha, in a header of version 3, 4 or 5."""
    fields = struct.pack("<IiiHHIIiiII", header, 40, 30, 1, 32, compression, 0, 0, 0, 0, 0)
    masks = (
        struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, alpha_mask)
        if compression
        else bytes(12) + alpha_mask.to_bytes(4, "little")
    )
    start = 14 + header
    pixels = bytes((0, 0, 255, alpha)) * 1200
    file = struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    return b"BM" + file + (fields + masks).ljust(header, b"\0") + pixels


@pytest.mark.parametrize(
    ("header", "compression", "mask", "shown"),
    [
        (124, 0, 0xFF000000, (255, 0, 0, 128)),
        (108, 0, 0xFF000000, (255, 0, 0, 128)),
        (124, 3, 0xFF000000, (255, 0, 0, 128)),
        (56, 0, 0xFF000000, RED),
        (124, 0, 0, RED),
    ],
)
def test_the_alpha_of_a_bmp_is_shown_as_in_chromium(
    header: int, compression: int, mask: int, shown: tuple[int, ...]
) -> None:
    made = process(bmp_with_alpha(header, compression, 128, mask), RENDITIONS="20x15")
    image = opened(made.thumbnails[0])
    assert (made.outcome.damaged, image.format) == (False, "PNG" if shown[3] < 255 else "JPEG")
    assert is_about(np.asarray(image.convert("RGBA"))[7, 10], shown)


def test_a_bmp_of_two_bits_is_rejected_by_name() -> None:
    data = b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 40, 30, 1, 2, 0, 0, 0, 0, 0, 0) + bytes(400)
    outcome = process(data).outcome
    assert (outcome.reason, outcome.detail) == ("unsupported-format", "BMP of 2 bits a pixel")


# --- PNG ------------------------------------------------------------------------------------------------------------

FIREWORKS = [chunk(b"prVW", b"preview"), *[chunk(b"mkBT", bytes(72))] * 900, chunk(b"mkTS", bytes(3 << 20))]


@pytest.mark.parametrize("engine", ["vips", "pillow"])
@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (FIREWORKS, []),
        ([], FIREWORKS),
        ([chunk(b"s\1IT")], []),
        ([chunk(b"tEXt", b"a\0b"), chunk(b"s\1IT"), chunk(b"prVW"), chunk(b"tEXt", b"a\0b")], [chunk(b"a b ")]),
        ([chunk(b"caBX", bytes(5 << 20))], []),
    ],
    ids=["Fireworks", "Fireworks behind the pixels", "a control character", "between texts", "a large one"],
)
def test_unknown_chunks_change_nothing(engine: str, before: list[bytes], behind: list[bytes]) -> None:
    plain = png.with_chunks()
    made = process(png.with_chunks(before, behind), ENGINE=engine)
    assert (made.outcome.status, made.outcome.damaged, made.outcome.engine) == (Status.STORED, False, engine)
    assert made.thumbnails == process(plain, ENGINE=engine).thumbnails


def test_a_critical_chunk_with_an_odd_name_is_corrupt() -> None:
    outcome = process(png.with_chunks([chunk(b"S\1IT")])).outcome
    assert outcome.reason == "corrupt"


# --- ICO ------------------------------------------------------------------------------------------------------------


def icon_with_mask(alpha: bytes, mask: bytes) -> bytes:
    """An icon of 40 x 8 red pixels in 32 bits; a row of the mask has eight bytes."""
    header = struct.pack("<IiiHHIIiiII", 40, 40, 16, 1, 32, 0, 0, 0, 0, 0, 0)
    return icons.ico((40, 8, 32, header + b"".join(b"\0\0\xff" + alpha[at : at + 1] for at in range(320)) + mask))


def test_the_mask_of_an_icon_without_alpha_counts() -> None:
    masked = (b"\xff\0\0\0\x0f" + bytes(3)) * 8  # the first eight and the last four pixels of a row
    whole, half = bytes(320), bytes([0, 128] * 160)
    for alpha, mask, expected in (
        (whole, masked, (0, 255, 0)),
        (whole, masked[:24], (255, 255, 255)),  # rows go up
        (half, masked, (0, 0, 0)),
    ):
        made = process(icon_with_mask(alpha, mask), RENDITIONS="40x8:png")
        assert made.outcome.status is Status.STORED, made.outcome.detail
        found = np.asarray(opened(made.thumbnails[0]).convert("RGBA"))[0, [0, 20, 38], 3]
        assert tuple(int(value) for value in found) == expected


@pytest.mark.parametrize("order", [(4, 8, 32), (32, 8, 4), (8, 32, 4)])
def test_the_icon_with_the_highest_depth_is_shown(order: tuple[int, ...]) -> None:
    """Icons for Windows XP list the lowest depth first, which Pillow would take."""
    colours = {4: (200, 0, 0), 8: (0, 200, 0), 32: (0, 0, 200)}
    pngs = {bits: saved(Image.new("RGBA", (32, 32), colour), "PNG") for bits, colour in colours.items()}
    larger_last = [(32, 32, bits, pngs[bits]) for bits in order]
    made = process(icons.ico((16, 16, 32, pngs[4]), *larger_last), RENDITIONS="32x32:png")
    assert made.outcome.engine is EngineName.PILLOW
    assert opened(made.thumbnails[0]).convert("RGB").getpixel((16, 16)) == colours[32]


# --- AVIF -----------------------------------------------------------------------------------------------------------


def clean_aperture(width: int, height: int, right: int = 0, down: int = 0) -> bytes:
    """A crop by its sides and the offset of its centre."""
    return heif.box(b"clap", struct.pack(">iIiIiIiI", width, 1, height, 1, right, 1, down, 1))


def avif(*properties: bytes) -> bytes:
    coded = heif.picture(heif.AVIF, (120, 80))
    return heif.file(heif.AVIF, replace(coded, properties=coded.properties + properties))


@needs_avif
def test_an_avif_is_cropped_to_its_clean_aperture_and_then_turned(engine: EngineName) -> None:
    turned = heif.box(b"irot", b"\1")
    whole, cropped, both = (
        process(data, ENGINE=engine, RENDITIONS="120x120:png")
        for data in (avif(), avif(clean_aperture(60, 20, 10, -20)), avif(clean_aperture(60, 20, 10, -20), turned))
    )
    assert {made.outcome.engine for made in (whole, cropped, both)} == {engine}
    full, part, upright = (
        np.asarray(opened(made.thumbnails[0]).convert("RGB")).astype(int) for made in (whole, cropped, both)
    )
    assert (full.shape, part.shape, upright.shape) == ((80, 120, 3), (20, 60, 3), (60, 20, 3))
    assert np.abs(part - full[10:30, 40:100]).mean() < 2
    assert np.abs(upright - np.rot90(part)).mean() < 2


@needs_avif
def test_premultiplied_colours_of_an_avif_are_divided_by_alpha(engine: EngineName) -> None:
    image = Image.new("RGBA", (96, 96), (200, 120, 40, 96))
    data = saved(image, "AVIF", quality=95, alpha_premultiplied=True)
    assert facts.heif(probe(data, len(data))).premultiplied
    made = process(data, ENGINE=engine, RENDITIONS="32x32:png")
    assert made.outcome.engine is engine
    assert (
        np.abs(np.asarray(opened(made.thumbnails[0]).convert("RGBA"))[16, 16].astype(int) - (200, 120, 40, 96)).max()
        < 9
    )
