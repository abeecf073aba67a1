"""A run: starts its cells, then measures them in turns, so that a noisy minute affects all of them.

Turns go back and forth (A B B A ...): on a machine that slows down, no cell is always the later one. The run writes the
file of results after each round; a run that Ctrl-C or a failing S3 has stopped can resume from it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.cells.base import CellFailed, Repeat
from bench.cells.function import start_cold, start_warm
from bench.cells.machine import machine, memory_mb, software
from bench.cells.outputs import WrongOutput
from bench.cells.testbed import Testbed
from bench.cells.worker import WorkerCell
from bench.questions import Options
from bench.result import Cell, CellKey, Repetition, Result, ResultError, read_result, write_result
from bench.rig.limits import NoLimits
from bench.rig.processes import ROOT, NotInstalled
from thumbnailer.backfill.prices import Prices

MEMORY_PER_CELL_MB: Final = 150
"""a waiting cell is a process of 60 to 300 MB"""
REFUSALS: Final = (CellFailed, NoLimits, NotInstalled, WrongOutput)
"""errors that end one cell and leave the others running"""


@dataclass(slots=True)
class Slot:
    """A cell of the run, with its repetitions so far."""

    key: CellKey
    tree: Path = ROOT
    repetitions: list[Repetition] = field(default_factory=list)
    refused: str = ""


@dataclass
class Run:
    """Measures the slots. `show` reports the next activity, and by how many steps the run advances."""

    testbed: Testbed
    slots: list[Slot]
    options: Options
    prices: Prices
    show: Callable[[str, int], object] = lambda *_: None
    made: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))

    @property
    def steps(self) -> int:
        """A step for each start and for each repetition that is still missing."""
        return sum(not self._is_done(slot) for slot in self.slots) * (self.options.repetitions + 1)

    def measure(self) -> None:
        """Raises S3Gone. Ctrl-C and errors leave the file with what is done."""
        try:
            for block in in_blocks([slot for slot in self.slots if not self._is_done(slot)]):
                self._measure_block(block)
        finally:
            self.save()

    def result(self) -> Result:
        """The result so far."""
        begun = [slot for slot in self.slots if slot.refused or slot.repetitions]
        return Result(
            made=self.made,
            machine=machine(self.testbed.enclosure.name),
            software=software(),
            settings=self.options.settings(),
            picture_sets=tuple(pictures.description() for pictures in self.testbed.sets.values()),
            prices={name: price.usd for name, price in self.prices.items.items()},
            cells=tuple(Cell(slot.key, tuple(slot.repetitions), slot.refused) for slot in begun),
            region=self.prices.region,
        )

    def save(self) -> None:
        """Writes nothing before the first cell."""
        if (result := self.result()).cells:
            write_result(result, self.options.output)

    def resume(self) -> None:
        """Takes the repetitions in the file, and the start of that run. Raises ResultError."""
        path = self.options.output
        before = read_result(path)
        _assert_same_run(path, before, self.result())
        measured = {cell.key: cell for cell in before.cells if cell.repetitions}
        if others := measured.keys() - {slot.key for slot in self.slots}:
            raise ResultError(
                f"{path}: would lose its cells that are not asked for now ({len(others)}): ask for them too, or write "
                "to another file with -o"
            )
        for slot in self.slots:
            if slot.key in measured:
                slot.repetitions[:] = measured[slot.key].repetitions
        self.made = before.made

    def _is_done(self, slot: Slot) -> bool:
        return bool(slot.refused) or len(slot.repetitions) >= self.options.repetitions

    def _measure_block(self, block: Sequence[Slot]) -> None:
        count = self.options.repetitions
        with ExitStack() as stack:
            running = [(slot, repeat) for slot in block if (repeat := self._start(slot, stack))]
            self.save()
            for number in range(count):
                for slot, repeat in running if number % 2 == 0 else reversed(running):
                    self.show(f"{number + 1} of {count}: {slot.key.title}", 1)
                    if not self._is_done(slot):
                        with _refusal(slot):
                            slot.repetitions.append(repeat())
                self.save()

    def _start(self, slot: Slot, stack: ExitStack) -> Repeat | None:
        self.show(f"starting {slot.key.title}", 1)
        with _refusal(slot), ExitStack() as own:
            repeat = start(slot, self.testbed, self.options, own)
            stack.push(own.pop_all())
            return repeat
        self.show(f"refused {slot.key.title}", self.options.repetitions)
        return None


@contextmanager
def _refusal(slot: Slot) -> Iterator[None]:
    """Refuses a cell that fails: numbers of a broken cell mean nothing."""
    try:
        yield
    except REFUSALS as error:
        slot.refused = str(error)
        slot.repetitions.clear()


def start(slot: Slot, testbed: Testbed, options: Options, stack: ExitStack) -> Repeat:
    """A cell with checked thumbnails; the stack ends it. Raises CellFailed, WrongOutput, NoLimits, S3Gone."""
    if slot.key.platform != "lambda":
        return WorkerCell(slot.key, testbed, options, stack).repeat
    start_function = start_cold if slot.key.start == "cold" else start_warm
    return start_function(slot.key, testbed, options, slot.tree, stack)


def in_blocks(slots: Sequence[Slot], machine_mb: int | None = None) -> Iterator[list[Slot]]:
    """Blocks of cells that run at once within three quarters of the machine's memory.

    Cells of one place stay in one block: they are compared with each other.
    """
    most = (machine_mb or memory_mb()) * 3 // 4 // MEMORY_PER_CELL_MB
    places: dict[CellKey, list[Slot]] = {}
    for slot in slots:
        places.setdefault(slot.key.place(), []).append(slot)
    block: list[Slot] = []
    for group in places.values():
        if block and len(block) + len(group) > most:
            yield block
            block = []
        block += group
    if block:
        yield block


def _assert_same_run(path: Path, before: Result, current: Result) -> None:
    """Raises ResultError. A run may have more picture sets than the one that it resumes."""
    differ = [name for name in ("machine", "software", "settings") if getattr(before, name) != getattr(current, name)]
    differ += [] if set(before.picture_sets) <= set(current.picture_sets) else ["pictures"]
    if differ:
        raise ResultError(f"{path}: comes from another {' and '.join(differ)}: measure again, without --resume")
