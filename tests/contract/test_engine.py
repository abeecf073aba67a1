"""What both engines must do alike: the same Plan in, the same picture out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.corpus import CORPUS, Row, needs_corpus, rows
from tests.support.pictures import opened
from thumbnailer.engine import installed_engines, load_engine, render
from thumbnailer.errors import Rejected
from thumbnailer.formats import probe
from thumbnailer.model import EngineName, EventKind, Fit, Format, ObjectEvent
from thumbnailer.planning.plan import Plan, make_plan
from thumbnailer.planning.tier import tier_for
from thumbnailer.settings import parse_settings
from thumbnailer.store.base import ObjectHeaders

SAMPLES = Path(__file__).parents[2] / "handler" / "demo" / "samples"
PICTURES = sorted(path for path in SAMPLES.iterdir() if path.suffix != ".md")
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)

Thumbnail = Callable[..., list[bytes]]


def planned(data: bytes, engine: EngineName, renditions: str = "128x128") -> Plan:
    chosen = {"ENGINE": engine, "RENDITIONS": renditions, "SVG": "on"}
    settings = parse_settings({f"THUMBNAILER_{name}": value for name, value in chosen.items()})
    headers = ObjectHeaders(len(data), "e", None, None, None, None, None, {})
    event = ObjectEvent(EventKind.CREATED, "photos", "x")
    return make_plan(event, probe(data, len(data)), headers, settings, tier_for(3008), installed_engines())


@pytest.fixture(params=list(EngineName))
def engine(request: pytest.FixtureRequest) -> EngineName:
    return EngineName(request.param)


@pytest.fixture
def thumbnail(engine: EngineName, tmp_path: Path) -> Thumbnail:
    """data, renditions -> the encoded pictures, made by this engine or, where it cannot read the format, the other."""

    def make(data: bytes, renditions: str = "128x128", **_: Any) -> list[bytes]:
        path = tmp_path / "source"
        path.write_bytes(data)
        plan = planned(data, engine, renditions)
        rendering = render(load_engine, str(path), plan)
        assert rendering.engine is plan.engine, "what the one cannot read, the other makes right"
        return list(rendering.pictures)

    return make


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


def on_white(data: bytes) -> np.ndarray[Any, Any]:
    image = opened(data).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return np.asarray(white.convert("RGB")).astype(float)


def near(pixel: object, colour: tuple[int, int, int], within: int = 12) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(a - b) <= within for a, b in zip(pixel[:3], colour, strict=True))


def quarters() -> Image.Image:
    """Upright: red and green above, blue and white below; wider than high."""
    image = Image.new("RGB", (240, 160))
    for colour, box in ((RED, (0, 0)), (GREEN, (120, 0)), (BLUE, (0, 80)), (WHITE, (120, 80))):
        image.paste(colour, (*box, box[0] + 120, box[1] + 80))
    return image


STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.matrix(16)
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright_and_without_the_tag(
    thumbnail: Thumbnail, orientation: int, format_: str
) -> None:
    turn = STORED_AS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = quarters() if turn is None else quarters().transpose(turn)
    image = opened(thumbnail(encoded(stored, format_, exif=exif), "120x120")[0]).convert("RGB")
    assert image.size == (120, 80)
    corners = [image.getpixel(at) for at in ((20, 20), (100, 20), (20, 60), (100, 60))]
    assert all(near(pixel, colour) for pixel, colour in zip(corners, (RED, GREEN, BLUE, WHITE), strict=True)), corners
    assert 0x0112 not in image.getexif()


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_both_engines_make_the_same_picture(path: Path, tmp_path: Path) -> None:
    """Within a mean of 6 of 255 on a JPEG, WebP or AVIF that each engine's own encoder made."""
    data = path.read_bytes()
    pictures = []
    for name in EngineName:
        plan = planned(data, name)
        pictures.append(on_white(render(load_engine, str(path), plan).pictures[0]))
    assert pictures[0].shape == pictures[1].shape
    assert np.abs(pictures[0] - pictures[1]).mean() < 6


@pytest.mark.parametrize("size", [(1001, 631), (640, 427), (1023, 769)])
def test_a_shrunken_decode_is_where_the_whole_one_is(thumbnail: Thumbnail, size: tuple[int, int]) -> None:
    """Sides that no power of two divides: a decoder that rounds them must not shift the picture."""
    noise = np.random.default_rng(1).integers(0, 256, (size[1] // 9, size[0] // 9, 3), dtype=np.uint8)
    source = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    data = encoded(source, "JPEG", quality=95)
    made = opened(thumbnail(data, "128x128:png")[0]).convert("RGB")
    reference = opened(data).convert("RGB").resize(made.size, Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(made).astype(float) - np.asarray(reference).astype(float)).mean() < 2


def test_cmyk_without_a_profile_looks_the_same_from_both_engines(tmp_path: Path) -> None:
    path = tmp_path / "cmyk.jpg"
    path.write_bytes(encoded(quarters().convert("CMYK"), "JPEG", quality=95))
    made = [render(load_engine, str(path), planned(path.read_bytes(), name)).pictures[0] for name in EngineName]
    assert np.abs(on_white(made[0]) - on_white(made[1])).mean() < 3


def test_alpha_is_kept_in_png_and_flattened_on_white_in_jpeg(thumbnail: Thumbnail) -> None:
    image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 100, 200))
    png, jpeg = thumbnail(encoded(image, "PNG"), "a=100x100:png,b=100x100:jpeg")
    assert (
        opened(png).convert("RGBA").getpixel((80, 50)) == (0, 0, 0, 0)
        or opened(png).getchannel("A").getpixel((80, 50)) == 0
    )
    assert near(opened(png).convert("RGB").getpixel((20, 50)), RED)
    assert near(opened(jpeg).convert("RGB").getpixel((80, 50)), WHITE)


