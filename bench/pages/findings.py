"""The numbers of docs/performance.md's summary; the sentences are in performance.md.j2."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench.money.costing import cell_cost
from bench.pages.selection import OURS, Slice, lines_of, ours_alike
from bench.questions import FLOOR, TEXTBOOK
from bench.result import Cell, Result
from thumbnailer.backfill.prices import Prices


def findings_of(result: Result, prices: Prices) -> dict[str, Any]:
    """Return the numbers by name. A name is missing if its cells were not measured.

    `alike`: memory sizes whose price does not differ from the cheapest one's. `peers`: name, billed time and price as
    ratios to ours. `cold_starts`: MB, our ms, the textbook handler's ms. `batch`: MB, smallest batch, largest batch,
    ratio of billed times.
    """
    lines = lines_of(result)
    mine = lines.pop(OURS, [])
    floor = lines.pop(FLOOR, [])
    found: dict[str, Any] = {"cold_starts": list(_cold_starts(result)), "batch": _batch(ours_alike(result))}
    if mine:
        cheapest = min(mine, key=lambda cell: cell_cost(cell, prices).compute)
        peers = (
            (name, _range(cells, mine, _billed), _range(cells, mine, lambda cell: cell_cost(cell, prices).total))
            for name, cells in lines.items()
        )
        found |= {
            "conditions": Slice.of(mine[0]),
            "cheapest": _price(cheapest, prices),
            "fastest": _price(min(mine, key=_billed), prices),
            "alike": [cell.key.memory_mb for cell in mine if cell is cheapest or not _differs(cell, cheapest)],
            "peers": [peer for peer in peers if all(peer)],
            "floor": _range(mine, floor, lambda cell: cell.median("cpu_ms_per_image") or 0.0),
        }
    return {name: value for name, value in found.items() if value}


def _price(cell: Cell, prices: Prices) -> tuple[int, float, float]:
    """MB, USD of compute a million images, billed ms of an image."""
    return cell.key.memory_mb, cell_cost(cell, prices).compute, _billed(cell)


def _billed(cell: Cell) -> float:
    return cell.median("billed_ms_per_image") or 0.0


def _differs(one: Cell, other: Cell) -> bool:
    """Whether the quartiles of the paid memory-time do not overlap."""
    mine, theirs = (cell.spread("mb_seconds_per_image") for cell in (one, other))
    return mine.lower > theirs.upper or theirs.lower > mine.upper


def _range(above: Sequence[Cell], below: Sequence[Cell], value: Callable[[Cell], float]) -> str:
    """The least and the largest ratio at the same memory size; "" if none is the same."""
    values = {cell.key.memory_mb: value(cell) for cell in below}
    ratios = [value(cell) / values[cell.key.memory_mb] for cell in above if values.get(cell.key.memory_mb)]
    return " to ".join(dict.fromkeys(f"{choose(ratios):.2f}" for choose in (min, max))) if ratios else ""


def _cold_starts(result: Result) -> Iterator[tuple[int, float, float]]:
    cold = [cell for cell in result.cells if cell.key.start == "cold"]
    textbook = {cell.key.memory_mb: cell.latency_ms(0.5) for cell in cold if cell.key.handler == TEXTBOOK}
    for cell in cold:
        mine, theirs = cell.latency_ms(0.5), textbook.get(cell.key.memory_mb)
        if cell.key.handler == OURS and mine and theirs:
            yield cell.key.memory_mb, mine, theirs


def _batch(alike: Sequence[Cell]) -> tuple[int, int, int, float] | None:
    """At the memory of the largest batch."""
    most = max(alike, key=lambda cell: cell.key.batch_size, default=None)
    same = [cell for cell in alike if most and cell.key.memory_mb == most.key.memory_mb]
    one = min(same, key=lambda cell: cell.key.batch_size, default=None)
    if one is None or most is None or one is most:
        return None
    return one.key.memory_mb, one.key.batch_size, most.key.batch_size, _billed(one) / _billed(most)
