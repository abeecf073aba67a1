"""`python -m bench imports`: what the Lambda door imports before its first event and during it, by `-X importtime`.

Each run is a process of its own, against an S3 of a few lines in this one. Times are medians of the runs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
TITLES: Final = (
    "interpreter and runtime client",
    "the door",
    "the first event",
)
OURS: Final = ("thumbnailer", "handler")
_LINE: Final = re.compile(r"import time: +(\d+) \| +(\d+) \| ( *)(\S+)$")
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
answer = handler(event, Context())
handled = time.perf_counter()
assert answer == {{"records": 1, "outcomes": {{"stored": 1}}}}, answer
print(json.dumps({{"seconds": [imported - begun, handled - imported], "modules": sorted(sys.modules)}}))
"""


class DoorFailed(ThumbnailerError):
    """The door did not store the picture."""


@dataclass(frozen=True, slots=True)
class Module:
    """One import, as `-X importtime` tells it; times are milliseconds, `outermost`: no module of its part led to it."""

    name: str
    self_ms: float
    cumulative_ms: float
    outermost: bool

    @property
    def part(self) -> str:
        return part_of(self.name)


@dataclass(frozen=True, slots=True)
class Part:
    """A package (of ours: a module of the first level) with all that lies in it. Times are milliseconds."""

    name: str
    modules: int
    self_ms: float
    cumulative_ms: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: the imports of each stage, how long the door and the first event took, and all modules at the end."""

    stages: tuple[tuple[Module, ...], ...]
    door_ms: float
    event_ms: float
    modules: frozenset[str]


def part_of(module: str) -> str:
    names = module.split(".")
    return ".".join(names[:2] if names[0] in OURS else names[:1])


def parse(log: str) -> list[Module]:
    """Python prints a module after all that it imports, indented by depth: read backwards, parents come first."""
    modules: list[Module] = []
    above: list[str] = []
    for match in reversed([match for line in log.splitlines() if (match := _LINE.match(line))]):
        self_us, cumulative_us, indent, name = match.groups()
        del above[len(indent) // 2 :]
        outermost = part_of(name) not in above
        above.append(part_of(name))
        modules.append(Module(name, int(self_us) / 1000, int(cumulative_us) / 1000, outermost))
    return modules[::-1]


def parts(modules: Iterable[Module]) -> dict[str, Part]:
    grouped = defaultdict(list)
    for module in modules:
        grouped[module.part].append(module)
    return {
        name: Part(name, len(of), sum(m.self_ms for m in of), sum(m.cumulative_ms for m in of if m.outermost))
        for name, of in grouped.items()
    }


def medians(runs: Sequence[Mapping[str, Part]]) -> list[Part]:
    """Part by part, largest first."""
    by_name = defaultdict(list)
    for run in runs:
        for name, part in run.items():
            by_name[name].append(part)
    merged = [
        Part(name, of[0].modules, median(p.self_ms for p in of), median(p.cumulative_ms for p in of))
        for name, of in by_name.items()
    ]
    return sorted(merged, key=lambda part: -part.self_ms)


def measure(picture: Path, endpoint: str) -> Measured:
    """One run in a process of its own. Raises DoorFailed."""
    item = {"key": picture.name, "size": picture.stat().st_size, "eTag": "e"}
    record = {"eventVersion": "2.1", "eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": item}}
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
        env = kept | {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "TMPDIR": folder,
        }
        command = [sys.executable, "-X", "importtime", "-c", CHILD, json.dumps({"Records": [record]})]
        child = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if child.returncode:
        raise DoorFailed(child.stderr[-1000:])
    said = json.loads(child.stdout.splitlines()[-1])
    door, event = (seconds * 1000 for seconds in said["seconds"])
    stages = tuple(tuple(parse(log)) for log in child.stderr.split(_STAGE))
    return Measured(stages, door, event, frozenset(said["modules"]))


@contextmanager
def one_picture(picture: Path) -> Iterator[str]:
    """The URL of an S3 that answers every GET and HEAD with the picture, and takes every PUT."""

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
            """Nothing: the table is what is to be seen."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def run(picture: Path, runs: int, rows: int) -> None:
    """Prints the tables."""
    with one_picture(picture) as endpoint:
        measure(picture, endpoint)  # compiles what was not yet
        measured = [measure(picture, endpoint) for _ in range(runs)]
    console = Console()
    for number, title in enumerate(TITLES):
        console.print(_table(title, medians([parts(each.stages[number]) for each in measured]), rows))
    door, event = median(each.door_ms for each in measured), median(each.event_ms for each in measured)
    console.print(f"door {door:.0f} ms, first event ({picture.name}) {event:.0f} ms: medians of {runs} runs")


def _table(title: str, found: Sequence[Part], rows: int) -> Table:
    total = sum(part.self_ms for part in found)
    table = Table(title=f"{title}, {total:.0f} ms of imports", title_justify="left", show_edge=False)
    for column in ("part", "modules", "self ms", "cumulative ms", "share"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part in found[:rows]:
        share = part.self_ms / total if total else 0.0
        table.add_row(part.name, f"{part.modules}", f"{part.self_ms:.1f}", f"{part.cumulative_ms:.1f}", f"{share:.0%}")
    rest = found[rows:]
    if rest:
        self_ms = sum(part.self_ms for part in rest)
        name, modules = f"{len(rest)} smaller ones", sum(part.modules for part in rest)
        table.add_row(name, f"{modules}", f"{self_ms:.1f}", "", f"{self_ms / total:.0%}")
    return table
