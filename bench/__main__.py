"""`python -m bench COMMAND`: measures both engines, their pictures, and what was chosen by measurement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from bench import measuring
from bench.cells import pictures as pictures_
from bench.pages import performance as performance_
from bench.pages import report as report_
from bench.questions import EXPERIMENTS, Experiment, Scope
from bench.rig.emulator import NoEmulator
from bench.scale import command as scale_
from bench.scale.model import Arrivals
from tests.tools import choices
from tests.tools import drain as draining
from tests.tools import engines as engines_
from tests.tools import imports as imports_
from tests.tools import invoke as invoking
from tests.tools import isolated as alone_
from tests.tools import memory as memory_
from tests.tools import quality as quality_
from thumbnailer.errors import ThumbnailerError

app = typer.Typer(no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Measures the pipeline from outside."""


@app.command()
def auto(
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
def drain(
    messages: Annotated[int, typer.Option(min=100, help="how many, one picture each")] = 2000,
    pictures: Annotated[Path, typer.Option(exists=True, file_okay=False, help="taken in turns")] = quality_.SAMPLES,
    cores: Annotated[str, typer.Option(help="the worker's, by number")] = "0",
    memory: Annotated[int, typer.Option(min=128, help="MB that the worker is told it has")] = 2048,
    preset: Annotated[str, typer.Option(help="how far away S3 is: loopback, near or published")] = "near",
) -> None:
    """The worker on a full queue: images a second, how busy its cores are, its memory over time."""
    wanted = draining.Drain(messages, pictures, tuple(int(core) for core in cores.split(",")), memory, preset)
    draining.run(wanted)


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


@app.command()
def pictures(
    quick: Annotated[bool, typer.Option("--quick", help="fewer and smaller ones")] = False,
    folder: Annotated[
        Path | None, typer.Option(file_okay=False, help="where sets are kept, in place of ~/.cache")
    ] = None,
) -> None:
    """Makes the reference set of pictures, once, and says its hash."""
    with _told():
        pictures_.run(quick, folder)


@app.command()
def scale(
    rate: Annotated[str, typer.Option(help="pictures that come, e.g. 10000/s, 600/min, 2e6/day")] = "100/s",
    minutes: Annotated[float, typer.Option(min=0.1, max=600, help="how long they come")] = 5,
    results: Annotated[
        Path | None, typer.Option(dir_okay=False, help="measured cells, for the service times; default: bench/results")
    ] = None,
    memory: Annotated[int | None, typer.Option(min=128, max=10_240, help="MB of the function")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, max=10_000, help="of the mapping")] = None,
    window: Annotated[float | None, typer.Option(min=0, max=300, help="seconds that the mapping waits")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="the account's, or what is reserved")] = None,
    least_tasks: Annotated[int, typer.Option(min=1, help="Fargate tasks that always run")] = 1,
    most_tasks: Annotated[int | None, typer.Option(min=1, help="default: half more than the rate needs")] = None,
    prices: Annotated[Path | None, typer.Option(dir_okay=False, help="your own, over bench/prices.toml")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of chance")] = 1,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="all of it as JSON, second by second")] = None,
) -> None:
    """Simulates queue, Lambda and Fargate at a rate: backlog, latency, concurrency, price."""
    change = {"memory_mb": memory, "batch_size": batch_size, "window": window, "account": concurrency}
    with _told():
        arrivals = Arrivals(scale_.parse_rate(rate), 60 * minutes)
        scale_.run(
            arrivals,
            results or scale_.reference(),
            change,
            least_tasks,
            most_tasks,
            prices,
            seed,
            output,
        )


@app.command("scale-check")
def scale_check(
    seconds: Annotated[float, typer.Option(min=5, max=600, help="that messages come at each rate")] = 30,
    quick: Annotated[bool, typer.Option("--quick", help="smaller pictures")] = False,
    latency: Annotated[str, typer.Option(help="how far away S3 is: loopback, near, near-tail, published")] = "near",
) -> None:
    """How far the simulation of `scale` is from a real worker at small scale."""
    with _told():
        scope = Scope(quick, measuring.known_latency(latency))
        options = measuring.Options(scope, None, Path("-"), False, None, 3, 3.0, 20)
        measuring.check_scale(options, seconds)


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(dir_okay=False, help="files of results")],
    output: Annotated[Path, typer.Option("-o", "--output", file_okay=False, help="a folder")] = report_.FOLDER,
    prices: Annotated[Path | None, typer.Option(dir_okay=False, help="your own, in place of the results'")] = None,
) -> None:
    """One page that needs nothing else, and its charts as PNG."""
    with _told():
        report_.run(results, output, prices)


