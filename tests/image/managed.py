"""Runs a zip as a managed runtime does: unzipped, with a Python and Lambda's runtime client in Lambda's folders.

The system around it is the image's, not Amazon Linux, and the Python one of this machine.
"""

from __future__ import annotations

import platform
import re
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.rig.emulator import HANDLER
from deploy.packing.build import compile_bytecode, find_interpreter
from deploy.packing.install import ROOT, install_wheels
from deploy.packing.target import Target, target_for

LANG: Final = "/var/lang"
TASK: Final = "/var/task"
RUNTIME: Final = "/var/runtime"
CLIENT: Final = "awslambdaric"
NAME: Final = re.compile(r"thumbnailer-python(3\.\d+)-(\w+)\.zip")


@dataclass(frozen=True, slots=True)
class Managed:
    """`options` of the engine mount the folders; `command` starts the function in the container."""

    options: tuple[str, ...]
    env: dict[str, str]
    command: tuple[str, ...]


def prepare(path: Path, folder: Path) -> Managed:
    """Unzips into an empty folder. Raises SystemExit if this machine cannot run the zip."""
    target = _target(path)
    interpreter = find_interpreter(target.python)
    if interpreter is None or platform.machine() != target.machine:
        raise SystemExit(f"{path.name} needs python{target.python} on {target.machine}, which is not here")
    task, runtime = folder / "task", folder / "runtime"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(task)
    constraints = f"--constraint={ROOT / 'constraints.txt'}"
    install_wheels(target, target.system.manylinux, runtime, [constraints, CLIENT])
    compile_bytecode(interpreter, runtime)
    folder.chmod(0o755)
    mounted = {_prefix(interpreter): LANG, str(task): TASK, str(runtime): RUNTIME}
    return Managed(
        options=tuple(f"--volume={outside}:{inside}:ro" for outside, inside in mounted.items()),
        env={"PYTHONPATH": f"{TASK}:{RUNTIME}", "LD_LIBRARY_PATH": f"{LANG}/lib"},
        command=(f"{LANG}/bin/python{target.python}", "-S", "-m", CLIENT, HANDLER),
    )


def _target(path: Path) -> Target:
    parts = NAME.fullmatch(path.name)
    if parts is None:
        raise SystemExit(f"{path.name} is not the name of a zip by `make zip`")
    return target_for(*parts.groups())


def _prefix(interpreter: str) -> str:
    command = [interpreter, "-I", "-c", "import sys; print(sys.base_prefix)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
