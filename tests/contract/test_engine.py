"""The contract of both engines: the same plan gives the same picture."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.pictures import (
    BLUE,
    GREEN,
    RED,
    SAMPLE_FOLDER,
    SAMPLES,
    WHITE,
    is_near,
    on_white,
    opened,
    saved,
)
from tests.support.processing import EVERY_ENGINE, planned
from tests.support.rendering import render
from thumbnailer.engine import load_engine
from thumbnailer.formats import probe
from thumbnailer.model import EngineName, Fit, Format
from thumbnailer.planning.capabilities import BOTH_ENGINES

Thumbnail = Callable[..., list[bytes]]


@pytest.fixture
def thumbnail(engine: EngineName, tmp_path: Path) -> Thumbnail:
    """data, renditions -> the encoded pictures by this engine, or by the other one if this one cannot read the format.

    Fails if the engine of the plan had to be replaced.
    """

    def make(data: bytes, renditions: str = "128x128") -> list[bytes]:
        path = tmp_path / "source"
        path.write_bytes(data)
        plan = planned(data, engine, renditions)
        rendering = render(load_engine, str(path), plan)
        assert rendering.engine is plan.engine
        return list(rendering.pictures)

    return make


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_both_engines_make_the_same_thumbnail(path: Path) -> None:
    """Each engine encodes with its own encoder, so a mean difference of 6 of 255 is allowed."""
    data = path.read_bytes()
    one, other = (on_white(render(load_engine, str(path), planned(data, name)).pictures[0]) for name in BOTH_ENGINES)
    assert one.shape == other.shape
    assert np.abs(one - other).mean() < 6


def test_png_keeps_alpha_and_jpeg_flattens_it_on_white(thumbnail: Thumbnail) -> None:
    image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 100, 200))
    png, jpeg = thumbnail(saved(image, "PNG"), "a=100x100:png,b=100x100:jpeg")
    assert opened(png).convert("RGBA").getchannel("A").getpixel((80, 50)) == 0
    assert is_near(opened(png).convert("RGB").getpixel((20, 50)), RED)
    assert is_near(opened(jpeg).convert("RGB").getpixel((80, 50)), WHITE)


def test_a_transparent_edge_has_no_dark_fringe(thumbnail: Thumbnail) -> None:
    """White beside transparent black is invisible on white if the engine premultiplies colours."""
    image = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (0, 0, 201, 400))
    assert on_white(thumbnail(saved(image, "PNG"), "100x100")[0]).min() >= 250


def test_an_animation_keeps_frames_delays_and_loop(thumbnail: Thumbnail) -> None:
    frames = [Image.new("RGB", (200, 100), colour) for colour in (RED, GREEN, BLUE)]
    source = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=[100, 200, 300], loop=0)
    made = opened(thumbnail(source, "100x100")[0])
    assert (made.size, made.n_frames, made.info["loop"]) == ((100, 50), 3, 0)  # type: ignore[attr-defined]
    durations, colours = [], []
    for number in range(3):
        made.seek(number)
        durations.append(made.info["duration"])
        colours.append(made.convert("RGB").getpixel((50, 25)))
    assert durations == [100, 200, 300]
    assert all(is_near(pixel, colour) for pixel, colour in zip(colours, (RED, GREEN, BLUE), strict=True))


def test_a_still_format_shows_the_first_frame(thumbnail: Thumbnail) -> None:
    frames = [Image.new("RGB", (200, 100), colour) for colour in (RED, GREEN)]
    source = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert is_near(opened(thumbnail(source, "100x100:jpeg")[0]).convert("RGB").getpixel((50, 25)), RED)


@EVERY_ENGINE
@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "gif", "avif"])
def test_the_output_has_the_requested_format_and_size(thumbnail: Thumbnail, format_: str) -> None:
    made = thumbnail((SAMPLE_FOLDER / "rocket.jpg").read_bytes(), f"64x64:cover:{format_}")[0]
    info = probe(made, len(made))
    assert (info.format, info.width, info.height) == (Format(format_), 64, 64)


def test_cover_crops_around_the_middle(thumbnail: Thumbnail) -> None:
    image = Image.new("RGB", (300, 100), GREEN)
    image.paste(RED, (0, 0, 90, 100))
    image.paste(BLUE, (210, 0, 300, 100))
    made = opened(thumbnail(saved(image, "PNG"), f"50x50:{Fit.COVER}")[0]).convert("RGB")
    assert made.size == (50, 50)
    assert all(is_near(made.getpixel((x, 25)), GREEN) for x in (1, 25, 48))


@EVERY_ENGINE
def test_concurrent_renders_give_the_same_bytes(thumbnail: Thumbnail, engine: EngineName) -> None:
    def made(path: Path) -> bytes:
        return render(load_engine, str(path), planned(path.read_bytes(), engine)).pictures[0]

    alone = [made(path) for path in SAMPLES]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(made, SAMPLES * 3)) == alone * 3


def test_libvips_loaders_not_in_use_are_blocked(tmp_path: Path) -> None:
    import pyvips

    load_engine(EngineName.VIPS)
    matrix, svg = tmp_path / "m.mat", tmp_path / "x.svg"
    matrix.write_text("2 2\n1 2\n3 4\n")
    svg.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    for path, loader in ((matrix, "matrixload"), (svg, "svgload")):
        with pytest.raises(pyvips.Error):
            getattr(pyvips.Image, loader)(str(path))
        with pytest.raises(pyvips.Error):
            pyvips.Image.new_from_file(str(path))
