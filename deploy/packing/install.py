"""Wheels of another Python and platform, put into a folder by uv. Nothing is compiled and nothing of them is run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.packing.errors import CannotInstall, IndexUnreachable
from deploy.packing.target import Target

ROOT: Final = Path(__file__).parents[2]
EXTRAS: Final = ("pillow", "thumbhash")
"""Plain Pillow: Pillow-SIMD has no wheels, and what is compiled on this machine need not load on Lambda's."""
ARGUMENTS: Final = (
    "--quiet",
    "--only-binary=:all:",
    # pyvips comes as source alone: pure Python beside its compiled binding, which is pyvips-binary's. Told that there
    # is no libvips to compile against, and kept apart in uv's cache from builds where there was one.
    "--no-binary=pyvips",
    "--config-settings-package=pyvips:binding=pyvips-binary",
)
UNREACHABLE: Final = re.compile(r"Failed to fetch|error sending request|dns error|network was disabled")


def install(target: Target, extras: Sequence[str], folder: Path) -> None:
    """The project's dependencies, of the versions in constraints.txt, into `folder`. Raises CannotInstall."""
    with tempfile.NamedTemporaryFile("w", prefix="constraints-", suffix=".txt") as constraints:
        constraints.write(constrained((ROOT / "constraints.txt").read_text(), target))
        constraints.flush()
        chosen = f"--constraint={constraints.name}"
        older = [f"{package}=={version}" for package, version in target.system.instead.items()]
        if older:  # what is there already, the second step leaves alone
            install_wheels(target, "manylinux2014", folder, [chosen, "--no-deps", *older])
        wanted = [f"--extra={extra}" for extra in (*EXTRAS, *extras)]
        install_wheels(
            target, target.system.manylinux, folder, [chosen, *wanted, f"--requirements={ROOT / 'pyproject.toml'}"]
        )


def constrained(constraints: str, target: Target) -> str:
    """`constraints` with the versions that run on the target's system."""
    for package, version in target.system.instead.items():
        constraints = re.sub(rf"^{re.escape(package)}==\S+", f"{package}=={version}", constraints, flags=re.MULTILINE)
    return constraints


def install_wheels(target: Target, manylinux: str, folder: Path, arguments: Sequence[str]) -> None:
    """What uv's `arguments` ask for. Raises CannotInstall."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if uv is None:
        raise CannotInstall("uv is not installed; `make .venv/bin/uv` installs it")
    platform = f"{target.machine}-{manylinux}"
    wheels = [f"--python-version={target.python}", f"--python-platform={platform}", *ARGUMENTS]
    command = [uv, "pip", "install", f"--python={sys.executable}", f"--target={folder}", *wheels, *arguments]
    # The versions are given, so an index cannot tell of better ones: it is asked only for what uv's cache has not.
    done = _ran([*command, "--offline"])
    if done.returncode:
        done = _ran(command)
    if done.returncode:
        kind = IndexUnreachable if UNREACHABLE.search(done.stderr) else CannotInstall
        raise kind(f"no wheels for Python {target.python} on {platform}:\n{done.stderr.strip()}")


def _ran(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PKG_CONFIG": "false"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # noqa: S603
