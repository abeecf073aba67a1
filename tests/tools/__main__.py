"""Measurements for developers: the numbers in docs/why.md and other documents come from these commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands import Latency
from bench.questions import Options
from tests.tools import choices, cpu, invoke, scale_check
from tests.tools import imports as imports_
from tests.tools import memory as memory_
from tests.tools import quality as quality_
from tests.tools import sheet as sheet_
from tests.tools import sweep as sweep_
from tests.tools import tiers as tiers_
from thumbnailer.errors import ThumbnailerError

app = typer.Typer(no_args_is_help=True, help=__doc__)

Megapixels = Annotated[float, typer.Option(min=0.1, max=50, help="size of the source picture")]
Rounds = Annotated[int, typer.Option(min=3, max=1000, help="measurements per row; the sides take turns")]
Images = Annotated[Path, typer.Option(exists=True, file_okay=False, help="a folder with pictures")]
Size = Annotated[str, typer.Option(help="of the thumbnails")]


@app.command()
def auto(megapixels: Megapixels = 1.0, rounds: Rounds = 15) -> None:
    """CPU milliseconds of one picture to 128 px by format and engine: the table that `auto` follows."""
    cpu.engines(megapixels, rounds)


@app.command()
def tiers() -> None:
    """The largest picture of each kind that a function takes, by its memory: the table of docs/memory.md."""
    typer.echo(tiers_.table())


@app.command()
def isolated(rounds: Rounds = 15) -> None:
    """Cost of decoding in a child process, as the pipeline does for a redelivered message."""
    cpu.isolated(rounds)


@app.command()
def encoders(images: Images = quality_.SAMPLES, size: Size = "128x128") -> None:
    """Bytes and similarity of each format at several qualities: the default qualities follow it."""
    choices.encoders(images, size)


@app.command()
def sweep(side: Annotated[int, typer.Option(min=16, max=2048, help="of the square thumbnails")] = 320) -> None:
    """Time and bytes of every encoder setting: none may cost twice the default's time for less than 5 % of bytes."""
    sweep_.run(side)


@app.command()
def shrink(megapixels: Megapixels = 12.0, rounds: Rounds = 9) -> None:
    """Similarity and CPU time of shrink-on-load: the plan's rule follows it."""
    choices.shrink(megapixels, rounds)


@app.command()
def quality(
    images: Images = quality_.SAMPLES,
    output: Annotated[Path, typer.Option("-o", "--output", help="the page")] = Path("quality.html"),
    rendition: Size = "128x128",
    expected: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="thumbnails of the same names by another program")
    ] = None,
) -> None:
    """A page with each original, both engines' thumbnails, a reference, the differences and the scores."""
    quality_.run(images, output, rendition, expected)


@app.command()
def sheet(
    output: Annotated[Path, typer.Option("-o", "--output", help="the picture")] = Path("docs/quality/sheet.webp"),
) -> None:
    """A contact sheet of JPEGs by the compiled engine, the other two and a whole decode, with their SSIM."""
    sheet_.run(output)


@app.command()
def memory(
    sizes: Annotated[str, typer.Option(help="megapixels of the generated pictures")] = "1,4,12,24,50,100",
    rendition: Size = "128x128",
    images: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="your own pictures instead")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="the table as a Markdown file too")] = None,
) -> None:
    """Peak memory of each kind of picture in each engine, and the plan's estimate."""
    memory_.run([float(size) for size in sizes.split(",")], rendition, images, output)


@app.command()
def imports(
    picture: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="picture of the first event")] = (
        quality_.SAMPLES / "rocket.jpg"
    ),
    runs: Annotated[int, typer.Option(min=1, max=1000, help="number of processes")] = 9,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="largest parts shown")] = 12,
) -> None:
    """Imports of the Lambda handler before its first event and during it: the parts of a cold start."""
    imports_.run(picture, runs, rows)


@app.command("lambda")
def lambda_(
    memory: Annotated[int, typer.Option(min=128, max=10_240, help="configured MB")] = 512,
    timeout: Annotated[int, typer.Option(min=3, max=900, help="configured seconds")] = 30,
) -> None:
    """Sends a real S3 event and a real SQS event to the function under AWS's runtime interface emulator."""
    raise typer.Exit(invoke.run(memory, timeout))


@app.command("scale-check")
def scale_check_(
    seconds: Annotated[float, typer.Option(min=5, max=600, help="duration of each load")] = 30,
    quick: Annotated[bool, typer.Option("--quick", help="smaller pictures")] = False,
    latency: Latency = "near",
) -> None:
    """Compares the simulation of `python -m bench scale` with a real worker at small scale."""
    scale_check.run(Options(quick, latency, repetitions=3, seconds=3.0), seconds)


def main() -> None:
    try:
        app(prog_name="python -m tests.tools", standalone_mode=True)
    except ThumbnailerError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
