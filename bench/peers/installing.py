"""Python modules, Node.js and npm packages that the peers need."""

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bench.rig.processes import cache, made_once
from thumbnailer.errors import ThumbnailerError

NPM_INSTALL: Final = ("ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund")  # package-lock.json has hashes
# npm reports no error for a missing prebuilt library; importing the package does.
IMPORT_ALL: Final = """
import { readFile } from "node:fs/promises";
const { dependencies } = JSON.parse(await readFile("package.json"));
await Promise.all(Object.keys(dependencies).map((name) => import(name)));
"""
SECONDS: Final = 300.0
TAIL: Final = 600


class NotInstalled(ThumbnailerError):
    """A peer needs something that is missing and cannot be installed."""


def require_modules(*names: str) -> None:
    """Raises NotInstalled that names the modules missing in this Python."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise NotInstalled(f"{', '.join(missing)}: not installed; pip install 'thumbnailer[bench,lambda,pillow]'")


def program(name: str) -> str:
    """The path of a program. Raises NotInstalled."""
    found = shutil.which(name)
    if found is None:
        raise NotInstalled(f"{name} is not installed")
    return found


def node_packages(sources: Path, folder: Path | None = None) -> Path:
    """A copy of the sources with the packages of their package.json, installed once. Raises NotInstalled."""
    node, npm = program("node"), program("npm")
    files = sorted(path for path in sources.iterdir() if path.is_file())

    def install(target: Path) -> None:
        for path in files:
            shutil.copy(path, target)
        _run("npm", [npm, *NPM_INSTALL], target)
        _run("node", [node, "--input-type=module", "--eval", IMPORT_ALL], target)

    return made_once((folder or cache()) / f"{sources.name}-{_hash(files)}", install)


def _hash(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _run(name: str, command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(  # noqa: S603
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"{name} does not end within {SECONDS:.0f} s: {command[1]}") from error
    if done.returncode:
        output = (done.stderr or done.stdout).strip()[-TAIL:]
        raise NotInstalled(f"{name} fails with exit code {done.returncode}: {output}")
