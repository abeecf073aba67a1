"""How the C library keeps what decoders free, tens of MB at a time. glibc only; elsewhere nothing is done.

What was measured is in docs/memory.md.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
MOST_KEPT: Final = 2 * 1024 * 1024


class _Mallinfo(ctypes.Structure):
    """struct mallinfo2 of malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def _c_function(name: str) -> Any:
    """None where the C library has no such function."""
    return getattr(ctypes.CDLL(None), name, None)


_mallopt, _mallinfo, _malloc_trim = _c_function("mallopt"), _c_function("mallinfo2"), _c_function("malloc_trim")
if _mallinfo is not None:
    _mallinfo.restype = _Mallinfo


def tame_heap() -> None:
    """One heap for all threads; blocks of 2 MB and more are given back when freed, no more than that is kept free.

    Left alone, each thread has a heap, of whose free memory no other makes use, and each comes to keep up to 64 MB of
    it. To be called before threads are started.
    """
    if _mallopt is not None:
        _mallopt(M_ARENA_MAX, 1)
        _mallopt(M_MMAP_THRESHOLD, MOST_KEPT)
        _mallopt(M_TRIM_THRESHOLD, MOST_KEPT)


def trim_heap(most_free: int) -> None:
    """Gives back what is free between blocks in use, where that is more than `most_free` bytes.

    The heap shrinks only from its end, and libvips' lines, each below 2 MB, lie all over it. To look costs some 50
    microseconds, to trim up to 3 ms.
    """
    if _malloc_trim is not None and (_mallinfo is None or _mallinfo().fordblks > most_free):
        _malloc_trim(0)
