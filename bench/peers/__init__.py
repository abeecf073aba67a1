"""The handlers that ours is compared with, each as a Lambda function for the emulator.

All of them make the same thumbnail, 128 x 128 and `inside`, in `{bucket}-resized` under the source's own key; the floor
only decodes. Each follows its tutorial and keeps the default quality of its library: JPEG 75 with 4:2:0 in Pillow, 75
in libvips, 80 in sharp. Each runs from its own folder or this one and imports nothing of the bench.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.rig.emulator import Function
from bench.rig.processes import NotInstalled, cache, find_program, made_once

HERE: Final = Path(__file__).parent
NPM_INSTALL: Final = ("ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund")  # checks package-lock.json
# npm reports no error for a missing prebuilt library; importing the package does.
IMPORT_ALL: Final = """
import { readFile } from "node:fs/promises";
const { dependencies } = JSON.parse(await readFile("package.json"));
await Promise.all(Object.keys(dependencies).map((name) => import(name)));
"""
SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A handler to compare with. `reads` are its file endings; None: everything that its library opens.

    `start` returns the function for a memory size; it installs missing packages or raises NotInstalled. The function
    needs S3's address, keys and region, and in BENCH_PICTURES the folder with the pictures.
    """

    engine: str
    transport: str
    start: Callable[[int], Function]
    reads: frozenset[str] | None = None


def _python(module: str) -> Callable[[int], Function]:
    """A module of this folder under AWS's runtime client, in this Python."""
    handler = f"{module}.handler"
    command = (sys.executable, "-m", "awslambdaric", handler)
    return lambda memory_mb: Function(memory_mb, env={"_HANDLER": handler}, command=command, root=HERE)


def _sharp(memory_mb: int) -> Function:
    """Node with the heap options of Lambda's own start script: a tenth of the memory for new objects, in two halves."""
    env = {"_HANDLER": "index.handler", "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs20.x"}
    new_space = memory_mb // 10
    heap = f"--max-semi-space-size={new_space // 2}", f"--max-old-space-size={memory_mb - new_space}"
    command = (find_program("node"), *heap, "runtime.mjs")
    return Function(memory_mb, env=env, command=command, root=node_packages(HERE / "sharp"))


PEERS: Final[Mapping[str, Peer]] = {
    "textbook": Peer("pillow", "boto3", _python("textbook")),
    "sharp": Peer("sharp", "aws-sdk-js", _sharp),
    "tutorial": Peer("vips", "aioboto3", _python("tutorial")),
    "floor": Peer("libjpeg-turbo", "none", _python("floor"), frozenset({".jpg", ".jpeg"})),
}


def node_versions() -> dict[str, str]:
    """Versions of Node and the packages, which package.json pins; empty without Node."""
    with suppress(NotInstalled):
        packages: dict[str, str] = json.loads((HERE / "sharp" / "package.json").read_text())["dependencies"]
        return {"node": run_program(find_program("node"), ["--version"], HERE).strip(), **packages}
    return {}


def node_packages(sources: Path, folder: Path | None = None) -> Path:
    """A copy of the sources with the packages of their package.json, installed once. Raises NotInstalled."""
    node, npm = find_program("node"), find_program("npm")
    contents = {path.name: path.read_bytes() for path in sorted(sources.iterdir()) if path.is_file()}

    def install(target: Path) -> None:
        for name in contents:
            shutil.copy(sources / name, target)
        run_program(npm, NPM_INSTALL, target)
        run_program(node, ["--input-type=module", "--eval", IMPORT_ALL], target)

    digest = hashlib.sha256(repr(contents).encode()).hexdigest()[:16]
    return made_once((folder or cache()) / f"{sources.name}-{digest}", install)


def run_program(program: str, arguments: Sequence[str], folder: Path) -> str:
    """The program's output. Raises NotInstalled."""
    name = Path(program).name
    try:
        done = subprocess.run(  # noqa: S603
            [program, *arguments], cwd=folder, input="", capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"{name} does not end within {SECONDS:.0f} s: {arguments[0]}") from error
    if done.returncode:
        raise NotInstalled(
            f"{name} fails with exit code {done.returncode}: {(done.stderr or done.stdout)[-600:].strip()}"
        )
    return done.stdout
