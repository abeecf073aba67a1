"""The command line as a child process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def thumbnailer(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `thumbnailer ARGUMENTS`, without this process's THUMBNAILER_ variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("THUMBNAILER_")}
    return subprocess.run(
        [sys.executable, "-m", "handler.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=kept | {"COLUMNS": "200"} | env,
    )
