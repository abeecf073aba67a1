"""How the C library keeps what is freed: decoders free tens of MB at a time, and an arena a thread keeps them.

glibc only; elsewhere nothing is done. `docs/memory.md` says what was measured.
"""

from __future__ import annotations

import ctypes
from typing import Final

MB: Final = 1024 * 1024
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
MOST_KEPT: Final = 32 * MB
"""The largest M_MMAP_THRESHOLD that glibc takes (HEAP_MAX_SIZE / 2)."""


def tame_heap(memory_mb: int) -> None:
    """One heap for all threads, and no more of it kept free than a 64th of the memory there is.

    Left alone, each thread has its own heap, which another's freed memory is of no use to, and what is kept free grows
    to 64 MB in each. To be called before threads are started; a second call changes the thresholds alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    kept = min(MOST_KEPT, memory_mb * MB // 64)
    mallopt(M_ARENA_MAX, 1)
    mallopt(M_MMAP_THRESHOLD, kept)
    mallopt(M_TRIM_THRESHOLD, kept)
