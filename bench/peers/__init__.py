"""The handlers that ours is compared with, each as a Lambda function for the emulator.

All of them make the same thumbnail, 128 x 128 and `inside`, in `{bucket}-resized` under the source's own key; the floor
only decodes. Each follows its tutorial and keeps the default quality of its library: JPEG 75 with 4:2:0 in Pillow, 75
in libvips, 80 in sharp. Each runs from its own folder or this one and imports nothing of the bench.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.peers.installing import node_packages, require_modules
from bench.rig.emulator import Function
from bench.rig.processes import NotInstalled, find_program

HERE: Final = Path(__file__).parent
PICTURES: Final = "BENCH_PICTURES"
"""variable with the folder of the pictures on disk"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A handler to compare with. `reads` are its file endings; None: everything that its library opens.

    `start` returns the function for a memory size; it installs missing packages or raises NotInstalled.
    """

    name: str
    title: str
    engine: str
    transport: str
    reads: frozenset[str] | None
    start: Callable[[int], Function]

    def unavailable(self) -> str:
        """The reason why the peer cannot run here, or "". The first call for sharp installs it."""
        try:
            self.start(512)
        except NotInstalled as error:
            return str(error)
        return ""

    def function(self, memory_mb: int, env: Mapping[str, str], pictures: Path) -> Function:
        """The function with S3's address, keys and region in `env`. Raises NotInstalled.

        `pictures` is the folder with the files that the keys of the events name.
        """
        function = self.start(memory_mb)
        return replace(function, env={**function.env, PICTURES: str(pictures.resolve()), **env})


def _python(module: str, *needed: str) -> Callable[[int], Function]:
    """A module of this folder under AWS's runtime client, in this Python."""
    handler = f"{module}.handler"

    def start(memory_mb: int) -> Function:
        require_modules("awslambdaric", *needed)
        command = (sys.executable, "-m", "awslambdaric", handler)
        return Function(memory_mb, env={"_HANDLER": handler}, command=command, root=HERE)

    return start


def _sharp(memory_mb: int) -> Function:
    """Node with the heap options of Lambda's own start script: a tenth of the memory for new objects, in two halves."""
    env = {"_HANDLER": "index.handler", "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs20.x"}
    new_space = memory_mb // 10
    heap = f"--max-semi-space-size={new_space // 2}", f"--max-old-space-size={memory_mb - new_space}"
    command = (find_program("node"), *heap, "runtime.mjs")
    return Function(memory_mb, env=env, command=command, root=node_packages(HERE / "sharp"))


def node_versions() -> dict[str, str]:
    """Versions of Node and the packages, which package.json pins; empty without Node."""
    with suppress(NotInstalled, OSError):
        done = subprocess.run([find_program("node"), "--version"], capture_output=True, text=True, check=False)  # noqa: S603
        packages: dict[str, str] = json.loads((HERE / "sharp" / "package.json").read_text())["dependencies"]
        return {"node": done.stdout.strip(), **packages}
    return {}


_PEERS: Final = (
    Peer("textbook", "boto3 + Pillow, one after another", "pillow", "boto3", None, _python("textbook", "boto3", "PIL")),
    Peer("sharp", "sharp on Node.js, AWS SDK v3", "sharp", "aws-sdk-js", None, _sharp),
    Peer(
        "tutorial",
        "aioboto3 + pyvips, a loop and a client per invocation",
        "vips",
        "aioboto3",
        None,
        _python("tutorial", "aioboto3", "pyvips"),
    ),
    Peer(
        "floor",
        "libjpeg-turbo's scaled decode alone",
        "libjpeg-turbo",
        "none",
        frozenset({".jpg", ".jpeg"}),
        _python("floor", "simplejpeg"),
    ),
)
PEERS: Final[Mapping[str, Peer]] = {peer.name: peer for peer in _PEERS}
"""By name; the first is the baseline."""
