"""Makes the C library return freed memory to the kernel: decoders free tens of MB at a time.

Works with glibc and does nothing elsewhere. docs/memory.md has the measurements.
"""

import ctypes
from typing import Any, Final

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
MOST_KEPT: Final = 2 * 1024 * 1024
"""Bytes: freed blocks of this size and more return to the kernel at once."""


class _Mallinfo(ctypes.Structure):
    """struct mallinfo2 of malloc.h: ten numbers, of which only the ninth is used."""

    _fields_ = [("others", ctypes.c_size_t * 8), ("fordblks", ctypes.c_size_t), ("keepcost", ctypes.c_size_t)]


def _c_function(name: str) -> Any:
    """None if the C library has no such function."""
    return getattr(ctypes.CDLL(None), name, None)


_mallopt, _mallinfo, _malloc_trim = _c_function("mallopt"), _c_function("mallinfo2"), _c_function("malloc_trim")
if _mallinfo is not None:
    _mallinfo.restype = _Mallinfo


def tame_heap(most_kept: int = MOST_KEPT) -> None:
    """Gives all threads one heap that keeps at most so many bytes free at its end. Call it before any thread starts.

    By default each thread has its own heap, keeps up to 64 MB of it free, and no other thread can use that memory.
    """
    if _mallopt is not None:
        _mallopt(M_ARENA_MAX, 1)
        _mallopt(M_MMAP_THRESHOLD, most_kept)
        _mallopt(M_TRIM_THRESHOLD, most_kept)


def trim_heap(most_free: int) -> None:
    """Returns free memory between used blocks to the kernel if it exceeds `most_free` bytes.

    The heap itself shrinks from its end only, and libvips' lines, each below 2 MB, lie all over it. A look costs about
    50 microseconds, a trim up to 3 ms.
    """
    if _malloc_trim is not None and (_mallinfo is None or _mallinfo().fordblks > most_free):
        _malloc_trim(0)
