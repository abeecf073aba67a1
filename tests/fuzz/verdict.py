"""The verdict on one input."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. Findings are grouped by `kind`, a word or two."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one input. Sizes are in bytes."""

    number: int
    source: str
    kind: str
    ended: str
    engine: str = ""
    cpu_seconds: float = 0.0
    grown: int = 0
    allowed: int = 0
    resident: int = 0
    problems: tuple[Problem, ...] = ()
