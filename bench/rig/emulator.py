"""A Lambda function as AWS runs it: the runtime client under AWS's runtime interface emulator.

The emulator is a binary inside the aws-sam-cli wheel; `make .venv/bin/aws-lambda-rie` extracts it. It sets no limit of
memory or CPU, and its own REPORT lines measure nothing.
"""

import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.rig.processes import ROOT, background, find_program, free_port, listens

HANDLER: Final = "handler.aws_lambda.handler"


@dataclass(frozen=True, slots=True)
class Function:
    """The configuration of a Lambda function: MB, seconds, environment variables, command and folder."""

    memory_mb: int = 512
    timeout: int = 30
    env: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = (sys.executable, "-m", "awslambdaric", HANDLER)
    root: Path = ROOT

    def environment(self) -> dict[str, str]:
        """The variables of Lambda (developer guide, "defined runtime environment variables") and the function's own."""
        region = self.env.get("AWS_REGION", "us-east-1")
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_LAMBDA_FUNCTION_NAME": "thumbnailer",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(self.timeout),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/thumbnailer",
            "AWS_LAMBDA_LOG_STREAM_NAME": "local",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
            "LAMBDA_TASK_ROOT": str(self.root),
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "_HANDLER": HANDLER,
            **self.env,
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of an invocation, its duration in seconds, and its start by time.monotonic()."""

    value: Any
    seconds: float
    began: float = 0.0

    @property
    def error(self) -> str | None:
        """The error type in the answer of the function, or of Lambda in its place."""
        if isinstance(self.value, Mapping) and "errorType" in self.value:
            return str(self.value["errorType"])
        return "Timeout" if isinstance(self.value, str) and self.value.startswith("Task timed out") else None


class Emulator:
    """A running function. It takes one invocation at a time, as a Lambda environment does."""

    def __init__(self, function: Function, binary: str, log: Path) -> None:
        """Raises NotStarted."""
        self._port = free_port()
        addresses = {"runtime-interface-emulator": self._port, "runtime-api": free_port()}
        options = [f"--{name}-address=127.0.0.1:{port}" for name, port in addresses.items()]
        command = [binary, *options, *function.command]
        self._stack = ExitStack()
        started = background(
            "the emulator", command, lambda: listens(self._port), function.environment(), function.root, log
        )
        self._pid = self._stack.enter_context(started).pid

    def invoke(self, event: object, wait: float = 120.0) -> Answer:
        """Sends one event. Raises urllib.error.URLError without an answer within `wait` seconds."""
        url = f"http://127.0.0.1:{self._port}/2015-03-31/functions/function/invocations"
        request = urllib.request.Request(url, json.dumps(event).encode())
        began = time.monotonic()
        with urllib.request.urlopen(request, timeout=wait) as response:  # noqa: S310
            body = response.read()
        seconds = time.monotonic() - began
        try:
            return Answer(json.loads(body), seconds, began)
        except ValueError:
            return Answer(body.decode(errors="replace"), seconds, began)

    def runtime_pids(self) -> list[int]:
        """The processes of the function itself."""
        tasks = Path(f"/proc/{self._pid}/task").glob("*/children")
        return [int(pid) for path in tasks for pid in path.read_text().split()]

    def close(self) -> None:
        for pid in self.runtime_pids():
            os.kill(pid, signal.SIGKILL)
        self._stack.close()


def find_binary() -> str:
    """The path of the emulator. Raises NotInstalled that says how to install it."""
    return find_program("aws-lambda-rie", "`make .venv/bin/aws-lambda-rie` takes it from aws-sam-cli")
