"""`python -m bench tiers` and the others: the run, its progress, its file, its tables."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.cells.base import Effort
from bench.cells.observation import S3Gone
from bench.cells.runs import Run, Slot, result_of, resumed, write
from bench.compare import command as compare_command
from bench.money import command as advise_command
from bench.money.advice import Wanted
from bench.money.prices import Prices, load_prices
from bench.pages.tables import LEGEND, WIDTH, experiments_of, refusals, tables
from bench.peers import PEERS
from bench.questions import FLOOR, Experiment, Scope, ours
from bench.result import CellKey, Result
from bench.rig.enclosures import find_enclosure
from bench.rig.network import PRESETS
from bench.rig.testbed import Bed, Pictures, bed, copies_needed, cores, own_set, reference_sets
from tests.tools import scale_check
from thumbnailer.errors import ThumbnailerError

STOPPED: Final = 130
"""The exit code of a program that Ctrl-C has ended."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a user asks for, beside the question."""

    scope: Scope
    images: Path | None
    output: Path
    resume: bool
    prices: Path | None
    repetitions: int
    seconds: float
    period_ms: float
    container: str | None = None

    @property
    def effort(self) -> Effort:
        return Effort(self.seconds, period_us=round(1000 * self.period_ms))

    def settings(self) -> dict[str, str]:
        """What a result must have in common with another to be gone on with."""
        return {
            "latency": self.scope.latency,
            "quick": str(self.scope.quick).lower(),
            "repetitions": str(self.repetitions),
            "seconds": f"{self.seconds:g}",
            "cpu_period_ms": f"{self.period_ms:g}",
            "init": "within the limit" if self.container else "with all CPU, the limit from the first invocation on",
        }


def run(experiment: Experiment, options: Options) -> int:
    """Measures, writes, prints; the exit code. Raises what a user can put right: ThumbnailerError."""
    prices = load_prices(options.prices)  # before anything is measured
    sets = pictures_for(options)
    keys = usable(experiment.keys(options.scope), sets)
    if not keys:
        raise WrongOption(f"{experiment.name} is about the reference set's pictures: ask without --images")
    console = wide_console()
    try:
        result, stopped = measured([Slot(key) for key in keys], sets, options, prices)
    except S3Gone as error:
        raise S3Gone(f"{error}; --resume goes on with what was done, in {options.output}") from error
    if result is not None and result.cells:
        for table in tables(result, experiments_of(experiment.name), options.scope):
            console.print(table)
            console.print()
        console.print(LEGEND, soft_wrap=True)
        for line in refusals(result):
            console.print(line, markup=False, soft_wrap=True)
        console.print(f"{options.output}: python -m bench report {options.output}", markup=False, soft_wrap=True)
    if stopped:
        where = f"What was done is in {options.output}; go on with --resume." if result and result.cells else ""
        console.print(f"Stopped. {where or 'Nothing was done yet.'}", markup=False, soft_wrap=True)
        return STOPPED
    return 0


def wide_console() -> Console:
    console = Console()
    return console if console.width >= WIDTH else Console(width=WIDTH)


class WrongOption(ThumbnailerError):
    """An option is not what it should be."""


def compare(base: str, new: str, options: Options) -> int:
    """The exit code: 1 where NEW is slower. Files are compared as they are; trees are measured now, in turns."""

    def measure(trees: Mapping[str, Path]) -> Result:
        sets = pictures_for(options)
        key = replace(ours(options.scope), batch_size=1)  # where nothing hides behind anything else
        slots = [Slot(replace(key, handler=name), tree) for name, tree in trees.items()]
        result, stopped = measured(slots, sets, options, load_prices(options.prices))
        if stopped or result is None:
            raise typer.Exit(STOPPED)
        return result

    return compare_command.run(base, new, measure, wide_console())


def check_scale(options: Options, seconds: float) -> None:
    """Prints the table: how far the simulation is from a real worker."""
    prices, sets = load_prices(options.prices), pictures_for(options)
    base = ours(options.scope)
    key = replace(base, platform="fargate", vcpus=1.0, memory_mb=2048, batch_size=10)
    used = {key.pictures: sets[key.pictures]}
    copies = copies_needed(len(used[key.pictures].files), key.batch_size)
    with bed(used, [key.handler], find_enclosure(None), copies) as there, shown() as show:
        result = result_of(there, [], prices, options.settings())
        rows = list(scale_check.check(there, key, options.effort, seconds, prices, show.next, result))
    console = wide_console()
    console.print(scale_check.table(rows))
    console.print(
        "From when a message was sent until its thumbnail was stored. "
        f"Simulated: median, least and most of {len(scale_check.SEEDS)} runs."
    )


