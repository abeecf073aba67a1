"""What the Lambda door does when Lambda imports it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAMBDA = {
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "THUMBNAILER_SOURCES": "photos",
    "THUMBNAILER_LOG_LEVEL": "ERROR",
}
INVOKE = """
import os, sys
from handler import aws_lambda
print("PIL.Image" in sys.modules)
class Context:
    aws_request_id = "id"
    def get_remaining_time_in_millis(self):
        return 60_000
try:
    aws_lambda.handler({"Records": []}, Context())
    print("answered")
except Exception as error:
    print(type(error).__name__, error)
os._exit(0)
"""


def start(code: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-u", "-c", code],
        cwd=ROOT,
        env=LAMBDA | variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return "".join(line for line in done.stdout.splitlines(keepends=True) if not line.startswith("{"))  # the log


SNAP_START = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}


@pytest.mark.parametrize("variables", [{}, SNAP_START], ids=["on demand", "SnapStart"])
def test_the_init_opens_no_connection(variables: dict[str, str]) -> None:
    """With SnapStart, credentials come from an address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        variables = variables | {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{address}/credentials"}
        assert start(INVOKE, AWS_ENDPOINT_URL=address, **variables).splitlines() == ["True", "answered"]
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


def test_the_first_invocation_reports_wrong_settings() -> None:
    said = start(INVOKE, THUMBNAILER_WORKERS="none")
    assert said.startswith("False\nSettingsError the settings are invalid:\n  THUMBNAILER_WORKERS='none': ")


@pytest.mark.parametrize("variable", ["THUMBNAILER_INCLUDE", "THUMBNAILER_SOURCES"])
def test_the_init_renders_whatever_events_the_settings_refuse(variable: str) -> None:
    assert start(INVOKE, **{variable: "other*"}).splitlines() == ["True", "answered"]
