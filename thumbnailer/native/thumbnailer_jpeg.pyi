from collections.abc import Sequence
from os import PathLike
from typing import TypeAlias

Target: TypeAlias = tuple[int, int, tuple[float, float, float, float] | None]
"""Upright width and height; left, top, width and height of the part that is shown, or None."""

Picture: TypeAlias = tuple[int, int, int, bytes]
"""Width, height, channels (1 grey, 3 RGB) and pixels."""

class Fallback(Exception):
    """Another decoder must take the file."""

class Unsupported(Fallback): ...
class Doubtful(Fallback): ...

class TooLarge(Fallback):
    args: tuple[int]

class Internal(Fallback): ...

def render(
    data: bytes | str | PathLike[str],
    targets: Sequence[Target],
    orientation: int = 1,
    scale: int | None = None,
    max_bytes: int = ...,
) -> tuple[list[Picture], tuple[int, int, int]]: ...
def version() -> str: ...
def simd() -> str: ...
