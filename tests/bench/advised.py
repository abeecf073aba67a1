"""Measured cells that are made up by a load whose numbers are known, as an advice would find them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.money.advice import plan
from bench.questions import Options
from bench.result import Cell, CellKey, Machine, PictureSet, Repetition, Result, Software

INVOCATIONS: Final = 50
QUIET: Final = (1.0, 0.995, 1.005, 0.998, 1.002)
LOUD: Final = (1.0, 0.7, 1.4, 0.8, 1.25)
PLANNED: Final = tuple(plan(1, Options(latency="loopback")))


@dataclass(frozen=True, slots=True)
class Made:
    """A load: S3's waiting once a batch, CPU a picture. `tail` is the p95 over the mean."""

    wait_ms: float
    cpu_ms: float
    tail: float = 2.0
    noise: Sequence[float] = QUIET
    peak_rss_mb: float = 200.0
    cold_ms: float = 900.0

    def invocation_ms(self, vcpus: float, records: float) -> float:
        return self.wait_ms + self.cpu_ms * records / min(vcpus, max(1.0, records))

    def cells(self, wanted: Iterable[CellKey] = PLANNED) -> list[Cell]:
        return [self.cell(each) for each in wanted]

    def cell(self, key: CellKey) -> Cell:
        return Cell(key, tuple(self._repetition(key, number, times) for number, times in enumerate(self.noise)))

    def _repetition(self, wanted: CellKey, number: int, noise: float) -> Repetition:
        """A task is always busy, with ten in flight: what waits does not count."""
        function = wanted.platform == "lambda"
        records = INVOCATIONS * wanted.batch_size
        ms = self.invocation_ms(wanted.vcpus, wanted.batch_size) if function else 10 * self.cpu_ms / wanted.vcpus
        wall_ms = ms * noise * (INVOCATIONS if function else records / 10)
        cold = function and number == 0
        return Repetition(
            records=records,
            invocations=INVOCATIONS if function else 0,
            wall_seconds=wall_ms / 1000,
            cpu_seconds=self.cpu_ms * records / 1000,
            billed_ms=wall_ms,
            peak_rss_bytes=round(self.peak_rss_mb * 1024 * 1024),
            latencies_ms=(*[ms * noise * 0.9] * 18, *[ms * noise * self.tail] * 2),
            bytes_in=1_000_000 * records,
            bytes_out=5_000 * records,
            outcomes={"stored": records},
            requests={"get": 1, "head": 0, "put": 1, "sqs": 1.2},
            cold_start_ms=self.cold_ms if cold else None,
        )

    def result(self, wanted: Iterable[CellKey] = PLANNED) -> Result:
        return Result(
            made="2026-01-02T03:04:05Z",
            machine=Machine("Linux", "6.0.0-synthetic", "x86_64", "made up", 2, 8192, "none: synthetic"),
            software=Software("0" * 40, False, "3.13.0", "AVX2", {}),
            settings={},
            picture_sets=(PictureSet("photos", "ab" * 32, 12, 12_345_678),),
            prices={},
            cells=tuple(self.cells(wanted)),
        )


CPU_BOUND: Final = Made(wait_ms=20, cpu_ms=150)
IO_BOUND: Final = Made(wait_ms=400, cpu_ms=3)
assert math.isclose(sum(QUIET), len(QUIET))
