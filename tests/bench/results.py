"""Files of results that are made up: the shapes of curves are plausible, no number was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from bench.questions import EXPERIMENTS, Options
from bench.result import Cell, CellKey, Machine, PictureSet, Repetition, Result, Software
from thumbnailer.backfill.prices import load_prices

PRICES: Final = load_prices()
MEMORIES: Final = (128, 256, 512, 1024, 1769, 3008)
QUICK: Final = Options(quick=True)
NOISE: Final = (1.0, 0.98, 1.03, 1.01, 0.99)
CPU_MS: Final = {"auto": 5.0, "pillow": 5.2, "vips": 7.5, "textbook": 16.0, "sharp": 8.0, "tutorial": 8.5, "floor": 2.6}
TASKS: Final = ((0.5, 1024), (1, 2048))


def synthetic_result(memories: tuple[int, ...] = MEMORIES) -> Result:
    """Every kind of cell that a report shows, and one that was refused."""
    return Result(
        made="2026-01-02T03:04:05Z",
        machine=Machine("Linux", "6.0.0-synthetic", "x86_64", "made up", 2, 8192, "none: synthetic"),
        software=Software("0" * 40, False, "3.13.0", "AVX2", {"pillow": "0.0.0", "pyvips": "0.0.0"}),
        settings={"period_ms": "20", "repetitions": "5"},
        picture_sets=(PictureSet("reference", "ab" * 32, 32, 123_456_789),),
        prices={name: price.usd for name, price in PRICES.items.items()},
        cells=tuple(_cells(memories)),
    )


def result_of_all(scope: Options = QUICK, without: str = "") -> Result:
    """A cell for every key of a run of all experiments, but for one handler's; the largest function was refused."""
    return replace(
        synthetic_result(()),
        settings={"quick": str(scope.quick).lower(), "latency": scope.latency, "repetitions": "5"},
        picture_sets=(PictureSet("photos", "cd" * 32, 5, 5_194_374),),
        cells=tuple(cell_of(key) for key in EXPERIMENTS["all"].keys(scope) if key.handler != without),
    )


def cell_of(key: CellKey) -> Cell:
    """As good as measured."""
    if key.memory_mb > 5000 and key.platform == "lambda":
        return Cell(key, refused=f"{key.vcpus:.2g} vCPUs cannot be given: this machine has 2 cores")
    cpu = CPU_MS[key.engine if key.handler == "ours" else key.handler]
    overlapping = 1 if key.handler == "textbook" else key.batch_size
    waits = 0.0 if key.handler == "floor" else 60.0 / overlapping
    return Cell(key, _repetitions(key.memory_mb, cpu / min(key.vcpus, 1) + waits, cpu, 90))


def _cells(memories: tuple[int, ...]) -> Iterator[Cell]:
    for memory in memories:
        for engine in ("auto", "pillow", "vips"):
            yield lambda_cell(memory, engine)
        yield lambda_cell(memory, "pillow", "textbook")
        yield lambda_cell(memory, "none", "floor")
    key = CellKey("lambda", 10_240, 5.8, "auto", "obstore", "reference", 10)
    yield Cell(key, refused="5.8 vCPUs cannot be given: this machine has 2 cores")
    for vcpus, memory in TASKS:
        yield task_cell(vcpus, memory)


def lambda_cell(memory: int, engine: str, handler: str = "ours") -> Cell:
    vcpus = memory / 1769
    key = CellKey("lambda", memory, round(vcpus, 3), engine, "obstore", "reference", 10, handler)
    cpu = CPU_MS[engine if handler == "ours" else handler]
    waits = {"ours": 6.0, "floor": 0.0}.get(handler, 60.0)
    threads = 1.0 if handler == "textbook" else max(1.0, vcpus)
    speed = min(vcpus, threads)
    base = {"auto": 95.0, "vips": 60.0, "pillow": 76.0, "none": 20.0}[engine]
    one = _repetitions(memory, cpu / speed + waits, cpu, min(memory * 0.97, base + base * memory / 900))
    return Cell(key, one)


def task_cell(vcpus: float, memory: int) -> Cell:
    key = CellKey("fargate", memory, vcpus, "auto", "obstore", "reference", 10)
    one = _repetitions(memory, CPU_MS["auto"] * 1.1 / vcpus, CPU_MS["auto"], 260)
    return Cell(key, one)


def _repetitions(memory: int, ms: float, cpu_ms: float, rss_mb: float) -> tuple[Repetition, ...]:
    return tuple(
        Repetition(
            records=1000,
            invocations=100,
            wall_seconds=ms * noise,
            cpu_seconds=cpu_ms * noise,
            billed_ms=1000 * ms * noise,
            peak_rss_bytes=int(rss_mb * noise * 1024 * 1024),
            latencies_ms=(*[ms * 4 * noise] * 17, *[ms * 7 * noise] * 2, ms * 11 * noise),
            bytes_in=300_000_000,
            bytes_out=7_000_000,
            outcomes={"stored": 1000},
            requests={"get": 1, "head": 0, "put": 1, "sqs": 1.2},
            stages_ms={
                "get": 9.0,
                "decode": ms * 0.4,
                "resize": ms * 0.05,
                "encode": ms * 0.1,
                "put": 12.0,
                "total": 99.0,
            },
            log_bytes=600_000,
            cold_start_ms=400 + 60_000 / memory if number == 0 else None,
        )
        for number, noise in enumerate(NOISE)
    )
