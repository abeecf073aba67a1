"""Which cells of a result are comparable: cells of one slice differ in memory, handler and engine only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bench.questions import FLOOR, TEXTBOOK
from bench.result import Cell, Result

OURS: Final = "ours"


@dataclass(frozen=True, slots=True)
class Slice:
    """What the cells of a chart have in common, besides a warm start and the tier's own number in flight."""

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

    def matches_any_batch(self, cell: Cell) -> bool:
        return Slice.of(cell) == replace(self, batch_size=cell.key.batch_size)


def measured(result: Result, platform: str = "lambda") -> list[Cell]:
    """Return the measured cells of a platform, the smallest memory first."""
    found = [cell for cell in result.cells if cell.repetitions and cell.key.platform == platform]
    return sorted(found, key=lambda cell: cell.key.memory_mb)


def usual(result: Result, platform: str = "lambda") -> list[Cell]:
    """Return the cells measured warm, with the tier's own number of records in flight."""
    return [cell for cell in measured(result, platform) if cell.key.start == "warm" and not cell.key.in_flight]


def who(cell: Cell) -> str:
    """Return the handler's name, with the engine if it is ours and the engine was fixed."""
    if cell.key.handler != OURS or cell.key.engine == "auto":
        return cell.key.handler
    return f"{OURS} ({cell.key.engine})"


def slice_of(result: Result) -> Slice | None:
    """Return the slice in which ours has the most memory sizes, the first of several. None if ours has no cell."""
    mine = [cell for cell in result.cells if cell in usual(result) and cell.key.handler == OURS]
    memories: dict[Slice, set[int]] = {}
    for cell in [cell for cell in mine if who(cell) == OURS] or mine:
        memories.setdefault(Slice.of(cell), set()).add(cell.key.memory_mb)
    return max(memories, key=lambda each: len(memories[each]), default=None)


def ours_any_engine(result: Result, platform: str) -> list[Cell]:
    """Return our cells of the slice, with any memory, batch size, engine and client."""
    slice_ = slice_of(result)
    mine = [cell for cell in usual(result, platform) if cell.key.handler == OURS]
    return [cell for cell in mine if slice_ and slice_.matches_any_batch(cell)]


def ours_alike(result: Result, platform: str = "lambda") -> list[Cell]:
    """Return our cells of the slice as the template deploys them, with any memory and batch size."""
    mine = ours_any_engine(result, platform)
    return [cell for cell in mine if who(cell) == OURS and cell.key.transport != "aioboto3"]


def lines_of(result: Result) -> dict[str, list[Cell]]:
    """Return the functions of the slice by name, one cell a memory size, from the S3 client with the most cells."""
    slice_ = slice_of(result)
    by_client: dict[tuple[str, str], dict[int, Cell]] = {}
    for cell in usual(result):
        if Slice.of(cell) == slice_:
            by_client.setdefault((who(cell), cell.key.transport), {}).setdefault(cell.key.memory_mb, cell)
    lines: dict[str, list[Cell]] = {}
    for (name, _), cells in by_client.items():
        lines[name] = max(lines.get(name, []), list(cells.values()), key=len)
    return {name: lines[name] for name in sorted(lines, key=_rank)}


def _rank(name: str) -> tuple[int, str]:
    """Ours, the textbook handler, the others, ours by engine, the floor: a line looks the same in every chart."""
    is_engine = name.startswith(OURS) and name != OURS
    return {OURS: 0, TEXTBOOK: 1, FLOOR: 4}.get(name, 3 if is_engine else 2), name
