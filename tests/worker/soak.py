"""A long day in minutes: `python -m tests.worker.soak`. Exit code 1 if the end state is wrong.

Workers take thousands of messages from moto's SQS while a proxy breaks a share of their requests to S3 and SIGKILL ends
workers at random. Messages arrive twice and out of order, keys are overwritten and removed with their events in any
order, some pictures are broken, some messages are unreadable. In the end every picture has the thumbnail of its newest
version, every bad object has its note, removed keys have nothing, the queue is empty, the dead-letter queue holds
exactly the unreadable messages, and the workers' /tmp is empty.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.support.faults import at_random, fault_proxy
from tests.tools.quality import SAMPLES
from tests.worker.running import HASTY, Cloud, WorkerProcess, event, moto

NOTES = "_failed/"
OVERWRITTEN, REMOVED, BAD, TWICE, UNREADABLE = 0.03, 0.02, 0.05, 0.1, 0.002
"""Shares of the keys, or of the messages."""
BAD_OBJECTS = (b"no picture at all", b"\xff\xd8\xff\xe0 a JPEG that ends", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")


@dataclass(frozen=True, slots=True)
class Day:
    """The plan of a run. `kills` is the number of SIGKILLs, `faults` a share of the requests to S3."""

    messages: int
    workers: int
    kills: int
    faults: float
    seed: int
    seconds: float = 3600.0
    most_receives: int = 12
    """receives before SQS moves a message to the dead-letter queue"""
    visibility: int = 10
    kill_pauses: tuple[float, float] = (1.0, 6.0)
    """shortest and longest seconds between two kills"""


@dataclass(slots=True)
class World:
    """The source bucket's final content, and the messages about it, in some order."""

    pictures: dict[str, str] = field(default_factory=dict)
    """key -> ETag"""
    bad: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """The result. `wrong` is empty if the end state is right."""

    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    killed: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    peak_rss_mb: float = 0.0


def soak(day: Day, progress: Callable[[int], None] = lambda _: None) -> Report:
    chance = random.Random(day.seed)
    report = Report()
    with ExitStack() as stack:
        aws = Cloud(stack.enter_context(moto()), day.visibility, day.most_receives)
        world = _fill_bucket(aws, day, chance)
        proxy = stack.enter_context(fault_proxy(aws.url, at_random(day.seed, day.faults)))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        scratch = folder / "scratch"
        scratch.mkdir()
        env = aws.env | {"AWS_ENDPOINT_URL_S3": proxy.url, "TMPDIR": str(scratch)}
        started = time.monotonic()
        with _workers(day, env, folder, chance, report):
            _send(aws, world, chance)
            _wait(aws, started + day.seconds, progress, report)
        report.seconds = time.monotonic() - started
        report.faults = Counter({f"{method} {name}": number for (method, name), number in proxy.requests.items()})
        report.wrong += [*_wrong(aws, world), *(f"left in /tmp: {path.name}" for path in scratch.iterdir())]
    return report


# --- before -------------------------------------------------------------------------------------------------------


def _fill_bucket(aws: Cloud, day: Day, chance: random.Random) -> World:
    world = World()
    samples = [path.read_bytes() for path in sorted(SAMPLES.iterdir()) if path.suffix not in (".md", ".csv")]
    small = sorted(samples, key=len)[:4]
    keys = [f"{number % 97}/{number}.jpg" for number in range(day.messages)]
    with ThreadPoolExecutor(8) as pool:
        for key, fate in zip(keys, (chance.random() for _ in keys), strict=True):
            _write(aws, world, pool, key, fate, chance.sample(small, 2), chance.choice(BAD_OBJECTS))
    world.unreadable = [f"no event {number}" for number in range(max(1, int(day.messages * UNREADABLE)))]
    world.messages += world.unreadable + chance.sample(world.messages, int(len(world.messages) * TWICE))
    chance.shuffle(world.messages)
    return world


def _write(
    aws: Cloud, world: World, pool: ThreadPoolExecutor, key: str, fate: float, two: Sequence[bytes], bad: bytes
) -> None:
    """Writes one key and its messages. Workers never see an older version, but they get its event."""
    world.messages.append(event(key, sequencer="01"))
    if fate < OVERWRITTEN:
        world.messages.append(event(key, sequencer="02"))
        aws.put(key, two[1])
        world.pictures[key] = aws.put(key, two[0])
    elif fate < OVERWRITTEN + REMOVED:
        world.messages.append(event(key, "ObjectRemoved:Delete", sequencer="02"))
        world.removed.add(key)
    elif fate < OVERWRITTEN + REMOVED + BAD:
        world.bad.add(key)
        pool.submit(aws.put, key, bad)
    else:
        world.pictures[key] = ""
        pool.submit(lambda: world.pictures.__setitem__(key, aws.put(key, two[0])))


