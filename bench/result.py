"""A file of results: what was measured, where, with what, and every repetition; JSON by result.schema.json.

It is validated when it is written and when it is read. What follows from the repetitions (medians, ratios) is in the
file for its readers, and is reckoned again when it is read: a file whose summary is not its own is refused.
"""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import jsonschema

from thumbnailer.errors import ThumbnailerError

SCHEMA: Final = Path(__file__).with_name("result.schema.json")
FORMAT: Final = "thumbnailer-bench-result"
VERSION: Final = 2
MB: Final = 1024 * 1024


class ResultError(ThumbnailerError):
    """The file is not a file of results that can be read here. The message names the file and the place in it."""


# --- what was measured --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Repetition:
    """One measurement of a cell. `billed_ms` is of all invocations, each rounded up, or the time that a task ran.

    `latencies_ms`: of each record, from the begin of the invocation, or from when a worker took it up, until its
    thumbnail was stored; of a cold cell until the first answer; of the floor, which stores nothing, of an invocation.
    `stages_ms` is the mean of a record. `cold_start_ms` is the init's, None where nothing was started: a cold cell's
    `billed_ms` has it in it, a warm one's has not.
    """

    records: int
    invocations: int
    wall_seconds: float
    cpu_seconds: float
    billed_ms: float
    peak_rss_bytes: int
    latencies_ms: Sequence[float]
    bytes_in: int
    bytes_out: int
    outcomes: Mapping[str, int]
    requests: Mapping[str, float]
    """a record, by kind: get, head, put, sqs"""
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    cold_start_ms: float | None = None
    oom_kills: int = 0
    log_bytes: int = 0
    """of lines that the function or the worker wrote"""


