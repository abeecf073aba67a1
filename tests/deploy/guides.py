"""The deployment guides: their text, the commands in them, and the measured numbers that they quote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from bench.pages.selection import ours_alike
from bench.result import Cell, read_result
from bench.scale.command import REFERENCE
from tests.deploy.stack import BASICS, TEMPLATE, Stack

GUIDE: Final = TEMPLATE.with_name("README.md").read_text()
WORKER_GUIDE: Final = TEMPLATE.with_name("fargate.md").read_text()
RUNS_GUIDE: Final = TEMPLATE.with_name("backfill.md").read_text()
MILLION: Final = 1_000_000
GB_SECOND: Final = 0.0000166667


def on_one_line(text: str) -> str:
    return " ".join(text.split())


def section(title: str, guide: str = GUIDE) -> str:
    (found,) = [part for part in re.split(r"^## ", guide, flags=re.MULTILINE) if part.startswith(f"{title}\n")]
    return found


def blocks(guide: str) -> list[str]:
    """The blocks of shell commands in a guide."""
    return re.findall(r"^ *```sh\n(.*?)^ *```", guide, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    """The shell commands in a piece of a guide, without comments, each on one line."""
    lines = "\n".join(blocks(text)).replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := re.sub(r"\s#.*", "", line).strip())]


def overrides(command: str) -> dict[str, str]:
    """The parameters that a command deploys with."""
    words = command.partition("--parameter-overrides")[2].split()
    return dict(word.split("=", 1) for word in words if "=" in word)


def cost_rows(text: str) -> list[tuple[str, float, float]]:
    """The rows of a table of costs: the name and two amounts of USD."""
    rows = re.findall(r"^\| ([\w, ]+) \| ([\d.]+) \| ([\d.]+) \|", text, re.MULTILINE)
    return [(name, float(one), float(other)) for name, one, other in rows]


@cache
def reference_cells(platform: str = "lambda") -> Sequence[Cell]:
    """The cells of the bench's reference result."""
    return ours_alike(read_result(REFERENCE), platform)


def watched_metrics(alarm: dict[str, Any]) -> int:
    """The metrics that an alarm is billed for."""
    return len([part for part in alarm.get("Metrics", [alarm]) if "Expression" not in part])


def costs(pictures: int, seconds: float, log_kb: float) -> dict[str, float]:
    """USD per million pictures, for `pictures` in an invocation of `seconds`."""
    memory_mb = int(Stack(BASICS)["ImageFunction"]["MemorySize"])
    rows = {
        "Lambda, time": MILLION / pictures * seconds * memory_mb / 1024 * GB_SECOND,
        "Lambda, invocations": 0.20 / pictures,
        "S3, GET and HEAD": 2 * MILLION * 0.0004 / 1000,
        "S3, PUT": MILLION * 0.005 / 1000,
        "SQS": 0.40 + 2 * 0.40 / pictures,
        "log": MILLION * log_kb / 1_000_000 * 0.50,
    }
    return rows | {"together": sum(rows.values())}


def seconds(memory_mb: int, batch_size: int) -> float:
    """The measured time of an invocation."""
    return batch_size * _median("billed_ms_per_image", memory_mb, batch_size) / 1000


def log_kb(memory_mb: int, batch_size: int) -> float:
    """The measured log of a picture, as the guide rounds it."""
    return round(_median("log_bytes_per_image", memory_mb, batch_size) / 1000, 2)


def _median(name: str, memory_mb: int, batch_size: int) -> float:
    (cell,) = (one for one in reference_cells() if (one.key.memory_mb, one.key.batch_size) == (memory_mb, batch_size))
    return cell.median(name) or 0.0
