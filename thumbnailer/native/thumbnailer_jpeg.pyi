from collections.abc import Sequence
from typing import TypeAlias, final

from typing_extensions import Buffer

Target: TypeAlias = tuple[int, int] | tuple[int, int, tuple[float, float, float, float]]
"""Upright width and height; optionally left, top, width and height of the part that is shown."""

Picture: TypeAlias = tuple[int, int, int, bytes]
"""Width, height, channels (1 grey, 3 RGB) and pixels."""

class Fallback(Exception):
    """Another decoder must take the file."""

class Unsupported(Fallback): ...
class Doubtful(Fallback): ...

class TooLarge(Fallback):
    args: tuple[int]

class Internal(Fallback): ...

@final
class Info:
    width: int
    height: int
    progressive: bool
    colour: str
    scale: int | None
    bytes: int | None

def info(data: Buffer) -> Info: ...
def plan(
    data: Buffer, targets: Sequence[Target], orientation: int = 1, scale: int | None = None, max_bytes: int = ...
) -> Info: ...
def render(
    data: Buffer, targets: Sequence[Target], orientation: int = 1, scale: int | None = None, max_bytes: int = ...
) -> tuple[list[Picture], Info]: ...
def version() -> str: ...
def simd() -> str: ...
