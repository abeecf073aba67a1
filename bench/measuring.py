"""The commands that measure: run the cells of a question with progress, write the file, print the tables."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.cells.base import Effort, S3Gone
from bench.cells.pictures import Pictures, folder_set, reference_sets
from bench.cells.runs import Run, Slot, now, result_of, resume, write
from bench.cells.testbed import Testbed, copies_needed, cores, set_up_testbed
from bench.compare import command as compare_command
from bench.money import command as advise_command
from bench.money.advice import plan
from bench.money.prices import Prices, load_prices
from bench.pages.tables import LEGEND, WIDTH, experiments_of, refusals, tables
from bench.peers import PEERS
from bench.questions import FLOOR, Experiment, Scope, ours
from bench.result import CellKey, Result
from bench.rig.enclosures import find_enclosure
from bench.rig.network import PRESETS
from thumbnailer.errors import ThumbnailerError

STOPPED: Final = 130
"""exit code of a program that Ctrl-C has ended"""
COLUMNS: Final = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TextColumn("left"),
    TimeRemainingColumn(),
)


class WrongOption(ThumbnailerError):
    """An option has a value that the command cannot use."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a measuring command."""

    scope: Scope
    output: Path
    images: Path | None = None
    resume: bool = False
    prices: Path | None = None
    repetitions: int = 7
    seconds: float = 2.0
    period_ms: float = 20
    container: str | None = None

    @property
    def effort(self) -> Effort:
        return Effort(self.seconds, period_us=round(1000 * self.period_ms))

    def settings(self) -> dict[str, str]:
        """The settings that two runs must share for one to resume the other."""
        return {
            "latency": self.scope.latency,
            "quick": str(self.scope.quick).lower(),
            "repetitions": str(self.repetitions),
            "seconds": f"{self.seconds:g}",
            "cpu_period_ms": f"{self.period_ms:g}",
            "init": "within the limit" if self.container else "with all CPU, the limit from the first invocation on",
        }


# --- commands -----------------------------------------------------------------------------------------------------


def run(experiment: Experiment, options: Options) -> int:
    """Answers a question; returns the exit code. Raises ThumbnailerError for what a user can correct."""
    prices = load_prices(options.prices)  # before measuring anything
    sets = pictures_for(options)
    keys = usable(experiment.keys(options.scope), sets)
    if not keys:
        raise WrongOption(f"{experiment.name} is about the reference set's pictures: ask without --images")
    try:
        result, stopped = measure([Slot(key) for key in keys], sets, options, prices)
    except S3Gone as error:
        raise S3Gone(f"{error}; --resume continues with what is done, in {options.output}") from error
    console = wide_console()
    if result.cells:
        _print_tables(result, experiment, options, console)
    if stopped:
        done = f"What is done is in {options.output}; continue with --resume."
        console.print(f"Stopped. {done if result.cells else 'Nothing is done yet.'}", markup=False, soft_wrap=True)
    return STOPPED if stopped else 0


def _print_tables(result: Result, experiment: Experiment, options: Options, console: Console) -> None:
    for table in tables(result, experiments_of(experiment.name), options.scope):
        console.print(table)
        console.print()
    console.print(LEGEND, soft_wrap=True)
    for line in (*refusals(result), f"{options.output}: python -m bench report {options.output}"):
        console.print(line, markup=False, soft_wrap=True)


def compare(base: str, new: str, options: Options) -> int:
    """Returns exit code 1 if NEW is slower. Compares two files, or measures two trees in turns."""

    def measure_trees(trees: Mapping[str, Path]) -> Result:
        key = replace(ours(options.scope), batch_size=1)  # with one record, no stage overlaps another
        slots = [Slot(replace(key, handler=name), tree) for name, tree in trees.items()]
        return measure_all(slots, pictures_for(options), options)

    return compare_command.run(base, new, measure_trees, wide_console())


