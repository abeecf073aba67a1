"""Numbers that no cell has, each of some pictures: memory of a render, likeness, and bytes against sharp's."""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from io import BytesIO
from multiprocessing import get_context
from operator import sub
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import uniform_filter

from bench.peers import HERE, node_packages, run_program
from bench.result import MB
from bench.rig.limits import peak_rss_of
from bench.rig.processes import find_program
from thumbnailer.engine import installed_engines, load_engine, render_first
from thumbnailer.execution.malloc import tame_heap, trim_heap
from thumbnailer.formats import probe
from thumbnailer.model import EventKind, ObjectEvent
from thumbnailer.planning.plan import make_plan
from thumbnailer.planning.tier import tier_for
from thumbnailer.settings import parse_settings
from thumbnailer.store.base import ObjectHeaders

Paths = tuple[Path, ...]
Pixels = NDArray[np.float64]


@cache
def render(path: Path, renditions: str, engine: str = "auto") -> bytes:
    """Returns the first thumbnail. Raises Rejected."""
    size = path.stat().st_size
    settings = parse_settings({"THUMBNAILER_ENGINE": engine, "THUMBNAILER_RENDITIONS": renditions})
    headers = ObjectHeaders(size, "e", None, None, None, None, None, {})
    event = ObjectEvent(EventKind.CREATED, "bench", path.name)
    info = probe(path.read_bytes(), size)  # nothing keeps the file's bytes while it is rendered
    plan = make_plan(event, info, headers, settings, tier_for(10_240), installed_engines())
    return render_first(load_engine, str(path), plan).pictures[0]


def peak_mb(paths: Paths, renditions: str) -> float:
    """Returns the most MB of resident memory that a render takes beyond the idle process."""
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        return max(pool.map(_peak_mb, paths, [renditions] * len(paths)))


def _peak_mb(path: Path, renditions: str) -> float:
    tame_heap()
    with TemporaryDirectory() as folder:  # a tiny picture imports the engine and leaves no heap for the large one
        Image.new("RGB", (64, 64)).save(tiny := Path(folder, "tiny.jpg"))
        render(tiny, renditions)
    trim_heap(0)
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak is now the resident memory
    idle = peak_rss_of(os.getpid())
    render(path, renditions)
    return (peak_rss_of(os.getpid()) - idle) / MB


@cache
def likeness(path: Path, thumbnail: bytes) -> float:
    """Returns the SSIM (channels, 7 x 7 windows, usual constants) to the whole decode, reduced by Lanczos."""
    one = _pixels(thumbnail)
    with Image.open(path) as image:
        reduced = image.convert("RGB").resize(one.shape[1::-1], Image.Resampling.LANCZOS)
    return _ssim(one, np.asarray(reduced, np.float64))


def _pixels(picture: bytes) -> Pixels:
    with Image.open(BytesIO(picture)) as image:
        return np.asarray(image.convert("RGB"), np.float64)


def _ssim(one: Pixels, other: Pixels) -> float:
    a, b, ab, squares = (uniform_filter(each, (7, 7, 1)) for each in (one, other, one * other, one**2 + other**2))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    means, above = a**2 + b**2, (2 * a * b + c1) * (2 * (ab - a * b) + c2)
    return float((above / ((means + c1) * (squares - means + c2))).mean())


def _likenesses(paths: Paths, sides: tuple[str, ...], engine: str = "auto") -> list[float]:
    return [likeness(path, render(path, f"{side}x{side}:png", engine)) for path in paths for side in sides]


def least_likeness(paths: Paths, *sides: str) -> float:
    return min(_likenesses(paths, sides))


def likeness_lost(paths: Paths, *sides: str) -> float:
    """Returns the most likeness lost against Pillow."""
    return float(max(map(sub, _likenesses(paths, sides, "pillow"), _likenesses(paths, sides))))


def draw_text(folder: Path) -> None:
    """Writes a JPEG like a screenshot of coloured text."""
    image = Image.new("RGB", (1280, 960), "white")
    for line, colour in enumerate(("red", "blue", "green", "magenta", "black") * 12):
        ImageDraw.Draw(image).text((8, 16 * line), "The quick brown fox jumps over the lazy dog. " * 5, colour)
    image.save(folder / "coloured-text.jpg", quality=90)


@cache
def _by_sharp(pixels: tuple[bytes, ...]) -> Mapping[str, bytes]:
    """Returns lossless thumbnails, encoded with sharp's defaults, as {number}.{format}. Raises NotInstalled."""
    with TemporaryDirectory() as folder:
        sources = [Path(folder, f"{number}.png") for number in range(len(pixels))]
        for source, data in zip(sources, pixels, strict=True):
            source.write_bytes(data)
        run_program(find_program("node"), ["sizes.mjs", folder, *map(str, sources)], node_packages(HERE / "sharp"))
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def _pairs(paths: Paths, side: str, format_: str, option: str = "") -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yields the same pixels lossless, encoded by us, and by sharp with its defaults. Raises NotInstalled."""
    pixels = tuple(render(path, f"{side}x{side}:png") for path in paths)
    for number, (path, lossless) in enumerate(zip(paths, pixels, strict=True)):
        ours = render(path, f"{side}x{side}:{format_}{option}")
        yield lossless, ours, _by_sharp(pixels)[f"{number}.{format_}"]


def bytes_ratio(paths: Paths, *wish: str) -> float:
    """Returns our bytes divided by sharp's."""
    _, ours, sharp = zip(*_pairs(paths, *wish), strict=True)
    return sum(map(len, ours)) / sum(map(len, sharp))


def likeness_gained(paths: Paths, *wish: str) -> float:
    """Returns our mean SSIM to the pixels before encoding, less sharp's."""
    return fmean(
        _ssim(_pixels(ours), before) - _ssim(_pixels(sharp), before)
        for lossless, ours, sharp in _pairs(paths, *wish)
        for before in [_pixels(lossless)]
    )
