"""The numbers of docs/performance.md's summary; the sentences are in performance.md.j2."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from bench.money.costing import cell_cost
from bench.money.prices import Prices
from bench.pages.selection import OURS, Slice, lines_of, who
from bench.questions import EXPERIMENTS, FLOOR, TEXTBOOK, Experiment, Options
from bench.result import Cell, Result


class Range(NamedTuple):
    low: float
    high: float

    def __str__(self) -> str:
        low, high = f"{self.low:.2f}", f"{self.high:.2f}"
        return low if low == high else f"{low} to {high}"


def findings_of(result: Result, prices: Prices) -> dict[str, Any]:
    """Return the numbers by name. A name is missing if its cells were not measured.

    `alike`: memory sizes whose price does not differ from the cheapest one's. `peers`: name, billed time and price as
    ratios to ours. `cold_starts`: MB, our ms, the textbook handler's ms. `batch`: MB, smallest batch, largest batch,
    ratio of billed times.
    """
    lines = lines_of(result)
    mine = lines.get(OURS)
    found: dict[str, Any] = {"cold_starts": list(_cold_starts(result)), "batch": _batch(result)}
    if mine:
        cheapest = min(mine, key=lambda cell: cell_cost(cell, prices).compute)
        found |= {
            "conditions": Slice.of(mine[0]),
            "cheapest": _price(cheapest, prices),
            "fastest": _price(min(mine, key=_billed), prices),
            "alike": [cell.key.memory_mb for cell in mine if cell is cheapest or not _differs(cell, cheapest)],
            "peers": list(_peers(mine, lines, prices)),
            "floor": _range(mine, lines.get(FLOOR, []), lambda cell: cell.median("cpu_ms_per_image")),
        }
    return {name: value for name, value in found.items() if value}


def scope_of(result: Result) -> Options:
    """Return the scope of the run: with the file's own memory sizes if some cell is not in the default scope."""
    scope = Options(result.settings.get("quick") == "true", result.settings.get("latency", "near"))
    known = set(EXPERIMENTS["all"].keys(scope))
    if all(cell.key in known for cell in result.cells):
        return scope
    memories = dict.fromkeys(cell.key.memory_mb for cell in result.cells if cell.key.platform == "lambda")
    return Options(scope.quick, scope.latency, tuple(memories))


def cells_of(result: Result, experiment: Experiment) -> list[Cell]:
    """Return the cells of a question that the result has, in the question's order."""
    found = {cell.key: cell for cell in result.cells}
    return [found[key] for key in experiment.keys(scope_of(result)) if key in found]


def _price(cell: Cell, prices: Prices) -> tuple[int, float, float]:
    """MB, USD of compute a million images, billed ms of an image."""
    return cell.key.memory_mb, cell_cost(cell, prices).compute, _billed(cell)


def _billed(cell: Cell) -> float:
    return cell.median("billed_ms_per_image") or 0.0


def _differs(one: Cell, other: Cell) -> bool:
    """Whether the quartiles of the paid memory-time do not overlap."""
    mine, theirs = (cell.summary()["mb_seconds_per_image"] for cell in (one, other))
    return mine.lower > theirs.upper or theirs.lower > mine.upper


def _peers(mine: Sequence[Cell], lines: dict[str, list[Cell]], prices: Prices) -> Iterator[tuple[str, Range, Range]]:
    for name, cells in lines.items():
        if not name.startswith(OURS) and name != FLOOR:
            longer = _range(cells, mine, _billed)
            dearer = _range(cells, mine, lambda cell: cell_cost(cell, prices).total)
            if longer and dearer:
                yield name, longer, dearer


def _range(above: Sequence[Cell], below: Sequence[Cell], value: Callable[[Cell], float | None]) -> Range | None:
    """The ratios at the same memory size."""
    values = {cell.key.memory_mb: value(cell) for cell in below}
    pairs = [(value(cell), values.get(cell.key.memory_mb)) for cell in above]
    ratios = [one / other for one, other in pairs if one and other]
    return Range(min(ratios), max(ratios)) if ratios else None


def _cold_starts(result: Result) -> Iterator[tuple[int, float, float]]:
    cells = [cell for cell in cells_of(result, EXPERIMENTS["coldstart"]) if cell.repetitions]
    textbook = {cell.key.memory_mb: cell.latency_ms(0.5) for cell in cells if cell.key.handler == TEXTBOOK}
    for cell in cells:
        mine, theirs = cell.latency_ms(0.5), textbook.get(cell.key.memory_mb)
        if cell.key.handler == OURS and mine and theirs:
            yield cell.key.memory_mb, mine, theirs


def _batch(result: Result) -> tuple[int, int, int, float] | None:
    cells = cells_of(result, EXPERIMENTS["batch"])
    usual = [cell for cell in cells if cell.repetitions and who(cell) == OURS and not cell.key.in_flight]
    if len(usual) < 2:
        return None
    one, most = (choose(usual, key=lambda cell: cell.key.batch_size) for choose in (min, max))
    found = _range([one], [most], _billed)
    return (one.key.memory_mb, one.key.batch_size, most.key.batch_size, found.low) if found else None
