"""`python -m bench engines`: CPU time and growth in memory of both engines, a row a format."""

from __future__ import annotations

from typing import Annotated

import typer

from bench import engines as engines_

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


app(prog_name="python -m bench")
