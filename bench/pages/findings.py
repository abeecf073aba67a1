"""The numbers of docs/performance.md's summary; the sentences are in performance.md.j2."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.money.costing import cell_cost
from bench.money.prices import Prices
from bench.pages.selection import OURS, Slice, lines_of, who
from bench.questions import EXPERIMENTS, FLOOR, TEXTBOOK, Experiment, Scope
from bench.result import Cell, Result


class Range(NamedTuple):
    low: float
    high: float

    def __str__(self) -> str:
        low, high = f"{self.low:.2f}", f"{self.high:.2f}"
        return low if low == high else f"{low} to {high}"


class MemoryPrice(NamedTuple):
    """A memory size, USD of compute a million images, and billed ms an image."""

    memory_mb: int
    usd: float
    ms: float


class Peer(NamedTuple):
    """Ratios of a peer to ours: billed time and price with all requests."""

    name: str
    longer: Range
    dearer: Range


class ColdStart(NamedTuple):
    memory_mb: int
    ours_ms: float
    textbook_ms: float


class Batch(NamedTuple):
    """Ratio of the billed time of an image in the smallest batch to that in the largest."""

    memory_mb: int
    smallest: int
    largest: int
    ratio: float


@dataclass(frozen=True, slots=True)
class Findings:
    """None or empty: not measured. `alike`: memory sizes whose price does not differ from the cheapest one's."""

    conditions: str = ""
    cheapest: MemoryPrice | None = None
    fastest: MemoryPrice | None = None
    alike: tuple[int, ...] = ()
    peers: tuple[Peer, ...] = ()
    floor: Range | None = None
    cold_starts: tuple[ColdStart, ...] = ()
    batch: Batch | None = None


def findings_of(result: Result, prices: Prices) -> Findings:
    lines = lines_of(result)
    mine = lines.get(OURS)
    cold, batch = tuple(_cold_starts(result)), _batch(result)
    if not mine:
        return Findings(cold_starts=cold, batch=batch)
    cheapest = min(mine, key=lambda cell: cell_cost(cell, prices).compute)
    fastest = min(mine, key=_billed)
    return Findings(
        conditions=str(Slice.of(mine[0])),
        cheapest=_price(cheapest, prices),
        fastest=_price(fastest, prices),
        alike=tuple(cell.key.memory_mb for cell in mine if cell is cheapest or not _differs(cell, cheapest)),
        peers=tuple(_peers(mine, lines, prices)),
        floor=_range(mine, lines.get(FLOOR, []), lambda cell: cell.median("cpu_ms_per_image")),
        cold_starts=cold,
        batch=batch,
    )


def scope_of(result: Result) -> Scope:
    """Return the scope of the run: with the file's own memory sizes if some cell is not in the default scope."""
    scope = Scope(result.settings.get("quick") == "true", result.settings.get("latency", "near"))
    known = set(EXPERIMENTS["all"].keys(scope))
    if all(cell.key in known for cell in result.cells):
        return scope
    memories = dict.fromkeys(cell.key.memory_mb for cell in result.cells if cell.key.platform == "lambda")
    return Scope(scope.quick, scope.latency, tuple(memories))


def cells_of(result: Result, experiment: Experiment) -> list[Cell]:
    """Return the cells of a question that the result has, in the question's order."""
    found = {cell.key: cell for cell in result.cells}
    return [found[key] for key in experiment.keys(scope_of(result)) if key in found]


def _price(cell: Cell, prices: Prices) -> MemoryPrice:
    return MemoryPrice(cell.key.memory_mb, cell_cost(cell, prices).compute, _billed(cell))


def _billed(cell: Cell) -> float:
    return cell.median("billed_ms_per_image") or 0.0


def _differs(one: Cell, other: Cell) -> bool:
    """Whether the quartiles of the paid memory-time do not overlap."""
    mine, theirs = (cell.summary()["mb_seconds_per_image"] for cell in (one, other))
    return mine.lower > theirs.upper or theirs.lower > mine.upper


def _peers(mine: Sequence[Cell], lines: dict[str, list[Cell]], prices: Prices) -> Iterator[Peer]:
    for name, cells in lines.items():
        if not name.startswith(OURS) and name != FLOOR:
            longer = _range(cells, mine, _billed)
            dearer = _range(cells, mine, lambda cell: cell_cost(cell, prices).total)
            if longer and dearer:
                yield Peer(name, longer, dearer)


def _range(above: Sequence[Cell], below: Sequence[Cell], value: Callable[[Cell], float | None]) -> Range | None:
    """The ratios at the same memory size."""
    values = {cell.key.memory_mb: value(cell) for cell in below}
    pairs = [(value(cell), values.get(cell.key.memory_mb)) for cell in above]
    ratios = [one / other for one, other in pairs if one and other]
    return Range(min(ratios), max(ratios)) if ratios else None


def _cold_starts(result: Result) -> Iterator[ColdStart]:
    cells = [cell for cell in cells_of(result, EXPERIMENTS["coldstart"]) if cell.repetitions]
    textbook = {cell.key.memory_mb: cell.latency_ms(0.5) for cell in cells if cell.key.handler == TEXTBOOK}
    for cell in cells:
        mine, theirs = cell.latency_ms(0.5), textbook.get(cell.key.memory_mb)
        if cell.key.handler == OURS and mine and theirs:
            yield ColdStart(cell.key.memory_mb, mine, theirs)


def _batch(result: Result) -> Batch | None:
    cells = cells_of(result, EXPERIMENTS["batch"])
    usual = [cell for cell in cells if cell.repetitions and who(cell) == OURS and not cell.key.in_flight]
    if len(usual) < 2:
        return None
    one, most = (choose(usual, key=lambda cell: cell.key.batch_size) for choose in (min, max))
    found = _range([one], [most], _billed)
    return Batch(one.key.memory_mb, one.key.batch_size, most.key.batch_size, found.low) if found else None