def advise(images: str, rate: str | None, deadline: str | None, options: Options, advice: Path | None) -> int:
    """The exit code: 1 where nothing meets what was asked."""

    def measure(folder: Path, wanted: Sequence[Wanted]) -> Result:
        slots = [Slot(_of(one, options.scope)) for one in wanted]
        result, stopped = measured(slots, own_set(folder), options, load_prices(options.prices))
        if stopped or result is None:
            raise typer.Exit(STOPPED)
        return result

    there = float(len(cores().cells))
    return advise_command.run(
        images, rate, deadline, options.prices, measure, output=advice, cores=there, console=wide_console()
    )


def _of(wanted: Wanted, scope: Scope) -> CellKey:
    place = replace(ours(scope, wanted.memory_mb), batch_size=wanted.batch_size)
    return replace(place, platform=wanted.platform, vcpus=wanted.vcpus)


def known_latency(name: str) -> str:
    if name not in PRESETS:
        raise WrongOption(f"--latency {name}: expected one of {', '.join(PRESETS)}")
    return name


def memories(text: str) -> tuple[int, ...]:
    """MB, of a comma list. Raises WrongOption."""
    try:
        found = tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        found = (0,)
    if not all(128 <= one <= 10_240 for one in found):
        raise WrongOption(f"--memory {text}: expected MB from 128 to 10240, e.g. 512,1024")
    return found


def pictures_for(options: Options) -> dict[str, Pictures]:
    """Raises NoPictures."""
    return own_set(options.images) if options.images else reference_sets(options.scope.quick)


def usable(keys: Sequence[CellKey], sets: Mapping[str, Pictures]) -> list[CellKey]:
    """Of a user's own pictures there is one set; and no floor where not all of them are JPEGs."""
    there = [key for key in keys if key.pictures in sets]
    reads = PEERS[FLOOR].reads or frozenset()
    return [key for key in there if key.handler != FLOOR or sets[key.pictures].endings <= reads]


def measured(
    slots: list[Slot], sets: Mapping[str, Pictures], options: Options, prices: Prices
) -> tuple[Result | None, bool]:
    """The result, and whether Ctrl-C ended it. What was done is in the file, whatever happens."""
    assert_writable(options.output)
    used = {name: sets[name] for name in dict.fromkeys(slot.key.pictures for slot in slots)}
    handlers = list(dict.fromkeys(slot.key.handler for slot in slots))
    copies = max(copies_needed(len(used[slot.key.pictures].files), slot.key.batch_size) for slot in slots)
    result: Result | None = None
    for name in handlers:
        if name in PEERS:
            PEERS[name].unavailable()  # installs what it needs before anything is measured
    enclosure = find_enclosure(options.container)
    with _interruptible(), bed(used, handlers, enclosure, copies) as there:
        made = _resume(slots, there, options, prices) if options.resume else None

        def save() -> None:
            nonlocal result
            result = result_of(there, slots, prices, options.settings(), made or started)
            write(result, options.output)

        started = result_of(there, [], prices, {}).made
        stopped = False
        with shown() as show:
            try:
                Run(there, slots, options.repetitions, options.effort, save, show).measure()
            except KeyboardInterrupt:
                stopped = True
            finally:
                save()
    return result, stopped


def assert_writable(path: Path) -> None:
    """Raises WrongOption: better now than after the first round."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongOption(f"{path}: no file can be written there: {error.strerror}") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise WrongOption(f"{path}: no file can be written there: choose another with -o")


def _resume(slots: list[Slot], there: Bed, options: Options, prices: Prices) -> str | None:
    if not options.output.exists():
        return None
    return resumed(
        options.output,
        slots,
        result_of(there, [Slot(slot.key, refused="-") for slot in slots], prices, options.settings()),
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C also where the shell has it ignored (`&`)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Bar:
    """A bar with the time that is left, on standard error."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=None)
        self._done = -1

    def expect(self, steps: int) -> None:
        self._progress.update(self._task, total=steps)

    def next(self, what: str) -> None:
        self._done += 1
        self._progress.update(self._task, description=what[:60], completed=self._done)

    def skip(self, steps: int) -> None:
        self._done += steps


@contextmanager
def shown() -> Iterator[Bar]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bar(progress)
