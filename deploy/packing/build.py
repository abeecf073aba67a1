"""From a target to its reproducible zips, within Lambda's limits on their size."""

import os
import shutil
import stat
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from deploy.packing import PackingError
from deploy.packing.install import ROOT, install, run
from deploy.packing.strip import strip
from deploy.packing.target import Target

OURS: Final = ("handler", "thumbnailer")
NOT_OURS: Final = ("handler/backfill", "handler/demo/", "handler/cli.py", "handler/commands.py", "handler/resize.py")
"""People start these on their own machines; they need packages that are not in the zip."""
PRICES: Final = Path("thumbnailer/backfill/prices.toml")
LAYER_PREFIX: Final = "python/"
"""The folder of a layer's packages (docs.aws.amazon.com/lambda/latest/dg/packaging-layers.html)."""
UNZIPPED_LIMIT: Final = 250 * 1024 * 1024
"""Function and layers together (docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html): 262,144,000 bytes."""
DIRECT_LIMIT: Final = 50 * 1024 * 1024
"""The largest zip that Lambda takes directly; a larger one goes through S3. Same source."""

Files = Mapping[str, Path]
"""The files of an archive by their names in it."""


class Built(NamedTuple):
    """Folders with everything that goes into the zips. `stripped` has bytes by rule."""

    target: Target
    code: Path
    dependencies: Path
    stripped: Mapping[str, int]
    interpreter: str | None
    """the Python that compiled the bytecode; None if this machine has no such Python"""

    def files(self) -> dict[str, Path]:
        return files_below(self.dependencies) | files_below(self.code)


def build(target: Target, extras: Sequence[str], folder: Path) -> Built:
    """Installs, strips and compiles in an empty folder. Raises PackingError."""
    code, dependencies = folder / "code", folder / "dependencies"
    install(target, extras, dependencies)
    stripped = strip(dependencies, target.system)
    copy_code(code)
    if interpreter := find_interpreter(target.python):
        compile_bytecode(interpreter, code)
        compile_bytecode(interpreter, dependencies)
    built = Built(target, code, dependencies, stripped, interpreter)
    check_size(built.files())
    return built


def write(built: Built, out: Path) -> list[tuple[Path, int, int]]:
    """Writes the complete zip, and the same files as a layer of dependencies and a zip of code.

    Returns the path of each, and its bytes zipped and unzipped.
    """
    out.mkdir(parents=True, exist_ok=True)
    zips = {
        "": built.files(),
        "-layer": files_below(built.dependencies, LAYER_PREFIX),
        "-code": files_below(built.code),
    }
    paths = {out / f"{built.target.name}{suffix}.zip": files for suffix, files in zips.items()}
    return [(path, write_zip(path, files), check_size(files)) for path, files in paths.items()]


def copy_code(folder: Path) -> None:
    """Copies our packages and their licence."""
    modules = [path.relative_to(ROOT) for package in OURS for path in (ROOT / package).rglob("*.py")]
    copies = {path: path for path in modules if not path.as_posix().startswith(NOT_OURS)}
    copies |= {Path("LICENSE"): Path("thumbnailer/LICENSE"), PRICES: PRICES}
    for source, copy in copies.items():
        (folder / copy).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / source, folder / copy)


def find_interpreter(python: str) -> str | None:
    """A Python of that version: this one, the one on the PATH or one of pyenv's; None if there is none."""
    if sys.version_info[:2] == tuple(map(int, python.split("."))):
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [shutil.which(f"python{python}"), *sorted(pyenv.glob(f"versions/{python}.*/bin/python{python}"))]
    # a shim of pyenv does not start if its version is not switched on
    return next((str(path) for path in found if path and not run([str(path), "-c", ""]).returncode), None)


def compile_bytecode(interpreter: str, tree: Path) -> None:
    """Compiles all modules. Python uses this bytecode without a look at the source: a function's folder is read-only.

    Paths and hashes are fixed, so that the same sources give the same bytes.
    """
    arguments = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(tree), str(tree)]
    done = run([interpreter, *arguments], {"PYTHONHASHSEED": "0"})
    if done.returncode:
        raise PackingError(f"{interpreter} cannot compile everything:\n{done.stdout}{done.stderr}")


def files_below(folder: Path, prefix: str = "") -> dict[str, Path]:
    return {prefix + p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}


def write_zip(out: Path, files: Files) -> int:
    """Writes a sorted zip without times and owners, readable by all (Lambda's user is no owner); returns its bytes."""
    with ZipFile(out, "w") as archive:
        for name in sorted(files):
            info = ZipInfo(name)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, files[name].read_bytes(), ZIP_DEFLATED)
    return out.stat().st_size


def check_size(files: Files) -> int:
    """The unzipped bytes. Raises PackingError that names the largest packages."""
    sizes: Counter[str] = Counter()
    for name, path in files.items():
        sizes[name.partition("/")[0]] += path.stat().st_size
    if sizes.total() > UNZIPPED_LIMIT:
        largest = ", ".join(f"{name} {megabytes(size)}" for name, size in sizes.most_common(8))
        raise PackingError(
            f"{megabytes(sizes.total())} MB unzipped, and Lambda takes {megabytes(UNZIPPED_LIMIT)} MB, function and "
            f"layers together. The largest, in MB: {largest}. Leave out an extra, or deploy the image."
        )
    return sizes.total()


def megabytes(size: int) -> str:
    """In Lambda's MB, which are MiB."""
    return f"{size / (1024 * 1024):.1f}"
