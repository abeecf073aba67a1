"""CPU time of the engines, of shrink-on-load and of a child process. The sides take turns: noise hits all of them."""

from __future__ import annotations

import asyncio
import dataclasses
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from PIL import Image, features
from rich.console import Console
from rich.progress import track
from rich.table import Table

from handler.doctor import instruction_set, pillow_distribution
from tests.tools.peak import plan_for as plan_with_only
from tests.tools.quality import SAMPLES, plan_for
from thumbnailer.app import new_event_loop
from thumbnailer.engine import load_engine, render_first
from thumbnailer.execution.attempt import Attempt
from thumbnailer.execution.isolated import render_isolated
from thumbnailer.model import EngineName
from thumbnailer.planning.plan import Plan

PHOTO: Final = SAMPLES / "hubble-progressive.jpg"
ISOLATED: Final = (
    ("rocket.jpg", EngineName.PILLOW),
    ("rocket.jpg", EngineName.VIPS),
    ("chelsea.png", EngineName.VIPS),
    ("flower.avif", EngineName.PILLOW),
    ("retina.heic", EngineName.PILLOW),
)


def medians(rounds: int, plans: Sequence[tuple[Path, Plan]]) -> list[float]:
    """Median CPU milliseconds of each render; the first round warms up."""
    spent = [[_cpu_ms(path, plan) for path, plan in plans] for _ in range(rounds + 1)][1:]
    return [statistics.median(times) for times in zip(*spent, strict=True)]


def _cpu_ms(path: Path, plan: Plan) -> float:
    started = time.process_time()
    load_engine(plan.engine).render(str(path), plan)
    return (time.process_time() - started) * 1000


def photo(megapixels: float) -> Image.Image:
    """A square photo of that size."""
    with Image.open(PHOTO) as image:
        side = round((megapixels * 1e6) ** 0.5)
        return image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


def _table(*columns: str, rows: Iterator[tuple[str, ...]]) -> None:
    table = Table(*columns, show_edge=False)
    for row in track(rows, "measuring", total=None, console=Console(stderr=True), transient=True):
        table.add_row(*row)
    Console().print(table)


# --- the table of `auto` ------------------------------------------------------------------------------------------


def engines(megapixels: float, rounds: int) -> None:
    """Prints the CPU time by format. A ratio above 1 means that the preferred engine of `auto` is faster."""
    with tempfile.TemporaryDirectory() as folder:
        Console().print(f"{megapixels:g} MP to 128 px, {', '.join(pillow_distribution())} ({instruction_set()})")
        columns = ("format", *(f"{engine} ms" for engine in EngineName), "auto prefers", "other / preferred")
        _table(*columns, rows=_engine_rows(megapixels, rounds, Path(folder)))


def _engine_rows(megapixels: float, rounds: int, folder: Path) -> Iterator[tuple[str, ...]]:
    image = photo(megapixels)
    for name, format_, options in _kinds():
        path = folder / name.replace(" ", "-")
        path.write_bytes(data := encoded(image, format_, **options))
        plans = [plan for engine in EngineName if (plan := plan_for(data, engine, "128x128")).engine is engine]
        times = dict(
            zip((plan.engine for plan in plans), medians(rounds, [(path, plan) for plan in plans]), strict=True)
        )
        preferred = plan_for(data, None, "128x128").engine
        others = [ms for engine, ms in times.items() if engine is not preferred]
        ratio = f"{min(others) / times[preferred]:.2f}" if others else "-"
        yield name, *(f"{times[engine]:.1f}" if engine in times else "-" for engine in EngineName), preferred, ratio


def _kinds() -> Iterator[tuple[str, str, dict[str, Any]]]:
    yield "jpeg", "JPEG", {"quality": 85}
    yield "jpeg progressive", "JPEG", {"quality": 85, "progressive": True}
    yield "png", "PNG", {}
    yield "webp", "WEBP", {"quality": 80}
    yield "gif", "GIF", {}
    yield "tiff lzw", "TIFF", {"compression": "tiff_lzw"}
    if features.check("avif"):
        yield "avif", "AVIF", {"quality": 60}


def shrink_saving(path: Path, plan: Plan, by: int, rounds: int) -> float:
    """CPU time of a whole decode divided by that of a shrunken one."""
    whole, shrunk = medians(rounds, [(path, dataclasses.replace(plan, shrink=number)) for number in (1, by)])
    return whole / shrunk


# --- a child process ----------------------------------------------------------------------------------------------


def isolated(rounds: int) -> None:
    """Prints the cost of decoding in a child process, as the pipeline does for a redelivered message."""
    _table("picture", "engine", "here: CPU ms", "in a child: CPU ms", "ms until it ends", rows=_child_rows(rounds))


def _child_rows(rounds: int) -> Iterator[tuple[str, ...]]:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        for name, engine in ISOLATED:
            path = str(SAMPLES / name)
            plan = plan_with_only(path, engine, "128x128")
            pairs = [(_spend(path, plan), _spend(path, plan, runner)) for _ in range(rounds + 1)][1:]
            own = statistics.median(here[0] for here, _ in pairs)
            child, wall = (statistics.median(there[part] for _, there in pairs) for part in (1, 2))
            yield name, engine, f"{own:.1f}", f"{child:.0f}", f"{wall:.0f}"


def _spend(path: str, plan: Plan, runner: asyncio.Runner | None = None) -> tuple[float, float, float]:
    """Milliseconds of one render, in a child if there is a runner: CPU here, CPU of children, wall time."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    before, started = list(map(_usage, who)), time.perf_counter()
    if runner:
        runner.run(render_isolated(Attempt(path, plan)))
    else:
        render_first(load_engine, path, plan)
    wall = time.perf_counter() - started
    own, children = (1000 * (_usage(one) - cpu) for one, cpu in zip(who, before, strict=True))
    return own, children, 1000 * wall


def _usage(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime
