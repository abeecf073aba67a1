"""`thumbnailer serve` as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMAND = [sys.executable, "-m", "handler.cli"]
SAMPLES = Path(__file__).parents[2] / "handler/demo/samples"
KEY = "0123456789abcdef" * 2


class Serving:
    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@contextmanager
def serve(*arguments: str, **env: str) -> Iterator[Serving]:
    environment = os.environ | {name if name.startswith("AWS") else f"THUMBNAILER_{name}": env[name] for name in env}
    command = [*COMMAND, "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Serving(process, json.loads(process.stdout.readline())["url"])
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
