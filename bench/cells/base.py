"""What all cells have in common: how much is done of each, its settings, and the look at its thumbnails."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.cells.outputs import check_thumbnails
from bench.result import CellKey, Repetition
from bench.rig.limits import LAMBDA_PERIOD_US
from bench.rig.testbed import Bed, bucket_of


class Running(Protocol):
    """A cell that has been started."""

    @property
    def passes(self) -> int:
        """Rounds through the pictures that make a repetition."""

    def repeat(self) -> Repetition:
        """Raises CellFailed, S3Gone."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Effort:
    """`seconds` is what a repetition should last at least; it is one round through the pictures or more."""

    seconds: float = 2.0
    most_passes: int = 100
    period_us: int = LAMBDA_PERIOD_US

    def passes(self, seconds_a_pass: float) -> int:
        return min(self.most_passes, max(1, math.ceil(self.seconds / seconds_a_pass)))


def settings_of(key: CellKey) -> dict[str, str]:
    """Of our own handler, as the key has it; all others are as they are for a user who sets none."""
    settings = {"THUMBNAILER_ENGINE": key.engine, "THUMBNAILER_TRANSPORT": key.transport}
    return settings | ({"THUMBNAILER_IN_FLIGHT": str(key.in_flight)} if key.in_flight else {})


def check_output(key: CellKey, bed: Bed, since: float, keys: Iterable[str]) -> None:
    """That each object has its thumbnail, made since then. Raises WrongOutput."""
    if key.handler == "floor":
        return  # it makes none
    by_folder: dict[Path, list[Path]] = {}
    for each in keys:
        by_folder.setdefault(Path(each).parent, []).append(bed.s3.folder / bucket_of(key.handler) / each)
    for folder, pictures in by_folder.items():
        check_thumbnails(bed.thumbnails(key.handler) / folder, pictures, since)
