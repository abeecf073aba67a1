"""`python -m deploy.packing`."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from deploy.packing import PackingError
from deploy.packing.build import DIRECT_LIMIT, build, megabytes, write
from deploy.packing.install import ROOT
from deploy.packing.target import MACHINES, RUNTIMES, target_for

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def packing(
    python: Annotated[str, typer.Option(help=f"the runtime's Python: {', '.join(RUNTIMES)}")] = "3.13",
    architecture: Annotated[str, typer.Option("--arch", help=" or ".join(MACHINES))] = "x86_64",
    extra: Annotated[list[str] | None, typer.Option(help="an extra of pyproject.toml; may be repeated")] = None,
    out: Annotated[Path, typer.Option(file_okay=False, help="the folder for the zips")] = ROOT / "dist",
) -> None:
    """Builds the zip, and the same as layer and code, for one of Lambda's managed Python runtimes."""
    try:
        with TemporaryDirectory() as folder:
            built = build(target_for(python, architecture), extra or (), Path(folder))
            for path, zipped, unzipped in write(built, out):
                way = "direct upload" if zipped <= DIRECT_LIMIT else "upload through S3"
                typer.echo(f"{path.name}: {megabytes(zipped)} MB, {megabytes(unzipped)} MB unzipped, {way}")
            compiler = built.interpreter or "nobody, so every cold start compiles all modules"
            typer.echo(f"bytecode compiled by {compiler}")
    except PackingError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    app(prog_name="python -m deploy.packing")
