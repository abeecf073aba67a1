"""The commands of the bench."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from bench import measuring
from bench.goals import command as goals
from bench.pages import performance as performance_
from bench.questions import EXPERIMENTS, Experiment, Options
from bench.scale import command as scale_
from bench.scale.model import Arrivals
from bench.serving import command as serving
from thumbnailer.errors import ThumbnailerError


class _Commands(TyperGroup):
    """Prints the message of an error that the user can correct; exit code 2.

    SIGTERM ends a command as Ctrl-C does, which works even if the shell ignores it (`&`).
    """

    def invoke(self, ctx: Any) -> Any:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        try:
            return super().invoke(ctx)
        except ThumbnailerError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error


app = typer.Typer(
    no_args_is_help=True, cls=_Commands, help="Measures the pipeline from outside: what each MB of memory buys."
)

Images = Annotated[Path | None, typer.Option(help="a folder with your own pictures in place of the reference set")]
Latency = Annotated[Literal["loopback", "near", "near-tail", "published"], typer.Option(help="distance to S3")]
Prices = Annotated[Path | None, typer.Option(dir_okay=False, help="your prices; the form: docs/bench.md")]
Seconds = Annotated[float, typer.Option(min=0, max=600, help="shortest repetition")]
Output = Annotated[Path | None, typer.Option("-o", "--output", dir_okay=False, help="the file of results")]


def _add_question(experiment: Experiment, run: Callable[[Experiment, Options], int] = measuring.run) -> None:
    def command(
        quick: Annotated[bool, typer.Option("--quick", help="fewer cells, smaller pictures, shorter")] = False,
        images: Images = None,
        memory: Annotated[str, typer.Option(help="MB of the functions, e.g. 512,1024; default: the question's")] = "",
        latency: Latency = "near",
        repetitions: Annotated[int, typer.Option(min=1, max=1000, help="per cell")] = 7,
        seconds: Annotated[
            float | None, typer.Option(min=0, max=600, help="shortest repetition; default: 2, quick: 0.4")
        ] = None,
        period: Annotated[float, typer.Option(min=14, max=1000, help="period of the CPU limit in ms")] = 20,
        container: Annotated[
            str | None, typer.Option(metavar="IMAGE", help="limits by podman or docker, of an image by `make image`")
        ] = None,
        prices: Prices = None,
        output: Output = None,
        resume: Annotated[bool, typer.Option("--resume", help="continue with that file")] = False,
        row: Annotated[str, typer.Option(help="only rows with this in their names", hidden=run is measuring.run)] = "",
    ) -> None:
        memories = measuring.memories(memory)
        path = output or Path(f"bench-{experiment.name}{'-row' if row else ''}.json")
        least = (0.4 if quick else 2.0) if seconds is None else seconds
        given = quick, latency, memories, path, images, resume, prices, repetitions, least, period, container, row
        options = Options(*given)
        raise typer.Exit(run(experiment, options))

    app.command(experiment.name, help=experiment.question)(command)


for _experiment in EXPERIMENTS.values():
    _add_question(_experiment)
_add_question(goals.EXPERIMENT, goals.run)


@app.command()
def advise(
    images: Annotated[Path, typer.Option(help="a folder with pictures like yours")],
    rate: Annotated[str | None, typer.Option(help="incoming pictures, e.g. 50/s, 600/min, 2e6/day")] = None,
    deadline: Annotated[str | None, typer.Option(help="of 95 in 100 pictures, e.g. 3s")] = None,
    latency: Latency = "near",
    repetitions: Annotated[int, typer.Option(min=3, max=1000, help="per cell")] = 6,
    seconds: Seconds = 1.0,
    prices: Prices = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", dir_okay=False, help="the file of results, for `report`")
    ] = Path("bench-advise.json"),
) -> None:
    """Recommends memory, batch size and platform for your pictures, with the price and the uncertainty."""
    options = Options(latency=latency, output=output, prices=prices, repetitions=repetitions, seconds=seconds)
    raise typer.Exit(measuring.advise(images, rate, deadline, options))


@app.command()
def compare(
    base: Annotated[str, typer.Argument(help="a file of results, a folder with a checkout, or a git revision")],
    new: Annotated[str, typer.Argument(help="another one of the same kind")],
    images: Images = None,
    repetitions: Annotated[int, typer.Option(min=3, max=1000, help="of each tree")] = 15,
    seconds: Seconds = 1.0,
    output: Annotated[
        Path, typer.Option("-o", "--output", dir_okay=False, help="the file of results for two trees")
    ] = Path("bench-compare.json"),
) -> None:
    """Is NEW slower than BASE? Measures two trees in turns; exit code 1 for a regression."""
    options = Options(True, "loopback", (), output, images, repetitions=repetitions, seconds=seconds)
    raise typer.Exit(measuring.compare(base, new, options))


@app.command()
def scale(
    rate: Annotated[str, typer.Option(help="incoming pictures, e.g. 10000/s, 600/min, 2e6/day")] = "100/s",
    minutes: Annotated[float, typer.Option(min=0.1, max=600, help="duration of the load")] = 5,
    results: Annotated[
        Path | None, typer.Option(dir_okay=False, help="measured cells, for the service times; default: bench/results")
    ] = None,
    memory: Annotated[int | None, typer.Option(min=128, max=10_240, help="MB of the function")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, max=10_000, help="of the mapping")] = None,
    window: Annotated[float | None, typer.Option(min=0, max=300, help="seconds of batching")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="of the account, or reserved")] = None,
    least_tasks: Annotated[int, typer.Option(min=1, help="Fargate tasks that always run")] = 1,
    most_tasks: Annotated[int | None, typer.Option(min=1, help="default: half more than the rate needs")] = None,
    prices: Prices = None,
    seed: Annotated[int, typer.Option(min=0, help="of the random numbers")] = 1,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="everything as JSON, second by second")] = None,
) -> None:
    """Simulates queue, Lambda and Fargate at a rate: backlog, latency, concurrency, price."""
    change = {"memory_mb": memory, "batch_size": batch_size, "window": window, "account": concurrency}
    arrivals = Arrivals(scale_.parse_rate(rate), 60 * minutes)
    scale_.run(arrivals, results or scale_.REFERENCE, change, least_tasks, most_tasks, prices, seed, output)


@app.command()
def serve(quick: Annotated[bool, typer.Option("--quick", help="one short turn each")] = False) -> None:
    """How many pictures a second are made on demand, against thumbor?"""
    raise typer.Exit(serving.run(quick))


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(dir_okay=False, help="files of results")],
    output: Annotated[Path, typer.Option("-o", "--output", file_okay=False, help="a folder")] = performance_.FOLDER,
    prices: Prices = None,
) -> None:
    """Writes one self-contained page, and its charts as PNG."""
    performance_.run_report(results, output, prices)


@app.command()
def performance(results: Annotated[Path, typer.Argument(dir_okay=False, help="the file of a full run")]) -> None:
    """Writes docs/performance.md and its charts."""
    performance_.run(results)


def main() -> None:
    app(prog_name="python -m bench")
