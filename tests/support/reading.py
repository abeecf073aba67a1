"""What the readers of a file cost: CPU seconds, and units of their budget."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from thumbnailer.errors import NeedMoreBytes, Rejected, TooMuchWork
from thumbnailer.formats import hide_metadata, probe, specs
from thumbnailer.formats.base import Budget, FormatSpec, Head, NotStrippable, units_for
from thumbnailer.formats.svg import FORMAT as TEXT

MB: Final = 1 << 20
SECONDS_PER_MB, MOST_SECONDS = 0.05, 0.5
"""The bound of one reader, on a quiet machine. A file of less than a MB may take as long as a MB."""
SECONDS_PER_UNIT: Final = 2e-6
NOISE: Final = 5
"""Times the bound that a test allows, for busy machines."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reader of a file; `units` may exceed `allowed` by the last of them, which ended the reader."""

    name: str
    seconds: float
    units: int
    allowed: int
    ended: str


def bound(size: int) -> float:
    """CPU seconds of one reader."""
    return min(MOST_SECONDS, SECONDS_PER_MB * max(1.0, size / MB))


def readings(data: bytes) -> Iterator[Reading]:
    """Runs every reader that its format has, even if the first of them rejects the file."""
    spec = next((spec for spec in specs() if spec.matches(data[:512])), TEXT)
    for name in ("read", "ending", "strip", "hide"):
        yield _reading(spec, name, data)


def _reading(spec: FormatSpec, name: str, data: bytes) -> Reading:
    allowed = units_for(len(data))
    budget = Budget(allowed, TooMuchWork)
    head = Head(memoryview(data), len(data), spec.label, budget)
    ended, started = "no", time.process_time()
    try:
        result = getattr(spec, name)(head)
        if isinstance(result, Iterator):
            for _ in result:
                pass
    except (Rejected, NotStrippable, NeedMoreBytes) as error:
        ended = type(error).__name__
    return Reading(name, time.process_time() - started, allowed - budget.left, allowed, ended)


def with_hidden_metadata(data: bytes) -> bytes:
    """The file as decoders see it."""
    changed = bytearray(data)
    for at, patch in hide_metadata(data, probe(data, len(data)).format):
        changed[at : at + len(patch)] = patch
    return bytes(changed)


def too_slow(data: bytes) -> list[str]:
    """The readers that take more CPU time than the bound, or more than they charge for, three times in a row."""
    return _slow(data) and _slow(data) and _slow(data)


def _slow(data: bytes) -> list[str]:
    most = NOISE * bound(len(data))
    slow = (r for r in readings(data) if r.seconds > min(most, NOISE * SECONDS_PER_UNIT * (r.units + 2000)))
    return [f"{r.name}: {r.seconds:.2f} s of CPU for {len(data)} bytes and {r.units} units" for r in slow]