def _send(aws: Cloud, world: World, chance: random.Random) -> None:
    """Sends the messages while the workers run, and overwrites some keys, with events before or after the write."""
    changing = chance.sample(sorted(world.pictures), max(1, int(len(world.pictures) * OVERWRITTEN)))
    step = max(10, len(world.messages) // (len(changing) + 1))
    data = (SAMPLES / "chelsea.png").read_bytes()
    for start in range(0, len(world.messages), step):
        aws.send(world.messages[start : start + step])
        if changing:
            key = changing.pop()
            if chance.random() < 0.5:
                aws.send([event(key, sequencer="03")])
            world.pictures[key] = aws.put(key, data)
            aws.send([event(key, sequencer="03")])


# --- meanwhile ----------------------------------------------------------------------------------------------------


@contextmanager
def _workers(day: Day, env: dict[str, str], folder: Path, chance: random.Random, report: Report) -> Iterator[None]:
    """Keeps that many workers running and replaces killed ones. At the end all get SIGTERM."""
    done = threading.Event()
    running = [WorkerProcess(env, folder / f"worker{number}.log", HASTY) for number in range(day.workers)]

    def kill() -> None:
        pauses = [chance.uniform(*day.kill_pauses) for _ in range(day.kills)]
        for pause in pauses:
            if done.wait(pause):
                return
            victim = chance.randrange(len(running))
            report.peak_rss_mb = max(report.peak_rss_mb, *map(_peak_rss_mb, running))
            running[victim].kill()
            report.killed += 1
            running[victim] = WorkerProcess(env, running[victim].log, HASTY)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        done.set()
        killer.join()
        report.peak_rss_mb = max(report.peak_rss_mb, *map(_peak_rss_mb, running))
        codes = [process.terminate() for process in running]
        report.wrong += [f"a worker ended with {code}" for code in codes if code]


def _peak_rss_mb(process: WorkerProcess) -> float:
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def _wait(aws: Cloud, until: float, progress: Callable[[int], None], report: Report) -> None:
    """Returns when the queue was empty three times in a row."""
    quiet = 0
    while quiet < 3:
        depth = aws.depth()
        quiet = quiet + 1 if depth.visible == depth.held == 0 else 0
        progress(depth.visible + depth.held)
        if time.monotonic() > until:
            report.wrong.append(f"the queue is not empty in time: {depth}")
            return
        time.sleep(0.5)


# --- after --------------------------------------------------------------------------------------------------------


def _wrong(aws: Cloud, world: World) -> Iterator[str]:
    keys = aws.keys()
    notes = {key.removeprefix(NOTES).removesuffix(".json") for key in keys if key.startswith(NOTES)}
    thumbnails = {key for key in keys if not key.startswith(NOTES)}
    yield from (f"no thumbnail: {key}" for key in world.pictures.keys() - thumbnails)
    yield from (f"a thumbnail without a picture: {key}" for key in thumbnails - world.pictures.keys())
    yield from (f"no note: {key}" for key in world.bad - notes)
    yield from (f"a note without a bad object: {key}" for key in notes - world.bad)
    yield from _wrong_thumbnails(aws, world, thumbnails)
    dead, unreadable = Counter(aws.dead_bodies()), Counter(world.unreadable)
    yield from (f"in the dead-letter queue: {body[:200]}" for body in (dead - unreadable).elements())
    yield from (f"not in the dead-letter queue: {body}" for body in (unreadable - dead).elements())


def _wrong_thumbnails(aws: Cloud, world: World, keys: set[str]) -> Iterator[str]:
    """Thumbnails of older versions, and thumbnails of one source that differ."""
    by_source: dict[str, bytes] = {}
    with ThreadPoolExecutor(8) as pool:
        for key, (data, etag) in zip(sorted(keys), pool.map(aws.thumbnail, sorted(keys)), strict=True):
            wanted = world.pictures.get(key)
            if wanted is not None and etag != wanted:
                yield f"a thumbnail of an older version: {key}"
            if by_source.setdefault(etag, data) != data:
                yield f"differs from another thumbnail of the same source: {key}"


# --- the command --------------------------------------------------------------------------------------------------


def main(
    messages: Annotated[int, typer.Option(min=10, help="objects, each with at least one message")] = 10_000,
    workers: Annotated[int, typer.Option(min=1, help="processes at a time")] = 2,
    kills: Annotated[int, typer.Option(min=0, help="SIGKILLs in all")] = 20,
    faults: Annotated[float, typer.Option(min=0, max=1, help="share of the requests to S3 that fail")] = 0.2,
    seed: Annotated[int, typer.Option(help="the same seed is the same day")] = 1,
) -> None:
    """Thousands of messages with faults, kills and duplicates."""
    console = Console()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("messages", total=None)

        def told(left: int) -> None:
            task = progress.tasks[bar]
            total = max(task.total or 0, left)
            progress.update(bar, total=total, completed=total - left)

        report = soak(Day(messages, workers, kills, faults, seed), told)
    table = Table("what", "how much", show_edge=False)
    table.add_row("seconds", f"{report.seconds:.0f}")
    table.add_row("objects a second", f"{messages / report.seconds:.1f}")
    table.add_row("killed", str(report.killed))
    table.add_row("peak RSS of a worker, MB", f"{report.peak_rss_mb:.0f}")
    for name, number in sorted(report.faults.items()):
        table.add_row(name, str(number))
    console.print(table)
    for wrong in report.wrong[:50]:
        console.print(f"[red]{wrong}")
    console.print(f"{len(report.wrong)} things are wrong" if report.wrong else "[green]Nothing is wrong.")
    raise typer.Exit(bool(report.wrong))


if __name__ == "__main__":
    typer.run(main)
