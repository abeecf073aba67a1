"""How the C library keeps what decoders free, tens of MB at a time. glibc only; elsewhere nothing is done.

What was measured is in docs/memory.md.
"""

from __future__ import annotations

import ctypes
from typing import Final

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
MOST_KEPT: Final = 2 * 1024 * 1024


def tame_heap() -> None:
    """One heap for all threads; blocks of 2 MB and more are given back when freed, no more than that is kept free.

    Left alone, each thread has a heap, of whose free memory no other makes use, and each comes to keep up to 64 MB of
    it. To be called before threads are started.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, MOST_KEPT)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)
