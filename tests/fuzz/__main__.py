"""python -m tests.fuzz: processes broken pictures. Exit code 1 if there are findings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.fuzz.report import endings, extremes, findings, keep, problems
from tests.fuzz.run import verdicts
from tests.fuzz.verdict import Verdict

console = Console()


def fuzz(
    inputs: Annotated[int, typer.Option(help="How many inputs.", min=1)] = 5000,
    seed: Annotated[int, typer.Option(help="The same seed and number are the same input.")] = 1,
    first: Annotated[int, typer.Option(help="The number to begin with.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="How many processes.", min=1)] = 2,
    replay: Annotated[int | None, typer.Option(help="This input alone, with all that is known of it.")] = None,
    keep_in: Annotated[Path | None, typer.Option("--keep", help="Write inputs of findings into this folder.")] = None,
) -> None:
    """Breaks pictures in many ways and runs each through the whole pipeline, in a process that may die."""
    numbers = range(first, first + inputs) if replay is None else [replay]
    results = _shown(verdicts(seed, numbers, workers), len(numbers))
    found = findings(results)
    if replay is not None:
        _print_all(results)
    console.print(endings(results), extremes(results))
    if keep_in is not None:
        keep(found, seed, keep_in)
    if found:
        console.print(problems(found, seed))
        raise typer.Exit(1)
    console.print(f"[green]Nothing is wrong with {len(results)} inputs of seed {seed}.")


def _shown(results: Iterable[Verdict], total: int) -> list[Verdict]:
    """All verdicts, with a progress bar that counts problems."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    done: list[Verdict] = []
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("nothing wrong", total=total)
        for verdict in results:
            done.append(verdict)
            wrong = sum(1 for verdict in done if verdict.problems)
            progress.update(bar, advance=1, description=f"[red]{wrong} wrong" if wrong else "nothing wrong")
    return done


def _print_all(results: Iterable[Verdict]) -> None:
    for verdict in results:
        console.print(verdict)
        for problem in verdict.problems:
            console.print(problem.kind, style="bold red")
            console.print(problem.text, markup=False, highlight=False)


if __name__ == "__main__":
    typer.run(fuzz)
