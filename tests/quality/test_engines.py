"""Shrink-on-load, colours and encoder settings, which make both engines render alike."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from tests.quality.bounds import LEAST_ENCODED
from tests.support.pictures import saved
from tests.tools.quality import SAMPLES, plan_for
from tests.tools.scoring import references, score, shown, shown_frames, ssim
from thumbnailer.engine import installed_engines, load_engine
from thumbnailer.engine.pillow_formats import FULL_CHROMA
from thumbnailer.formats import probe
from thumbnailer.model import EngineName
from thumbnailer.planning.capabilities import BOTH_ENGINES, MOST_SHRINK

Make = Callable[[bytes, EngineName, str], bytes]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """data, engine, rendition -> the thumbnail by this engine only."""

    def made(data: bytes, engine: EngineName, rendition: str) -> bytes:
        path = tmp_path / "source"
        path.write_bytes(data)
        plan = plan_for(data, engine, rendition)
        assert plan.engine is engine
        return load_engine(engine).render(str(path), plan).pictures[0]

    return made


def engines(data: bytes, rendition: str) -> list[EngineName]:
    """The installed engines that make this thumbnail."""
    return [engine for engine in installed_engines() if plan_for(data, engine, rendition).engine is engine]


# --- shrink-on-load -----------------------------------------------------------------------------------------------


def widest(data: bytes, shrink: int) -> str:
    """The largest rendition with this shrink factor."""
    width = probe(data, len(data)).upright[0]
    wishes = (f"{wish}x:png" for wish in range(width // (2 * shrink) + 1, 0, -1))
    return next(wish for wish in wishes if plan_for(data, None, wish).shrink == shrink)


@pytest.mark.parametrize("shrink", [2, 4, MOST_SHRINK])
@pytest.mark.parametrize("name", ["hubble-progressive.jpg", "rocket.jpg", "china.webp"])
def test_shrink_on_load_is_as_good_as_a_whole_decode(make: Make, name: str, shrink: int) -> None:
    """The largest thumbnail of a shrink factor leaves the fewest pixels to the resampler."""
    data = (SAMPLES / name).read_bytes()
    rendition = widest(data, shrink)
    reference = references(data, plan_for(data, None, rendition).targets)[0]
    for engine in engines(data, rendition):
        made = score(shown(make(data, engine, rendition)), reference)
        assert made.within(mean=1.5, ssim=0.99), (engine, made)


@pytest.mark.parametrize("format_", ["JPEG", "WEBP"])
@pytest.mark.parametrize("size", [(1001, 631), (1023, 769), (897, 1601)])
def test_shrink_on_load_of_odd_sides_shifts_nothing(make: Make, size: tuple[int, int], format_: str) -> None:
    """Rounding the last partial pixel up or down shows here as a mean of 3 to 11."""
    noise = np.random.default_rng(1).integers(0, 256, (size[1] // 9, size[0] // 9), dtype=np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    data = saved(image.convert("RGB"), format_, quality=95)
    for shrink in (2, MOST_SHRINK):
        rendition = widest(data, shrink)
        reference = references(data, plan_for(data, None, rendition).targets)[0]
        for engine in engines(data, rendition):
            made = score(shown(make(data, engine, rendition)), reference)
            assert made.within(mean=2.8, ssim=0.995), (engine, shrink, made)


# --- colours ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [(100, 150, 200, 255), (9, 250, 3, 255), (1, 1, 1, 255)])
def test_an_alpha_channel_does_not_change_opaque_colours(
    make: Make, engine: EngineName, colour: tuple[int, ...]
) -> None:
    made = make(saved(Image.new("RGBA", (300, 300), colour)), engine, "64x64:png")
    assert np.unique(shown(made).reshape(-1, 3), axis=0).tolist() == [list(colour[:3])]


def test_a_thumbnail_of_16_bits_has_8_bits(make: Make, engine: EngineName) -> None:
    with Image.open(SAMPLES / "rocket.jpg") as image:
        profile = image.info["icc_profile"]
    made = make(deep_tiff(profile), engine, "64x64:png")
    assert probe(made, len(made)).bit_depth == 8


def deep_tiff(profile: bytes) -> bytes:
    """A TIFF of 16 bits per colour, which Pillow reads but does not write."""
    load_engine(EngineName.VIPS)
    import pyvips

    ramp = np.linspace(0, 65535, 128 * 128 * 3).reshape(128, 128, 3).astype(np.uint16)
    image = pyvips.Image.new_from_array(ramp).copy(interpretation="rgb16")
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return bytes(image.tiffsave_buffer())


def test_both_engines_convert_inks_alike(make: Make) -> None:
    inks = Image.new("CMYK", (192, 64))
    for number, ink in enumerate(((0, 255, 255, 0), (255, 0, 255, 0), (255, 255, 0, 0), (0, 0, 0, 255))):
        inks.paste(ink, (48 * number, 0, 48 * (number + 1), 64))
    vips, pillow = (shown(make(saved(inks, "JPEG", quality=100), engine, "96x96:png")) for engine in BOTH_ENGINES)
    assert score(vips, pillow).within(mean=0.6)


# --- encoders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quality", "sampling"), [(FULL_CHROMA - 1, (2, 2)), (FULL_CHROMA, (1, 1))])
def test_a_jpeg_of_quality_90_has_full_chroma(
    make: Make, engine: EngineName, quality: int, sampling: tuple[int, int]
) -> None:
    made = make((SAMPLES / "chelsea.png").read_bytes(), engine, f"64x64:jpeg:q{quality}")
    with Image.open(BytesIO(made)) as image:
        assert image.layer[0][1:3] == sampling  # type: ignore[attr-defined]


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_an_avif_has_full_chroma(make: Make, engine: EngineName) -> None:
    """Alternating red and blue pixels are all violet at half the chroma resolution."""
    board = np.indices((64, 64)).sum(axis=0) % 2
    source = saved(Image.fromarray(np.stack([255 * board, 0 * board, 255 - 255 * board], axis=2).astype(np.uint8)))
    assert np.abs(shown(make(source, engine, "64x64:avif")) - shown(source)).mean() < 20


@pytest.mark.parametrize("name", ["rocket.jpg", "hubble-progressive.jpg", "chelsea.png", "china.webp"])
@pytest.mark.parametrize("format_", ["jpeg", "webp", "avif"])
def test_encoders_stay_near_their_pixels(make: Make, name: str, format_: str) -> None:
    """At the default quality, and with fewer bytes for :small. hubble is the worst sample: stars on fine noise."""
    data = (SAMPLES / name).read_bytes()
    for engine in engines(data, "320x320:png"):
        pixels = shown(make(data, engine, "320x320:png"))
        usual, small = (make(data, engine, f"320x320:{format_}{word}") for word in ("", ":small"))
        assert len(small) < 0.96 * len(usual)
        assert ssim(shown(usual), pixels) >= LEAST_ENCODED
        assert ssim(shown(small), pixels) >= ssim(shown(usual), pixels) - 0.02


def test_a_palette_leaves_few_colours_exact(make: Make, engine: EngineName) -> None:
    flat = Image.new("RGB", (60, 60), (250, 121, 3))
    flat.paste((17, 90, 201), (10, 10, 30, 50))
    for rendition in ("60x60:gif", "60x60:png:q80"):
        assert np.array_equal(shown(make(saved(flat), engine, rendition)), np.asarray(flat))


def test_engines_share_one_encoder_of_gif(make: Make) -> None:
    """Frames of a flat colour are the same pixels in both engines, so their bytes must be the same."""
    frames = [Image.new("RGB", (90, 90), (10 * number, 40, 200)) for number in range(9)]
    source = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=80, loop=3)
    assert len({make(source, engine, "45x45:gif") for engine in BOTH_ENGINES}) == 1


def test_both_engines_cut_soft_edges_of_a_gif_alike(make: Make) -> None:
    """Pixels below half opacity become clear, the others opaque."""
    y, x = np.mgrid[0:200, 0:200]
    alpha = np.clip(150 - np.hypot(x - 100, y - 100) * 1.5, 0, 150) * 255 / 150
    colours = np.stack([x, y, 255 - x, alpha], axis=2).astype(np.uint8)
    vips, pillow = (make(saved(Image.fromarray(colours)), engine, "100x100:gif") for engine in BOTH_ENGINES)
    with Image.open(BytesIO(vips)) as one, Image.open(BytesIO(pillow)) as other:
        clear = [np.asarray(image.convert("RGBA"))[..., 3] == 0 for image in (one, other)]
    assert np.mean(clear[0] != clear[1]) < 0.002
    assert 0.5 < np.mean(clear[1]) < 0.9
    assert score(shown(vips), shown(pillow)).within(ssim=0.96)


def test_an_animation_with_little_motion_is_small(make: Make, engine: EngineName) -> None:
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (96, 96, 3), dtype=np.uint8)).quantize(64)
    frames = [noise.convert("RGB") for _ in range(12)]
    for number, frame in enumerate(frames):
        frame.paste((255, 0, 0), (8 * number, 40, 8 * number + 8, 48))
    source = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=80, loop=0)
    moving, still = make(source, engine, "96x96:gif"), make(saved(frames[0], "GIF"), engine, "96x96:gif")
    assert len(moving) < 2 * len(still)
    for ours, original in zip(shown_frames(moving), shown_frames(source), strict=True):
        assert score(ours, original).within()
