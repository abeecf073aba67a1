"""What is said of one input."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that must not be; `kind` is a word or two to group by."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one input ended. Sizes are bytes."""

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
