"""The questions of the bench, each as a list of cells.

Each cell of ours comes with the textbook handler and the floor in the same place, so that one run measures both sides
of a comparison. `all` asks all questions in one run and measures shared cells once.
"""

import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.peers import PEERS
from bench.result import CellKey
from thumbnailer.planning.tier import MB_PER_VCPU

MEMORIES: Final = (128, 256, 512, 1024, 1769, 3008, 5307, 10_240)
ONE_VCPU_MB: Final = 1769
TASKS: Final[Sequence[tuple[float, int]]] = ((0.25, 512), (0.5, 1024), (1.0, 2048), (2.0, 4096), (4.0, 8192))
"""vCPUs and MB of Fargate tasks"""
ARCHITECTURE: Final = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86"
"""of this machine: prices differ by architecture"""
FLOOR: Final = "floor"
TEXTBOOK: Final = "textbook"
MOST_PASSES: Final = 100
VARIANTS: Final[Mapping[str, Mapping[str, str]]] = {
    "": {},
    "web": {
        "THUMBNAILER_RENDITIONS": "320x320:jpeg:q80,768x768:jpeg:q80,1280x1280:jpeg:q80",
        "THUMBNAILER_KEY": "{key}.{name}.{ext}",
        "BENCH_SIDES": "320,768,1280",
    },
    "small": {"THUMBNAILER_RENDITIONS": "128x128:jpeg:small"},
    "write-once": {"THUMBNAILER_WRITE_ONCE": "on"},
}
"""Environment variables of `CellKey.variant`; BENCH_SIDES is for peers."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a question. `memories` replace the question's own.

    A repetition lasts at least `seconds`, and one pass at least.
    """

    quick: bool = False
    latency: str = "near"
    memories: tuple[int, ...] = ()
    output: Path = Path("bench.json")
    images: Path | None = None
    resume: bool = False
    prices: Path | None = None
    repetitions: int = 7
    seconds: float = 2.0
    period_ms: float = 20
    container: str | None = None
    row: str = ""
    """of `goals`: a part of the names of the rows to measure"""

    @property
    def batch_size(self) -> int:
        """The default batch of SQS; half of it for a quick run."""
        return 5 if self.quick else 10

    def passes(self, seconds_per_pass: float) -> int:
        return min(MOST_PASSES, max(1, math.ceil(self.seconds / seconds_per_pass)))

    def settings(self) -> dict[str, str]:
        """The settings that two runs must share for one to resume the other."""
        return {
            "latency": self.latency,
            "quick": str(self.quick).lower(),
            "repetitions": str(self.repetitions),
            "seconds": f"{self.seconds:g}",
            "cpu_period_ms": f"{self.period_ms:g}",
            "init": "within the limit" if self.container else "with all CPU, the limit from the first invocation on",
        }


@dataclass(frozen=True, slots=True)
class Experiment:
    """A question and its cells; `by` names the columns that label a row of its table."""

    name: str
    question: str
    cells: Callable[[Options], Iterable[CellKey]]
    by: Sequence[str]

    def keys(self, options: Options) -> list[CellKey]:
        return list(dict.fromkeys(self.cells(options)))


def ours(options: Options, memory_mb: int = ONE_VCPU_MB, engine: str = "auto") -> CellKey:
    """Our function with the defaults of the template."""
    vcpus = round(memory_mb / MB_PER_VCPU, 4)
    key = CellKey("lambda", memory_mb, vcpus, engine, "auto", "photos", options.batch_size)
    return replace(key, architecture=ARCHITECTURE, latency=options.latency)


def _one_memory(options: Options) -> int:
    return options.memories[0] if options.memories else ONE_VCPU_MB


def peer(name: str, place: CellKey) -> CellKey:
    """The cell of a peer in the same place, without settings that only ours has."""
    variant = place.variant if "BENCH_SIDES" in VARIANTS[place.variant] else ""
    mine = replace(place, handler=name, in_flight=0, variant=variant)
    return replace(mine, engine=PEERS[name].engine, transport=PEERS[name].transport)


