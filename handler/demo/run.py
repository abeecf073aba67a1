"""`thumbnailer demo`: starts everything, uploads the samples, shows their outcomes and serves the gallery."""

import asyncio
import logging
import mimetypes
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from handler.demo.cloud import PHOTOS, VISIBILITY_SECONDS, environment_for, furnish, moto_cloud
from handler.demo.feed import Feed
from handler.demo.gallery import Gallery, serve
from handler.tables import TIMES, outcome_table
from handler.worker.consumer import Consumer, Limits
from handler.worker.sqs import open_queue
from thumbnailer import settings
from thumbnailer.app import build
from thumbnailer.machine import machine
from thumbnailer.model import Outcome, Status
from thumbnailer.reporting.logs import LOGGER
from thumbnailer.reporting.metrics import Prometheus
from thumbnailer.settings import Settings

RENDITIONS: Final = "320x320"
PATIENCE_SECONDS: Final = 60.0
RECORD_SECONDS: Final = 15.0
STOP_SECONDS: Final = 5.0
SAMPLES: Final = Path(__file__).parent / "samples"
PLAIN_WIDTH: Final = 150
mimetypes.add_type("image/heic", ".heic")
mimetypes.add_type("image/avif", ".avif")
mimetypes.add_type("image/webp", ".webp")


async def demo(once: bool, port: int) -> int:
    """Runs the demo and returns the exit code. Raises SettingsError.

    With `once` the demo ends after the samples, with 0 if all were stored. Otherwise it serves the gallery on `port`
    (0: any free one) until it is cancelled.
    """
    console = Console()
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    async with _stage() as stage, AsyncExitStack() as stack:
        url = None
        if not once:
            try:
                gallery = Gallery(stage.feed, stage.s3, stage.renditions)
                url = await stack.enter_async_context(serve(gallery, port))
            except OSError as error:
                console.print(f"[red]Port {port} cannot be used[/] ({error.strerror}); 0 takes any free one.")
                return 1
            stack.callback(stage.feed.close)  # before the server closes: the feed ends its event streams
        keys = sample_keys()
        ended = await _run_samples(console, stage, keys)
        console.print(outcome_table([ended[key] for key in keys if key in ended], console.width))
        if missing := [key for key in keys if key not in ended or ended[key].status.comes_back]:
            console.print(Text(f"No final outcome within {PATIENCE_SECONDS:.0f} s for: {', '.join(missing)}", "red"))
            return 1
        if url is None:
            return 0 if all(outcome.status is Status.STORED for outcome in ended.values()) else 1
        console.print(f"\nGallery: [bold]{url}[/]  (drop pictures on the page; Ctrl-C ends)", soft_wrap=True)
        await asyncio.Event().wait()
        return 0


@dataclass(frozen=True, slots=True)
class Stage:
    """The running parts."""

    feed: Feed
    s3: Any
    renditions: str


@asynccontextmanager
async def _stage() -> AsyncIterator[Stage]:
    """The cloud, and a worker on its queue."""
    with moto_cloud() as cloud, environment_for(cloud, RENDITIONS):
        chosen, (url, _) = settings.load(), await furnish(cloud)
        async with cloud.client("s3") as s3, _worker(chosen, url) as feed:
            sizes = (f"{r.width or 'any'} {TIMES} {r.height or 'any'}" for r in chosen.renditions)
            yield Stage(feed, s3, ", ".join(sizes))


@asynccontextmanager
async def _worker(chosen: Settings, url: str) -> AsyncIterator[Feed]:
    """The consumer of `thumbnailer worker`, in this loop and without its log."""
    LOGGER.addHandler(logging.NullHandler())
    env = settings.environment()
    app = build(chosen, machine(), env)
    feed = Feed(app.pipeline)
    try:
        async with open_queue(url, env) as queue:
            limits = Limits(app.tier.in_flight, RECORD_SECONDS, STOP_SECONDS)
            consumer = Consumer(queue, feed, limits, Prometheus(CollectorRegistry()))
            running = asyncio.create_task(consumer.run(VISIBILITY_SECONDS))
            try:
                yield feed
            finally:
                consumer.stop()
                await running
    finally:
        await app.pipeline.aclose()


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
