"""`python -m bench COMMAND`: measures both engines, their pictures, and what was chosen by measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import alone as alone_
from bench import choices, invoking
from bench import engines as engines_
from bench import imports as imports_
from bench import memory as memory_
from bench import quality as quality_
from bench.emulator import NoEmulator

app = typer.Typer(no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measures the pipeline from outside."""


@app.command()
def engines(
    megapixels: Annotated[float, typer.Option(min=0.1, max=50, help="size of the source picture")] = 1.0,
    rounds: Annotated[int, typer.Option(min=3, max=1000, help="measurements of each row, engines taking turns")] = 15,
) -> None:
    """CPU milliseconds of one picture to 128 px: the table that `auto` follows."""
    engines_.run(megapixels, rounds)


@app.command("lambda")
def lambda_(
    memory: Annotated[int, typer.Option(min=128, max=10_240, help="MB that the function is told it has")] = 512,
    timeout: Annotated[int, typer.Option(min=3, max=900, help="the function's time limit in seconds")] = 30,
) -> None:
    """Posts a real S3 and a real SQS event to the function under AWS's runtime interface emulator."""
    try:
        raise typer.Exit(invoking.run(memory, timeout))
    except NoEmulator as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


@app.command()
def alone(
    rounds: Annotated[
        int, typer.Option(min=3, max=1000, help="measurements of each row, both sides taking turns")
    ] = 15,
) -> None:
    """What it costs to work a picture in a child process, as is done when its message comes again."""
    alone_.run(rounds)


@app.command()
def imports(
    picture: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="what the first event is about")] = (
        quality_.SAMPLES / "rocket.jpg"
    ),
    runs: Annotated[int, typer.Option(min=1, max=1000, help="processes that are started")] = 9,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="largest parts that are shown")] = 12,
) -> None:
    """What the Lambda door imports before its first event and during it: the parts of a cold start."""
    imports_.run(picture, runs, rows)


@app.command()
def memory(
    sizes: Annotated[str, typer.Option(help="megapixels of the pictures that are made")] = "1,4,12,24,50,100",
    rendition: Annotated[str, typer.Option(help="the thumbnails to make of each")] = "128x128",
    images: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="your own pictures instead")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="the table as a Markdown file too")] = None,
) -> None:
    """Peak of memory of each kind of picture in each engine, and what the plan reckons with."""
    memory_.run([float(size) for size in sizes.split(",")], rendition, images, output)


@app.command()
def quality(
    images: Annotated[Path, typer.Option(exists=True, file_okay=False, help="the pictures")] = quality_.SAMPLES,
    output: Annotated[Path, typer.Option("-o", "--output", help="the page")] = Path("docs/quality.html"),
    rendition: Annotated[str, typer.Option(help="the thumbnail to make of each")] = "128x128",
    expected: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="thumbnails of the same names by another program")
    ] = None,
) -> None:
    """A page of pictures: the original, both engines' thumbnails, a reference, the differences, the scores."""
    quality_.run(images, output, rendition, expected)


@app.command()
def encoders(
    images: Annotated[Path, typer.Option(exists=True, file_okay=False, help="the pictures")] = quality_.SAMPLES,
    size: Annotated[str, typer.Option(help="of the thumbnails")] = "128x128",
) -> None:
    """Bytes and likeness of each format at several qualities: what the default qualities follow."""
    choices.encoders(images, size)


@app.command()
def shrink(
    megapixels: Annotated[float, typer.Option(min=0.1, max=50, help="size of the picture that is timed")] = 12.0,
    rounds: Annotated[int, typer.Option(min=3, max=1000, help="measurements, both sides taking turns")] = 9,
) -> None:
    """Likeness and CPU time of decoders that shrink while they load: what the plan's rule follows."""
    choices.shrink(megapixels, rounds)


app(prog_name="python -m bench")