def trio(place: CellKey) -> Iterator[CellKey]:
    """Our cell, the textbook handler's, and for JPEGs the floor's."""
    yield place
    yield peer(TEXTBOOK, place)
    if place.pictures not in ("rgb", "lossy"):
        yield peer(FLOOR, place)


def _tiers(options: Options) -> Iterator[CellKey]:
    for memory in options.memories or ((128, 512, 1769) if options.quick else MEMORIES):
        yield from trio(ours(options, memory))


def _engines(options: Options) -> Iterator[CellKey]:
    for memory in options.memories or ((1769,) if options.quick else (512, 1769)):
        for engine in ("auto", "vips", "pillow"):
            yield ours(options, memory, engine)
        yield replace(ours(options, memory), transport="aioboto3")
        yield from trio(ours(options, memory))


def _batch(options: Options) -> Iterator[CellKey]:
    base = ours(options, _one_memory(options))
    for size in (1, options.batch_size) if options.quick else (1, 2, 5, 10, 20):
        yield from trio(replace(base, batch_size=size))
    for in_flight in (1,) if options.quick else (1, 2, 4, 8):
        yield replace(base, in_flight=in_flight)
    if not options.quick and not options.memories:  # with less CPU, a batch saves a different share
        yield from trio(replace(ours(options, 512), batch_size=1))


def _latency(options: Options) -> Iterator[CellKey]:
    base = ours(options, _one_memory(options))
    for latency in ("loopback", "near") if options.quick else ("loopback", "near", "near-tail", "published"):
        yield from trio(replace(base, latency=latency))


def _coldstart(options: Options) -> Iterator[CellKey]:
    for memory in options.memories or ((512,) if options.quick else (128, 512, 1024, 1769)):
        cold = replace(ours(options, memory), batch_size=1, start="cold")
        yield from trio(cold)
        if not options.quick:
            yield from (peer(name, cold) for name in ("sharp", "tutorial"))


def _fargate(options: Options) -> Iterator[CellKey]:
    for vcpus, memory in ((1.0, 2048),) if options.quick else TASKS:
        yield replace(ours(options, memory), platform="fargate", vcpus=vcpus, batch_size=10)
    yield from trio(ours(options))


def _peers(options: Options) -> Iterator[CellKey]:
    for memory in options.memories or ((1769,) if options.quick else MEMORIES):
        base = ours(options, memory)
        yield base
        yield from (peer(name, base) for name in PEERS)


def _formats(options: Options) -> Iterator[CellKey]:
    base = replace(ours(options, _one_memory(options)), batch_size=1)
    for kind in ("baseline", "progressive", "rgb", "lossy"):
        yield from trio(replace(base, pictures=kind))


def _all(options: Options) -> Iterator[CellKey]:
    for experiment in EXPERIMENTS.values():
        if experiment.name != "all":
            yield from experiment.cells(options)


EXPERIMENTS: Final = {
    one.name: one
    for one in (
        Experiment("tiers", "What does each memory size buy?", _tiers, ("memory",)),
        Experiment("engines", "Which engine, which S3 client?", _engines, ("memory", "engine", "client")),
        Experiment(
            "batch", "How many records an invocation, how many at once?", _batch, ("batch", "in flight", "other memory")
        ),
        Experiment("latency", "What does the distance to S3 cost?", _latency, ("latency",)),
        Experiment("coldstart", "What does the first invocation of an environment take?", _coldstart, ("memory",)),
        Experiment("fargate", "What does a task on Fargate make?", _fargate, ("platform", "memory")),
        Experiment("peers", "How fast are the others?", _peers, ("memory",)),
        Experiment("formats", "What does each format cost?", _formats, ("pictures",)),
        Experiment("all", "All of them, in one run", _all, ()),
    )
}
