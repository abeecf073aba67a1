"""Installs wheels of another Python and platform into a folder, with uv. It compiles and runs nothing of them."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from deploy.packing import IndexUnreachable, PackingError
from deploy.packing.target import Target

ROOT: Final = Path(__file__).parents[2]
EXTRAS: Final = ("pillow", "thumbhash")
"""Plain Pillow: Pillow-SIMD has no wheels, and one compiled on this machine may not load on Lambda's."""
OLDER: Final = Path(__file__).with_name("older.txt")
WHEELS: Final = ROOT / "dist" / "native"
"""Where `.ci/wheel` puts the compiled JPEG engine."""
ARGUMENTS: Final = (
    "--quiet",
    "--only-binary=:all:",
    # pyvips has no wheel: it is pure Python, and pyvips-binary has its compiled binding. The setting keeps it from
    # compiling against a libvips of this machine, and apart from such builds in uv's cache.
    "--no-binary=pyvips",
    *(f"--build-constraints={ROOT / name}" for name in ("constraints.txt", "deploy/constraints.txt")),
    "--config-settings-package=pyvips:binding=pyvips-binary",
)
NO_SOLUTION: Final = 1
"""uv's exit code if no wheels fit; every other failure has another one."""


def install(target: Target, extras: Sequence[str], folder: Path) -> None:
    """Installs the dependencies in the versions and with the hashes of constraints.txt. Raises PackingError."""
    locked = constrain((ROOT / "constraints.txt").read_text(), target)
    with NamedTemporaryFile("w", prefix="constraints-", suffix=".txt") as constraints:
        constraints.write(locked)
        constraints.flush()
        chosen = f"--constraint={constraints.name}"
        if older := target.system.instead:  # the second step keeps packages that are installed already
            install_wheels(target, "manylinux2014", folder, [chosen, "--no-deps", *older])
        wanted = [f"--requirements={ROOT}/pyproject.toml", *(f"--extra={extra}" for extra in (*EXTRAS, *extras))]
        install_wheels(target, target.system.manylinux, folder, [chosen, *wanted])
    if unlocked := installed(folder) - {line.partition("==")[0] for line in locked.splitlines()}:
        raise PackingError(f"without a hash in constraints.txt: {', '.join(sorted(unlocked))}")
    for wheel in WHEELS.glob(f"*_{target.machine}.whl"):
        install_wheels(target, target.system.manylinux, folder, ["--no-deps", str(wheel)])


def installed(folder: Path) -> set[str]:
    """Names of the packages in a folder, as constraints.txt writes them."""
    return {path.name.partition("-")[0].lower().replace("_", "-") for path in folder.glob("*.dist-info")}


def constrain(constraints: str, target: Target) -> str:
    """`constraints` with the versions that run on the target's system."""
    for line in OLDER.read_text().splitlines():
        package = line.partition("==")[0]
        if package in target.system.instead:
            constraints = re.sub(rf"^{re.escape(package)}==.*", line, constraints, flags=re.MULTILINE)
    return constraints


def install_wheels(target: Target, manylinux: str, folder: Path, arguments: Sequence[str]) -> None:
    """Runs `uv pip install` with these arguments. Raises PackingError."""
    platform = f"{target.machine}-{manylinux}"
    wheels = [f"--python-version={target.python}", f"--python-platform={platform}", *ARGUMENTS]
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "install", f"--python={sys.executable}", f"--target={folder}", *wheels, *arguments]
    environment = {**os.environ, "PKG_CONFIG": "false"}
    # all versions are given, so the index is needed only for wheels that are not in uv's cache
    done = run([*command, "--offline"], environment)
    if done.returncode:
        done = run(command, environment)
    if done.returncode:
        kind = PackingError if done.returncode == NO_SOLUTION else IndexUnreachable
        raise kind(f"no wheels for Python {target.python} on {platform}:\n{done.stderr.strip()}")


def run(command: Sequence[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # noqa: S603
