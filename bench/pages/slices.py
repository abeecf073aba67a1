"""Which cells of a result can stand in one line: those that differ in what the line is about, and in nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bench.result import Cell, Result

OURS: Final = "ours"


@dataclass(frozen=True, slots=True)
class Slice:
    """What the cells of a chart have in common, beside that they are warm and as many in flight as the tier has it."""

    pictures: str
    latency: str
    batch_size: int
    architecture: str

    @classmethod
    def of(cls, cell: Cell) -> Slice:
        key = cell.key
        return cls(key.pictures, key.latency, key.batch_size, key.architecture)

    def __str__(self) -> str:
        return f"{self.pictures}, batches of {self.batch_size}, S3 {self.latency}"

    def any_batch(self, cell: Cell) -> bool:
        """Whether a cell is of this slice but for its batch size."""
        return Slice.of(cell) == replace(self, batch_size=cell.key.batch_size)


def measured(result: Result, platform: str = "lambda") -> list[Cell]:
    found = [cell for cell in result.cells if cell.repetitions and cell.key.platform == platform]
    return sorted(found, key=lambda cell: cell.key.memory_mb)


def usual(result: Result, platform: str = "lambda") -> list[Cell]:
    """Those that were measured warm, with as many records in flight as the tier has it."""
    return [cell for cell in measured(result, platform) if cell.key.start == "warm" and not cell.key.in_flight]


def who(cell: Cell) -> str:
    """Ours, with its engine where that was not left to it; the others by their names."""
    if cell.key.handler != OURS:
        return cell.key.handler
    return OURS if cell.key.engine == "auto" else f"{OURS} ({cell.key.engine})"


def slice_of(result: Result) -> Slice | None:
    """Of ours that with most cells, by memory; the first in the file where there are several. None: nothing of ours."""
    mine = [cell for cell in result.cells if cell in usual(result) and cell.key.handler == OURS]
    memories: dict[Slice, set[int]] = {}
    for cell in [cell for cell in mine if who(cell) == OURS] or mine:
        memories.setdefault(Slice.of(cell), set()).add(cell.key.memory_mb)
    return max(memories, key=lambda each: len(memories[each]), default=None)


def ours_alike(result: Result, platform: str = "lambda") -> list[Cell]:
    """Ours as it is deployed, of one picture set and one distance to S3; of any memory and batch size."""
    slice_ = slice_of(result)
    return [cell for cell in usual(result, platform) if slice_ and slice_.any_batch(cell) and _as_deployed(cell)]


def _as_deployed(cell: Cell) -> bool:
    return who(cell) == OURS and cell.key.transport != "aioboto3"
