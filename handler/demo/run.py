"""`thumbnailer demo`: starts everything, uploads the samples, shows their outcomes and serves the gallery."""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from handler.demo.cloud import PHOTOS, environment_for, furnish, moto_cloud
from handler.demo.feed import Feed
from handler.demo.function import Function
from handler.demo.gallery import Gallery, serve
from thumbnailer import settings
from thumbnailer.model import Outcome, Status

DEFAULT_PORT: Final = 8080
DEFAULT_RENDITIONS: Final = "320x320"
PATIENCE_SECONDS: Final = 60.0
SAMPLES: Final = Path(__file__).parent / "samples"
COLOURS: Final = {Status.STORED: "green", Status.REJECTED: "red", Status.FAILED: "yellow", Status.DEFERRED: "yellow"}
TIMES: Final = "\N{MULTIPLICATION SIGN}"
PLAIN_WIDTH: Final = 150
NARROW: Final = 100
HEADINGS: Final = ("key", "outcome", "reason", "format", "size", "bytes", "engine", "ms")
NUMBERS: Final = ("size", "bytes", "ms")
mimetypes.add_type("image/heic", ".heic")
mimetypes.add_type("image/avif", ".avif")
mimetypes.add_type("image/webp", ".webp")


async def demo(once: bool, port: int = DEFAULT_PORT, renditions: str = DEFAULT_RENDITIONS) -> int:
    """Runs the demo and returns the exit code. Raises SettingsError.

    With `once` the demo ends after the samples, with 0 if all were stored. Otherwise it serves the gallery on `port`
    (0: any free one) until Ctrl-C or SIGTERM.
    """
    console = Console(file=sys.stdout)  # the real stream: see function.Function._invoke
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    with interruptible() as stopping:
        try:
            return await _demo(console, once, port, renditions)
        except asyncio.CancelledError:
            if not stopping.is_set():
                raise
            _uncancel()
            return 1 if once else 0


@contextmanager
def interruptible() -> Iterator[asyncio.Event]:
    """Ctrl-C and SIGTERM cancel the current task once, so that everything is closed. They set the yielded event."""
    loop, task, stopping = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()

    def stop() -> None:
        if task is not None and not stopping.is_set():
            stopping.set()
            task.cancel()

    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield stopping
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _uncancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


async def _demo(console: Console, once: bool, port: int, renditions: str) -> int:
    async with _stage(console, renditions) as stage, AsyncExitStack() as stack:
        url = None
        if not once:
            try:
                url = await stack.enter_async_context(stage.gallery(port))
            except OSError as error:
                console.print(f"[red]Port {port} cannot be used[/] ({error.strerror}); 0 takes any free one.")
                return 1
            stack.callback(stage.feed.close)  # before the server closes: the feed ends its event streams
        keys = sample_keys()
        ended = await _run_samples(console, stage, keys)
        console.print(table_of([ended[key] for key in keys if key in ended], console.width))
        if missing := [key for key in keys if key not in ended or ended[key].status.comes_back]:
            console.print(Text(f"No final outcome within {PATIENCE_SECONDS:.0f} s for: {', '.join(missing)}", "red"))
            return 1
        if url is None:
            return 0 if all(outcome.status is Status.STORED for outcome in ended.values()) else 1
        console.print(f"\nGallery: [bold]{url}[/]  (drop pictures on the page; Ctrl-C ends)", soft_wrap=True)
        await asyncio.Event().wait()
        return 0


# --- the parts ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stage:
    """The running parts."""

    feed: Feed
    s3: Any
    renditions: str

    def gallery(self, port: int) -> Any:
        return serve(Gallery(self.feed, self.s3, self.renditions), port)


@asynccontextmanager
async def _stage(console: Console, renditions: str) -> AsyncIterator[Stage]:
    """The cloud and the function behind its queue."""

    def failed(error: Exception) -> None:
        console.print(Text(f"The invocation failed and is retried: {type(error).__name__}: {error}", "yellow"))

    with moto_cloud() as cloud, environment_for(cloud, renditions):
        wanted = settings.load().renditions  # fails before anything runs
        async with AsyncExitStack() as stack:
            feed = Feed()
            s3 = await stack.enter_async_context(cloud.client("s3"))
            sqs = stack.enter_context(contextlib.closing(cloud.blocking_client("sqs")))
            function = Function(sqs, await furnish(cloud), feed.add, failed)
            stack.push_async_callback(function.aclose)
            yield Stage(feed, s3, ", ".join(f"{r.width or 'any'} {TIMES} {r.height or 'any'}" for r in wanted))


# --- the samples --------------------------------------------------------------------------------------------------


def sample_keys() -> list[str]:
    """The samples' file names, which are also their keys."""
    return sorted(path.name for path in SAMPLES.iterdir() if path.name != "LICENCES.md")


async def _run_samples(console: Console, stage: Stage, keys: Sequence[str]) -> Mapping[str, Outcome]:
    """Uploads the samples and returns the last outcome of each, after at most PATIENCE_SECONDS."""
    ended: dict[str, Outcome] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as progress:
        bar = progress.add_task("Thumbnails", total=len(keys))
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*(_upload(stage.s3, key) for key in keys))
                async for outcome in stage.feed.follow():
                    ended[outcome.event.key] = outcome
                    through = sum(key in ended and not ended[key].status.comes_back for key in keys)
                    progress.update(bar, completed=through)
                    if through == len(keys):
                        break
    return ended


async def _upload(s3: Any, key: str) -> None:
    body = (SAMPLES / key).read_bytes()
    kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
    await s3.put_object(Bucket=PHOTOS, Key=key, Body=body, ContentType=kind)


# --- the table ----------------------------------------------------------------------------------------------------


def table_of(outcomes: Sequence[Outcome], width: int) -> Table:
    """One row an outcome, without empty columns. A narrow terminal gets fewer columns."""
    rows = [_row(outcome) for outcome in outcomes]
    narrow = ("format", "engine") if width < NARROW else ()
    headings = [name for name in HEADINGS if name not in narrow and any(row[name].plain for row in rows)]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in headings:
        free = name in ("key", "reason")
        table.add_column(name, overflow="fold", no_wrap=not free, justify="right" if name in NUMBERS else "left")
    for row in rows:
        table.add_row(*(row[name] for name in headings))
    return table


def _row(outcome: Outcome) -> Mapping[str, Text]:
    """Cells by heading; Text, never markup: a key can hold anything."""
    info = outcome.info
    after = ", ".join(f"{output.width}{TIMES}{output.height}" for output in outcome.outputs)
    return {
        "key": Text(outcome.event.key),
        "outcome": Text(outcome.status, COLOURS.get(outcome.status, "")),
        "reason": Text(outcome.reason or ""),
        "format": Text(info.format if info else ""),
        "size": Text(f"{info.upright[0]}{TIMES}{info.upright[1]} → {after or '-'}" if info else ""),
        "bytes": Text(f"{outcome.event.size or outcome.bytes_in:,} → {outcome.bytes_out:,}"),
        "engine": Text(outcome.engine or ""),
        "ms": Text(f"{dict(outcome.timings).get('total', 0.0) * 1000:.0f}"),
    }
