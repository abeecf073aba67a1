"""From a target to its archives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from deploy.packing.archive import Files, check_size, files_below, write_zip
from deploy.packing.elf import newest_asked_for, problems, shared_objects
from deploy.packing.errors import DoesNotLoad, PackingError
from deploy.packing.install import ROOT, install
from deploy.packing.strip import strip
from deploy.packing.target import Target, Version

OURS: Final = ("handler", "thumbnailer")
NOT_OURS: Final = ("handler/demo/", "handler/cli.py")
"""What people start on their own machines, with packages that are not in the zip."""
LAYER_PREFIX: Final = "python/"
"""Where a layer's Python packages lie (docs.aws.amazon.com/lambda/latest/dg/packaging-layers.html)."""


@dataclass(frozen=True, slots=True)
class Built:
    """Everything that goes into the archives, checked. `stripped` is bytes by rule."""

    target: Target
    code: Path
    dependencies: Path
    stripped: Mapping[str, int]
    interpreter: str | None
    """what has compiled the bytecode; None where there was no such Python"""
    asked_for: Mapping[str, Version]

    def files(self) -> dict[str, Path]:
        return files_below(self.dependencies) | files_below(self.code)


class Artefact(NamedTuple):
    """A zip that was written."""

    path: Path
    zipped: int
    unzipped: int


def build(target: Target, extras: Sequence[str], folder: Path) -> Built:
    """Installs, strips, compiles and checks, in `folder`, which is empty. Raises PackingError."""
    code, dependencies = folder / "code", folder / "dependencies"
    install(target, extras, dependencies)
    stripped = strip(dependencies, target.system)
    objects = shared_objects(dependencies)
    if wrong := problems(objects, target):
        raise DoesNotLoad(f"this would not load in {target.system.name}:\n" + "\n".join(f"  {p}" for p in wrong))
    copy_code(code)
    interpreter = find_interpreter(target.python)
    if interpreter:
        for tree in (code, dependencies):
            compile_bytecode(interpreter, tree)
    built = Built(target, code, dependencies, stripped, interpreter, newest_asked_for(objects))
    check_size(built.files())
    return built


def write(built: Built, out: Path) -> list[Artefact]:
    """The zip with everything; and the same in two, a layer that seldom changes and the code."""
    out.mkdir(parents=True, exist_ok=True)
    name = built.target.name
    return [
        _written(out / f"{name}.zip", built.files()),
        _written(out / f"{name}-layer.zip", files_below(built.dependencies, LAYER_PREFIX)),
        _written(out / f"{name}-code.zip", files_below(built.code)),
    ]


def copy_code(folder: Path) -> None:
    """Our own packages, and the licence they are under."""
    for path in sorted(path for package in OURS for path in (ROOT / package).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(NOT_OURS):
            _copy(path, folder / name)
    _copy(ROOT / "LICENSE", folder / "thumbnailer" / "LICENSE")


def find_interpreter(python: str) -> str | None:
    """A Python of that version here: this one, one on the PATH or one of pyenv's."""
    return next((path for path in _interpreters(python) if _version(path) == python), None)


def compile_bytecode(interpreter: str, tree: Path) -> None:
    """Bytecode that is used as it is, without a look at the source: it cannot be made there, the folder is read-only.

    Names and hashes are fixed, so that the same sources give the same bytes.
    """
    arguments = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(tree), str(tree)]
    done = subprocess.run(  # noqa: S603
        [interpreter, *arguments], env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PackingError(f"{interpreter} cannot compile everything:\n{done.stdout}{done.stderr}")


def _interpreters(python: str) -> Iterator[str]:
    yield sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    folders = [*os.environ.get("PATH", "").split(":"), *map(str, sorted(pyenv.glob(f"{python}.*/bin")))]
    for folder in folders:
        if found := shutil.which(f"python{python}", path=folder):
            yield found


def _version(interpreter: str) -> str | None:
    """None of what is no interpreter, as pyenv's shims of versions that are not switched on."""
    ask = "import sys; print(f'{sys.version_info[0]}.{sys.version_info[1]}')"
    done = subprocess.run([interpreter, "-I", "-c", ask], capture_output=True, text=True, check=False)  # noqa: S603
    return None if done.returncode else done.stdout.strip()


def _copy(source: Path, destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, destination)


def _written(path: Path, files: Files) -> Artefact:
    unzipped = check_size(files)
    return Artefact(path, write_zip(path, files), unzipped)
