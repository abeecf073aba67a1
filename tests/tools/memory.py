"""Measured peak of memory and the plan's estimate, for generated pictures of every kind or a folder of the user's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import track
from rich.table import Table

from handler.doctor import pillow_distribution
from tests.tools import ladder
from tests.tools.peak import Job, Peak, PeakServer, peak_server
from thumbnailer.engine import installed_engines
from thumbnailer.model import EngineName
from thumbnailer.planning.memory import MB

NEAR: Final = 1.5
"""largest allowed ratio of estimate to measurement"""
NEAR_FROM_MEGAPIXELS: Final = 4.0
LEAST_COUNTED: Final = 16 * MB
"""smaller peaks count as this: below, most of the estimate does not depend on the picture"""
UNTOLD: Final = frozenset({"lossless.jxl"})
"""kinds whose headers do not give the memory; the estimate takes the worst case"""
COLUMNS: Final = ("picture", "MP", "engine", "measured MB", "estimate MB", "estimate / measured")


@dataclass(frozen=True, slots=True)
class Row:
    """The peak of one picture in one engine."""

    name: str
    engine: EngineName
    peak: Peak

    def cells(self) -> tuple[str, ...]:
        peak = self.peak
        ended = "" if peak.ended == "ok" else f" ({peak.ended})"
        numbers = (
            f"{peak.measured / MB:.1f}",
            f"{peak.estimate / MB:.1f}",
            f"{peak.estimate / max(1, peak.measured):.2f}",
        )
        return self.name + ended, f"{peak.megapixels:.1f}", self.engine.value, *numbers


def measure_ladder(sizes: Sequence[float], rendition: str, kinds: Iterable[str] = ladder.KINDS) -> Iterator[Row]:
    """Writes, measures and deletes one picture after another: a ladder to 100 MP takes several GB."""
    with tempfile.TemporaryDirectory() as folder, peak_server() as server:
        tiny = ladder.picture(ladder.TINY)
        warm = {kind: ladder.write(Path(folder), ladder.TINY, kind, tiny) for kind in kinds}
        for size in sizes:
            image = ladder.picture(size)
            for kind, tiny_one in warm.items():
                if ladder.fits(kind, size):
                    path = ladder.write(Path(folder), size, kind, image)
                    yield from _rows(server, path, tiny_one, rendition)
                    path.unlink()


def measure_folder(folder: Path, rendition: str) -> Iterator[Row]:
    """Measures each file; a tiny picture of a similar kind warms up each engine."""
    with tempfile.TemporaryDirectory() as warm_folder, peak_server() as server:
        tiny = ladder.picture(ladder.TINY)
        most_like = {Path(kind).suffix: kind for kind in reversed(list(ladder.KINDS))}
        warm = {suffix: ladder.write(Path(warm_folder), ladder.TINY, kind, tiny) for suffix, kind in most_like.items()}
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            yield from _rows(server, path, warm.get(path.suffix, warm[".jpg"]), rendition)


def _rows(server: PeakServer, path: Path, warm: Path, rendition: str) -> Iterator[Row]:
    """One row per engine that reads the picture."""
    for engine in installed_engines():
        peak = server.measure(Job(str(path), engine, rendition, str(warm)))
        if peak.estimate:
            yield Row(path.name, engine, peak)


def run(sizes: Sequence[float], rendition: str, images: Path | None, output: Path | None) -> None:
    """Prints the table; with `output`, writes it as Markdown too."""
    rows = measure_ladder(sizes, rendition) if images is None else measure_folder(images, rendition)
    found = list(track(rows, "measuring", total=None, console=Console(stderr=True), transient=True))
    table = Table(*COLUMNS, show_edge=False)
    for row in found:
        table.add_row(*row.cells())
    Console(width=120).print(f"thumbnails {rendition}, {', '.join(pillow_distribution())}")
    Console(width=120).print(table)
    if output is not None:
        lines = (COLUMNS, ["---"] + ["---:"] * (len(COLUMNS) - 1), *(row.cells() for row in found))
        output.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))
