"""A page with each picture, its thumbnails by both engines, a reference, the differences and the scores."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import jinja2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from handler.doctor import pillow_distribution
from tests.tools.scoring import LEAST_SSIM, MOST_MEAN, Pixels, Score, references, score, shown
from thumbnailer.engine import installed_engines, load_engine
from thumbnailer.errors import Rejected
from thumbnailer.formats import probe
from thumbnailer.model import EngineName, EventKind, ObjectEvent
from thumbnailer.planning.capabilities import BOTH_ENGINES, OUTPUTS
from thumbnailer.planning.plan import Plan, make_plan
from thumbnailer.planning.targets import Target
from thumbnailer.planning.tier import tier_for
from thumbnailer.settings import parse_settings
from thumbnailer.store.base import ObjectHeaders

SAMPLES: Final = Path(__file__).parents[2] / "handler" / "demo" / "samples"
NO_PICTURES: Final = (".md", ".csv")
AMPLIFIED: Final = 8
ORIGINAL_SIDE: Final = 256  # of the page, not of a thumbnail
STANDARDS: Final = {"reference": "decoded whole, one Lanczos3", "expected": "by another program"}
TITLES: Final = {EngineName.NATIVE: "native", EngineName.VIPS: "libvips", EngineName.PILLOW: "Pillow"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One inline image of the page with its caption."""

    title: str
    uri: str
    width: int
    height: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A line of scores. For the reference, only the structural similarity has a bound."""

    title: str
    score: Score
    of_reference: bool

    @property
    def used(self) -> float:
        """The share of the allowed difference; a miss is above 1."""
        ssim = (1 - self.score.ssim) / (1 - LEAST_SSIM)
        return ssim if self.of_reference else max(ssim, self.score.mean / MOST_MEAN)


@dataclass(frozen=True, slots=True)
class Card:
    """A picture of the page."""

    name: str
    about: str
    images: tuple[Figure, ...]
    comparisons: tuple[Comparison, ...]
    bytes: int
    """of the larger thumbnail"""
    side: int
    """the width of a thumbnail"""

    @property
    def used(self) -> float:
        return max((comparison.used for comparison in self.comparisons), default=0)


def plan_for(data: bytes, engine: EngineName | None, renditions: str) -> Plan:
    """The plan of a picture in a function of 10 GB. Raises as `probe` and `make_plan` do."""
    settings = parse_settings({"THUMBNAILER_ENGINE": engine or "auto", "THUMBNAILER_RENDITIONS": renditions})
    headers = ObjectHeaders(len(data), "e", None, None, None, None, None, {})
    event = ObjectEvent(EventKind.CREATED, "bench", "picture")
    return make_plan(event, probe(data, len(data)), headers, settings, tier_for(10_240), installed_engines())


def pictures_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() not in NO_PICTURES)


def run(images: Path, output: Path, rendition: str, expected: Path | None = None) -> None:
    """Writes the self-contained page. `expected` is a folder with thumbnails by another program."""
    paths = pictures_in(images)
    cards: list[Card] = []
    refused: list[tuple[str, str]] = []
    for path in track(paths, "comparing", console=Console(stderr=True), transient=True):
        try:
            cards.append(_card(path, rendition, expected))
        except Rejected as error:
            refused.append((path.name, f"{error.reason}: {error}"))
    cards.sort(key=lambda card: card.used, reverse=True)
    output.write_text(_page(cards, refused, rendition), encoding="utf-8")
    misses = sum(card.used > 1 for card in cards)
    Console().print(f"{output}: {len(cards)} pictures, {misses} with a miss, {len(refused)} refused")


def _page(cards: list[Card], refused: list[tuple[str, str]], rendition: str) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("quality.html.j2").render(
        cards=cards,
        refused=refused,
        rendition=rendition,
        amplified=AMPLIFIED,
        most_mean=MOST_MEAN,
        least_ssim=LEAST_SSIM,
        libraries=", ".join([*_libvips(), *pillow_distribution()]),
    )


def _libvips() -> Iterator[str]:
    import pyvips

    yield "libvips " + ".".join(str(pyvips.version(part)) for part in range(3))


def _card(path: Path, rendition: str, expected: Path | None) -> Card:
    """Raises Rejected if no engine makes a thumbnail."""
    data = path.read_bytes()
    pictures: dict[EngineName, bytes] = {}
    for engine in installed_engines():
        plan = plan_for(data, engine, rendition)
        if plan.engine is engine:
            try:
                pictures[engine] = load_engine(engine).render(str(path), plan).pictures[0]
            except Rejected as error:
                refusal = error
    if not pictures:
        raise refusal
    standards = dict(_standards(data, plan.targets[0], expected_thumbnail(expected, path.name)))
    return _compared(path.name, data, plan, pictures, standards)


def expected_thumbnail(folder: Path | None, name: str) -> bytes | None:
    """Another program's thumbnail of the picture of this name: `photo.jpg`, `photo.png` or `photo.jpg.png`, say."""
    for path in sorted(folder.iterdir()) if folder else ():
        if name in (path.name, path.stem) or Path(name).stem == path.stem:
            return path.read_bytes()
    return None


