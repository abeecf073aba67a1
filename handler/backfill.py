"""`thumbnailer backfill` and `thumbnailer reconcile`: two passes over the listings.

The first pass counts, and its estimate is compared with the limit. The second one sends records, never more than the
first one counted. The destination's listing is the only progress: a run that ended early goes on when it is run again.
"""

import asyncio
import csv
import gc
import shlex
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote_plus

import typer
from rich.console import Console
from rich.progress import Progress

from handler.backfill_lease import hold_lease
from handler.backfill_report import enough_usd, survey_table
from handler.backfill_sinks import Here, ToQueue
from handler.worker.sqs import BATCH, open_queue
from thumbnailer import settings as settings_
from thumbnailer.app import build, new_event_loop, sized_tier
from thumbnailer.backfill.estimate import Consumer, Survey, age_warning, estimate, transfer_warning
from thumbnailer.backfill.job import Job, refuse_bucket
from thumbnailer.backfill.prices import Prices, load_prices
from thumbnailer.backfill.run import Run
from thumbnailer.backfill.verdicts import Finding
from thumbnailer.errors import BucketMissing, SettingsError, ThumbnailerError
from thumbnailer.machine import machine
from thumbnailer.model import Outcome, Status
from thumbnailer.settings import Settings
from thumbnailer.store.base import StoreConfig
from thumbnailer.store.lister import S3Lister

STOPPED: Final = 130
GOOD: Final = (Status.STORED, Status.DELETED, Status.SKIPPED)


class OverLimit(ThumbnailerError):
    """The estimate is above the limit; nothing was sent."""


def run(job: Job, to: str, keys: Sequence[str] | None, prices: Path | None, asks: bool) -> int:
    """Does the job and prints what it does. `to` is here or queue. Returns the exit code. Raises ThumbnailerErrors."""
    settings = settings_.load()
    refuse_bucket(job.bucket, settings)
    if to == "queue" and settings.queue_url is None:
        raise SettingsError("THUMBNAILER_QUEUE_URL is not set: --to queue needs the queue of a worker or of a stack")
    gc.freeze()  # a comparison makes many small objects; the imported modules would double its time
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background jobs ignore it
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        backfill = _Backfill(job, settings, settings.queue_url if to == "queue" else None, keys)
        try:
            survey = runner.run(backfill.survey())
            if not backfill.may_start(survey, load_prices(prices), asks):
                return 0
            return runner.run(backfill.feed(min(survey.todo, job.most or survey.todo)))
        except KeyboardInterrupt:
            typer.echo("Stopped.")
            return STOPPED
        except BucketMissing as error:
            destination = settings.destination_bucket(job.bucket)
            raise SettingsError(
                f"{error}: check {job.bucket}, and create {destination} or set THUMBNAILER_DESTINATION"
            ) from None
        finally:
            runner.run(backfill.lister.aclose())
            gc.unfreeze()


