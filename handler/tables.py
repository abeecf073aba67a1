"""Outcomes as a table on the terminal."""

import json
from collections.abc import Sequence
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from thumbnailer.model import Outcome, Status

COLOURS: Final = {Status.STORED: "green", Status.REJECTED: "red", Status.FAILED: "yellow", Status.DEFERRED: "yellow"}
TIMES: Final = "\N{MULTIPLICATION SIGN}"
NARROW: Final = 100
HEADINGS: Final = ("key", "outcome", "reason", "format", "size", "bytes", "engine", "ms")
NUMBERS: Final = ("size", "bytes", "ms")


def outcome_table(outcomes: Sequence[Outcome], width: int) -> Table:
    """One row an outcome, without empty columns. A narrow terminal gets fewer columns."""
    rows = [_row(outcome) for outcome in outcomes]
    narrow = ("format", "engine") if width < NARROW else ()
    headings = [name for name in HEADINGS if name not in narrow and any(row[name].plain for row in rows)]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in headings:
        free = name in ("key", "reason")
        table.add_column(name, overflow="fold", no_wrap=not free, justify="right" if name in NUMBERS else "left")
    for row in rows:
        table.add_row(*(row[name] for name in headings))
    return table


def _row(outcome: Outcome) -> dict[str, Text]:
    """Cells by heading. Text, not markup, and an escaped key: a key may hold line breaks and escape sequences."""
    info = outcome.info
    after = ", ".join(f"{output.width}{TIMES}{output.height}" for output in outcome.outputs)
    return {
        "key": Text(json.dumps(outcome.event.key, ensure_ascii=False)[1:-1]),
        "outcome": Text(outcome.status, COLOURS.get(outcome.status, "")),
        "reason": Text(f"{outcome.reason}: {outcome.detail}" if outcome.detail else outcome.reason or ""),
        "format": Text(info.format if info else ""),
        "size": Text(f"{info.upright[0]}{TIMES}{info.upright[1]} → {after or '-'}" if info else ""),
        "bytes": Text(f"{outcome.event.size or outcome.bytes_in:,} → {outcome.bytes_out:,}"),
        "engine": Text(outcome.engine or ""),
        "ms": Text(f"{dict(outcome.timings).get('total', 0.0) * 1000:.0f}"),
    }
