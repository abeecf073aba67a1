"""Outcomes as a table on the terminal."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from thumbnailer.model import Outcome, Status

COLOURS: Final = {Status.STORED: "green", Status.REJECTED: "red", Status.FAILED: "yellow", Status.DEFERRED: "yellow"}
TIMES: Final = "\N{MULTIPLICATION SIGN}"
HEADINGS: Final = ("key", "outcome", "format", "size", "bytes", "engine", "ms")
NUMBERS: Final = ("size", "bytes", "ms")
LEAST_IMPORTANT: Final = ("engine", "format", "ms", "bytes", "size")
"""Columns to leave out of a table that is too wide, the first one first."""


def outcome_table(outcomes: Sequence[Outcome], width: int) -> RenderableType:
    """One row an outcome, and below the table a line for each detail. A narrow terminal gets fewer columns."""
    rows = [_row(outcome) for outcome in outcomes]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    headings = _fitting(rows, width)
    for name in headings:
        is_free = len(headings) == 2  # a name that is wider than the terminal is folded
        table.add_column(name, overflow="fold", no_wrap=not is_free, justify="right" if name in NUMBERS else "left")
    for row in rows:
        table.add_row(*(row[name] for name in headings))
    details = (f"{printable(one.event.key)}: {printable(one.detail)}" for one in outcomes if one.detail)
    return Group(table, *map(Text, details))


def _fitting(rows: Sequence[Mapping[str, Text]], width: int) -> list[str]:
    """The headings of the columns that are not empty and fit."""
    widths = {name: max(row[name].cell_len for row in rows) for name in HEADINGS}
    needed = {name: max(len(name), cells) for name, cells in widths.items() if cells}
    for name in LEAST_IMPORTANT:
        if sum(needed.values()) + 2 * len(needed) + 1 > width:
            needed.pop(name, None)
    return list(needed)


def printable(text: str) -> str:
    """Line breaks, escape sequences and bytes that are not UTF-8 become escapes: file names and keys may hold them."""
    return json.dumps(text, ensure_ascii=False)[1:-1].encode(errors="backslashreplace").decode()


def _row(outcome: Outcome) -> dict[str, Text]:
    """Cells by heading, as text, not as markup."""
    info, status = outcome.info, outcome.status
    after = ", ".join(f"{output.width}{TIMES}{output.height}" for output in outcome.outputs)
    return {
        "key": Text(printable(outcome.event.key)),
        "outcome": Text(":".join(filter(None, (status, outcome.reason))), COLOURS.get(status, "")),
        "format": Text(info.format if info else ""),
        "size": Text(f"{info.upright[0]}{TIMES}{info.upright[1]} → {after or '-'}" if info else ""),
        "bytes": Text(f"{outcome.event.size or outcome.bytes_in:,} → {outcome.bytes_out:,}"),
        "engine": Text(outcome.engine or ""),
        "ms": Text(f"{dict(outcome.timings).get('total', 0.0) * 1000:.0f}"),
    }
