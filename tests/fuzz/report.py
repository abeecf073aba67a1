"""The tables of a run: outcomes, findings, and the command that replays each finding."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tests.fuzz.mutate import broken_file
from tests.fuzz.verdict import Verdict

MOST_TEXT = 300
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """Problems with a likely common cause: the same format, kind of problem and text but for numbers."""

    kind: str
    problem: str
    text: str
    numbers: tuple[int, ...]


def findings(verdicts: Sequence[Verdict]) -> list[Finding]:
    groups: dict[tuple[str, str, str], list[tuple[int, str]]] = defaultdict(list)
    for verdict in sorted(verdicts, key=lambda verdict: verdict.number):
        for problem in verdict.problems:
            line = _last_line(problem.text)
            groups[verdict.kind, problem.kind, re.sub(r"0x[0-9a-f]+|\d+", "N", line)].append((verdict.number, line))
    return [
        Finding(kind, problem, found[0][1], tuple(dict.fromkeys(number for number, _ in found)))
        for (kind, problem, _), found in sorted(groups.items())
    ]


def _last_line(text: str) -> str:
    """The innermost frame of a faulthandler stack, which comes first; the last line of any other text."""
    lines = text.strip().splitlines() or [""]
    frames = [line.strip() for line in lines if line.startswith("  File")]
    return (frames[0] if frames else lines[-1])[:MOST_TEXT]


def endings(verdicts: Sequence[Verdict]) -> Table:
    """One row per format, one column per outcome."""
    counts = Counter((verdict.kind, verdict.ended) for verdict in verdicts)
    columns = sorted({ended for _, ended in counts}, key=lambda ended: (ended != "stored", ended))
    table = Table("format", "inputs", *columns, title=f"{len(verdicts)} inputs")
    for kind in sorted({kind for kind, _ in counts}):
        row = [counts[kind, ended] for ended in columns]
        table.add_row(kind, str(sum(row)), *(str(count or "") for count in row))
    totals = Counter(verdict.ended for verdict in verdicts)
    table.add_row("all", str(len(verdicts)), *(str(totals[ended]) for ended in columns), style="bold")
    return table


def extremes(verdicts: Sequence[Verdict]) -> Table:
    """The inputs nearest to a limit, which show whether the limit is useful."""
    table = Table("", "number", "source", "ended", "CPU s", "grew by MB", "allowed MB", title="nearest to a limit")
    slowest = sorted(verdicts, key=lambda verdict: -verdict.cpu_seconds)[:EXAMPLES]
    largest = sorted(verdicts, key=lambda verdict: -verdict.grown)[:EXAMPLES]
    closest = sorted(verdicts, key=lambda verdict: -verdict.grown / max(1, verdict.allowed))[:EXAMPLES]
    for label, rows in (("slowest", slowest), ("largest", largest), ("closest to its estimate", closest)):
        for v in rows:
            sizes = (f"{v.grown / 2**20:.1f}", f"{v.allowed / 2**20:.1f}")
            table.add_row(label, str(v.number), v.source, v.ended, f"{v.cpu_seconds:.2f}", *sizes)
    return table


def problems(found: Sequence[Finding], seed: int) -> Table:
    table = Table(
        "inputs", "what, in its words, and how to see it again", title=f"{len(found)} findings", show_lines=True
    )
    for finding in found:
        heading = Text(f"{finding.kind}: {finding.problem}", style="bold")
        again = (Text(replay_command(seed, number), style="cyan") for number in finding.numbers[:EXAMPLES])
        table.add_row(str(len(finding.numbers)), Group(heading, Text(finding.text), *again))
    return table


def replay_command(seed: int, number: int) -> str:
    return f"python -m tests.fuzz --seed {seed} --replay {number}"


def keep(found: Sequence[Finding], seed: int, folder: Path) -> None:
    """Writes some inputs of each finding, because other sources would give other inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    for finding in found:
        for number in finding.numbers[:EXAMPLES]:
            _, data = broken_file(seed, number)
            (folder / f"{seed}-{number}.{finding.kind}").write_bytes(data)
