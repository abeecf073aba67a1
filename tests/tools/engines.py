"""CPU time of each engine for one picture, the engines taking turns so that a noisy minute hits both."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image, features
from rich.console import Console
from rich.progress import track
from rich.table import Table

from handler.doctor import instruction_set, pillow_distribution
from thumbnailer.engine import installed_engines, load_engine
from thumbnailer.formats import probe
from thumbnailer.model import EngineName, EventKind, ObjectEvent
from thumbnailer.planning.plan import Plan, make_plan
from thumbnailer.planning.tier import tier_for
from thumbnailer.settings import parse_settings
from thumbnailer.store.base import ObjectHeaders

PHOTO = Path(__file__).parents[2] / "handler" / "demo" / "samples" / "hubble-progressive.jpg"


def run(megapixels: float, rounds: int) -> None:
    """Prints the table. The ratio is of medians; above 1, the engine that `auto` prefers is the faster."""
    table = Table("format", "vips ms", "pillow ms", "auto prefers", "other / preferred", show_edge=False)
    with tempfile.TemporaryDirectory() as folder:
        pictures = list(_pictures(megapixels, Path(folder)))
        for name, path in track(pictures, "measuring", console=Console(stderr=True), transient=True):
            table.add_row(*_row(name, path, rounds))
    Console().print(f"{megapixels:g} MP to 128 px, {', '.join(pillow_distribution())} ({instruction_set()})")
    Console().print(table)


def _pictures(megapixels: float, folder: Path) -> Iterator[tuple[str, Path]]:
    """A real photo, enlarged or reduced to the size asked for, in each format that can be written here."""
    with Image.open(PHOTO) as photo:
        side = round((megapixels * 1e6) ** 0.5)
        image = photo.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    for name, format_, options in _kinds():
        out = BytesIO()
        image.save(out, format_, **options)
        path = folder / name.replace(" ", "-")
        path.write_bytes(out.getvalue())
        yield name, path


def _kinds() -> Iterator[tuple[str, str, dict[str, object]]]:
    yield "jpeg", "JPEG", {"quality": 85}
    yield "jpeg progressive", "JPEG", {"quality": 85, "progressive": True}
    yield "png", "PNG", {}
    yield "webp", "WEBP", {"quality": 80}
    yield "gif", "GIF", {}
    yield "tiff lzw", "TIFF", {"compression": "tiff_lzw"}
    if features.check("avif"):
        yield "avif", "AVIF", {"quality": 60}


def _row(name: str, path: Path, rounds: int) -> tuple[str, ...]:
    spent: dict[EngineName, list[float]] = {engine: [] for engine in EngineName}
    plans = {engine: _plan(path, engine) for engine in EngineName}
    for number in range(rounds + 1):
        for engine, plan in plans.items():
            took = _cpu_ms(path, plan)
            if number and plan.engine is engine:  # the first round warms up
                spent[engine].append(took)
    medians = {engine: statistics.median(times) for engine, times in spent.items() if times}
    preferred = _plan(path, None).engine
    other = next(engine for engine in EngineName if engine is not preferred)
    ratio = f"{medians[other] / medians[preferred]:.2f}" if len(medians) == 2 else "-"
    shown = [f"{medians[engine]:.1f}" if engine in medians else "-" for engine in EngineName]
    return name, *shown, preferred, ratio


def _plan(path: Path, engine: EngineName | None) -> Plan:
    data = path.read_bytes()
    settings = parse_settings({"THUMBNAILER_ENGINE": engine or "auto"})
    headers = ObjectHeaders(len(data), "e", None, None, None, None, None, {})
    event = ObjectEvent(EventKind.CREATED, "bench", path.name)
    return make_plan(event, probe(data, len(data)), headers, settings, tier_for(10_240), installed_engines())


def _cpu_ms(path: Path, plan: Plan) -> float:
    started = time.process_time()
    load_engine(plan.engine).render(str(path), plan)
    return (time.process_time() - started) * 1000
