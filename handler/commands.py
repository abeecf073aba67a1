"""`thumbnailer ...`: demo, resize, event, worker, doctor.

Exit codes: 0 all well, 1 some records failed or were rejected, 2 usage or settings.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from handler import doctor as doctor_
from handler.envelope import RecordsComeBack, answer, open_envelope
from handler.resize import Folder, Sources, find_sources, open_folder, refuse_conflicts, resize_all
from handler.tables import outcome_table, printable
from thumbnailer import settings as settings_
from thumbnailer.app import build, new_event_loop
from thumbnailer.backfill.job import parse_job
from thumbnailer.errors import EventError, SettingsError, ThumbnailerError
from thumbnailer.machine import machine
from thumbnailer.model import Fit, ObjectEvent, Outcome, Status
from thumbnailer.renditions import OUTPUT_FORMATS
from thumbnailer.settings import Settings

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
STOPPED = 130
"""exit code of a program that Ctrl-C has ended"""
MOST_ROWS = 200
"""of a table with all outcomes; of more, only those without thumbnails are listed"""
T = TypeVar("T")
GOOD = (Status.STORED, Status.DELETED, Status.SKIPPED)


def main() -> None:
    """A mistake of the user ends with one message and exit code 2."""
    try:
        app()
    except (ThumbnailerError, OSError) as error:  # an OSError names its file
        print(error, file=sys.stderr)
        sys.exit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"thumbnailer {version('thumbnailer')}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", is_eager=True, callback=_print_version, help="print the version")]


@app.callback()
def options(version_: Version = False) -> None:
    """Thumbnails of pictures in S3 and in files."""


@app.command()
def worker() -> None:
    """Works on the queue THUMBNAILER_QUEUE_URL until SIGTERM, with /metrics, /healthz, /readyz on one port."""
    from handler.worker.service import main as work

    work()


Files = Annotated[list[Path], typer.Argument(exists=True, readable=False, help="pictures, or folders with pictures")]
Out = Annotated[Path, typer.Option("--out", "-o", file_okay=False, writable=True, help="the folder for the thumbnails")]
Size = Annotated[str, typer.Option(metavar="WxH", help="pixels; W or H may be empty")]
FitWord = Annotated[str, typer.Option(help=f"of --size: {', '.join(Fit)}")]
FormatWord = Annotated[str, typer.Option("--format", help=f"of --size: auto, {', '.join(OUTPUT_FORMATS)}")]
Quality = Annotated[int | None, typer.Option(min=1, max=100, help="of --size: 1 to 100")]
Renditions = Annotated[str, typer.Option(help="several sizes, e.g. card=512x512:cover:webp:q80,small=128x128")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="folders within folders too")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace thumbnails of earlier runs")]


@app.command()
def resize(
    files: Files,
    out: Out,
    size: Size = "",
    fit: FitWord = "",
    format_: FormatWord = "",
    quality: Quality = None,
    renditions: Renditions = "",
    recursive: Recursive = False,
    overwrite: Overwrite = False,
) -> None:
    """Makes thumbnails of files, with the code for S3 objects. Options win over THUMBNAILER_RENDITIONS.

    No source is ever replaced, and nothing is written outside the folder -o.
    """
    one = ":".join(filter(None, (size, fit, format_, f"q{quality}" if quality else "")))
    if one and (renditions or not size):
        raise typer.BadParameter("--fit, --format and --quality go with --size; --renditions takes the place of all")
    asked = {"THUMBNAILER_RENDITIONS": renditions or one} if renditions or one else {}
    settings = settings_.parse_settings({**settings_.environment(), **asked})
    sources, others = find_sources(files, recursive, out)
    folder = open_folder(out, sources, overwrite)
    missing = refuse_conflicts(sources, folder, settings)
    folder.root.mkdir(parents=True, exist_ok=True)
    outcomes, stopped = _resize(missing, folder, settings)
    console = Console()
    listed = outcomes if len(outcomes) <= MOST_ROWS else [one for one in outcomes if one.status is not Status.STORED]
    if listed:
        console.print(outcome_table(listed, console.width))
    if stored := len(outcomes) - len(listed):
        print(f"{stored} pictures are stored.")
    if others:
        names = ", ".join(path.name for path in others[:3])
        print(f"Left out, no pictures: {printable(names)}{', ...' if others[3:] else ''}")
    if there := len(sources) - len(missing):
        print(f"{there} of {len(sources)} pictures have a thumbnail already; --overwrite makes it again.")
    if stopped:
        print(f"Stopped. {len(outcomes)} of {len(missing)} pictures are done, and their thumbnails are kept.")
    raise typer.Exit(STOPPED if stopped else exit_code(outcomes))


def _resize(sources: Sources, folder: Folder, settings: Settings) -> tuple[list[Outcome], bool]:
    """The outcomes in the order of the sources, and whether Ctrl-C came before the last."""
    outcomes: dict[str, Outcome] = {}
    stopped = False
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background jobs ignore it
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("resizing", total=len(sources))

        def done(outcome: Outcome) -> None:
            outcomes[outcome.event.key] = outcome
            progress.advance(bar)

        try:
            _run(resize_all(sources, folder, settings, done))
        except KeyboardInterrupt:
            stopped = True
    return [outcomes[key] for key in sources if key in outcomes], stopped


@app.command()
def event(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="an event for Lambda, in JSON")],
) -> None:
    """Runs one event against the configured S3 and prints what the Lambda function would answer."""
    settings = settings_.load()
    try:
        payload = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise EventError(f"{file} is not JSON: {error}") from error
    delivery = open_envelope(payload)
    outcomes = _run(_events([e for m in delivery.messages for e in m.events], settings))
    console = Console()
    console.print(outcome_table(outcomes, console.width))
    for broken in delivery.unreadable:
        console.print(f"message {escape(broken.id)} is unreadable: {escape(broken.error)}")
    try:
        console.print_json(json.dumps(answer(delivery, outcomes)))
    except RecordsComeBack as error:
        console.print(f"the invocation would raise: {escape(str(error))}")
    raise typer.Exit(1 if delivery.unreadable else exit_code(outcomes))


async def _events(events: Sequence[ObjectEvent], settings: Settings) -> list[Outcome]:
    pipeline = build(settings, machine(), settings_.environment()).pipeline
    try:
        return await pipeline.process_all(events)
    finally:
        await pipeline.aclose()


@app.command()
def doctor(source: Annotated[str | None, typer.Option(help="the source bucket")] = None) -> None:
    """Checks the installation, the engines and the settings, for a source bucket if given."""
    findings = doctor_.examine(source)
    table = Table("", "what", "found", show_edge=False)
    marks = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]![/]"}
    for finding in findings:
        table.add_row(marks[finding.good], finding.what, escape(finding.found))
    Console().print(table)
    raise typer.Exit(2 if any(finding.good is False for finding in findings) else 0)


@app.command(name="settings")
def settings_table() -> None:
    """Prints the table of settings."""
    print(settings_.markdown_table())


@app.command()
def demo(
    once: Annotated[bool, typer.Option(help="end after the sample pictures")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="port of the gallery page; 0: any free one")] = 8080,
) -> None:
    """Runs an S3 with notifications in this process, with sample pictures and a gallery for your own."""
    from handler.demo.run import demo as run_demo

    try:
        code = _run(run_demo(once=once, port=port))
    except KeyboardInterrupt:
        code = 1 if once else 0
    raise typer.Exit(code)


@app.command()
def serve(
    source: Annotated[str | None, typer.Argument(help="a folder or s3://bucket; default: THUMBNAILER_SOURCES")] = None,
    host: Annotated[str, typer.Option(help="the address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one, logged")] = 8081,
    processes: Annotated[int, typer.Option(min=1, max=256, help="they share the port, memory and cores")] = 1,
    page: Annotated[bool, typer.Option("--page", help="a page at / to try URLs on, for a folder")] = False,
) -> None:
    """Makes pictures when they are asked for: GET /{key}?w=300&h=200&fit=cover&fm=webp&q=80."""
    from handler.http.serve import serve as run_serve

    run_serve(source, host, port, processes, page)


@app.command()
def sign(
    url: Annotated[str, typer.Argument(help="such as https://pictures.example.com/a.jpg?w=300")],
    expires: Annotated[int, typer.Option(min=0, help="days that it stays valid; 0: for ever")] = 30,
) -> None:
    """Prints the URL with a signature of the first key in THUMBNAILER_URL_KEYS."""
    from thumbnailer.wishes.signing import sign_url

    keys = settings_.load().url_keys
    if not keys:
        raise SettingsError("THUMBNAILER_URL_KEYS is not set: sign needs the key that the server verifies with")
    print(sign_url(url, keys[0], timedelta(days=expires) if expires else None, datetime.now(UTC)))


Bucket = Annotated[str, typer.Argument(help="s3://BUCKET or s3://BUCKET/PREFIX, the originals")]
LimitUsd = Annotated[str | None, typer.Option(metavar="N", help="the most USD that it may cost; none: a dry run")]
To = Annotated[str, typer.Option(help="here, queue (THUMBNAILER_QUEUE_URL), or aws:STACK (its state machine)")]
Compare = Annotated[str, typer.Option(help="time, etag (a HEAD a thumbnail: content and settings), or none")]
RedoBefore = Annotated[str, typer.Option(metavar="TIME", help="redo thumbnails older than 2026-11-30T12:00Z")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="try again what a note refuses")]
Keys = Annotated[Path | None, typer.Option(help="only the keys in a file, one a line, or S3 Inventory's CSV; -: stdin")]
PriceFile = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="your prices, see docs/bench.md")]
Most = Annotated[int, typer.Option(min=1, help="the most records that it may send")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]
Follow = Annotated[bool, typer.Option("--follow", help="of aws:STACK: wait for the end")]


@app.command()
def backfill(
    source: Bucket,
    limit_usd: LimitUsd = None,
    to: To = "here",
    compare: Compare = "time",
    redo_before: RedoBefore = "",
    retry_failed: RetryFailed = False,
    keys: Keys = None,
    prices: PriceFile = None,
    yes: Yes = False,
    follow: Follow = False,
) -> None:
    """Makes the thumbnails of pictures that were in a bucket before. Without a limit it only counts and prices."""
    given = {"compare": compare, "redo_before": redo_before, "retry_failed": retry_failed, "limit_usd": limit_usd}
    raise typer.Exit(start_backfill(source, given, to, keys, prices, asks=not yes, follow=follow))


@app.command()
def reconcile(
    source: Bucket,
    limit_usd: LimitUsd = None,
    to: To = "here",
    compare: Compare = "time",
    most: Most = 10_000,
    prices: PriceFile = None,
    follow: Follow = False,
) -> None:
    """For a cron job: makes missing and stale thumbnails, removes orphans, retries what an older version refused.

    Without a limit it only reports.
    """
    given = {"mode": "reconcile", "compare": compare, "limit_usd": limit_usd, "most": most}
    raise typer.Exit(start_backfill(source, given, to, None, prices, asks=False, follow=follow))


def start_backfill(
    source: str, given: dict[str, Any], to: str, keys: Path | None, prices: Path | None, asks: bool, follow: bool
) -> int:
    """Runs the job here, or starts it on AWS. Returns the exit code."""
    from handler import backfill as here
    from handler.backfill_aws import start_machine

    bucket, given["prefix"] = here.parse_url(source)
    job = parse_job(bucket, given)
    if to.startswith("aws:"):
        return start_machine(to.removeprefix("aws:"), given | {"limit_usd": job.limit_usd}, follow)
    listed = here.read_keys(keys, bucket) if keys else None
    if to not in ("here", "queue"):
        raise SettingsError(f"--to {to!r} is unknown: write here, queue or aws:STACK")
    return here.run(job, to, listed, prices, asks)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    return 0 if all(outcome.status in GOOD for outcome in outcomes) else 1


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)


if __name__ == "__main__":
    main()
