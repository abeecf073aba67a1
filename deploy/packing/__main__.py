"""`python -m deploy.packing`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.packing.archive import DIRECT_LIMIT, LAYERS, UNZIPPED_LIMIT, by_package, megabytes
from deploy.packing.build import Artefact, Built, build, write
from deploy.packing.errors import PackingError
from deploy.packing.install import ROOT
from deploy.packing.target import MACHINES, RUNTIMES, target_for

MOST_PACKAGES = 12
app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def packing(
    python: Annotated[str, typer.Option(help=f"the runtime's Python: {', '.join(RUNTIMES)}")] = "3.13",
    architecture: Annotated[str, typer.Option("--arch", help=" or ".join(MACHINES))] = "x86_64",
    extra: Annotated[list[str] | None, typer.Option(help="an extra of pyproject.toml, e.g. jxl; several times")] = None,
    out: Annotated[Path, typer.Option(file_okay=False, help="the folder the zips go to")] = ROOT / "dist",
) -> None:
    """The zip, and the layer with its code, for one of Lambda's managed Python runtimes."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            built = build(target_for(python, architecture), extra or (), Path(folder))
            _report(built, write(built, out))
    except PackingError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


def _report(built: Built, artefacts: list[Artefact]) -> None:
    console = Console()
    console.print(_packages(built))
    console.print(_artefacts(artefacts))
    left_out = ", ".join(f"{name} {megabytes(size)}" for name, size in built.stripped.items() if size)
    limits = built.target.system.newest
    asked = ", ".join(f"{f} {_dotted(v)} of {_dotted(limits[f])}" for f, v in sorted(built.asked_for.items()))
    console.print(f"Lambda takes {megabytes(UNZIPPED_LIMIT)} MB, function and up to {LAYERS} layers together")
    console.print(f"left out, in MB: {left_out}")
    console.print(f"{built.target.system.name}; newest symbols asked for: {asked}")
    if built.interpreter:
        console.print(f"bytecode by {built.interpreter}")
    else:
        console.print(f"no bytecode: there is no python{built.target.python} here, so every cold start compiles anew")


def _packages(built: Built) -> Table:
    table = Table("package", "MB", show_edge=False)
    sizes = list(by_package(built.files()).items())
    rest = sum(size for _, size in sizes[MOST_PACKAGES:])
    for name, size in sizes[:MOST_PACKAGES]:
        table.add_row(name, megabytes(size))
    table.add_row(f"{len(sizes[MOST_PACKAGES:])} others", megabytes(rest))
    return table


def _artefacts(artefacts: list[Artefact]) -> Table:
    table = Table("file", "MB zipped", "MB unzipped", "upload", show_edge=False)
    for artefact in artefacts:
        upload = "direct" if artefact.zipped <= DIRECT_LIMIT else "through S3"
        table.add_row(artefact.path.name, megabytes(artefact.zipped), megabytes(artefact.unzipped), upload)
    return table


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


if __name__ == "__main__":
    app(prog_name="python -m deploy.packing")
