"""What was chosen by measurement: the encoders' qualities, and how far a decoder shrinks while it loads."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.tools.quality import SAMPLES, TITLES, pictures_in, plan_for
from tests.tools.scoring import LEAST_SSIM, MOST_MEAN, Pixels, references, score, shown
from thumbnailer.engine import load_engine
from thumbnailer.errors import Rejected
from thumbnailer.model import EngineName, Format
from thumbnailer.planning.plan import Plan

QUALITIES = {
    Format.JPEG: (80, 85, 90, 92, 95, 97),
    Format.WEBP: (80, 85, 90, 95),
    Format.AVIF: (55, 75, 85, 90, 95),
}
SHRINKS = (2, 4, 8)
LEFT = (1.5, 2.0, 3.0, 4.0)  # times the pixels of a side that are wanted, left to the resampler
PHOTOS = ("rocket.jpg", "hubble-progressive.jpg", "coffee-rotated-by-exif.jpg", "china.webp")
LARGE = SAMPLES / "hubble-progressive.jpg"


# --- qualities ----------------------------------------------------------------------------------------------------


def encoders(images: Path, size: str) -> None:
    """Prints a line a format and quality: bytes, likeness to the reference, and of both engines to each other."""
    table = Table("format", "quality", "bytes", "SSIM median", "worst tenth", "below 0.97", "mean over 2")
    found = [picture for path in pictures_in(images) if (picture := _picture(path, size)) is not None]
    for format_, qualities in QUALITIES.items():
        for quality in track(qualities, f"{format_}", console=Console(stderr=True), transient=True):
            table.add_row(format_, str(quality), *_line(found, f"{size}:{format_}:q{quality}"))
    Console().print(f"{len(found)} pictures of {images} to {size}, both engines")
    Console().print(table)


def _picture(path: Path, size: str) -> tuple[Path, Pixels] | None:
    """With its reference; None where there is no thumbnail of it, or where it is not resized."""
    data = path.read_bytes()
    try:
        plan = plan_for(data, None, size)
        load_engine(plan.engine).render(str(path), plan)
    except Rejected:
        return None
    target = plan.targets[0]
    return None if target.scaled == plan.info.upright else (path, references(data, [target])[0])


def _line(found: list[tuple[Path, Pixels]], rendition: str) -> Iterator[str]:
    sizes: list[int] = []
    likeness: list[float] = []
    between: list[float] = []
    for path, reference in found:
        pictures = list(_rendered(path, rendition))
        sizes += map(len, pictures)
        made = [shown(picture) for picture in pictures]
        likeness.append(min(score(pixels, reference).ssim for pixels in made))
        between.append(score(made[0], made[-1]).mean)
    likeness.sort()
    yield f"{statistics.mean(sizes):.0f}"
    yield f"{statistics.median(likeness):.3f}"
    yield f"{likeness[len(likeness) // 10]:.3f}"
    yield f"{sum(ssim < LEAST_SSIM for ssim in likeness)} of {len(found)}"
    yield str(sum(mean > MOST_MEAN for mean in between))


def _rendered(path: Path, rendition: str) -> Iterator[bytes]:
    """By both engines, or by the one that can."""
    data = path.read_bytes()
    for engine in EngineName:
        plan = plan_for(data, engine, rendition)
        if plan.engine is engine:
            try:
                yield load_engine(engine).render(str(path), plan).pictures[0]
            except Rejected:
                continue


# --- shrinking while loading --------------------------------------------------------------------------------------


def shrink(megapixels: float, rounds: int) -> None:
    """Prints what shrinking costs in likeness, by the pixels left to the resampler, and what it saves."""
    table = Table("format", "engine", "shrink", *(f"{left:g} x left" for left in LEFT), "CPU, none / shrunk")
    with tempfile.TemporaryDirectory() as folder:
        for format_, engine in (
            (Format.JPEG, EngineName.VIPS),
            (Format.JPEG, EngineName.PILLOW),
            (Format.WEBP, EngineName.VIPS),
        ):
            large = _large(format_, megapixels, Path(folder))
            for by in track(SHRINKS, f"{format_}", console=Console(stderr=True), transient=True):
                scores = (_worst(format_, engine, by, left) for left in LEFT)
                table.add_row(format_, TITLES[engine], str(by), *scores, _saved(large, engine, by, rounds))
    Console().print(
        f"worst SSIM and mean difference to the reference of {', '.join(PHOTOS)}; CPU of {megapixels:g} MP to 128 px"
    )
    Console().print(table)


def _worst(format_: Format, engine: EngineName, by: int, left: float) -> str:
    ssim, mean = 1.0, 0.0
    for name in PHOTOS:
        with Image.open(SAMPLES / name) as photo:
            data = _encoded(photo.convert("RGB"), format_)
            plan = plan_for(data, engine, f"{int(photo.width / (by * left))}x:png")
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            picture = load_engine(engine).render(file.name, dataclasses.replace(plan, shrink=by)).pictures[0]
        made = score(shown(picture), references(data, plan.targets)[0])
        ssim, mean = min(ssim, made.ssim), max(mean, made.mean)
    return f"{ssim:.3f}, {mean:.1f}"


def _large(format_: Format, megapixels: float, folder: Path) -> Path:
    with Image.open(LARGE) as photo:
        side = round((megapixels * 1e6) ** 0.5)
        data = _encoded(photo.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), format_)
    path = folder / format_
    path.write_bytes(data)
    return path


def _encoded(image: Image.Image, format_: Format) -> bytes:
    out = BytesIO()
    image.save(out, format_.upper(), quality=90)
    return out.getvalue()


def _saved(path: Path, engine: EngineName, by: int, rounds: int) -> str:
    """The CPU time of a whole decode over that of a shrunken one, taking turns."""
    plan = plan_for(path.read_bytes(), engine, "128x128")
    plans = [dataclasses.replace(plan, shrink=number) for number in (1, by)]
    spent = np.array([[_cpu(path, each) for each in plans] for _ in range(rounds + 1)][1:])
    whole, shrunk = np.median(spent, axis=0)
    return f"{whole / shrunk:.1f}"


def _cpu(path: Path, plan: Plan) -> float:
    started = time.process_time()
    load_engine(plan.engine).render(str(path), plan)
    return time.process_time() - started
