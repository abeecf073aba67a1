"""The commands that measure: run the cells of a question with progress, write the file, print the tables."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final

import typer
from rich.console import Console
from rich.progress import Progress

from bench.cells.base import S3Gone
from bench.cells.pictures import Pictures, folder_set, reference_sets
from bench.cells.runs import Run, Slot
from bench.cells.testbed import Testbed, copies_needed, cores, set_up_testbed
from bench.compare import command as compare_command
from bench.money import command as advise_command
from bench.money.advice import plan
from bench.pages.tables import LEGEND, WIDTH, experiments_of, refused_by_reason, say, tables
from bench.peers import PEERS
from bench.questions import FLOOR, Experiment, Options, ours
from bench.result import CellKey, Result
from bench.rig.enclosures import find_enclosure
from thumbnailer.backfill.prices import Prices, load_prices
from thumbnailer.errors import ThumbnailerError

STOPPED: Final = 130
"""exit code of a program that Ctrl-C has ended"""


class WrongOption(ThumbnailerError):
    """An option has a value that the command cannot use."""


def run(experiment: Experiment, options: Options) -> int:
    """Answers a question; returns the exit code. Raises ThumbnailerError for what a user can correct."""
    prices = load_prices(options.prices)  # before measuring anything
    sets = pictures_for(options)
    keys = usable(experiment.keys(options), sets)
    if not keys:
        raise WrongOption(f"{experiment.name} is about the reference set's pictures: ask without --images")
    try:
        result, stopped = measure([Slot(key) for key in keys], sets, options, prices)
    except S3Gone as error:
        raise S3Gone(f"{error}; --resume continues with what is done, in {options.output}") from error
    console = wide_console()
    if result.cells:
        for table in tables(result, experiments_of(experiment.name), options):
            console.print(table)
            console.print()
        console.print(LEGEND, soft_wrap=True)
        for reason, cells in refused_by_reason(result).items():
            say(console, f"refused: {reason}: {'; '.join(cells)}")
        say(console, f"{options.output}: python -m bench report {options.output}")
    if stopped:
        done = f"What is done is in {options.output}; continue with --resume."
        say(console, f"Stopped. {done if result.cells else 'Nothing is done yet.'}")
    return STOPPED if stopped else 0


def compare(base: str, new: str, options: Options) -> int:
    """Returns exit code 1 if NEW is slower. Compares two files, or measures two trees in turns."""

    def measure_trees(trees: Mapping[str, Path]) -> Result:
        key = replace(ours(options), batch_size=1)  # with one record, no stage overlaps another
        slots = [Slot(replace(key, handler=name), tree) for name, tree in trees.items()]
        return measure_all(slots, pictures_for(options), options)

    return compare_command.run(base, new, measure_trees, wide_console())


def advise(images: Path, rate: str | None, deadline: str | None, options: Options) -> int:
    """Returns exit code 1 if nothing meets the requirements."""
    wanted = plan(len(cores().cells), options)

    def measure_sample(folder: Path) -> Result:
        return measure_all([Slot(key) for key in wanted], {"photos": folder_set(folder)}, options)

    console = wide_console()
    code = advise_command.run(images, rate, deadline, options.prices, measure_sample, console)
    say(console, f"Charts: python -m bench report {options.output}")
    return code


def measure_all(slots: list[Slot], sets: Mapping[str, Pictures], options: Options) -> Result:
    result, stopped = measure(slots, sets, options, load_prices(options.prices))
    if stopped:
        raise typer.Exit(STOPPED)
    return result


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
    return {"photos": folder_set(options.images)} if options.images else reference_sets(options.quick)


def usable(keys: Sequence[CellKey], sets: Mapping[str, Pictures]) -> list[CellKey]:
    """The cells whose pictures exist; a user has one set, and the floor reads JPEGs only."""
    reads = PEERS[FLOOR].reads or frozenset()
    known = [key for key in keys if key.pictures in sets]
    return [key for key in known if key.handler != FLOOR or sets[key.pictures].endings <= reads]


def wide_console() -> Console:
    return Console(width=max(WIDTH, Console().width))


def measure(slots: list[Slot], sets: Mapping[str, Pictures], options: Options, prices: Prices) -> tuple[Result, bool]:
    """Returns the result, and True if Ctrl-C has stopped the run. The file always has what is done."""
    assert_writable(options.output)
    bar = Progress(console=Console(stderr=True), transient=True, refresh_per_second=2)
    with set_up([slot.key for slot in slots], sets, options) as testbed, bar:
        task = bar.add_task("starting", total=None)
        run_ = Run(testbed, slots, options, prices, lambda what, n: bar.update(task, description=what[:60], advance=n))
        if options.resume and options.output.exists():
            run_.resume()
        bar.update(task, total=run_.steps)
        try:
            run_.measure()
        except KeyboardInterrupt:
            return run_.result(), True
        return run_.result(), False


def set_up(keys: Sequence[CellKey], sets: Mapping[str, Pictures], options: Options) -> AbstractContextManager[Testbed]:
    """A testbed for these cells."""
    used = {key.pictures: sets[key.pictures] for key in keys}
    copies = max(copies_needed(len(used[key.pictures].files), key.batch_size) for key in keys)
    return set_up_testbed(used, find_enclosure(options.container), copies)


def assert_writable(path: Path) -> None:
    """Raises WrongOption before the first round, not after it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise WrongOption(f"{path}: no file can be written there: {error.strerror}") from error
