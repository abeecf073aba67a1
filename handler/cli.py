"""`thumbnailer ...`: demo, resize, event, worker, doctor.

Exit codes: 0 all well, 1 some records failed or were rejected, 2 usage or settings.
"""

import asyncio
import json
import sys
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from handler import doctor as doctor_
from handler.envelope import RecordsComeBack, answer, open_envelope
from handler.tables import outcome_table
from thumbnailer import settings as settings_
from thumbnailer.app import build, new_event_loop
from thumbnailer.errors import EventError, SettingsError
from thumbnailer.machine import machine
from thumbnailer.model import EventKind, ObjectEvent, Outcome, Output, Status
from thumbnailer.renditions import EXTENSIONS
from thumbnailer.settings import Settings
from thumbnailer.store.base import PutHeaders
from thumbnailer.store.memory import MemoryStore

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="S3 image thumbnails.")
LOCAL = "local"
T = TypeVar("T")
GOOD = (Status.STORED, Status.DELETED, Status.SKIPPED)


def main() -> None:
    """The console script. A mistake of the user ends with one message and exit code 2."""
    try:
        app()
    except (SettingsError, EventError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


@app.command()
def worker() -> None:
    """Works on the queue THUMBNAILER_QUEUE_URL until SIGTERM, with /metrics, /healthz, /readyz on one port."""
    from handler.worker.service import main as work

    work()


@app.command()
def resize(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="pictures")],
    out: Annotated[Path, typer.Option("--out", "-o", file_okay=False, help="the folder for the thumbnails")],
) -> None:
    """Makes thumbnails of local files with the same settings and code as for S3 objects."""
    settings = settings_.load()
    outcomes = _run(_resize(files, out, settings))
    console = Console()
    console.print(outcome_table(outcomes, console.width))
    raise typer.Exit(exit_code(outcomes))


async def _resize(files: Sequence[Path], out: Path, settings: Settings) -> list[Outcome]:
    """Puts the files into a bucket in memory and writes the resulting objects below `out`."""
    keys = _keys(files)
    store = MemoryStore(LOCAL, settings.destination_bucket(LOCAL))
    for key, file in keys.items():
        await store.put(LOCAL, key, file.read_bytes(), PutHeaders(content_type="application/octet-stream"))
    pipeline = build(settings, machine(), {}, store).pipeline
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("resizing", total=len(files))
        events = [ObjectEvent(EventKind.CREATED, LOCAL, key) for key in keys]
        outcomes = await pipeline.process_all(events, done=lambda _: progress.advance(bar))
    for outcome in outcomes:
        for output in outcome.outputs:
            async with store.open(output.bucket, output.key) as body:
                path = out / _file_name(output)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"".join([chunk async for chunk in body.chunks()]))
    await pipeline.aclose()
    return outcomes


def _keys(files: Sequence[Path]) -> dict[str, Path]:
    """The files by name. Raises BadParameter for two files with one name, which would write the same thumbnail."""
    keys: dict[str, Path] = {}
    for file in files:
        if file.name in keys:
            raise typer.BadParameter(f"{keys[file.name]} and {file} have the same name; resize them into two folders")
        keys[file.name] = file
    return keys


def _file_name(output: Output) -> str:
    """The thumbnail's key. Gets its format's suffix if it has another, because local programs rely on suffixes."""
    suffix = EXTENSIONS[output.format]
    known = ("jpg", "jpeg") if suffix == "jpg" else (suffix,)
    return output.key if output.key.rpartition(".")[2].lower() in known else f"{output.key}.{suffix}"


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


def exit_code(outcomes: Sequence[Outcome]) -> int:
    return 0 if all(outcome.status in GOOD for outcome in outcomes) else 1


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)


if __name__ == "__main__":
    main()
