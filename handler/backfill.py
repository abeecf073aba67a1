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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote_plus

import typer
from rich.console import Console
from rich.progress import Progress

from handler.backfill_lease import hold_lease
from handler.backfill_report import enough_usd, survey_table
from handler.backfill_sinks import Here, Sink, ToQueue
from handler.worker.sqs import BATCH, open_queue
from thumbnailer import settings as settings_
from thumbnailer.app import build, new_event_loop, sized_tier
from thumbnailer.backfill.estimate import Consumer, Survey, age_warning, estimate
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


@dataclass(frozen=True, slots=True)
class Order:
    """A job, and how this machine does it."""

    job: Job
    to: str
    keys: Sequence[str] | None = None
    prices: Path | None = None
    asks: bool = False


@dataclass(slots=True)
class Progression:
    """The counts of the second pass."""

    sent: int = 0
    bad: int = 0
    left: int = 0
    """work that came during the run, or lies beyond `most`"""


def run(order: Order) -> int:
    """Does the job and prints what it does. Returns the exit code. Raises ThumbnailerErrors."""
    settings = settings_.load()
    refuse_bucket(order.job.bucket, settings)
    if order.to == "queue" and settings.queue_url is None:
        raise SettingsError("THUMBNAILER_QUEUE_URL is not set: --to queue needs the queue of a worker or of a stack")
    gc.freeze()  # a comparison makes many small objects; the imported modules would double its time
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background jobs ignore it
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        backfill = _Backfill(order, settings, load_prices(order.prices))
        try:
            survey = runner.run(backfill.survey())
            if not backfill.may_start(survey):
                return 0
            return runner.run(backfill.feed(min(survey.todo, order.job.most or survey.todo)))
        except KeyboardInterrupt:
            typer.echo("Stopped.")
            return STOPPED
        except BucketMissing as error:
            raise SettingsError(
                f"{error}: check {order.job.bucket}, and create {settings.destination_bucket(order.job.bucket)} "
                "or set THUMBNAILER_DESTINATION"
            ) from None
        finally:
            runner.run(backfill.aclose())


class _Backfill:
    def __init__(self, order: Order, settings: Settings, prices: Prices) -> None:
        self._order = order
        self._settings = settings
        self._prices = prices
        config = StoreConfig.from_env(settings_.environment(), expected_owner=settings.expected_owner)
        self._lister = S3Lister(config)
        self._run = Run(self._lister, settings, order.job, order.keys)
        self._stop = asyncio.Event()
        self._made = Progression()

    async def aclose(self) -> None:
        await self._lister.aclose()

    # --- the first pass -------------------------------------------------------------------------------------------

    async def survey(self) -> Survey:
        survey = Survey()
        with _progress("comparing", None) as advance:
            async for page in self._run.findings():
                survey.add(page)
                advance(len(page))
        return survey

    def may_start(self, survey: Survey) -> bool:
        """Prints the survey and the estimate. Raises OverLimit."""
        order, job = self._order, self._order.job
        if not survey.counts.total():
            typer.echo(f"Nothing lies under s3://{job.bucket}/{job.prefix}: check the prefix.")
            return False
        at_once = sized_tier(self._settings, machine()).workers
        consumer = Consumer() if order.to == "queue" else Consumer(0, at_once)
        cost = estimate(survey.within(job.most), self._settings, job, self._prices, consumer)
        Console().print(survey_table(survey, cost))
        if warning := age_warning(cost, datetime.now(UTC).date()):
            typer.echo(warning)
        if not cost.todo:
            typer.echo("Nothing to do.")
        elif not job.limit_usd:
            typer.echo(f"Dry run: nothing was sent. This does it:\n  {_command()} --limit-usd {enough_usd(cost)}")
        elif cost.usd > job.limit_usd:
            raise OverLimit(
                f"the estimate is {cost.usd:,.4f} USD, above the limit of {job.limit_usd:g}: nothing was sent. "
                "Name a prefix, or raise --limit-usd"
            )
        else:
            question = f"Send {cost.todo:,} records for about {cost.usd:,.4f} USD?"
            return not order.asks or typer.confirm(question)
        return False

    # --- the second pass ------------------------------------------------------------------------------------------

    async def feed(self, most: int) -> int:
        """Sends at most `most` records. Returns the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop_at_once_or_soon)
        destination = self._settings.destination_bucket(self._order.job.bucket)
        async with hold_lease(self._lister, destination, self._stop):
            await self._send_all(most)
        typer.echo(self._summary())
        return STOPPED if self._stop.is_set() else 1 if self._made.bad else 0

    async def _send_all(self, most: int) -> None:
        with _progress("sending" if self._order.to == "queue" else "making", most) as advance:
            async with self._sink(advance) as sink, aclosing(self._batches(most)) as batches:
                async for batch in batches:
                    await sink.send(batch)
                await sink.finish()

    def _stop_at_once_or_soon(self) -> None:
        """The first signal lets records in work end, a second one does not."""
        self._stop.set()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    async def _batches(self, most: int) -> AsyncGenerator[Sequence[Finding], None]:
        """At most `most` findings, ten at a time; counts the others. Ends early when the user stops the run."""
        taken = 0
        async with aclosing(self._run.work()) as pages:
            async for page in pages:
                chosen = page[: most - taken]
                taken += len(chosen)
                self._made.left += len(page) - len(chosen)
                for start in range(0, len(chosen), BATCH):
                    if self._stop.is_set():
                        return
                    yield chosen[start : start + BATCH]

    @asynccontextmanager
    async def _sink(self, advance: Callable[[int], None]) -> AsyncIterator[Sink]:
        bucket, settings, env = self._order.job.bucket, self._settings, settings_.environment()

        def sent(number: int) -> None:
            self._made.sent += number
            advance(number)

        def done(outcome: Outcome) -> None:
            sent(1)
            if outcome.status not in GOOD:
                self._made.bad += 1
                typer.echo(f"{outcome.event.key!r}: {outcome.status}:{outcome.reason} {outcome.detail or ''}", err=True)

        if settings.queue_url and self._order.to == "queue":
            group = f"backfill-{datetime.now(UTC):%Y%m%dT%H%M%S}"
            async with open_queue(settings.queue_url, env) as queue:
                yield ToQueue(queue, bucket, group, sent, self._stop)
            return
        pipeline = build(settings, machine(), env).pipeline
        try:
            yield Here(pipeline, bucket, settings.record_timeout, done)
        finally:
            await pipeline.aclose()

    def _summary(self) -> str:
        made = self._made
        parts = [f"{made.sent:,} records are {'in the queue' if self._order.to == 'queue' else 'done'}"]
        if made.bad:
            parts.append(f"{made.bad:,} of them failed or were rejected")
        if made.left:
            parts.append(f"{made.left:,} more need thumbnails: run this again")
        if self._stop.is_set():
            parts.append("stopped: run this again to go on")
        return "; ".join(parts) + "."


def _command() -> str:
    """The command line that runs this process, as a shell takes it."""
    return shlex.join(["thumbnailer", *sys.argv[1:]])


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
