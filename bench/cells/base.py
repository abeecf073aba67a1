"""Parts of every cell: its effort and settings, the check of its thumbnails, and the recorder of its repetitions."""

import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final, Protocol

from bench.cells.outputs import check_thumbnail
from bench.cells.testbed import Testbed, bucket_of
from bench.result import CellKey, Repetition
from bench.rig.enclosures import Limit
from bench.rig.limits import LAMBDA_PERIOD_US
from bench.rig.network import Running as Proxy
from bench.rig.s3 import answers
from thumbnailer.errors import ThumbnailerError

TAIL: Final = 600
"""characters of a log that a message shows"""
EMULATOR: Final = b"] (rapid) "
"""marks the lines that the emulator itself writes"""


class CellFailed(ThumbnailerError):
    """The cell does not work; the message says how it ended."""


class S3Gone(ThumbnailerError):
    """S3 has stopped: no cell can continue."""


class RunningCell(Protocol):
    """A started cell."""

    def repeat(self) -> Repetition:
        """Raises CellFailed, S3Gone."""


@dataclass(frozen=True, slots=True)
class Effort:
    """A repetition lasts at least `seconds`, and at least one pass through the pictures."""

    seconds: float = 2.0
    most_passes: int = 100
    period_us: int = LAMBDA_PERIOD_US

    def passes(self, seconds_per_pass: float) -> int:
        return min(self.most_passes, max(1, math.ceil(self.seconds / seconds_per_pass)))


def settings_of(key: CellKey) -> dict[str, str]:
    """Settings of our own handler; everything else has its default."""
    settings = {"THUMBNAILER_ENGINE": key.engine, "THUMBNAILER_TRANSPORT": key.transport}
    return settings | ({"THUMBNAILER_IN_FLIGHT": str(key.in_flight)} if key.in_flight else {})


def check_output(key: CellKey, testbed: Testbed, since: float, keys: Iterable[str]) -> None:
    """Checks that each object has a thumbnail made after `since`. Raises WrongOutput."""
    if key.handler == "floor":
        return  # it makes none
    for each in keys:
        picture = testbed.s3.folder / bucket_of(key.handler) / each
        check_thumbnail(testbed.thumbnails(key.handler) / each, picture, since)


# --- the recorder -------------------------------------------------------------------------------------------------


class Recorder:
    """The enclosure of a cell, and its repetitions measured from outside: by the proxy, the control group and the log.

    `cores` is the number that the cell sees. With `free_init`, the CPU limit waits for `box.limit_cpu`. The stack ends
    the cell.
    """

    def __init__(
        self, key: CellKey, testbed: Testbed, period_us: int, cores: int, free_init: bool, stack: ExitStack
    ) -> None:
        limit = Limit(key.memory_mb, key.vcpus, period_us, testbed.cores.for_cell(key.vcpus, cores))
        # The folder outlives the group, whose processes write there.
        self.scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-cell-")))
        self.box = testbed.enclosure.box(limit, stack, free_init)
        self.log = Log(self.scratch / "log")
        self._proxy, self._s3_url = testbed.proxy(key.latency), testbed.s3.url
        self._log_bytes = 0

    def begin(self) -> None:
        """Raises S3Gone."""
        proxy_report(self._proxy)
        self.box.reset_meter()
        self._log_bytes = self.log.own_bytes()

    def end(self, records: int, sqs_requests: float) -> tuple[dict[str, Any], Mapping[str, Any], list[dict[str, Any]]]:
        """Fields of the repetition, the proxy's report, and the log lines about records. Raises S3Gone."""
        used, report, lines = self.box.usage(), proxy_report(self._proxy), self.log.new_records()
        fields = {
            "records": records,
            "cpu_seconds": used.cpu_seconds,
            "peak_rss_bytes": used.peak_rss,
            "bytes_in": report["bytes_down"],
            "bytes_out": report["bytes_up"],
            "requests": requests_of(report, records) | {"sqs": sqs_requests},
            "stages_ms": mean_stages(lines),
            "oom_kills": used.kills,
            "log_bytes": self.log.own_bytes() - self._log_bytes,
        }
        return fields, report, lines

    def failure(self, what: str) -> CellFailed:
        """The error of a cell that does not work. Raises S3Gone if the fault is not the cell's."""
        assert_s3_answers(self._s3_url)
        if kills := self.box.kills():
            what = f"killed for lack of memory ({kills} times) within {self.box.limit.memory_mb} MB"
        return CellFailed(f"{what}; it wrote: {self.log.tail()}")


class Log:
    """The log of a cell, with JSON lines among others."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0

    def tail(self) -> str:
        return " ".join(self.path.read_text(errors="replace")[-TAIL:].split())

    def own_bytes(self) -> int:
        """Bytes that CloudWatch Logs would charge for: everything but the emulator's lines."""
        lines = self.path.read_bytes().splitlines(keepends=True)
        return sum(len(line) for line in lines if EMULATOR not in line)

    def new_records(self) -> list[dict[str, Any]]:
        """The complete lines about records since the last call."""
        with self.path.open("rb") as log:
            log.seek(self._read)
            found = log.read()
        found = found[: found.rfind(b"\n") + 1]
        self._read += len(found)
        return [line for line in json_lines(found) if line.get("message") == "record"]


def json_lines(log: bytes) -> Iterator[dict[str, Any]]:
    """The lines that are JSON objects."""
    for line in log.splitlines():
        if line.startswith(b"{"):
            try:
                yield json.loads(line)
            except ValueError:
                continue


def mean_stages(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of each stage over the log lines that have it."""
    found: dict[str, list[float]] = {}
    for line in records:
        for stage, ms in line["ms"].items():
            found.setdefault(stage, []).append(ms)
    return {stage: fmean(values) for stage, values in found.items()}


def outcomes_of(answer: object, records: int) -> Counter[str]:
    """The outcomes in our own answer; all records "done" for a peer's answer, which was no error."""
    if isinstance(answer, Mapping) and isinstance(answer.get("outcomes"), Mapping):
        return Counter(answer["outcomes"])
    return Counter({"done": records})


def requests_of(report: Mapping[str, Any], records: int) -> dict[str, float]:
    """Requests per record, as the proxy counted them."""
    return {kind: report["requests"].get(kind.upper(), 0) / records for kind in ("get", "head", "put")}


def proxy_report(proxy: Proxy) -> dict[str, Any]:
    """What the proxy counted since the last call. Raises S3Gone."""
    try:
        return proxy.report(reset=True)
    except OSError as error:
        raise S3Gone(f"the proxy before S3 does not answer any more: {error}") from error


def assert_s3_answers(url: str) -> None:
    """Raises S3Gone."""
    if not answers(url):
        raise S3Gone(f"the S3 at {url} does not answer any more")