class _Backfill:
    """`queue_url` None: the thumbnails are made in this process."""

    def __init__(self, job: Job, settings: Settings, queue_url: str | None, keys: Sequence[str] | None) -> None:
        self._job = job
        self._settings = settings
        self._queue_url = queue_url
        config = StoreConfig.from_env(settings_.environment(), expected_owner=settings.expected_owner)
        self.lister = S3Lister(config)
        self._run = Run(self.lister, settings, job, keys)
        self._stop = asyncio.Event()
        self._sent = self._bad = self._left = 0

    # --- the first pass -------------------------------------------------------------------------------------------

    async def survey(self) -> Survey:
        survey = Survey()
        with _progress("comparing", None) as advance:
            async for page in self._run.findings():
                survey.add(page)
                advance(len(page))
        return survey

    def may_start(self, survey: Survey, prices: Prices, asks: bool) -> bool:
        """Prints the survey and the estimate. Raises OverLimit."""
        job = self._job
        if not survey.counts.total():
            typer.echo(f"Nothing lies under s3://{job.bucket}/{job.prefix}: check the prefix.")
            return False
        at_once = sized_tier(self._settings, machine()).workers
        consumer = Consumer() if self._queue_url else Consumer(0, at_once)
        cost = estimate(survey.within(job.most), self._settings, job, prices, consumer)
        Console().print(survey_table(survey, cost))
        if warning := age_warning(cost, datetime.now(UTC).date()):
            typer.echo(warning)
        if cost.todo and not self._queue_url:
            typer.echo(transfer_warning(survey, prices))
        if not cost.todo:
            typer.echo("Nothing to do.")
        elif not job.limit_usd:
            command = shlex.join(["thumbnailer", *sys.argv[1:]])
            typer.echo(f"Dry run: nothing was sent. This does it:\n  {command} --limit-usd {enough_usd(cost)}")
        elif cost.usd > job.limit_usd:
            raise OverLimit(
                f"the estimate is {cost.usd:,.4f} USD, above the limit of {job.limit_usd:g}: nothing was sent. "
                "Name a prefix, or raise --limit-usd"
            )
        else:
            if not asks or typer.confirm(f"Send {cost.todo:,} records for about {cost.usd:,.4f} USD?"):
                return True
            typer.echo("Nothing was sent.")
        return False

    # --- the second pass ------------------------------------------------------------------------------------------

    async def feed(self, most: int) -> int:
        """Sends at most `most` records. Returns the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._request_stop)
        async with hold_lease(self.lister, self._settings.destination_bucket(self._job.bucket), self._stop):
            await self._send_all(most)
        typer.echo(self._summary())
        return STOPPED if self._stop.is_set() else 1 if self._bad else 0

    async def _send_all(self, most: int) -> None:
        with _progress("sending" if self._queue_url else "making", most) as advance:
            async with self._sink(advance) as sink, aclosing(self._batches(most)) as batches:
                async for batch in batches:
                    await sink.send(batch)
                await sink.finish()

    def _request_stop(self) -> None:
        """The first signal lets records in work end, a second one does not."""
        self._stop.set()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    async def _batches(self, most: int) -> AsyncGenerator[Sequence[Finding], None]:
        """At most `most` findings, ten at a time; counts the others. Ends early when the user stops the run."""
        room, waiting = most, list[Finding]()
        async with aclosing(self._run.work()) as pages:
            async for page in pages:
                waiting += page[:room]
                self._left += len(page[room:])
                room -= len(page[:room])
                while len(waiting) >= BATCH and not self._stop.is_set():
                    yield waiting[:BATCH]
                    del waiting[:BATCH]
                if self._stop.is_set():
                    return
        if waiting:
            yield waiting

    @asynccontextmanager
    async def _sink(self, advance: Callable[[int], None]) -> AsyncIterator[Here | ToQueue]:
        bucket, settings, env = self._job.bucket, self._settings, settings_.environment()

        def sent(number: int) -> None:
            self._sent += number
            advance(number)

        def done(outcome: Outcome) -> None:
            sent(1)
            if outcome.status not in GOOD:
                self._bad += 1
                typer.echo(f"{outcome.event.key!r}: {outcome.status}:{outcome.reason} {outcome.detail or ''}", err=True)

        if self._queue_url:
            group = f"backfill-{datetime.now(UTC):%Y%m%dT%H%M%S}"
            async with open_queue(self._queue_url, env) as queue:
                yield ToQueue(queue, bucket, group, sent, self._stop)
            return
        pipeline = build(settings, machine(), env).pipeline
        try:
            yield Here(pipeline, bucket, settings.record_timeout, done)
        finally:
            await pipeline.aclose()

    def _summary(self) -> str:
        parts = [f"{self._sent:,} records are {'in the queue' if self._queue_url else 'done'}"]
        if self._bad:
            parts.append(f"{self._bad:,} of them failed or were rejected")
        if self._left:
            parts.append(f"{self._left:,} more need thumbnails: run this again")
        if self._stop.is_set():
            parts.append("stopped: run this again to go on")
        return "; ".join(parts) + "."


@contextmanager
def _progress(name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; nothing elsewhere. Gives the function that advances it."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(name, total=total)
        yield lambda number: progress.advance(bar, number)


def parse_url(url: str) -> tuple[str, str]:
    """Bucket and prefix of s3://bucket/prefix. Raises SettingsError."""
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise SettingsError(f"{url!r} is no bucket: write s3://BUCKET or s3://BUCKET/PREFIX")
    return bucket, prefix


def read_keys(file: Path, bucket: str) -> list[str]:
    """The keys of a list: one a line, or the CSV of S3 Inventory and S3 Batch Operations, whose keys are URL-encoded.

    Raises SettingsError, OSError.
    """
    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    lines = text.split("\n")
    if lines and lines[0].startswith((f'"{bucket}",', f"{bucket},")):
        lines = [unquote_plus(row[1]) for row in csv.reader(lines) if len(row) > 1 and row[0] == bucket]
    keys = [line for line in lines if line]
    if not keys:
        raise SettingsError(f"{file} has no keys: write one a line, or take the CSV of S3 Inventory")
    return keys
