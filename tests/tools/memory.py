"""Estimate and measured peak of memory side by side, over a ladder of pictures or a folder of one's own."""

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
from thumbnailer.model import EngineName
from thumbnailer.planning.memory import MB

SIZES: Final = (1.0, 4.0, 12.0, 24.0, 50.0, 100.0)
NEAR: Final = 1.5
NEAR_FROM_MEGAPIXELS: Final = 4.0
LEAST_COUNTED: Final = 16 * MB
"""A picture that takes less is counted as this: below it, most of the estimate is what does not follow the picture."""
UNTOLD: Final = frozenset({"lossless.jxl"})
"""Kinds whose headers do not say what they take: the dearest is reckoned with."""
COLUMNS: Final = ("picture", "MP", "engine", "measured MB", "estimate MB", "estimate / measured")


@dataclass(frozen=True, slots=True)
class Row:
    """What one engine took for one picture."""

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
    """Each picture is written, measured in both engines and deleted: a ladder to 100 MP is several GB."""
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
    """Each file in both engines, each of them warmed by a picture of the kind it is most like."""
    with tempfile.TemporaryDirectory() as warm_folder, peak_server() as server:
        tiny = ladder.picture(ladder.TINY)
        most_like = {Path(kind).suffix: kind for kind in reversed(list(ladder.KINDS))}
        warm = {suffix: ladder.write(Path(warm_folder), ladder.TINY, kind, tiny) for suffix, kind in most_like.items()}
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            yield from _rows(server, path, warm.get(path.suffix, warm[".jpg"]), rendition)


def _rows(server: PeakServer, path: Path, warm: Path, rendition: str) -> Iterator[Row]:
    """Of the engines that read it."""
    for engine in EngineName:
        peak = server.measure(Job(str(path), engine, rendition, str(warm)))
        if peak.estimate:
            yield Row(path.name, engine, peak)


def run(sizes: Sequence[float], rendition: str, images: Path | None, output: Path | None) -> None:
    """Prints the table; writes it as a Markdown page as well where `output` is given."""
    rows = measure_ladder(sizes, rendition) if images is None else measure_folder(images, rendition)
    found = list(track(rows, "measuring", total=None, console=Console(stderr=True), transient=True))
    table = Table(*COLUMNS, show_edge=False)
    for row in found:
        table.add_row(*row.cells())
    Console(width=120).print(table)
    if output is not None:
        output.write_text(_page(found, rendition))


PAGE: Final = """\
# Memory

What one picture takes beyond the idle process (interpreter, store, both engines: 76 MB are set aside), measured and as
the plan reckons with it. The peak is the resident memory of a process of its own (`VmHWM`), the estimate is
`thumbnailer/memory_model.py`. The plan takes an engine whose estimate fits into the tier, and the one that leaves room
for the other workers before one that does not; what fits in no engine is `rejected:too-many-pixels` as soon as its
header has come. `tests/budgets` holds that no estimate is below the measured peak and, over {near_from:g} MP, none
above {near:g} times of it (pictures that take less than {least} MB count as {least}; whether the planes of a lossless
JPEG XL are squeezed its header does not say, and the dearer is reckoned with); and that the kernel, given 128, 256, 512
and 1,024 MB as a limit, finds nothing to kill, the pictures one by one and in mixes.

Several things follow from the table. A sequential JPEG takes next to nothing, because its decoder shrinks it; a
progressive one holds all its coefficients, whichever engine. libvips streams PNG and TIFF, so that they take what some
hundred rows take; interlaced it holds all of them, and Pillow may be the smaller. Several thumbnails of one picture
make libvips hold it decoded. Alpha is resampled as floats.

What is freed goes back to the system: one heap for all threads, no more than 2 MB kept at its end, and what lies free
between blocks in use is given back after a picture when it is more than an eighth of the budget
(`thumbnailer/execution/malloc.py`). Left as it is, glibc keeps tens of MB a thread.

Thumbnails: `{rendition}`. Made by `python -m bench memory --rendition {rendition} -o FILE` with {made_with}.

{table}
"""


def _page(rows: Sequence[Row], rendition: str) -> str:
    head = " | ".join(COLUMNS), " | ".join("---" if number < 1 else "---:" for number in range(len(COLUMNS)))
    table = "\n".join(f"| {line} |" for line in (*head, *(" | ".join(row.cells()) for row in rows)))
    return PAGE.format(
        table=table,
        rendition=rendition,
        made_with=", ".join(pillow_distribution()),
        near=NEAR,
        near_from=NEAR_FROM_MEGAPIXELS,
        least=LEAST_COUNTED // MB,
    )
