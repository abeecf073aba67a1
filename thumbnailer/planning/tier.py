"""Configured memory -> limits of the process. 1,769 MB of Lambda memory are one vCPU (AWS, "configure memory")."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from thumbnailer.formats.base import MOST_FRAMES
from thumbnailer.values import dataclass, replace

MB: Final = 1024 * 1024
MB_PER_VCPU: Final = 1769
IDLE_MB: Final = 76
"""The process between pictures: interpreter, store, and both engines after every codec was used."""
KEPT_FREE: Final = 8
"""The allocator may keep an eighth of the budget as freed memory."""
HARD_MAX_PIXELS: Final = 250_000_000  # three seconds of one vCPU; phones make up to 200 MP
PIXELS_PER_MB: Final = 400_000
"""A limit beside the plan's estimate in bytes: CPU grows with memory, and so does the largest reasonable picture."""


@dataclass(frozen=True, slots=True)
class Tier:
    """`memory_budget` is bytes for all pictures in work together; `vcpus` is a share, not a count."""

    memory_mb: int
    vcpus: float
    workers: int
    in_flight: int
    memory_budget: int
    max_pixels: int
    max_bytes: int
    max_frames: int

    @property
    def most_kept_free(self) -> int:
        """Bytes of earlier pictures that the allocator may keep."""
        return self.memory_budget // KEPT_FREE

    def with_changes(self, changes: Mapping[str, int]) -> Tier:
        """The same tier with some fields replaced."""
        return replace(self, **changes)


def tier_for(memory_mb: int, cpus: float | None = None) -> Tier:
    """The tier of a Lambda of that size, or of a container with a CPU limit of `cpus` cores."""
    share = memory_mb / MB_PER_VCPU
    vcpus = share if cpus is None else cpus
    workers = max(1, math.ceil(vcpus - 0.05))
    budget = max(24 * MB, (memory_mb - IDLE_MB) * MB * KEPT_FREE // (KEPT_FREE + 1))
    return Tier(
        memory_mb=memory_mb,
        vcpus=vcpus,
        workers=workers,
        # A small picture keeps a core busy for some 4 ms while its GET and PUT wait some 50 ms for S3: 12 to 16 a core.
        in_flight=min(64, max(4, math.ceil(16 * vcpus))),
        memory_budget=budget,
        max_pixels=min(HARD_MAX_PIXELS, memory_mb * PIXELS_PER_MB),
        max_bytes=min(256, memory_mb) * MB,  # several at once must fit into Lambda's 512 MB of /tmp
        max_frames=MOST_FRAMES,
    )
