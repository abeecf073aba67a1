"""Imports of the Lambda handler during its init and its first event, by `-X importtime`.

Each run is a process of its own, against a minimal S3 in this process. Times are medians of the runs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table

from thumbnailer.errors import ThumbnailerError

ROOT: Final = Path(__file__).parents[2]
TITLES: Final = ("interpreter and runtime client", "the init", "the first event")
OURS: Final = ("thumbnailer", "handler")
_LINE: Final = re.compile(r"^import time: +(\d+) \| +\d+ \| +(\S+)$", re.MULTILINE)
_STAGE: Final = "--- next stage"
CHILD: Final = f"""
import json, sys, time
try:
    import awslambdaric.bootstrap
except ImportError:
    pass

def stage():
    print("{_STAGE}", file=sys.stderr, flush=True)
    return time.perf_counter()

class Context:
    aws_request_id = "bench"
    def get_remaining_time_in_millis(self):
        return 60_000

event = json.loads(sys.argv[1])
begun = stage()
from handler.aws_lambda import handler
imported = stage()
after_init = sorted(sys.modules)
answer = handler(event, Context())
handled = time.perf_counter()
assert answer == {{"records": 1, "outcomes": {{"stored": 1}}}}, answer
print(json.dumps({{"seconds": [imported - begun, handled - imported], "modules": [after_init, sorted(sys.modules)]}}))
"""


class HandlerFailed(ThumbnailerError):
    """The handler did not store the picture."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: milliseconds of each module by stage, of the init and of the first event; the modules after each."""

    stages: tuple[Mapping[str, float], ...]
    init_ms: float
    event_ms: float
    after_init: frozenset[str]
    after_event: frozenset[str]


def part_of(module: str) -> str:
    """The package of a module; of our own packages, the first level."""
    names = module.split(".")
    return ".".join(names[:2] if names[0] in OURS else names[:1])


def parse(log: str) -> dict[str, float]:
    """Milliseconds of each imported module, without the modules that it imports."""
    return {name: int(us) / 1000 for us, name in _LINE.findall(log)}


def parts(runs: Sequence[Mapping[str, float]]) -> list[tuple[str, int, float]]:
    """Name, number of modules and median milliseconds of each part, largest first."""
    sums: list[dict[str, float]] = []
    for run_ in runs:
        sums.append({})
        for module, ms in run_.items():
            sums[-1][part_of(module)] = sums[-1].get(part_of(module), 0.0) + ms
    modules = Counter(map(part_of, runs[0]))
    found = [(name, count, median(each.get(name, 0.0) for each in sums)) for name, count in modules.items()]
    return sorted(found, key=lambda part: -part[2])


def measure(picture: Path, endpoint: str) -> Measured:
    """One run in a process of its own. Raises HandlerFailed."""
    item = {"key": picture.name, "size": picture.stat().st_size, "eTag": "e"}
    record = {
        "eventVersion": "2.1",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "bkt"}, "object": item},
    }
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
        env = kept | {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "THUMBNAILER_SOURCES": "bkt",
            "TMPDIR": folder,
        }
        command = [sys.executable, "-X", "importtime", "-c", CHILD, json.dumps({"Records": [record]})]
        child = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if child.returncode:
        raise HandlerFailed(child.stderr[-1000:])
    said = json.loads(child.stdout.splitlines()[-1])
    init_ms, event_ms = (seconds * 1000 for seconds in said["seconds"])
    stages = tuple(parse(log) for log in child.stderr.split(_STAGE))
    return Measured(stages, init_ms, event_ms, *map(frozenset, said["modules"]))


@contextmanager
def one_picture(picture: Path) -> Iterator[str]:
    """The URL of an S3 that answers every GET and HEAD with the picture and accepts every PUT."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(picture.read_bytes())

        def do_HEAD(self) -> None:
            self._answer(b"")

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("ETag", '"e"')
            self.send_header("Last-Modified", "Tue, 25 Nov 2025 10:00:00 GMT")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keeps standard error for the table."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def run(picture: Path, runs: int, rows: int) -> None:
    """Prints a table per stage."""
    with one_picture(picture) as endpoint:
        measure(picture, endpoint)  # compiles bytecode
        measured = [measure(picture, endpoint) for _ in range(runs)]
    console = Console()
    for number, title in enumerate(TITLES):
        console.print(_table(title, parts([each.stages[number] for each in measured]), rows))
    init_ms, event_ms = median(each.init_ms for each in measured), median(each.event_ms for each in measured)
    console.print(f"init {init_ms:.0f} ms, first event ({picture.name}) {event_ms:.0f} ms: medians of {runs} runs")


def _table(title: str, found: Sequence[tuple[str, int, float]], rows: int) -> Table:
    total = sum(ms for _, _, ms in found)
    table = Table(title=f"{title}, {total:.0f} ms of imports", title_justify="left", show_edge=False)
    for column in ("part", "modules", "ms", "share"):
        table.add_column(column, justify="left" if column == "part" else "right")
    rest = found[rows:]
    others = (f"{len(rest)} smaller ones", sum(count for _, count, _ in rest), sum(ms for _, _, ms in rest))
    for name, count, ms in (*found[:rows], *([others] if rest else [])):
        table.add_row(name, str(count), f"{ms:.1f}", f"{ms / total:.0%}" if total else "-")
    return table
