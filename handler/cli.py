"""`thumbnailer ...`: demo, resize, event, worker, doctor.

Exit codes: 0 all well, 1 some records failed or were rejected, 2 usage or settings.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from handler import doctor as doctor_
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
    """The console script: mistakes of the user's end with one message and 2."""
    try:
        app()
    except (SettingsError, EventError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


@app.command()
def worker() -> None:
    """Takes messages from the queue of THUMBNAILER_QUEUE_URL until SIGTERM; /metrics, /healthz, /readyz on one port."""
    from handler.worker.service import main as work

    work()


@app.command()
def resize(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="pictures")],
    out: Annotated[Path, typer.Option("--out", "-o", file_okay=False, help="the folder thumbnails go to")],
) -> None:
    """Makes thumbnails of local files, with the settings and the very code that S3's objects go through."""
    settings = settings_.load()
    outcomes = _run(_resize(files, out, settings))
    Console().print(outcome_table(outcomes))
    raise typer.Exit(exit_code(outcomes))


async def _resize(files: Sequence[Path], out: Path, settings: Settings) -> list[Outcome]:
    """The files as objects of a bucket in memory; what is stored there is written below `out`."""
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
                _write(out / _file_name(output), b"".join([chunk async for chunk in body.chunks()]))
    await pipeline.aclose()
    return outcomes


def _keys(files: Sequence[Path]) -> dict[str, Path]:
    """Each file under its own name. Two of one name would write the same thumbnail."""
    keys: dict[str, Path] = {}
    for file in files:
        if file.name in keys:
            raise typer.BadParameter(f"{keys[file.name]} and {file} have the same name; resize them into two folders")
        keys[file.name] = file
    return keys


def _file_name(output: Output) -> str:
    """The thumbnail's key, with its format's suffix where it has another: local programs go by suffixes."""
    suffix = EXTENSIONS[output.format]
    known = {"jpg": ("jpg", "jpeg")}.get(suffix, (suffix,))
    return output.key if output.key.rpartition(".")[2].lower() in known else f"{output.key}.{suffix}"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


class LocalContext:
    """Stands where Lambda's context does: no time limit to speak of."""

    def __init__(self) -> None:
        self.aws_request_id = str(uuid.uuid4())

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


@app.command()
def event(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="one event as Lambda would get it, in JSON")
    ],
) -> None:
    """Runs one event against the configured S3, as the Lambda door would, and prints what it would answer."""
    from handler.envelope import open_envelope
    from handler.partial import RecordsComeBack, answer

    settings = settings_.load()
    try:
        payload = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise EventError(f"{file} is not JSON: {error}") from error
    delivery = open_envelope(payload)
    outcomes = _run(_events([e for m in delivery.messages for e in m.events], settings))
    console = Console()
    console.print(outcome_table(outcomes))
    for broken in delivery.broken:
        console.print(f"message {escape(broken.id)} is unreadable: {escape(broken.error)}")
    try:
        console.print_json(json.dumps(answer(delivery, outcomes)))
    except RecordsComeBack as error:
        console.print(f"the invocation would raise: {escape(str(error))}")
    raise typer.Exit(1 if delivery.broken else exit_code(outcomes))


async def _events(events: Sequence[ObjectEvent], settings: Settings) -> list[Outcome]:
    pipeline = build(settings, machine(), settings_.environment()).pipeline
    try:
        return await pipeline.process_all(events)
    finally:
        await pipeline.aclose()


@app.command()
def doctor(
    source: Annotated[str | None, typer.Option(help="a bucket that pictures are to come from")] = None,
) -> None:
    """Says what is installed, what runs, and whether the settings make sense (for that bucket)."""
    findings = doctor_.examine(source)
    table = Table("", "what", "found", show_edge=False)
    for finding in findings:
        table.add_row(
            {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]![/]"}[finding.good],
            finding.what,
            escape(finding.found),
        )
    Console().print(table)
    raise typer.Exit(2 if any(finding.good is False for finding in findings) else 0)


@app.command(name="settings")
def settings_table() -> None:
    """Prints the table of settings."""
    print(settings_.markdown_table())


@app.command()
def demo(
    once: Annotated[bool, typer.Option(help="end when the sample pictures are done")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="of the gallery page; 0: any free one")] = 8080,
) -> None:
    """An S3 with notifications inside this process, sample pictures, and a gallery to drop your own into."""
    from handler.demo.run import demo as run_demo

    raise typer.Exit(_run(run_demo(once=once, port=port)))


def outcome_table(outcomes: Sequence[Outcome]) -> Table:
    """One row a record."""
    table = Table(show_edge=False)
    for name in ("key", "outcome", "from", "to", "bytes", "engine", "ms"):
        table.add_column(name, overflow="fold")
    for outcome in outcomes:
        table.add_row(*(escape(cell) for cell in _cells(outcome)))
    return table


def _cells(outcome: Outcome) -> tuple[str, ...]:
    info, total = outcome.info, dict(outcome.timings).get("total", 0.0)
    end = f"{outcome.status}: {outcome.reason} ({outcome.detail})" if outcome.reason else str(outcome.status)
    return (
        json.dumps(outcome.event.key, ensure_ascii=False)[1:-1],  # a key may hold line breaks and escape sequences
        end,
        f"{info.format} {info.width}x{info.height}" if info else "",
        ", ".join(f"{o.format} {o.width}x{o.height}" for o in outcome.outputs),
        f"{outcome.bytes_in} -> {outcome.bytes_out}" if outcome.outputs else str(outcome.bytes_in),
        str(outcome.engine or ""),
        f"{total * 1000:.0f}",
    )


def exit_code(outcomes: Sequence[Outcome]) -> int:
    return 0 if all(outcome.status in GOOD for outcome in outcomes) else 1


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)


if __name__ == "__main__":
    main()
