"""Environments of their own, for packages that do not go together with ours."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.rig.processes import NotInstalled, made_once

ROOT: Final = Path(__file__).parents[2]


def locked_environment(name: str) -> Path:
    """The Python of an environment in .venv with the packages of .ci/NAME.txt. Raises NotInstalled."""
    lock = ROOT / ".ci" / f"{name}.txt"

    def install(target: Path) -> None:
        uv = str(Path(sys.executable).with_name("uv"))
        python = str(target / "bin" / "python")
        for command in (
            ["venv", "--quiet", "--relocatable", "--clear", f"--python={sys.executable}", str(target)],
            ["pip", "install", "--quiet", f"--python={python}", "--require-hashes", f"--requirements={lock}"],
        ):
            done = subprocess.run([uv, *command], capture_output=True, text=True, check=False)
            if done.returncode:
                raise NotInstalled(f"{lock.name} cannot be installed: {done.stderr.strip()[-300:]}")

    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    return made_once(ROOT / ".venv" / f"{name}-{digest}", install) / "bin" / "python"
