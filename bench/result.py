"""A file of results: machine, software, settings, pictures, prices, and every repetition of every cell.

The file is JSON, a line per cell. A cell has a column for each of `fields`: a value per repetition, or one for all.
A full run takes about 200 KB. Medians, percentiles and ratios are computed when the file is read.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from thumbnailer.errors import ThumbnailerError

FORMAT: Final = "thumbnailer-bench-result"
VERSION: Final = 5
MB: Final = 1024 * 1024

Count = Annotated[int, Meta(ge=0)]
AtLeastOne = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Text = Annotated[str, Meta(min_length=1)]
Architecture = Literal["x86", "arm64"]


class ResultError(ThumbnailerError):
    """The file is not a readable file of results. The message names the file and the place in it."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """One measurement of a cell.

    `billed_ms` sums all invocations, each rounded up, or is the time that a task ran. A cold cell's includes the init.
    `latencies_ms` has one value per record: from the start of the invocation, or from when a worker received the
    message, until the thumbnail was stored. A cold cell has the time until the first answer; the floor, which stores
    nothing, has the time of each invocation. `cold_start_ms` is the time of the init; None if nothing was started.
    """

    records: AtLeastOne
    invocations: Count
    wall_seconds: Positive
    cpu_seconds: Amount
    billed_ms: Positive
    peak_rss_bytes: Count
    latencies_ms: Annotated[Sequence[Amount], Meta(min_length=1)]
    bytes_in: Count
    bytes_out: Count
    outcomes: Mapping[str, Count] = field(default_factory=dict)
    requests: Mapping[str, Amount] = field(default_factory=dict)
    """per record, by kind: get, head, put, sqs"""
    stages_ms: Mapping[str, Amount] = field(default_factory=dict)
    """mean per record"""
    cold_start_ms: Amount | None = None
    oom_kills: Count = 0
    log_bytes: Count = 0
    """written by the function or the worker itself"""


@dataclass(frozen=True, slots=True)
class CellKey:
    """What a cell measures: platform, memory, engine, transport, pictures, batch size, handler and distance to S3.

    `handler` is "ours" or the name of a peer. With `start` "cold", each repetition is one invocation of a new
    environment. `in_flight` 0 means the tier's own limit. `variant`: other settings, by name.
    """

    platform: Literal["lambda", "fargate"]
    memory_mb: AtLeastOne
    vcpus: Positive
    engine: Text
    transport: Text
    pictures: Text
    batch_size: AtLeastOne
    handler: Text = "ours"
    architecture: Architecture = "x86"
    latency: Text = "loopback"
    start: Literal["warm", "cold"] = "warm"
    in_flight: Count = 0
    variant: str = ""

    @property
    def title(self) -> str:
        """The name of the cell in progress bars and tables."""
        ours = self.handler == "ours"
        parts = [
            f"ours ({self.engine})" if ours else self.handler,
            f"{self.platform} {self.memory_mb:,} MB",
            f"{self.pictures} x {self.batch_size}",
            f"{self.in_flight} in flight" if self.in_flight else "",
            self.transport if ours and self.transport == "aioboto3" else "",
            self.latency,
            self.start if self.start == "cold" else "",
            self.variant,
        ]
        return ", ".join(filter(None, parts))

    def place(self) -> CellKey:
        """The key without the handler and its settings: cells of one place can be compared."""
        return replace(self, handler="any", engine="any", transport="any", in_flight=0)


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
    """The repetitions of a cell, or the reason why there are none."""

    key: CellKey
    repetitions: tuple[Repetition, ...] = ()
    refused: str = ""

    def __post_init__(self) -> None:
        if bool(self.repetitions) == bool(self.refused):
            raise ValueError("a cell has either repetitions or a reason for its refusal")

    def each(self, metric: str) -> list[float | None]:
        """A metric of each repetition; None if a repetition does not have it."""
        return [METRICS[metric](self.key, repetition) for repetition in self.repetitions]

    def values(self, metric: str) -> list[float]:
        """A metric of each repetition that has it."""
        return [value for value in self.each(metric) if value is not None]

    def spread(self, metric: str) -> Spread:
        return Spread.of(self.values(metric))

    def median(self, metric: str) -> float | None:
        values = self.values(metric)
        return statistics.median(values) if values else None

    def latency_ms(self, share: float) -> float | None:
        """The percentile of all records; None for too few records: a p95 needs 20."""
        latencies = [ms for one in self.repetitions for ms in one.latencies_ms]
        return percentile(latencies, share) if len(latencies) >= round(1 / (1 - share)) else None


Metric = Callable[[CellKey, Repetition], float | None]
METRICS: Final[Mapping[str, Metric]] = {
    "images_per_second": lambda _, one: one.records / one.wall_seconds,
    "cpu_ms_per_image": lambda _, one: 1000 * one.cpu_seconds / one.records,
    "billed_ms_per_image": lambda _, one: one.billed_ms / one.records,
    "mb_seconds_per_image": lambda key, one: key.memory_mb * one.billed_ms / 1000 / one.records,
    "images_per_gb_second": lambda key, one: one.records / (key.memory_mb / 1024 * one.billed_ms / 1000),
    "peak_rss_mb": lambda _, one: one.peak_rss_bytes / MB,
    "cold_start_ms": lambda _, one: one.cold_start_ms,
    "ms_beyond_cpu": lambda _, one: (one.billed_ms - 1000 * one.cpu_seconds) / max(1, one.invocations),
    "log_bytes_per_image": lambda _, one: one.log_bytes / one.records,
    "bytes_out_per_image": lambda _, one: one.bytes_out / one.records,
    "p50_ms": lambda _, one: percentile(one.latencies_ms, 0.5),
}
"""Values computed from each repetition."""


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the run took place. `limits` names the mechanism that limits memory and CPU, e.g. "cgroup v2"."""

    system: Text
    kernel: Text
    architecture: Text
    cpu: str
    cores: AtLeastOne
    memory_mb: AtLeastOne
    limits: str


