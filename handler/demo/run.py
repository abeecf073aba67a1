"""`thumbnailer demo`: starts everything, uploads the samples, shows their outcomes and serves the gallery."""

import asyncio
import logging
import mimetypes
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
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
    with moto_cloud() as cloud, environment_for(cloud, RENDITIONS):
        chosen, (queue, _) = settings.load(), await furnish(cloud)
        async with cloud.client("s3") as s3, _worker(chosen, queue) as feed, AsyncExitStack() as stack:
            url = None
            if not once:
                sizes = ", ".join(f"{r.width or 'any'} {TIMES} {r.height or 'any'}" for r in chosen.renditions)
                try:
                    url = await stack.enter_async_context(serve(Gallery(feed, s3, sizes), port))
                except OSError as error:
                    problem = os.strerror(error.errno or 0)
                    console.print(f"[red]Port {port} cannot be used[/]: {problem}; --port 0 takes any free one.")
                    return 1
                stack.callback(feed.close)  # before the server closes: the feed ends its event streams
            ended = await _run_samples(console, feed, s3)
            if url is None or len(ended) < len(sample_keys()):
                return 0 if [outcome.status for outcome in ended] == [Status.STORED] * len(sample_keys()) else 1
            console.print(f"\nGallery: [bold]{url}[/]  (drop pictures on the page; Ctrl-C ends)", soft_wrap=True)
            await asyncio.Event().wait()
            return 0


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


async def _run_samples(console: Console, feed: Feed, s3: Any) -> Sequence[Outcome]:
    """Uploads the samples and shows and returns their final outcomes, after at most PATIENCE_SECONDS."""
    keys, ended = sample_keys(), dict[str, Outcome]()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as progress:
        bar = progress.add_task("Thumbnails", total=len(keys))
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*(_upload(s3, key) for key in keys))
                async for outcome in feed.follow():
                    if outcome.event.key in keys and not outcome.status.comes_back:
                        ended[outcome.event.key] = outcome
                    progress.update(bar, completed=len(ended))
                    if len(ended) == len(keys):
                        break
    outcomes = [ended[key] for key in keys if key in ended]
    console.print(outcome_table(outcomes, console.width))
    if missing := [key for key in keys if key not in ended]:
        console.print(Text(f"No final outcome within {PATIENCE_SECONDS:.0f} s for: {', '.join(missing)}", "red"))
    return outcomes


async def _upload(s3: Any, key: str) -> None:
    body = (SAMPLES / key).read_bytes()
    kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
    await s3.put_object(Bucket=PHOTOS, Key=key, Body=body, ContentType=kind)
