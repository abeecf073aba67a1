"""The measurements behind two choices: the default qualities, and how far a decoder shrinks while it loads."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.tools.cpu import encoded, photo, shrink_saving
from tests.tools.quality import SAMPLES, TITLES, pictures_in, plan_for
from tests.tools.scoring import LEAST_SSIM, MOST_MEAN, Pixels, references, score, shown
from thumbnailer.engine import installed_engines, load_engine
from thumbnailer.errors import Rejected
from thumbnailer.model import EngineName, Format

QUALITIES = {
    Format.JPEG: (80, 85, 90, 92, 95, 97),
    Format.WEBP: (80, 85, 90, 95),
    Format.AVIF: (55, 75, 85, 90, 95),
}
SHRINKS = (2, 4, 8)
LEFT = (1.5, 2.0, 3.0, 4.0)
"""side of the decoded picture divided by that of the thumbnail"""
PHOTOS = ("rocket.jpg", "hubble-progressive.jpg", "coffee-rotated-by-exif.jpg", "china.webp")
DECODERS: Final = (
    (Format.JPEG, EngineName.VIPS),
    (Format.JPEG, EngineName.PILLOW),
    (Format.WEBP, EngineName.VIPS),
)


# --- qualities ----------------------------------------------------------------------------------------------------


def encoders(images: Path, size: str) -> None:
    """Prints per format and quality: bytes, similarity to the reference, and difference between the engines."""
    table = Table("format", "quality", "bytes", "SSIM median", "worst tenth", "below 0.97", "mean over 2")
    found = [picture for path in pictures_in(images) if (picture := _with_reference(path, size)) is not None]
    for format_, qualities in QUALITIES.items():
        for quality in track(qualities, f"{format_}", console=Console(stderr=True), transient=True):
            table.add_row(format_, str(quality), *_encoder_row(found, f"{size}:{format_}:q{quality}"))
    Console().print(f"{len(found)} pictures of {images} to {size}, both engines")
    Console().print(table)


def _with_reference(path: Path, size: str) -> tuple[Path, Pixels] | None:
    """None for a picture that has no thumbnail or is not resized."""
    data = path.read_bytes()
    try:
        plan = plan_for(data, None, size)
        load_engine(plan.engine).render(str(path), plan)
    except Rejected:
        return None
    target = plan.targets[0]
    return None if target.scaled == plan.info.upright else (path, references(data, [target])[0])


def _encoder_row(found: list[tuple[Path, Pixels]], rendition: str) -> Iterator[str]:
    sizes: list[int] = []
    similarity: list[float] = []
    between: list[float] = []
    for path, reference in found:
        pictures = list(_renderings(path, rendition))
        sizes += map(len, pictures)
        made = [shown(picture) for picture in pictures]
        similarity.append(min(score(pixels, reference).ssim for pixels in made))
        between.append(score(made[0], made[-1]).mean)
    similarity.sort()
    yield f"{statistics.mean(sizes):.0f}"
    yield f"{statistics.median(similarity):.3f}"
    yield f"{similarity[len(similarity) // 10]:.3f}"
    yield f"{sum(ssim < LEAST_SSIM for ssim in similarity)} of {len(found)}"
    yield str(sum(mean > MOST_MEAN for mean in between))


def _renderings(path: Path, rendition: str) -> Iterator[bytes]:
    """By each engine that reads the picture."""
    data = path.read_bytes()
    for engine in installed_engines():
        plan = plan_for(data, engine, rendition)
        if plan.engine is engine:
            try:
                yield load_engine(engine).render(str(path), plan).pictures[0]
            except Rejected:
                continue


# --- shrink-on-load -----------------------------------------------------------------------------------------------


def shrink(megapixels: float, rounds: int) -> None:
    """Prints what shrink-on-load costs in similarity, by the pixels left to the resampler, and the CPU it saves."""
    table = Table("format", "engine", "shrink", *(f"{left:g} x left" for left in LEFT), "CPU, none / shrunk")
    image = photo(megapixels)
    with tempfile.TemporaryDirectory() as folder:
        for format_, engine in DECODERS:
            path = Path(folder) / format_
            path.write_bytes(data := encoded(image, format_.upper(), quality=90))
            plan = plan_for(data, engine, "128x128")
            for by in track(SHRINKS, f"{format_}", console=Console(stderr=True), transient=True):
                scores = (_worst(format_, engine, by, left) for left in LEFT)
                saving = f"{shrink_saving(path, plan, by, rounds):.1f}"
                table.add_row(format_, TITLES[engine], str(by), *scores, saving)
    Console().print(
        f"worst SSIM and mean difference to the reference of {', '.join(PHOTOS)}; CPU of {megapixels:g} MP to 128 px"
    )
    Console().print(table)


def _worst(format_: Format, engine: EngineName, by: int, left: float) -> str:
    ssim, mean = 1.0, 0.0
    for name in PHOTOS:
        with Image.open(SAMPLES / name) as image:
            data = encoded(image.convert("RGB"), format_.upper(), quality=90)
            plan = plan_for(data, engine, f"{int(image.width / (by * left))}x:png")
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            picture = load_engine(engine).render(file.name, dataclasses.replace(plan, shrink=by)).pictures[0]
        found = score(shown(picture), references(data, plan.targets)[0])
        ssim, mean = min(ssim, found.ssim), max(mean, found.mean)
    return f"{ssim:.3f}, {mean:.1f}"
