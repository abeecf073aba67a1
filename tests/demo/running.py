"""The demo as a child process, and a browser for its page. Every wait is bounded."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from playwright._impl._driver import compute_driver_executable
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "handler.cli", "demo")
START_SECONDS = 60
STOP_SECONDS = 20
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(slots=True)
class Demo:
    """A running demo. `code` and the whole `output` are set after its end."""

    url: str
    output: list[str] = field(default_factory=list)
    code: int | None = None


def environment(tmp: Path) -> dict[str, str]:
    """This process's environment with another /tmp, so that tests see left-over files."""
    return os.environ | {"TMPDIR": str(tmp), "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def running_demo(tmp: Path) -> Iterator[Demo]:
    """A demo on a free port. SIGINT ends it."""
    child = subprocess.Popen(
        # A test run in the background inherits that SIGINT is ignored.
        ["env", "--default-signal=INT", *COMMAND, "--port", "0"],
        cwd=ROOT,
        env=environment(tmp),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    demo = Demo("")
    found = threading.Event()
    reader = threading.Thread(target=_read, args=(child, demo, found), daemon=True)
    reader.start()
    try:
        if not found.wait(START_SECONDS) or not demo.url:
            raise AssertionError("the demo did not start:\n" + "".join(demo.output))
        yield demo
        child.send_signal(signal.SIGINT)
        demo.code = child.wait(STOP_SECONDS)
    finally:
        child.kill()
        child.wait()
        reader.join(STOP_SECONDS)
        if child.stdout is not None:
            child.stdout.close()


def _read(child: subprocess.Popen[str], demo: Demo, found: threading.Event) -> None:
    """Reads to the end, so that the child never blocks on a full pipe."""
    for line in child.stdout or ():
        demo.output.append(line)
        if match := re.search(r"Gallery: (http://127\.0\.0\.1:\d+/)", line):
            demo.url = match[1]
            found.set()
    found.set()


def no_browser() -> str | None:
    """The reason why no browser is available, or None."""
    if CHROMIUM is None:
        return "there is no chromium here, so the page was not tested"
    try:
        subprocess.run([*compute_driver_executable(), "--version"], check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        return f"playwright's driver does not run here, so the page was not tested: {error}"
    return None


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """The system's own Chromium, headless."""
    with sync_playwright() as playwright:
        as_root = ("--no-sandbox",) if os.geteuid() == 0 else ()
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *as_root])
        try:
            yield chromium
        finally:
            chromium.close()
