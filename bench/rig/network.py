"""The network between a cell and S3: time to the first byte and bandwidth. bench.rig.proxy keeps them."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

P99: Final = 2.3263478740408408
"""Standard deviations between the median and the 99th percentile of a normal distribution."""
MB: Final = 1_000_000
MIB: Final = 1024 * 1024
SLACK: Final = 0.002
"""Seconds that bytes may be early: a timer is no finer than a millisecond."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Milliseconds to the first byte: constant, or with a p99 lognormal around the median."""

    median_ms: float = 0.0
    p99_ms: float | None = None

    def draw(self, chance: random.Random) -> float:
        """Seconds."""
        if self.p99_ms is None:
            return self.median_ms / 1000
        return chance.lognormvariate(math.log(self.median_ms), math.log(self.p99_ms / self.median_ms) / P99) / 1000


@dataclass(frozen=True, slots=True)
class Distance:
    """How far away S3 is. HEAD waits like GET, other methods like PUT. Rates: bytes a second each way; None: any."""

    get: Wait = Wait()
    put: Wait = Wait()
    connection_rate: float | None = None
    total_rate: float | None = None


PRESETS: Final[Mapping[str, Distance]] = {
    "loopback": Distance(),
    # AWS documents medians in the tens of ms and 85 MB/s a connection; functions are planned with 75 MiB/s.
    "near": Distance(Wait(20), Wait(30), 85 * MB, 75 * MIB),
    # AWS documents "roughly 100 to 200 ms" for small objects and first bytes, and no figure for PUT alone.
    "published": Distance(Wait(150), Wait(150), 85 * MB, 75 * MIB),
    # The medians of "near" with a lognormal tail. The tail is a guess: AWS publishes nothing about it.
    "near-tail": Distance(Wait(20, 120), Wait(30, 180), 85 * MB, 75 * MIB),
}


class Pace:
    """When bytes are due at a rate. A late sender may catch up for a few milliseconds."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._free = 0.0

    def due(self, count: int, now: float) -> float:
        if self._rate is None:
            return now
        self._free = max(self._free, now - 2 * SLACK) + count / self._rate
        return self._free
