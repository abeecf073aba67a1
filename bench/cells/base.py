"""Parts of every cell: its settings, the check of its thumbnails, and the recorder of its repetitions."""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from bench.cells.outputs import check_thumbnail
from bench.cells.testbed import BUCKET, Testbed
from bench.questions import VARIANTS
from bench.result import CellKey, Repetition
from bench.rig.processes import listens
from bench.rig.proxy import Counts
from thumbnailer.errors import ThumbnailerError
from thumbnailer.reporting.metrics import STAGES

TAIL: Final = 600
"""characters of a log that a message shows"""
Repeat = Callable[[], Repetition]
"""A started cell: measures once. Raises CellFailed, S3Gone."""
EMULATOR: Final = b"] (rapid) "
"""marks the lines that the emulator itself writes"""
DEBUG: Final = b'{"level":"DEBUG"'  # begins the lines that the product writes for the bench only


class CellFailed(ThumbnailerError):
    """The cell does not work; the message says how it ended."""


class S3Gone(ThumbnailerError):
    """S3 has stopped: no cell can continue."""


def settings_of(key: CellKey) -> dict[str, str]:
    """Settings of our own handler; everything else has its default."""
    settings = {"THUMBNAILER_ENGINE": key.engine, "THUMBNAILER_TRANSPORT": key.transport}
    settings["THUMBNAILER_SOURCES"] = BUCKET  # as in both templates
    return settings | ({"THUMBNAILER_IN_FLIGHT": str(key.in_flight)} if key.in_flight else {})


def check_output(key: CellKey, testbed: Testbed, since: float, keys: Iterable[str]) -> None:
    """Checks that each object has a thumbnail made after `since`. Raises WrongOutput."""
    if key.handler == "floor":
        return  # it makes none
    thumbnails = testbed.pictures.with_name(f"{testbed.pictures.name}-resized")
    sides = VARIANTS[key.variant].get("BENCH_SIDES")
    names = {f".{side}x{side}.jpg": int(side) for side in sides.split(",")} if sides else {"": 128}
    for each in keys:
        for ending, side in names.items():
            check_thumbnail(thumbnails / f"{each}{ending}", testbed.pictures / each, since, side)


class Recorder:
    """The enclosure of a cell, and its repetitions measured from outside: by the proxy, the control group and the log.

    `visible` is the number of cores that the cell sees on AWS. `command(command, variables=…)` is the command line that
    starts a command in the enclosure. `limit_cpu` sets the CPU limit, and raises NoLimits. The stack ends the cell.
    """

    def __init__(self, key: CellKey, testbed: Testbed, period_us: int, visible: int, stack: ExitStack) -> None:
        self._memory_mb, cores = key.memory_mb, testbed.cores.for_cell(key.vcpus, visible)
        # The folder outlives the group, whose processes write there.
        folder = tempfile.TemporaryDirectory(prefix="bench-cell-", dir=testbed.scratch)
        self.scratch = Path(stack.enter_context(folder))
        held = testbed.enclosure.hold(key.memory_mb, key.vcpus, period_us, cores)
        self._group = stack.enter_context(held)
        self.command = partial(self._group.command, cores=cores)
        self.limit_cpu = partial(self._group.limit_cpu, key.vcpus, period_us)
        self.log = Log(self.scratch / "log")
        self._proxy, self._s3_port = testbed.proxy(key.latency), testbed.s3.port
        self._before = 0.0, 0, 0

    def begin(self) -> None:
        self._proxy.take_counts()
        self._group.reset_peak_rss()
        self._before = self._group.cpu_seconds(), self._group.kills, self.log.own_bytes()

    def end(self, records: int, sqs_requests: float) -> tuple[dict[str, Any], Counts, list[dict[str, Any]]]:
        """Fields of the repetition, the proxy's counts, and the new JSON lines of the log.

        `sqs_requests` are those per record.
        """
        cpu_seconds, kills, log_bytes = self._before
        cpu_seconds = self._group.cpu_seconds() - cpu_seconds
        counts, lines = self._proxy.take_counts(), self.log.new_lines()
        requests = {kind: counts.requests[kind.upper()] / records for kind in ("get", "head", "put")}
        fields = {
            "records": records,
            "cpu_seconds": round(cpu_seconds, 6),
            "peak_rss_bytes": self._group.peak_rss(),
            "bytes_in": counts.bytes_down,
            "bytes_out": counts.bytes_up,
            "requests": requests | {"sqs": sqs_requests},
            "stages_ms": mean_stages(lines),
            "oom_kills": self._group.kills - kills,
            "log_bytes": self.log.own_bytes() - log_bytes,
        }
        return fields, counts, lines

    def failure(self, what: str) -> CellFailed:
        """The error of a cell that does not work. Raises S3Gone if the fault is not the cell's."""
        if not listens(self._s3_port):
            raise S3Gone(f"the S3 at port {self._s3_port} does not answer any more")
        with suppress(OSError):  # the group may no longer exist
            if kills := self._group.kills - self._before[1]:
                what = f"killed for lack of memory ({kills} times) within {self._memory_mb} MB"
        return CellFailed(f"{what}; it wrote: {self.log.tail()}")


class Log:
    """The log of a cell, with JSON lines among others."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0

    def tail(self) -> str:
        return " ".join(self.path.read_text(errors="replace")[-TAIL:].split())

    def own_bytes(self) -> int:
        """Bytes that CloudWatch Logs would charge for at the default level, without the emulator's lines."""
        lines = self.path.read_bytes().splitlines(keepends=True)
        return sum(len(line) for line in lines if EMULATOR not in line and not line.startswith(DEBUG))

    def new_lines(self) -> list[dict[str, Any]]:
        """The complete JSON lines since the last call."""
        with self.path.open("rb") as log:
            log.seek(self._read)
            found = log.read()
        found = found[: found.rfind(b"\n") + 1]
        self._read += len(found)
        return list(json_lines(found))


def json_lines(log: bytes) -> Iterator[dict[str, Any]]:
    """The lines that are JSON objects."""
    for line in log.splitlines():
        if line.startswith(b"{"):
            with suppress(ValueError):
                yield json.loads(line)


def mean_stages(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The mean milliseconds of each stage, from the metrics in a function's lines or a worker's lines of records."""
    found: dict[str, list[float]] = {}
    for line in lines:
        for stage, ms in zip(STAGES, line["ms"] if line.get("message") == "record" else (), strict=False):
            found.setdefault(stage, []).append(ms)
        for stage in STAGES:
            found.setdefault(stage, []).extend(1000 * s for s in line.get(f"thumbnailer_{stage}_seconds", ()))
    return {stage: round(fmean(values), 3) for stage, values in found.items() if values}