@dataclass(frozen=True, slots=True)
class CellKey:
    """What is measured: platform x memory x engine x transport x picture set x batch size, and by whom.

    `handler` is "ours" or the name of what it is compared with; `start` is "cold" where each repetition is one
    invocation of a new environment; `in_flight` 0: as many records at once as the tier has it.
    """

    platform: str
    memory_mb: int
    vcpus: float
    engine: str
    transport: str
    pictures: str
    batch_size: int
    handler: str = "ours"
    architecture: str = "x86"
    latency: str = "loopback"
    start: str = "warm"
    in_flight: int = 0

    def place(self) -> tuple[object, ...]:
        """All but who does it: cells of one place can be compared."""
        return (
            self.platform,
            self.memory_mb,
            self.vcpus,
            self.pictures,
            self.batch_size,
            self.architecture,
            self.latency,
            self.start,
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of the repetitions."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, lower, upper)


@dataclass(frozen=True, slots=True)
class Cell:
    """The repetitions of a cell; or why there are none. `usd_per_million` is by line, as bench.money.costing has it."""

    key: CellKey
    repetitions: tuple[Repetition, ...] = ()
    refused: str = ""
    usd_per_million: Mapping[str, float] = field(default_factory=dict)

    def values(self, metric: str) -> list[float]:
        """A metric of each repetition that has it."""
        found = (METRICS[metric](self.key, repetition) for repetition in self.repetitions)
        return [value for value in found if value is not None]

    def summary(self) -> dict[str, Spread]:
        values = ((metric, self.values(metric)) for metric in METRICS)
        return {metric: Spread.of(found) for metric, found in values if found}

    def median(self, metric: str) -> float | None:
        values = self.values(metric)
        return statistics.median(values) if values else None

    def latency_ms(self, share: float) -> float | None:
        """That share of all its records took no longer. None of too few: of 19 none tells where the 95th of 100 is."""
        all_ = [ms for one in self.repetitions for ms in one.latencies_ms]
        return percentile(all_, share) if len(all_) >= round(1 / (1 - share)) else None

    def latencies(self) -> dict[str, float]:
        """p50, p95 and p99, as far as there are records enough."""
        found = {f"p{100 * share:.0f}_ms": self.latency_ms(share) for share in SHARES}
        return {name: ms for name, ms in found.items() if ms is not None}


SHARES: Final = (0.5, 0.95, 0.99)
Metric = Callable[[CellKey, Repetition], float | None]
METRICS: Final[Mapping[str, Metric]] = {
    "images_per_second": lambda _, one: one.records / one.wall_seconds,
    "cpu_ms_per_image": lambda _, one: 1000 * one.cpu_seconds / one.records,
    "billed_ms_per_image": lambda _, one: one.billed_ms / one.records,
    "mb_seconds_per_image": lambda key, one: key.memory_mb * one.billed_ms / 1000 / one.records,
    "images_per_second_per_mb": lambda key, one: one.records / one.wall_seconds / key.memory_mb,
    "images_per_gb_second": lambda key, one: one.records / (key.memory_mb / 1024 * one.billed_ms / 1000),
    "peak_rss_mb": lambda _, one: one.peak_rss_bytes / MB,
    "oom_kills": lambda _, one: float(one.oom_kills),
    "cold_start_ms": lambda _, one: one.cold_start_ms,
    "p50_ms": lambda _, one: percentile(one.latencies_ms, 0.5),
    "bytes_in_per_image": lambda _, one: one.bytes_in / one.records,
    "bytes_out_per_image": lambda _, one: one.bytes_out / one.records,
}
"""What is reckoned from each repetition."""


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


# --- the file -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it was measured; `limits`: how memory and CPU were limited, e.g. "cgroup v2"."""

    system: str
    kernel: str
    architecture: str
    cpu: str
    cores: int
    memory_mb: int
    limits: str


@dataclass(frozen=True, slots=True)
class Software:
    """What was measured; `simd` is what the picture libraries use, `modified`: the tree is not the commit."""

    commit: str
    modified: bool
    python: str
    simd: str
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PictureSet:
    name: str
    hash: str
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Result:
    """One run. `prices` is USD for a unit in `region`, as its costs were reckoned; `baseline` is a handler's name."""

    made: str
    machine: Machine
    software: Software
    settings: Mapping[str, str]
    picture_sets: tuple[PictureSet, ...]
    prices: Mapping[str, float]
    cells: tuple[Cell, ...]
    baseline: str = ""
    region: str = "us-east-1"
    synthetic: bool = False
    """made up to try a report, not measured"""

    def baseline_of(self, cell: Cell) -> Cell | None:
        """The cell that this one is compared with: the baseline's in the same place, in this run."""
        same = (other for other in self.cells if other.key.place() == cell.key.place())
        return next((other for other in same if other.key.handler == self.baseline and other.repetitions), None)

    def ratios(self, cell: Cell) -> dict[str, float]:
        """Each median over the baseline's; nothing where there is none to compare with."""
        baseline = self.baseline_of(cell)
        if baseline is None:
            return {}
        pairs = ((metric, cell.median(metric), baseline.median(metric)) for metric in METRICS)
        return {metric: ours / theirs for metric, ours, theirs in pairs if ours is not None and theirs}


def write_result(result: Result, path: Path) -> None:
    """All or nothing: a file that is there is replaced when the new one is whole. Raises ResultError."""
    document = to_document(result)
    _validate(document, str(path))
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(partial, path)


def read_result(path: Path) -> Result:
    """Raises ResultError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise ResultError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # of JSON, or of UTF-8
        raise ResultError(f"{path}: is not JSON: {error}") from error
    return from_document(document, str(path))


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def to_document(result: Result) -> dict[str, Any]:
    fields = asdict(result) | {"cells": [_cell_document(result, cell) for cell in result.cells]}
    plain: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, "version": VERSION, **fields}))
    return plain


def _cell_document(result: Result, cell: Cell) -> dict[str, Any]:
    summary = {metric: asdict(spread) for metric, spread in cell.summary().items()}
    return asdict(cell) | {
        "summary": summary,
        "latencies": cell.latencies(),
        "ratio_to_baseline": result.ratios(cell),
    }


def from_document(document: object, name: str = "result") -> Result:
    """Raises ResultError."""
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise ResultError(f"{name}: is not a file of results of `python -m bench`")
    if document.get("version") != VERSION:
        raise ResultError(
            f"{name}: has version {document.get('version')!r}, and version {VERSION} is read here: measure again, "
            "or read it with the commit that it names"
        )
    _validate(document, name)
    values = dict(document)
    result = Result(
        made=values["made"],
        machine=Machine(**values["machine"]),
        software=Software(**values["software"]),
        settings=values["settings"],
        picture_sets=tuple(PictureSet(**each) for each in values["picture_sets"]),
        prices=values["prices"],
        cells=tuple(_cell(each) for each in values["cells"]),
        baseline=values["baseline"],
        region=values["region"],
        synthetic=values["synthetic"],
    )
    _check_summaries(result, values["cells"], name)
    return result


def _cell(values: Mapping[str, Any]) -> Cell:
    return Cell(
        key=CellKey(**values["key"]),
        repetitions=tuple(map(_repetition, values["repetitions"])),
        refused=values["refused"],
        usd_per_million=values["usd_per_million"],
    )


def _repetition(values: Mapping[str, Any]) -> Repetition:
    return Repetition(**{**values, "latencies_ms": tuple(values["latencies_ms"])})


def _check_summaries(result: Result, documents: Sequence[Mapping[str, Any]], name: str) -> None:
    for number, (cell, document) in enumerate(zip(result.cells, documents, strict=True)):
        ours = _cell_document(result, cell)
        for part in ("summary", "latencies", "ratio_to_baseline"):
            if not _alike(ours[part], document[part]):
                raise ResultError(f"{name}: cells/{number}/{part}: does not follow from the repetitions")


def _alike(one: object, other: object) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_alike(value, other[key]) for key, value in one.items())
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return one == other


def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return loaded


def _validate(document: Mapping[str, Any], name: str) -> None:
    validator = jsonschema.Draft202012Validator(schema())
    error = jsonschema.exceptions.best_match(validator.iter_errors(document))
    if error is not None:
        place = "/".join(str(part) for part in error.absolute_path) or "the file"
        raise ResultError(f"{name}: {place}: {error.message}")
