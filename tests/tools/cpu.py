"""CPU time of the engines, of shrink-on-load and of a child process. The sides take turns: noise hits all of them."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
from thumbnailer.engine import load_engine
from thumbnailer.execution.attempt import Attempt
from thumbnailer.execution.child import MOST_KEPT_FREE
from thumbnailer.execution.isolated import Children
from thumbnailer.execution.malloc import trim_heap
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
    """Prints the CPU time of a picture in this process, in a child that waits for pictures, and in a new child."""
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder, "photo.jpg")
        large.write_bytes(encoded(photo(12.0), "JPEG", quality=95))
        pictures = [*((SAMPLES / name, engine) for name, engine in ISOLATED), (large, EngineName.PILLOW)]
        _table("picture", "engine", "here: CPU ms", "waiting child", "new child", rows=_child_rows(rounds, pictures))


def _child_rows(rounds: int, pictures: Sequence[tuple[Path, EngineName]]) -> Iterator[tuple[str, ...]]:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        waiting, new = Children(keep=True), Children(keep=False)
        for path, engine in pictures:
            attempt = Attempt(str(path), plan_with_only(str(path), engine, "128x128"))
            sides: list[Callable[[], object]] = [
                partial(attempt.render, load_engine),
                partial(_run, runner, waiting, attempt),
                partial(_run, runner, new, attempt),
            ]
            spent = [[_spend(side) for side in sides] for _ in range(rounds + 1)][1:]
            medians_ = (statistics.median(times) for times in zip(*spent, strict=True))
            yield path.name, engine, *(f"{ms:.1f}" for ms in medians_)
        runner.run(waiting.aclose())


def _run(runner: asyncio.Runner, children: Children, attempt: Attempt) -> None:
    runner.run(children.render(attempt))


def _spend(render: Callable[[], object]) -> float:
    """CPU milliseconds of this process and its children, also of those that still run."""
    before = _cpu_seconds()
    render()
    trim_heap(MOST_KEPT_FREE)  # as children and threads do after each picture
    return 1000 * (_cpu_seconds() - before)


def _cpu_seconds() -> float:
    running = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages) + sum(map(_clock, map(int, running)))


def _clock(pid: int) -> float:
    """Seconds of CPU time of a process: clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)