def test_a_transparent_edge_has_no_dark_fringe(thumbnail: Thumbnail) -> None:
    """White beside transparent black: on white there is nothing to be seen, if colours are premultiplied."""
    image = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (0, 0, 201, 400))
    assert on_white(thumbnail(encoded(image, "PNG"), "100x100")[0]).min() >= 250


def test_an_embedded_profile_is_converted_and_a_broken_one_ignored(thumbnail: Thumbnail) -> None:
    adobe_rgb = SAMPLES / "rocket.jpg"
    converted = opened(thumbnail(adobe_rgb.read_bytes())[0])
    assert "icc_profile" not in converted.info
    broken = encoded(quarters(), "JPEG", icc_profile=b"no profile at all", quality=95)
    assert near(opened(thumbnail(broken, "120x120")[0]).convert("RGB").getpixel((20, 20)), RED)


def test_artist_and_copyright_are_all_that_is_left_of_metadata(thumbnail: Thumbnail) -> None:
    exif = Image.Exif()
    exif[0x013B], exif[0x8298], exif[0x010F] = "A. Photographer", "(c) someone", "SecretCamera"
    exif.get_ifd(0x8825)[1] = "N"
    source = encoded(quarters(), "JPEG", exif=exif, comment=b"secret comment", xmp=b"<x:xmpmeta>secret</x:xmpmeta>")
    made = thumbnail(source)[0]
    kept = opened(made).getexif()
    assert (kept[0x013B], kept[0x8298]) == ("A. Photographer", "(c) someone")
    assert not any(secret in made for secret in (b"Secret", b"secret", b"xmpmeta"))


def test_an_animation_keeps_frames_delays_and_loop(thumbnail: Thumbnail) -> None:
    frames = [Image.new("RGB", (200, 100), colour) for colour in (RED, GREEN, BLUE)]
    source = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=[100, 200, 300], loop=0)
    made = opened(thumbnail(source, "100x100")[0])
    assert (made.size, made.n_frames, made.info["loop"]) == ((100, 50), 3, 0)  # type: ignore[attr-defined]
    durations, colours = [], []
    for number in range(3):
        made.seek(number)
        durations.append(made.info["duration"])
        colours.append(made.convert("RGB").getpixel((50, 25)))
    assert durations == [100, 200, 300]
    assert all(near(pixel, colour) for pixel, colour in zip(colours, (RED, GREEN, BLUE), strict=True))


def test_a_still_format_takes_the_first_frame(thumbnail: Thumbnail) -> None:
    frames = [Image.new("RGB", (200, 100), colour) for colour in (RED, GREEN)]
    source = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert near(opened(thumbnail(source, "100x100:jpeg")[0]).convert("RGB").getpixel((50, 25)), RED)


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "gif", "avif"])
def test_every_output_format_is_what_it_says(thumbnail: Thumbnail, format_: str) -> None:
    made = thumbnail((SAMPLES / "rocket.jpg").read_bytes(), f"64x64:cover:{format_}")[0]
    info = probe(made, len(made))
    assert (info.format, info.width, info.height) == (Format(format_), 64, 64)


def test_cover_keeps_the_middle(thumbnail: Thumbnail) -> None:
    image = Image.new("RGB", (300, 100), GREEN)
    image.paste(RED, (0, 0, 90, 100))
    image.paste(BLUE, (210, 0, 300, 100))
    made = opened(thumbnail(encoded(image, "PNG"), f"50x50:{Fit.COVER}")[0]).convert("RGB")
    assert made.size == (50, 50)
    assert all(near(made.getpixel((x, 25)), GREEN) for x in (1, 25, 48))


def test_the_same_bytes_come_out_every_time_in_any_concurrency(thumbnail: Thumbnail, engine: EngineName) -> None:
    def made(path: Path) -> bytes:
        return render(load_engine, str(path), planned(path.read_bytes(), engine)).pictures[0]

    alone = [made(path) for path in PICTURES]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(made, PICTURES * 3)) == alone * 3


def test_every_libvips_loader_but_those_in_use_is_blocked(tmp_path: Path) -> None:
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


@needs_corpus
@pytest.mark.parametrize("row", rows(), ids=lambda row: row.file)
def test_a_real_file_ends_as_the_manifest_says(engine: EngineName, row: Row) -> None:
    """With either engine preferred; `either` rows may end both ways, but must end."""
    path = CORPUS / row.file
    data = path.read_bytes()
    try:
        plan = planned(data, engine)
        made = render(load_engine, str(path), plan).pictures[0]
    except Rejected:
        made = b""
    if not made:
        assert row.expect.startswith("reject") or row.expect == "either"
        return
    assert not row.expect.startswith("reject")
    assert opened(made).size == (plan.targets[0].width, plan.targets[0].height)