def advise(images: Path, rate: str | None, deadline: str | None, options: Options) -> int:
    """Returns exit code 1 if nothing meets the requirements."""
    wanted = plan(len(cores().cells), options.scope)

    def measure_sample(folder: Path) -> Result:
        return measure_all([Slot(key) for key in wanted], {"photos": folder_set(folder)}, options)

    console = wide_console()
    code = advise_command.run(images, rate, deadline, options.prices, measure_sample, console)
    console.print(f"Charts: python -m bench report {options.output}", markup=False, soft_wrap=True)
    return code


def measure_all(slots: list[Slot], sets: Mapping[str, Pictures], options: Options) -> Result:
    result, stopped = measure(slots, sets, options, load_prices(options.prices))
    if stopped:
        raise typer.Exit(STOPPED)
    return result


# --- options ------------------------------------------------------------------------------------------------------


def known_latency(name: str) -> str:
    """Raises WrongOption."""
    if name not in PRESETS:
        raise WrongOption(f"--latency {name}: expected one of {', '.join(PRESETS)}")
    return name


def memories(text: str) -> tuple[int, ...]:
    """MB, from a comma list. Raises WrongOption."""
    try:
        found = tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        found = (0,)
    if not all(128 <= one <= 10_240 for one in found):
        raise WrongOption(f"--memory {text}: expected MB from 128 to 10240, e.g. 512,1024")
    return found


def pictures_for(options: Options) -> dict[str, Pictures]:
    """Raises NoPictures."""
    return {"photos": folder_set(options.images)} if options.images else reference_sets(options.scope.quick)


def usable(keys: Sequence[CellKey], sets: Mapping[str, Pictures]) -> list[CellKey]:
    """The cells whose pictures exist; a user has one set, and the floor reads JPEGs only."""
    reads = PEERS[FLOOR].reads or frozenset()
    known = [key for key in keys if key.pictures in sets]
    return [key for key in known if key.handler != FLOOR or sets[key.pictures].endings <= reads]


def wide_console() -> Console:
    console = Console()
    return console if console.width >= WIDTH else Console(width=WIDTH)


# --- measuring ----------------------------------------------------------------------------------------------------


def measure(slots: list[Slot], sets: Mapping[str, Pictures], options: Options, prices: Prices) -> tuple[Result, bool]:
    """Returns the result, and True if Ctrl-C has stopped the run. The file always has what is done."""
    assert_writable(options.output)
    stderr = Console(stderr=True)
    with set_up(slots, sets, options) as testbed, Progress(*COLUMNS, console=stderr, transient=True) as bar:
        made = _resume(slots, testbed, options, prices) or now()
        task = bar.add_task("starting", total=None)

        def result() -> Result:
            return result_of(testbed, slots, prices, options.settings(), made)

        def save() -> None:
            write(result(), options.output)

        def show(what: str, steps: int) -> None:
            bar.update(task, description=what[:60], advance=steps)

        run_ = Run(testbed, slots, options.repetitions, options.effort, save, show)
        bar.update(task, total=run_.steps)
        stopped = False
        try:
            run_.measure()
        except KeyboardInterrupt:
            stopped = True
        finally:
            save()
        return result(), stopped


def set_up(slots: Sequence[Slot], sets: Mapping[str, Pictures], options: Options) -> AbstractContextManager[Testbed]:
    """A testbed for these cells; installs the packages of the peers first."""
    keys = [slot.key for slot in slots]
    used = {name: sets[name] for name in dict.fromkeys(key.pictures for key in keys)}
    handlers = list(dict.fromkeys(key.handler for key in keys))
    for name in handlers:
        if name in PEERS:
            PEERS[name].unavailable()
    copies = max(copies_needed(len(used[key.pictures].files), key.batch_size) for key in keys)
    return set_up_testbed(used, handlers, find_enclosure(options.container), copies)


def assert_writable(path: Path) -> None:
    """Raises WrongOption before the first round, not after it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongOption(f"{path}: no file can be written there: {error.strerror}") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise WrongOption(f"{path}: no file can be written there: choose another with -o")


def _resume(slots: list[Slot], testbed: Testbed, options: Options, prices: Prices) -> str | None:
    if not (options.resume and options.output.exists()):
        return None
    all_pictures = [Slot(slot.key, refused="-") for slot in slots]
    return resume(options.output, slots, result_of(testbed, all_pictures, prices, options.settings()))
