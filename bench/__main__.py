"""`python -m bench COMMAND`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import engines as engines_
from bench import invoking
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
def quality(
    images: Annotated[Path, typer.Option(exists=True, file_okay=False, help="the pictures")] = quality_.SAMPLES,
    output: Annotated[Path, typer.Option("-o", "--output", help="the page")] = Path("docs/quality.html"),
    rendition: Annotated[str, typer.Option(help="the thumbnail to make of each")] = "128x128",
) -> None:
    """A page of pictures: the original, both engines' thumbnails, a reference, the differences, the scores."""
    quality_.run(images, output, rendition)


app(prog_name="python -m bench")
