"""Which cells of a result are comparable: cells of one slice differ in memory and handler only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from bench.questions import FLOOR, TEXTBOOK
from bench.result import Cell, Result

OURS: Final = "ours"
ORDER: Final = {OURS: 0, TEXTBOOK: 1, FLOOR: 3}
"""The other handlers come before the floor: a line looks the same in every chart."""


class Slice(NamedTuple):
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


def is_deployed(cell: Cell) -> bool:
    """Whether the cell is ours as the template deploys it."""
    return cell.key.handler == OURS and cell.key.engine == "auto" and cell.key.transport != "aioboto3"


def _usual(result: Result) -> list[Cell]:
    """The measured warm cells of other handlers, and ours as the template deploys it; the smallest memory first."""
    found = [one for one in result.cells if one.repetitions and not (one.key.in_flight or one.key.variant)]
    handlers = [one for one in found if one.key.start == "warm" and (one.key.handler != OURS or is_deployed(one))]
    return sorted(handlers, key=lambda cell: cell.key.memory_mb)


def slice_of(result: Result) -> Slice | None:
    """Return the slice in which ours has the most memory sizes. None if ours has no cell."""
    memories: dict[Slice, set[int]] = {}
    for cell in filter(is_deployed, _usual(result)):
        memories.setdefault(Slice.of(cell), set()).add(cell.key.memory_mb)
    return max(memories, key=lambda each: len(memories[each]), default=None)


def ours_alike(result: Result, platform: str = "lambda") -> list[Cell]:
    """Return our cells of the slice as the template deploys them, with any memory and batch size."""
    slice_ = slice_of(result)
    mine = [cell for cell in _usual(result) if is_deployed(cell) and cell.key.platform == platform]
    return [cell for cell in mine if slice_ and Slice.of(cell)._replace(batch_size=slice_.batch_size) == slice_]


def lines_of(result: Result) -> dict[str, list[Cell]]:
    """Return the functions of the slice by handler."""
    slice_ = slice_of(result)
    lines: dict[str, list[Cell]] = {}
    for cell in _usual(result):
        if cell.key.platform == "lambda" and Slice.of(cell) == slice_:
            lines.setdefault(cell.key.handler, []).append(cell)
    return {name: lines[name] for name in sorted(lines, key=lambda name: (ORDER.get(name, 2), name))}


def outcome_shares(cells: Iterable[Cell]) -> dict[str, float]:
    """Return the share of each outcome in all records."""
    total: Counter[str] = Counter()
    for one in (one for cell in cells for one in cell.repetitions):
        total.update(one.outcomes)
    return {name: count / total.total() for name, count in total.items()}