@dataclass(frozen=True, slots=True)
class Software:
    """The measured build. `simd` names what the picture libraries use; `modified`: the tree differs from the commit."""

    commit: Text
    modified: bool
    python: Text
    simd: str
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PictureSet:
    name: Text
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    count: AtLeastOne
    bytes: Count


@dataclass(frozen=True, slots=True)
class Result:
    """One run. `prices` are USD per unit in `region`."""

    made: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")]
    machine: Machine
    software: Software
    settings: Mapping[str, str]
    picture_sets: tuple[PictureSet, ...]
    prices: Mapping[str, Amount]
    cells: tuple[Cell, ...]
    region: Text = "us-east-1"


def write_result(result: Result, path: Path) -> None:
    """Replaces the file once the new one is complete. Raises ResultError for a result that could not be read back."""
    data = encode(result)
    decode(data, str(path))
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(data)
    partial.replace(path)


def read_result(path: Path) -> Result:
    """Raises ResultError."""
    try:
        return decode(path.read_bytes(), str(path))
    except OSError as error:
        raise ResultError(f"{path}: cannot be read: {error.strerror}") from error


def encode(result: Result) -> bytes:
    names = [each.name for each in fields(Repetition)]
    values = {"format": FORMAT, "version": VERSION, "fields": names, **msgspec.to_builtins(result)}
    cells = [msgspec.json.encode(cell | {"repetitions": _columns(cell["repetitions"])}) for cell in values.pop("cells")]
    head = msgspec.json.format(msgspec.json.encode(values), indent=1)
    return head.removesuffix(b"\n}") + b',\n "cells": [\n' + b",\n".join(cells) + b"\n]}\n"


def _columns(rows: Sequence[Mapping[str, object]]) -> list[object]:
    return [_column(list(values)) for values in zip(*(row.values() for row in rows), strict=True)]


def _column(values: list[object]) -> object:
    is_constant = not isinstance(values[0], list | tuple) and values.count(values[0]) == len(values)
    return values[0] if is_constant else values


def _rows(columns: Sequence[object], names: Sequence[str]) -> list[dict[str, object]]:
    """Raises TypeError and ValueError for columns that do not fit."""
    count = max((len(column) for column in columns if isinstance(column, list)), default=0)
    lists = [column if isinstance(column, list) else [column] * count for column in columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]


def decode(data: bytes, name: str = "result") -> Result:
    """Raises ResultError."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ResultError(f"{name}: is not JSON: {error}") from error
    if not isinstance(document, dict) or (document.get("format"), document.get("version")) != (FORMAT, VERSION):
        raise ResultError(f"{name}: is not a file of results of this version of `python -m bench`: measure again")
    try:
        for cell in document["cells"]:
            cell["repetitions"] = _rows(cell["repetitions"], document["fields"])
    except (KeyError, TypeError, ValueError) as error:
        raise ResultError(f"{name}: expected a column for each of `fields`") from error
    try:
        return msgspec.convert(document, Result)
    except msgspec.ValidationError as error:
        raise ResultError(f"{name}: {error}") from error
