"""`python -m deploy.packing`."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from deploy.packing import PackingError
from deploy.packing import build as zips
from deploy.packing.build import LAYERS, UNZIPPED_LIMIT, Artefact, Built, by_package, megabytes
from deploy.packing.install import ROOT
from deploy.packing.target import MACHINES, RUNTIMES, target_for

SHOWN_PACKAGES: Final = 12
app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def packing(
    python: Annotated[str, typer.Option(help=f"the runtime's Python: {', '.join(RUNTIMES)}")] = "3.13",
    architecture: Annotated[str, typer.Option("--arch", help=" or ".join(MACHINES))] = "x86_64",
    extra: Annotated[
        list[str] | None, typer.Option(help="an extra of pyproject.toml, e.g. jxl; may be repeated")
    ] = None,
    out: Annotated[Path, typer.Option(file_okay=False, help="the folder for the zips")] = ROOT / "dist",
) -> None:
    """Builds the zip, and the same as layer and code, for one of Lambda's managed Python runtimes."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            built = zips.build(target_for(python, architecture), extra or (), Path(folder))
            typer.echo("\n".join(_report(built, zips.write(built, out))))
    except PackingError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


def _report(built: Built, artefacts: list[Artefact]) -> Iterator[str]:
    largest = list(by_package(built.files()).items())[:SHOWN_PACKAGES]
    yield from (f"{megabytes(size):>8} MB  {name}" for name, size in largest)
    for artefact in artefacts:
        upload = "direct upload" if artefact.zipped <= zips.DIRECT_LIMIT else "upload through S3"
        size = f"{megabytes(artefact.zipped)} MB, {megabytes(artefact.unzipped)} MB unzipped"
        yield f"{artefact.path.name}: {size}, {upload}"
    yield f"Lambda's limit: {megabytes(UNZIPPED_LIMIT)} MB unzipped, the function and up to {LAYERS} layers together"
    yield "left out, in MB: " + ", ".join(f"{name} {megabytes(size)}" for name, size in built.stripped.items() if size)
    yield f"bytecode compiled by {built.interpreter or 'nobody, so every cold start compiles all modules'}"


if __name__ == "__main__":
    app(prog_name="python -m deploy.packing")
