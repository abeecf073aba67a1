"""glibc's malloc, told to give memory back. Of another C library nothing is asked."""

from __future__ import annotations

import ctypes
from typing import Final

M_ARENA_MAX: Final = -8
"""mallopt(3)."""


def share_one_arena() -> None:
    """One heap for all threads, instead of up to eight a core, which each keep the largest picture they have seen.

    Decoders start threads of their own, a few for every picture, so the heaps are all used after a while. Call it
    before there are threads: a heap that is there stays.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
