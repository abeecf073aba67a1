"""What is seen of a cell from outside: its log, its proxy's counts, its answers; and how it can fail."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from bench.rig.network import Running as Proxy
from bench.rig.s3 import answers
from bench.rig.testbed import Bed
from thumbnailer.errors import ThumbnailerError

TAIL: Final = 600
"""Characters of a log that a message shows."""


EMULATOR: Final = b"] (rapid) "
"""What is in each line that the emulator writes of itself."""


class CellFailed(ThumbnailerError):
    """The cell does not work; the message says how it ended."""


class S3Gone(ThumbnailerError):
    """There is no S3 any more: no cell can go on."""


class Log:
    """A log that a cell writes: JSON lines, among others."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0

    def tail(self) -> str:
        return " ".join(self.path.read_text(errors="replace")[-TAIL:].split())

    def bytes_of_its_own(self) -> int:
        """That the emulator did not write: what CloudWatch Logs would be paid for."""
        lines = self.path.read_bytes().splitlines(keepends=True)
        return sum(len(line) for line in lines if EMULATOR not in line)

    def new_records(self) -> list[dict[str, Any]]:
        """The lines about records since the last call; one that is being written is of the next."""
        with self.path.open("rb") as log:
            log.seek(self._read)
            found = log.read()
        found = found[: found.rfind(b"\n") + 1]
        self._read += len(found)
        return [line for line in json_lines(found) if line.get("message") == "record"]


def json_lines(log: bytes) -> Iterator[dict[str, Any]]:
    """Those that are JSON objects: others write there too."""
    for line in log.splitlines():
        if line.startswith(b"{"):
            try:
                yield json.loads(line)
            except ValueError:
                continue


def stages(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of each stage, of lines about records."""
    found: dict[str, list[float]] = {}
    for line in records:
        for stage, ms in line["ms"].items():
            found.setdefault(stage, []).append(ms)
    return {stage: fmean(values) for stage, values in found.items()}


def outcomes_of(answer: object, records: int) -> Counter[str]:
    """Ours says; of the others an answer that is no error means that all are done."""
    if isinstance(answer, Mapping) and isinstance(answer.get("outcomes"), Mapping):
        return Counter(answer["outcomes"])
    return Counter({"done": records})


def requests_of(report: Mapping[str, Any], records: int) -> dict[str, float]:
    """A record: what the proxy counted."""
    counted = {kind: report["requests"].get(kind.upper(), 0) for kind in ("get", "head", "put")}
    return {kind: count / records for kind, count in counted.items()}


def counted(proxy: Proxy) -> dict[str, Any]:
    """What passed since the last call. Raises S3Gone."""
    try:
        return proxy.report(reset=True)
    except OSError as error:
        raise S3Gone(f"the proxy before S3 does not answer any more: {error}") from error


def assert_s3_is_there(bed: Bed) -> None:
    """Raises S3Gone: then it is not the cell's fault that it failed."""
    if not answers(bed.s3.url):
        raise S3Gone(f"the S3 at {bed.s3.url} does not answer any more")