def _measuring(experiment: Experiment) -> None:
    """The command of an experiment: they differ in their cells alone."""

    def command(
        quick: Annotated[bool, typer.Option("--quick", help="fewer cells, smaller pictures, shorter")] = False,
        images: Annotated[
            Path | None, typer.Option(help="a folder with your own pictures in place of the reference set")
        ] = None,
        memory: Annotated[str, typer.Option(help="MB of the functions, e.g. 512,1024; default: the question's")] = "",
        latency: Annotated[str, typer.Option(help="how far away S3 is: loopback, near, near-tail, published")] = "near",
        repetitions: Annotated[int | None, typer.Option(min=1, max=1000, help="of each cell; default: 7")] = None,
        seconds: Annotated[
            float | None, typer.Option(min=0, max=600, help="a repetition's least; default: 2; quick: 0.4")
        ] = None,
        period: Annotated[float, typer.Option(min=1, max=1000, help="ms in which CPU is handed out")] = 20,
        container: Annotated[
            str | None, typer.Option(metavar="IMAGE", help="limits by podman or docker, of an image by `make image`")
        ] = None,
        prices: Annotated[Path | None, typer.Option(dir_okay=False, help="your own, over bench/prices.toml")] = None,
        output: Annotated[
            Path | None, typer.Option("-o", "--output", dir_okay=False, help="the file of results")
        ] = None,
        resume: Annotated[bool, typer.Option("--resume", help="go on with that file")] = False,
    ) -> None:
        with _told():
            options = measuring.Options(
                Scope(quick, measuring.known_latency(latency), measuring.memories(memory)),
                images,
                output or Path(f"bench-{experiment.name}.json"),
                resume,
                prices,
                repetitions or 7,
                (0.4 if quick else 2.0) if seconds is None else seconds,
                period,
                container,
            )
            raise typer.Exit(measuring.run(experiment, options))

    app.command(experiment.name, help=experiment.question)(command)


for _experiment in EXPERIMENTS.values():
    _measuring(_experiment)


@app.command()
def compare(
    base: Annotated[str, typer.Argument(help="a file of results, a folder with a checkout, or a git revision")],
    new: Annotated[str, typer.Argument(help="another one of the same kind")],
    images: Annotated[Path | None, typer.Option(help="a folder with your own pictures")] = None,
    repetitions: Annotated[int, typer.Option(min=3, max=1000, help="of each of two trees")] = 15,
    seconds: Annotated[float, typer.Option(min=0, max=600, help="of a repetition at least")] = 1.0,
    output: Annotated[Path, typer.Option("-o", "--output", dir_okay=False, help="what is measured of trees")] = Path(
        "bench-compare.json"
    ),
) -> None:
    """Is NEW slower than BASE? Trees are measured in turns; exit code 1 for a regression."""
    with _told():
        scope = Scope(quick=True, latency="loopback")
        options = measuring.Options(scope, images, output, False, None, repetitions, seconds, 20)
        raise typer.Exit(measuring.compare(base, new, options))


@app.command()
def advise(
    images: Annotated[str, typer.Option(help="a folder, or s3://bucket/prefix, with pictures as yours are")],
    rate: Annotated[str | None, typer.Option(help="pictures that come, e.g. 50/s, 600/min, 2e6/day")] = None,
    deadline: Annotated[str | None, typer.Option(help="of 95 pictures in 100, e.g. 3s")] = None,
    latency: Annotated[str, typer.Option(help="how far away S3 is: loopback, near, near-tail, published")] = "near",
    repetitions: Annotated[int, typer.Option(min=3, max=1000, help="of each cell")] = 6,
    seconds: Annotated[float, typer.Option(min=0, max=600, help="of a repetition at least")] = 1.0,
    prices: Annotated[Path | None, typer.Option(dir_okay=False, help="your own, over bench/prices.toml")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", dir_okay=False, help="the advice as JSON")] = None,
    cells: Annotated[Path, typer.Option(dir_okay=False, help="where the measured cells go")] = Path(
        "bench-advise.json"
    ),
) -> None:
    """Which memory, batch size and platform for your pictures, at what price, and how sure that is."""
    with _told():
        scope = Scope(latency=measuring.known_latency(latency))
        options = measuring.Options(scope, None, cells, False, prices, repetitions, seconds, 20)
        raise typer.Exit(measuring.advise(images, rate, deadline, options, output))


@app.command()
def performance(
    results: Annotated[Path, typer.Argument(dir_okay=False, help="the file of a full run")],
) -> None:
    """Writes docs/performance.md and its charts anew."""
    with _told():
        performance_.run(results)


@contextmanager
def _told() -> Iterator[None]:
    """What the user can put right ends with its message, and exit code 2."""
    try:
        yield
    except ThumbnailerError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    app(prog_name="python -m bench")
