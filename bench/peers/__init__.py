"""The handlers that ours is compared with, each as a Lambda function for the emulator.

Every one makes the same thumbnail, 128 x 128 and `inside`, in `{bucket}-resized` under the source's own key; the
floor alone only decodes. They are written as their tutorials have them, and nobody's quality is set: Pillow saves
JPEG with 75 and 4:2:0, libvips with 75, sharp with 80. Each lies in a folder of its own or in this one, and is started
there: a function imports none of the bench.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.peers.installing import NotInstalled, node_packages, program, require_modules
from bench.rig.emulator import Function

HERE: Final = Path(__file__).parent
PICTURES: Final = "BENCH_PICTURES"
"""The variable that tells a function where the pictures lie on disk."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What starts a peer's function, in which folder, and with which variables beside Lambda's own."""

    command: Sequence[str]
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """A handler to compare with. `reads` is the file endings that it is for; None: whatever its library opens.

    `runtime` is called with the function's MB; it installs what is missing, or raises NotInstalled.
    """

    name: str
    title: str
    engine: str
    transport: str
    reads: frozenset[str] | None
    runtime: Callable[[int], Runtime]

    def unavailable(self) -> str:
        """Why it cannot run here, "" if it can. The first call for sharp installs it, which takes a while."""
        try:
            self.runtime(Function().memory_mb)
        except NotInstalled as error:
            return str(error)
        return ""

    def function(self, memory_mb: int, env: Mapping[str, str], pictures: Path) -> Function:
        """Ready for bench.rig.emulator.running. `env` has the S3's address, keys and region. Raises NotInstalled.

        `pictures` is the folder with the files that the keys of the events name.
        """
        runtime = self.runtime(memory_mb)
        own = {**runtime.env, PICTURES: str(pictures.resolve())}
        return Function(memory_mb, env={**own, **env}, command=runtime.command, root=runtime.folder)


def _python(module: str, *needed: str) -> Callable[[int], Runtime]:
    """A module of this folder under AWS's runtime client, by this Python."""
    handler = f"{module}.handler"

    def runtime(_: int) -> Runtime:
        require_modules("awslambdaric", *needed)
        return Runtime((sys.executable, "-m", "awslambdaric", handler), HERE, {"_HANDLER": handler})

    return runtime


def _sharp(memory_mb: int) -> Runtime:
    env = {"_HANDLER": "index.handler", "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs20.x"}
    command = (program("node"), *_heap_options(memory_mb), "runtime.mjs")
    return Runtime(command, node_packages(HERE / "sharp"), env)


def node_versions() -> dict[str, str]:
    """Node's and those of the packages, which package.json names exactly; nothing where there is no Node."""
    with suppress(NotInstalled, OSError):
        done = subprocess.run([program("node"), "--version"], capture_output=True, text=True, check=False)  # noqa: S603
        packages: dict[str, str] = json.loads((HERE / "sharp" / "package.json").read_text())["dependencies"]
        return {"node": done.stdout.strip(), **packages}
    return {}


def _heap_options(memory_mb: int) -> tuple[str, str]:
    """What Lambda's own start script gives to Node: a tenth of the memory is for new objects, in two halves."""
    new_space = memory_mb // 10
    return f"--max-semi-space-size={new_space // 2}", f"--max-old-space-size={memory_mb - new_space}"


PEERS: Final[Mapping[str, Peer]] = {
    peer.name: peer
    for peer in (
        Peer(
            "textbook",
            "boto3 + Pillow, one after another",
            "pillow",
            "boto3",
            None,
            _python("textbook", "boto3", "PIL"),
        ),
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
}
"""By name; the first is the baseline."""