def fitted(thumbnail: bytes, target: Target) -> Pixels:
    """Another program's thumbnail, stretched by a pixel if that program rounds a side differently.

    Raises ValueError for any other size.
    """
    pixels = shown(thumbnail)
    size = target.width, target.height
    if max(abs(pixels.shape[1] - size[0]), abs(pixels.shape[0] - size[1])) > 1:
        raise ValueError(f"it is {pixels.shape[1]}x{pixels.shape[0]}, and not {size[0]}x{size[1]}")
    stretched = Image.fromarray(_bytes(pixels)).resize(size, Image.Resampling.LANCZOS)
    return np.asarray(stretched, np.float64)


def _standards(data: bytes, target: Target, expected: bytes | None) -> Iterator[tuple[str, Pixels]]:
    """The references; none if no independent decoder reads the picture."""
    with suppress(Exception):  # whatever a decoder raises on a damaged file
        yield "reference", references(data, [target])[0]
    if expected is not None:
        yield "expected", fitted(expected, target)


def _compared(
    name: str, data: bytes, plan: Plan, pictures: dict[EngineName, bytes], standards: dict[str, Pixels]
) -> Card:
    target, info = plan.targets[0], plan.info
    made = {engine: shown(picture) for engine, picture in pictures.items()}
    images = [
        _original(data),
        *(_inline(title, pixels, STANDARDS[title]) for title, pixels in standards.items()),
        *(_thumbnail(engine, picture, target) for engine, picture in pictures.items()),
        *_differences(made, standards),
    ]
    about = f"{info.format}, {info.width}x{info.height}, {len(data):,} bytes; shrunk by {plan.shrink} while loading"
    most = max(map(len, pictures.values()))
    return Card(name, about, tuple(images), tuple(_comparisons(made, standards)), most, target.width)


def _comparisons(made: dict[EngineName, Pixels], standards: dict[str, Pixels]) -> Iterator[Comparison]:
    if made.keys() >= set(BOTH_ENGINES):
        between = score(*(made[engine] for engine in BOTH_ENGINES))
        yield Comparison("libvips and Pillow", between, of_reference=False)
    for title, wanted in standards.items():
        for engine, pixels in made.items():
            yield Comparison(f"{TITLES[engine]} and {title}", score(pixels, wanted), of_reference=True)


# --- images -------------------------------------------------------------------------------------------------------


def _original(data: bytes) -> Figure:
    """The original, reduced for the page."""
    image = Image.fromarray(_bytes(shown(data)))
    width, height = image.size
    image.thumbnail((ORIGINAL_SIDE, ORIGINAL_SIDE), Image.Resampling.LANCZOS)
    return Figure("original", _webp(image, quality=80), *image.size, note=f"reduced from {width}x{height}")


def _thumbnail(engine: EngineName, picture: bytes, target: Target) -> Figure:
    """The stored bytes."""
    uri = f"data:{OUTPUTS[target.format].content_type};base64,{base64.b64encode(picture).decode()}"
    return Figure(TITLES[engine], uri, target.width, target.height, f"{len(picture):,} bytes")


def _inline(title: str, pixels: Pixels, note: str) -> Figure:
    image = Image.fromarray(_bytes(pixels))
    return Figure(title, _webp(image, lossless=True), *image.size, note=note)


def _differences(made: dict[EngineName, Pixels], standards: dict[str, Pixels]) -> Iterator[Figure]:
    """Images of differences: grey is none."""
    pairs: list[tuple[str, Pixels, Pixels]] = []
    if made.keys() >= set(BOTH_ENGINES):
        pairs.append(("libvips - Pillow", made[EngineName.VIPS], made[EngineName.PILLOW]))
    for title, wanted in standards.items():
        pairs += [(f"{TITLES[engine]} - {title}", pixels, wanted) for engine, pixels in made.items()]
    for title, one, other in pairs:
        image = Image.fromarray(_bytes(128 + AMPLIFIED * (one - other)))
        yield Figure(title, _webp(image, quality=75), *image.size, note=f"difference, times {AMPLIFIED}")


def _bytes(pixels: Pixels) -> Pixels:
    rounded: Pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return rounded


def _webp(image: Image.Image, **options: int) -> str:
    out = BytesIO()
    image.save(out, "WEBP", method=6, **options)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
